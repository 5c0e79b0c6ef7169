"""Natural language inference: how probable it is that one statement contradicts another.

{row_id, prompt: premise, completion: hypothesis} -> {row_id, score: p(contradiction)}
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from character_ray.config import JudgeConfig, ModelConfig
from character_ray.encoder import most_tokens
from character_ray.errors import ModelError
from character_ray.inference.judge_actors import judge_dtype, prepare_torch
from character_ray.inference.kept_judges import KeptJudges
from character_ray.inference.likelihood import ScoreRequest, score_rows
from character_ray.models import resolve_model
from character_ray.runs import Artefact

__all__ = ["ContradictionJudge", "contradiction_class", "resolve_nli", "score_contradictions"]

LONGEST = 512


def resolve_nli(model: ModelConfig) -> tuple[Path, int]:
    """Folder of a model of natural language inference, and which of its classes means contradiction.

    Raises:
        ModelError: It cannot be found or read, or does not have exactly one class of that name.
    """
    folder = resolve_model(model)
    return folder, contradiction_class(folder, model.name)


def contradiction_class(folder: Path, name: str) -> int:
    """Which class of a sequence classifier means contradiction, by the names in its config.

    Args:
        folder: Folder of the model.
        name: What the user calls it.

    Raises:
        ModelError: It cannot be read, or none of its classes or several are called so.
    """
    from transformers import AutoConfig

    try:
        labels: dict[int, str] = AutoConfig.from_pretrained(folder).id2label
    except (OSError, ValueError) as cause:
        raise ModelError(f"evaluate.coherence.nli: {name} cannot be read as a model: {cause}") from cause
    found = [int(number) for number, label in labels.items() if "contradict" in str(label).lower()]
    if len(found) != 1:
        raise ModelError(
            f"evaluate.coherence.nli: the classes of {name} are {', '.join(map(str, labels.values()))}, of which exactly one must be "
            "called contradiction. Name a classifier trained on natural language inference with three classes, such as "
            "cross-encoder/nli-deberta-v3-base."
        )
    return found[0]


def score_contradictions(
    label: str,
    artefact: Artefact,
    rows: Sequence[ScoreRequest],
    folder: Path,
    contradiction: int,
    judge: JudgeConfig,
    kept: KeptJudges | None = None,
) -> dict[str, float]:
    """Probabilities by row id, computed on Ray; rows scored by an earlier attempt are read."""
    return score_rows(label, artefact, rows, ContradictionJudge, (str(folder), contradiction, judge), judge, kept)


class ContradictionJudge:
    """Scores batches of statement pairs; one per Ray actor."""

    def __init__(self, folder: str, contradiction: int, judge: JudgeConfig) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        prepare_torch(judge)
        self._class = contradiction
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._longest = min(most_tokens(Path(folder), self._tokenizer), LONGEST)
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=judge_dtype(judge)).eval()
        if judge.device == "gpu":
            self._model.cuda()
        self._takes = set(inspect.signature(self._model.forward).parameters)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score one batch of premises (``prompt``) and hypotheses (``completion``)."""
        import torch

        read = self._tokenizer(
            [str(text) for text in batch["prompt"]],
            [str(text) for text in batch["completion"]],
            truncation=True,
            max_length=self._longest,
            padding=True,
            return_tensors="pt",
        )
        # ModernBERT takes no token types, though a tokenizer may make them.
        taken = {name: column.to(self._model.device) for name, column in read.items() if name in self._takes}
        with torch.inference_mode():
            logits = self._model(**taken).logits.float()
        return {"row_id": batch["row_id"], "score": logits.softmax(-1)[:, self._class].double().cpu().numpy()}
