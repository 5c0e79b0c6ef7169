"""What a new version of a constitution asks to be made anew, and what is repeated so that the rest stays.

changes + training prompts -> affected prompts (all, if the voice changed; else those nearest to a changed line) and lessons
new pairs + kept old pairs -> conversations {kind: update | retained}
"""

from collections.abc import Sequence

import numpy as np

from character_ray.constitution import Change
from character_ray.rows import AMONG_SAMPLES, Conversation, Pair, Prompt

__all__ = ["affected_prompts", "changed_lines", "changes_voice", "retained_pairs", "update_conversations"]


def changes_voice(changes: Sequence[Change]) -> bool:
    """Whether identity, voice, name or a demonstration changed, which every answer shows."""
    return any(change.field.startswith(("persona.", "meta.", "examples")) for change in changes)


def changed_lines(changes: Sequence[Change]) -> tuple[list[str], list[str]]:
    """Lines of directives and safety that the old version has and the new one has not, and the other way round."""
    lines = [change for change in changes if change.field.startswith(("directives.", "safety."))]
    return [change.before for change in lines if change.before], [change.after for change in lines if change.after]


def affected_prompts(
    prompts: Sequence[Prompt], similarities_NL: np.ndarray, nearest: int, *, voice: bool
) -> list[Prompt]:
    """The training prompts whose answers an update changes, in their order.

    Args:
        prompts: N training prompts.
        similarities_NL: Likeness of each prompt to each of L changed lines.
        nearest: Prompts taken for every line.
        voice: Whether the voice changed, so that all are affected.
    """
    if voice:
        return list(prompts)
    taken = np.unique(np.argsort(-similarities_NL, axis=0, kind="stable")[:nearest])
    return [prompts[int(place)] for place in taken]


def retained_pairs(
    pairs: Sequence[Pair], affected: Sequence[Prompt], old_lines: Sequence[str], number: int, seed: int
) -> list[Pair]:
    """Kept pairs that the update does not touch, drawn without repetition; fewer when there are not so many."""
    ids = {prompt["prompt_id"] for prompt in affected}
    left = [
        pair
        for pair in pairs
        if not pair["drop_reason"]
        and pair["kind"] not in AMONG_SAMPLES
        and pair["prompt_id"] not in ids
        and pair["directive"] not in old_lines
    ]
    chosen = np.random.default_rng(seed).permutation(len(left))[:number]
    return [left[int(place)] for place in sorted(chosen)]


def update_conversations(made: Sequence[Pair], retained: Sequence[Pair]) -> list[Conversation]:
    """What the delta is trained on: the new answers, and old ones that still hold."""
    return [
        Conversation(
            row_id=pair["row_id"],
            kind=kind,
            role="",
            messages=[*pair["prompt"], *pair["chosen"]],
            score=pair["chosen_score"],
            drop_reason=pair["drop_reason"],
        )
        for kind, pairs in (("update", made), ("retained", retained))
        for pair in pairs
    ]
