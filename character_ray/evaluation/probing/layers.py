"""Linear probes of every layer, each beside a control, and the test of the "distinct clusters" prediction.

A probe that separates two sets of activations proves little in a space with more dimensions than examples. So every accuracy is on
prompts the probe never saw, and beside it stands the same probe trained on shuffled labels; what it gains over that is its
*selectivity* (after Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks").

Axes: N texts, L layers, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from character_ray.statistics import Interval, cluster_rate

__all__ = [
    "DISTINCT",
    "Clusters",
    "LayerProbe",
    "find_clusters",
    "fit_probe",
    "gap",
    "mean_difference",
    "probe_layer",
]

# Below this silhouette there is "no substantial structure" (Kaufman and Rousseeuw 1990).
DISTINCT = 0.25
# Inverse strength of the probes' penalty: weak, since features have length one and every accuracy is held out.
PENALTY = 100.0


@dataclass(frozen=True)
class LayerProbe:
    """What a linear probe of one layer can tell, on prompts it was not trained on."""

    accuracy: Interval
    control: float
    """Mean accuracy of the same probe on shuffled labels."""

    gap: float
    """Held-out distance of the two means along the direction between them, in standard deviations within a class."""

    @property
    def selectivity(self) -> float:
        """Accuracy gained over the control."""
        return self.accuracy.value - self.control


@dataclass(frozen=True)
class Clusters:
    """Whether two classes lie apart in one layer."""

    silhouette: float
    """Mean silhouette by class: 1 far apart, 0 mixed."""

    control: float
    """The same for shuffled classes, on average."""

    p_value: float
    """Share of shufflings, the true classes among them, with a silhouette as large."""

    rand_index: float
    """Agreement of an unsupervised split in two (k-means) with the classes, adjusted for chance: 1 the same, 0 none."""

    @property
    def distinct(self) -> bool:
        """Whether the prediction holds here: real structure, and not by chance."""
        return self.silhouette >= DISTINCT and self.p_value < 0.05


def probe_layer(
    activations_ND: np.ndarray,
    labels_N: Sequence[bool],
    prompts_N: Sequence[str],
    *,
    seed: int,
    folds: int = 5,
    shuffles: int = 3,
    resamples: int = 1000,
) -> LayerProbe:
    """Cross-validated accuracy of a logistic probe, with all texts of a prompt in one fold.

    Args:
        activations_ND: One row per text.
        labels_N: Whether the text is in character.
        prompts_N: Prompt of each text.
        seed: Seed of folds, shuffles and interval.
        folds: Parts of the prompts; fewer when there are fewer prompts.
        shuffles: Shuffled labellings behind the control.
        resamples: Bootstrap resamples of the interval.

    Raises:
        ValueError: There are fewer than four prompts, or one class is missing.
    """
    labels = np.asarray(labels_N, dtype=bool)
    prompts = np.asarray(prompts_N, dtype=object).astype(str)
    _check(labels, prompts)
    features_ND = _compact(activations_ND)
    parts = _folds(prompts, folds, seed)
    right_N = np.zeros(len(labels))
    along_N = np.zeros(len(labels))
    for test in parts:
        probe = fit_probe(features_ND[~test], labels[~test])
        right_N[test] = probe.predict(features_ND[test]) == labels[test]
        direction = mean_difference(features_ND[~test], labels[~test])
        along_N[test] = features_ND[test] @ (direction / (np.linalg.norm(direction) or 1.0))
    draw = np.random.default_rng(seed)
    controls = []
    for _ in range(shuffles):
        shuffled = draw.permutation(labels)
        hits = [
            (fit_probe(features_ND[~test], shuffled[~test]).predict(features_ND[test]) == shuffled[test])
            for test in parts
            if shuffled[~test].any() and not shuffled[~test].all()
        ]
        controls.append(float(np.concatenate(hits).mean()))
    accuracy = cluster_rate(right_N.tolist(), prompts.tolist(), seed=seed, resamples=resamples)
    return LayerProbe(accuracy, float(np.mean(controls)), gap(along_N, labels))


def fit_probe(features_ND: np.ndarray, labels_N: np.ndarray) -> "_Probe":
    """A logistic regression with an L2 penalty on centred features of mean squared length one."""
    from sklearn.linear_model import LogisticRegression

    center_D = features_ND.mean(0)
    scale = float(np.sqrt(((features_ND - center_D) ** 2).sum(1).mean())) or 1.0
    model = LogisticRegression(C=PENALTY, max_iter=2000, class_weight="balanced")
    return _Probe(model.fit((features_ND - center_D) / scale, labels_N), center_D, scale)


@dataclass(frozen=True)
class _Probe:
    model: object
    center_D: np.ndarray
    scale: float

    def predict(self, features_ND: np.ndarray) -> np.ndarray:
        """Whether each row is of the class ``True``."""
        found: np.ndarray = self.model.predict((features_ND - self.center_D) / self.scale)  # type: ignore[attr-defined]
        return found


def mean_difference(activations_ND: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Mean in character minus mean not in character; shape ``(D,)``."""
    labels = np.asarray(labels_N, dtype=bool)
    difference: np.ndarray = activations_ND[labels].mean(0) - activations_ND[~labels].mean(0)
    return difference


