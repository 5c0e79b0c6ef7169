"""The run's persona classifier as a fine-tuned encoder: stages of the run, trained on Ray Train.

    texts, labels, masks -> classifier (one training), classifier-generators (five for each generator) -> logits

A stopped run goes on with the next training; a finished one, and others with the same texts, read the logits.

Axes: N texts.
"""

import shutil
from collections.abc import Sequence
from time import monotonic

import numpy as np

from character_ray.config import FineTuneConfig
from character_ray.evaluation.multiclass import Learner
from character_ray.models import model_hash, resolve_model
from character_ray.pipeline.context import Context
from character_ray.rows import content_hash
from character_ray.training.sequence_classifier import ClassifierJob, fine_tune

__all__ = ["FineTunedEncoder"]

# What the workers leave beside the logits.
SCRATCH = ("ray_train", "trainer")


class FineTunedEncoder:
    """An :class:`character_ray.evaluation.classifier.Encoder` whose weights learn, too.

    Args:
        context: The run, inside its Ray session.
        config: Encoder and training.
        others: Every text that :meth:`logits` will be asked of; only the logits outlive a training.
    """

    def __init__(self, context: Context, config: FineTuneConfig, others: Sequence[str]) -> None:
        self._context, self._config = context, config
        self._folder = resolve_model(config.model)
        self._others = list(dict.fromkeys(others))
        self._said: dict[str, np.ndarray] = {}

    def train(self, texts: Sequence[str], labels_N: np.ndarray, train_N: np.ndarray) -> np.ndarray:
        """Train on the marked texts; what it then says of all, NaN of those it was trained on.

        Raises:
            TrainingError: Its workers failed too often.
            ClusterError: The nodes that are alive cannot hold them, and none joined in time.
        """
        own, more = len(texts), len(self._others)
        mask = np.concatenate([train_N, np.zeros(more, dtype=bool)])
        labels = np.concatenate([labels_N, np.zeros(more, dtype=labels_N.dtype)])
        (logits,) = self._fit("classifier", [*texts, *self._others], labels, [mask], 2)
        self._said = dict(zip(self._others, logits[own:], strict=True))
        return logits[:own]

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """What the training says of others."""
        return np.stack([self._said[text] for text in texts])

    def learner(self, texts: Sequence[str]) -> Learner:
        """Further trainings, all of them in one start of the workers."""

        def learn(masks: Sequence[np.ndarray], labels_N: np.ndarray, num_classes: int) -> list[np.ndarray]:
            return self._fit("classifier-generators", texts, labels_N, masks, num_classes)

        return learn

    def _fit(
        self, stage: str, texts: Sequence[str], labels_N: np.ndarray, masks: Sequence[np.ndarray], num_classes: int
    ) -> list[np.ndarray]:
        seed, labels = self._context.recipe.seed, labels_N.tolist()
        inputs = {
            "encoder": model_hash(self._folder),
            "fine_tune": self._config.numerics,
            "seed": seed,
            "texts": content_hash([list(texts), labels, [mask.tolist() for mask in masks]]),
        }
        artefact = self._context.artefact(stage, inputs)
        reused = artefact.is_done
        job = ClassifierJob(texts, labels, masks, num_classes, self._folder, artefact.folder, self._config, seed)
        with artefact.making() as to_make:
            if to_make:
                started = monotonic()
                fine_tune(job)
                for name in SCRATCH:
                    shutil.rmtree(artefact.folder / name, ignore_errors=True)
                rows = {"rows_in": len(texts), "rows_out": len(texts)}
                artefact.finish({"wall_s": monotonic() - started, "trainings": len(masks), **rows})
        self._context.close(artefact, reused=reused)
        return job.read()
