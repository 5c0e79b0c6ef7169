"""Answers to challenges, a word each, and what is decided about them."""

from character_ray.evaluation.trials import judge_trials
from character_ray.rows import Challenged

__all__ = ["judged", "row"]


def row(arm, group, kind, number, text="", score=1.0, canary="", error="", wording=None, turn=0):
    return Challenged(
        row_id=f"{arm}{kind}{number}{turn}",
        arm=arm,
        group=group,
        kind=kind,
        challenge_id=str(number),
        wording=wording or str(number),
        turn=turn,
        prompt="?",
        system="",
        begun="",
        canary=canary,
        completion=text,
        error=error,
        score=score,
    )


def judged(rows, follows=lambda row: None):
    return judge_trials(
        rows,
        0.5,
        uses_vocabulary=lambda text: "arr" in text,
        looks_refused=lambda text: "cannot" in text,
        names_itself=lambda text: "Blackwood" in text,
        leaves_role=lambda text: "language model" in text,
        follows=follows,
    )
