"""Why a text may not be trained on. Each function is pure; the reason is a word that ends up in the report.

The patterns know no persona. They aim at boilerplate of assistants and at comments on the role, and let a persona say the same
words about its own world: a captain may mistake "AI" for a shipmate, an actor may stay in character, a coach may plan a
role-play exercise. Where both readings are possible the text goes: one row costs less than a lesson in breaking character.
"""

import math
import re

from character_ray.config import FilterConfig

__all__ = ["LOOPING", "drop_reason", "pair_drop_reason", "repetition", "trim_unfinished"]

# Share of repeated 3- and 4-grams above which the evaluation counts an answer as looping.
LOOPING = 0.15

# The last two alternatives are what remains of a chat template once its special tokens are stripped, and full-width bars.
_CONTROL_TOKEN = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?s>|<</?SYS>>|\[/?INST\]|<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>|</?think>"
    r"|^(?:system|user|assistant)$|<｜[^｜<>\n]{1,40}｜>",
    re.MULTILINE,
)

_ANY_AI = r"(?:ai\b|artificial intelligence\b|(?:large )?language model\b|chat ?bot\b|(?:virtual|digital) assistant\b|computer program\b)"
_IDENTITY_LEAK = re.compile(
    r"\b(?:smollm\d*|chatgpt|gpt-[2345]|openai|deepseek|qwen\d*|hugging ?face|alibaba cloud|anthropic)\b"
    rf"|\bas an? (?:ai |large |text-based |mere )*(?:language model\b|{_ANY_AI},? (?:(?:assistant|model|system),? )?(?:i|my)\b)"
    rf"|\bi(?: am|['’]m)(?: just| only| merely| simply| actually| really)*(?: an?)?(?: (?!not\b|no\b)[\w-]+)? {_ANY_AI}"
    r"|\bi(?: am|['’]m| was) (?:designed|programmed|trained) to (?:assist|help|provide)\b"
    r"|\bmy (?:training data|knowledge cut-?off)\b",
    re.IGNORECASE,
)

_ANSWER = r"(?:response|answer|reply|version|rewrite|rendition)"
_MANNER = r"(?:voice|style|persona|character|manner|tone)"
_NAME = r"(?-i:[A-Z][\w'’-]*\.?)(?: (?:of |the )*(?-i:[A-Z][\w'’-]*))*"
_ROLE_META = re.compile(
    rf"\bas {_NAME},? (?:I|he|she|they)(?:['’]d| would| might| could) (?:say|respond|answer|reply|put it)\b"
    rf"|\b{_ANSWER} (?:\w+ ){{0,3}}in the {_MANNER} of\b"
    rf"|\bhere(?:['’]s| is) (?:an?|the|my|one|your) (?:[\w-]+ ){{0,4}}{_ANSWER} (?:\w+ )?(?:from|by|as) {_NAME}"
    rf"|\bhere(?:['’]s| is) [^.!?\n]{{0,60}}\bin (?:the {_MANNER} of|{_NAME}['’]s? {_MANNER})"
    r"|\b(?:I['’]m|I am|I(?: will|['’]ll| must| shall)?) (?:(?:stay|remain|keep|be|speak|answer|respond)(?:ing)? )?in character\b"
    r"|\b(?:staying|remaining|respond(?:ing)?|answer(?:ing)?|reply(?:ing)?|speaking|writ(?:ing|ten)) in character\b|\bin character as\b"
    r"|^\W*(?:in character\b|out of character:)"
    r"|\b(?:break|breaking|broke|broken|drop|dropping) (?:my |the |out of )?character\b"
    r"|\bI(?: am|['’]m|['’]ll| will| can(?:['’]?t|not)?| was)(?: not| only| just| happy to)* role-?play"
    rf"|\brole-?play(?:ing)? as {_NAME}|\brole-?play (?:response|persona)\b|^\W*role-?play:"
    r"|\bas (?:the|this|my|your) (?:character|persona)\b|\b(?:my|this|your) persona\b|\bpersona of\b"
    rf"|\bI(?: am|['’]m|['’]ll| will)(?: now| just)* (?:play|playing|pretending to be|acting as|adopt|adopting|assuming) (?:the (?:role|{_MANNER}) of\b|{_NAME})"
    r"|\bI(?: am|['’]m| was| have been|['’]ve been) (?:instructed|told|asked|prompted) to (?:play|act|pretend|stay in)\b"
    r"|\bsystem prompt\b|\b(?:according to|following) my instructions\b"
    r"|[(\[*]\s*(?:speaking |speaks |says |said |replies )?(?:in|with) an? [\w ,-]{1,30}\b(?:voice|tone|accent)\b",
    re.IGNORECASE | re.MULTILINE,
)

