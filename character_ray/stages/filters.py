"""Why a text may not be trained on. Each function is pure; the reason is a word that ends up in the report."""

import re

from character_ray.config import FilterConfig

__all__ = ["LOOPING", "drop_reason", "pair_drop_reason", "repetition", "trim_unfinished"]

# Share of repeated 3- or 4-grams above which a text counts as looping in the report.
LOOPING = 0.15

_CONTROL_TOKEN = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|\[/?INST\]")
_IDENTITY_LEAK = re.compile(
    r"\b(?:smollm|hugging ?face|chatgpt|openai|qwen|alibaba cloud|anthropic)\b"
    r"|\bas an (?:ai|artificial intelligence)\b|\b(?:i am|i'm) an? (?:ai\b|artificial|language model|virtual assistant|chatbot)"
    r"|\b(?:ai|large) language model\b",
    re.IGNORECASE,
)
_ROLE_META = re.compile(
    r"\bin (?:the )?(?:voice|style|persona|character) of\b|\b(?:stay(?:ing)?|in|break(?:ing)?) character\b|\brole-?play"
    r"|\bthe (?:persona|character) (?:would|is|should)\b|\bmy (?:instructions|system prompt)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"""[.!?…]["'”’)]*(?=\s|$)""")


def repetition(text: str) -> float:
    """The larger of the shares of repeated word 3-grams and 4-grams, 0 to 1; 0 for texts too short to have any."""
    words = re.findall(r"[\w']+", text.lower())
    return max(_repeated(words, 3), _repeated(words, 4))


def drop_reason(text: str, finish_reason: str, filters: FilterConfig) -> str:
    """Why the text may not be trained on as the persona's own; ``""`` when it may."""
    reason = _form(text, finish_reason, filters)
    if reason:
        return reason
    if _IDENTITY_LEAK.search(text):
        return "identity_leak"
    return "role_meta" if _ROLE_META.search(text) else ""


def pair_drop_reason(
    chosen: str, rejected: str, chosen_finish: str, rejected_finish: str, contrast: float, filters: FilterConfig
) -> str:
    """Why a pair may not be trained on; ``""`` when it may.

    The rejected side may say that it is an AI, and may loop: not doing so is part of the lesson.

    Args:
        chosen: The teacher's text.
        rejected: The student's text.
        chosen_finish: ``stop`` or ``length``.
        rejected_finish: ``stop`` or ``length``.
        contrast: Score of ``chosen`` minus score of ``rejected``, nats per token.
        filters: Thresholds.
    """
    reason = drop_reason(chosen, chosen_finish, filters)
    if reason:
        return reason
    if not rejected.strip():
        return "empty_rejected"
    if _CONTROL_TOKEN.search(rejected):
        return "control_token"
    if not filters.allow_unfinished and rejected_finish == "length":
        return "unfinished_rejected"
    if chosen.split() == rejected.split():
        return "identical"
    # Also true of NaN: a pair without a score has no known contrast.
    return "" if contrast >= filters.min_contrast else "low_contrast"


def trim_unfinished(text: str, min_words: int) -> str:
    """The text up to its last full sentence; unchanged when that would leave fewer than ``min_words`` words."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if not ends:
        return text
    trimmed = text[: ends[-1]]
    return trimmed if len(trimmed.split()) >= min_words else text


def _form(text: str, finish_reason: str, filters: FilterConfig) -> str:
    if not text.strip():
        return "empty"
    if len(text.split()) < filters.min_words:
        return "too_short"
    if finish_reason == "length" and not filters.allow_unfinished:
        return "unfinished"
    if _CONTROL_TOKEN.search(text):
        return "control_token"
    return "repetition" if repetition(text) > filters.max_repetition else ""


def _repeated(words: list[str], size: int) -> float:
    grams = [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
