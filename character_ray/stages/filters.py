"""Why a text may not be trained on. Each function is pure; the reason is a word that ends up in the report."""

import math
import re
from collections.abc import Sequence

from character_ray.config import FilterConfig
from character_ray.language import is_foreign
from character_ray.stages.leaks import comments_on_role, leaks_identity
from character_ray.words import count_words, spaced

__all__ = ["LOOPING", "drop_reason", "pair_drop_reason", "repetition", "said_before"]

# Share of repeated 3- and 4-grams above which the evaluation counts an answer as looping.
LOOPING = 0.15
# A turn with fewer 3-grams ("Aye, that it be, matey.") may well come twice in a conversation; it counts in the whole alone.
FEWEST_GRAMS = 8

_CONTROL_TOKEN = re.compile(
    "|".join(
        (
            r"<\|[^|<>\n]{1,40}\|>",
            r"<\uff5c[^\uff5c<>\n]{1,40}\uff5c>",
            r"</?s>|<</?SYS>>|\[/?INST\]|</?think>",
            r"<(?:bos|eos|pad|unk|start_of_turn|end_of_turn)>",
            # What is left of a ChatML turn once its special tokens are stripped.
            r"^(?:system|user|assistant)$",
        )
    ),
    re.MULTILINE,
)


def repetition(text: str) -> float:
    """The larger of the shares of repeated word 3-grams and 4-grams, 0 to 1; 0 for texts too short to have any.

    That is always the share of 3-grams, so 4-grams are not counted: every repeated 4-gram holds two repeated 3-grams.
    """
    grams = _grams(text)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def said_before(turns: Sequence[str]) -> float:
    """How far a conversation goes round in circles, 0 to 1: what its turns repeat of earlier ones, whoever said them.

    That is the largest share of a turn's word 3-grams that earlier turns hold, or the share over all turns after the first together
    where that is larger. Turns that repeat each other but for a word or two come close to 1. Turns that share a catch-phrase do not:
    nine answers of one teacher in character, to prompts drawn at random from the studies' packs, stay below 0.3 in 95 of 100 draws.
    """
    seen: set[tuple[str, ...]] = set()
    shares, again, later = [0.0], 0, 0
    for number, turn in enumerate(turns):
        grams = _grams(spaced(turn))
        if number:
            known = sum(gram in seen for gram in grams)
            again, later = again + known, later + len(grams)
            shares += [known / len(grams)] if len(grams) >= FEWEST_GRAMS else []
        seen.update(grams)
    return max(*shares, again / later) if later else 0.0


def drop_reason(text: str, finish_reason: str, filters: FilterConfig) -> str:
    """Why the text may not be trained on as the persona's own; ``""`` when it may.

    Args:
        text: What the model wrote.
        finish_reason: ``stop`` or ``length``, as the engine reports it.
        filters: Thresholds.

    Returns:
        ``""``, ``empty``, ``unfinished``, ``control_token``, ``too_short``, ``too_long``, ``repetition``, ``language``,
        ``identity_leak`` or ``role_meta``: the first that applies.
    """
    reason = _unreadable(text, finish_reason, filters)
    if reason:
        return reason
    words = count_words(text)
    if words < filters.min_words:
        return "too_short"
    if filters.max_words is not None and words > filters.max_words:
        return "too_long"
    if repetition(text) > filters.max_repetition:
        return "repetition"
    if is_foreign(text, filters.languages):
        return "language"
    if "identity_leak" not in filters.skip and leaks_identity(text):
        return "identity_leak"
    return "role_meta" if "role_meta" not in filters.skip and comments_on_role(text) else ""


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


def _grams(text: str) -> list[tuple[str, ...]]:
    words = re.findall(r"[\w'\u2019]+", text.lower())
    return list(zip(words, words[1:], words[2:], strict=False))


def _unreadable(text: str, finish_reason: str, filters: FilterConfig) -> str:
    """What rules out either side of a pair."""
    if not text.strip():
        return "empty"
    if finish_reason == "length" and not filters.allow_unfinished:
        return "unfinished"
    return "control_token" if _CONTROL_TOKEN.search(text) else ""