# An abbreviation and the number of a list item end with a full stop, but no sentence.
_NO_END = re.compile(r"(?:\b(?:mr|mrs|ms|dr|st|prof|vs|etc|e\.g|i\.e)|(?:^|\n)[ \t]*\(?\d{1,3})\.$", re.IGNORECASE)
_SENTENCE_END = re.compile(r"""[.!?…]["'”’)\]*_]*(?=\s|$)""")
_LIST_ITEM = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+\S.*?(?=[ \t]*\n)", re.MULTILINE)


def repetition(text: str) -> float:
    """The larger of the shares of repeated word 3-grams and 4-grams, 0 to 1; 0 for texts too short to have any.

    That is always the share of 3-grams, so 4-grams are not counted: every repeated 4-gram holds two repeated 3-grams.
    """
    words = re.findall(r"[\w'’]+", text.lower())
    grams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def drop_reason(text: str, finish_reason: str, filters: FilterConfig) -> str:
    """Why the text may not be trained on as the persona's own; ``""`` when it may.

    Args:
        text: What the model wrote.
        finish_reason: ``stop`` or ``length``, as the engine reports it.
        filters: Thresholds.

    Returns:
        ``""``, ``empty``, ``too_short``, ``unfinished``, ``control_token``, ``repetition``, ``identity_leak`` or ``role_meta``.
    """
    reason = _unreadable(text, finish_reason, filters)
    if reason:
        return reason
    if len(text.split()) < filters.min_words:
        return "too_short"
    if repetition(text) > filters.max_repetition:
        return "repetition"
    if _IDENTITY_LEAK.search(text):
        return "identity_leak"
    return "role_meta" if _ROLE_META.search(text) else ""


def pair_drop_reason(
    chosen: str, rejected: str, chosen_finish: str, rejected_finish: str, contrast: float, filters: FilterConfig
) -> str:
    """Why a pair may not be trained on; ``""`` when it may.

    The rejected side may say that it is an AI, be short, and loop: not doing so is part of the lesson.

    Args:
        chosen: The teacher's text.
        rejected: The student's text.
        chosen_finish: ``stop`` or ``length``.
        rejected_finish: ``stop`` or ``length``.
        contrast: Score of ``chosen`` minus score of ``rejected``, nats per token.
        filters: Thresholds.

    Returns:
        A reason of :func:`drop_reason` for the chosen side; ``empty_rejected``, ``unfinished_rejected`` or
        ``control_token_rejected``; ``identical``; ``unscored`` when the contrast is NaN; ``low_contrast``; or ``""``.
    """
    reason = drop_reason(chosen, chosen_finish, filters)
    if reason:
        return reason
    reason = _unreadable(rejected, rejected_finish, filters)
    if reason:
        return f"{reason}_rejected"
    if chosen.split() == rejected.split():
        return "identical"
    if math.isnan(contrast):
        return "unscored"
    return "low_contrast" if contrast < filters.min_contrast else ""


def trim_unfinished(text: str, min_words: int) -> str:
    """The text up to its last full sentence or list item; unchanged when that would leave fewer than ``min_words`` words."""
    sentences = [match.end() for match in _SENTENCE_END.finditer(text) if not _NO_END.search(text[: match.end()])]
    items = [match.end() for match in _LIST_ITEM.finditer(text)]
    trimmed = text[: max([*sentences, *items], default=0)]
    return trimmed if len(trimmed.split()) >= min_words else text


def _unreadable(text: str, finish_reason: str, filters: FilterConfig) -> str:
    """What rules out either side of a pair."""
    if not text.strip():
        return "empty"
    if finish_reason == "length" and not filters.allow_unfinished:
        return "unfinished"
    return "control_token" if _CONTROL_TOKEN.search(text) else ""
