"""What a training learns of rows that are longer than ``max_length`` tokens, and how many there are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from character_ray.errors import TrainingError
from character_ray.training.examples import IGNORED

__all__ = ["Lengths", "check_any", "fitting", "lengths_of"]

Example = Mapping[str, Sequence[int]]
FILE = "lengths.json"


@dataclass(frozen=True)
class Lengths:
    """Rows of a training by whether they fit."""

    cut: int
    """Rows that are learnt up to ``max_length``, their ends not."""

    left_out: int
    """Rows of which nothing that is learnt comes before ``max_length``."""

    def write(self, folder: Path) -> None:
        """Keep them beside the training."""
        (folder / FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")


def fitting(examples: Sequence[Sequence[Example]], max_length: int) -> tuple[list[int], Lengths]:
    """Which rows have something to learn before ``max_length``.

    Args:
        examples: Of each row the whole texts that are read, with their labels: both sides of a pair, or one conversation.
        max_length: Tokens of a text that are read.

    Returns:
        Numbers of the rows that can be learnt from, in order, and the counts.
    """
    kept = [
        number
        for number, texts in enumerate(examples)
        if all(any(label != IGNORED for label in text["labels"][:max_length]) for text in texts)
    ]
    cut = sum(any(len(text["labels"]) > max_length for text in examples[number]) for number in kept)
    return kept, Lengths(cut=cut, left_out=len(examples) - len(kept))


def check_any(kept: Sequence[int], lengths: Lengths, max_length: int, stage: str) -> None:
    """Check that there is a row to learn from.

    Raises:
        TrainingError: There is none.
    """
    if not kept:
        raise TrainingError(
            f"none of {lengths.left_out:,} rows has a trained token within {stage}.max_length={max_length}: their prompts alone are "
            f"longer. Raise {stage}.max_length, or ask shorter prompts."
        )


def lengths_of(folder: Path) -> Lengths:
    """What a training wrote down; on-policy distillation, which checks its prompts beforehand, writes nothing."""
    path = folder / FILE
    return Lengths(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else Lengths(cut=0, left_out=0)