def gap(along_N: np.ndarray, labels_N: np.ndarray) -> float:
    """Distance of two means in pooled standard deviations; NaN when nothing varies."""
    first, second = along_N[labels_N], along_N[~labels_N]
    spread = float(np.sqrt((first.var() + second.var()) / 2))
    return float((first.mean() - second.mean()) / spread) if spread > 0 else float("nan")


def find_clusters(
    activations_ND: np.ndarray, labels_N: Sequence[bool], prompts_N: Sequence[str], *, seed: int, shuffles: int = 99
) -> Clusters:
    """Silhouette of the two classes against shuffled ones, and whether k-means finds them by itself.

    Shuffling swaps the classes within prompts, so that a difference between prompts cannot pass for one between classes.

    Raises:
        ValueError: There are fewer than four prompts, or one class is missing.
    """
    from scipy.spatial.distance import pdist, squareform
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, silhouette_score

    labels = np.asarray(labels_N, dtype=bool)
    prompts = np.asarray(prompts_N, dtype=object).astype(str)
    _check(labels, prompts)
    features_ND = _compact(activations_ND)
    distances_NN = squareform(pdist(features_ND))
    found = float(silhouette_score(distances_NN, labels, metric="precomputed"))
    draw = np.random.default_rng(seed)
    members = [np.flatnonzero(prompts == name) for name in np.unique(prompts)]
    by_chance = []
    for _ in range(shuffles):
        shuffled = labels.copy()
        for own in members:
            shuffled[own] = draw.permutation(labels[own])
        by_chance.append(float(silhouette_score(distances_NN, shuffled, metric="precomputed")))
    p_value = (1 + sum(other >= found for other in by_chance)) / (1 + shuffles)
    split = KMeans(2, n_init=10, random_state=seed).fit_predict(features_ND)
    return Clusters(found, float(np.mean(by_chance)), p_value, float(adjusted_rand_score(labels, split)))


def _folds(prompts_N: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Masks of the texts left out in each fold; every prompt is left out once, whole."""
    names = np.random.default_rng(seed).permutation(np.unique(prompts_N))
    return [np.isin(prompts_N, part) for part in np.array_split(names, min(folds, len(names)))]


def _compact(activations_ND: np.ndarray) -> np.ndarray:
    """The same points in as many dimensions as they span: distances, means and penalised fits stay what they were."""
    centred: np.ndarray = np.asarray(activations_ND, dtype=np.float64) - activations_ND.mean(0)
    if centred.shape[0] >= centred.shape[1]:
        return centred
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return np.asarray(left * sizes)


def _check(labels_N: np.ndarray, prompts_N: np.ndarray) -> None:
    if len(labels_N) != len(prompts_N) or labels_N.all() or not labels_N.any() or len(np.unique(prompts_N)) < 4:
        raise ValueError(
            f"{len(np.unique(prompts_N))} prompts with {int(labels_N.sum())} texts in character and {int((~labels_N).sum())} not: "
            "a probe needs both classes and at least four prompts"
        )
