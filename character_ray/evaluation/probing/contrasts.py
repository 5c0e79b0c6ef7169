"""The contrasts that are probed: what differs between the two sides, and what is the same.

    both      full reads its own answers, base its own                  weights and words differ
    words     base reads both answers                                   only the words differ
    weights   full and base both read base's answers                    only the weights differ
    before    full and base before the first word of an answer          only the weights differ, and nothing was said yet
    context   prompted reads its own answers, base its own              constitution and words differ, weights do not

All are on the same prompts. A probe that tells two sets of weights apart reads little more than that they are two; so beside the
contrasts stands a transfer: a probe that learnt ``context``, where no weight differs, is shown ``full`` without a system prompt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from character_ray.evaluation.probing.activations import Activations, read_activations
from character_ray.evaluation.probing.layers import Clusters, find_clusters, fit_probe, mean_difference, probe_layer
from character_ray.evaluation.reader import Passage, Reader
from character_ray.statistics import cluster_rate

__all__ = ["CONTRASTS", "probe_contrasts", "read_sides"]

CONTRASTS = {
    "both": "full reads its own answers, base its own: weights and words differ",
    "words": "base reads both answers: only the words differ",
    "weights": "full and base read base's answers: only the weights differ",
    "before": "full and base before the first word: only the weights differ, and nothing was said yet",
    "context": "prompted reads its own answers, base its own: constitution and words differ, weights do not",
}


def read_sides(
    reader: Reader, chats: Mapping[str, Sequence[Passage]], batch_size: int
) -> dict[tuple[str, str], Activations]:
    """Activations by whose weights read and whose answers are read.

    Args:
        reader: Base and adapters; ``prompted`` is the base.
        chats: Passages of ``base`` and ``full`` after the prompt alone, and of ``prompted`` after the constitution.
        batch_size: Passages per forward pass.
    """
    wanted = [("base", "base"), ("full", "full"), ("base", "full"), ("full", "base")]
    wanted += [("prompted", "prompted")] if "prompted" in chats else []
    return {(weights, words): read_activations(reader, weights, chats[words], batch_size) for weights, words in wanted}


def probe_contrasts(
    sides: Mapping[tuple[str, str], Activations], prompts: Sequence[str], *, seed: int, resamples: int = 1000
) -> dict[str, Any]:
    """Probes, clusters and directions of every contrast and layer.

    Returns:
        ``contrasts``: by name, ``meaning`` and one entry per layer (from 1). ``transfer``: per layer, the share of ``full``'s and of
        base's answers that a probe of ``context`` calls in character, and the cosine of the two persona directions; empty without
        ``prompted``.
    """
    from threadpoolctl import threadpool_limits

    pairs = _pairs(sides)
    both = [True] * len(prompts) + [False] * len(prompts)
    names = [*prompts, *prompts]
    num_layers = sides["base", "base"].answer_NLD.shape[1]

    def probed(sides_NLD: tuple[np.ndarray, np.ndarray], layer: int) -> dict[str, Any]:
        features = np.concatenate([side[:, layer] for side in sides_NLD])
        probe = probe_layer(features, both, names, seed=seed, resamples=resamples)
        return {
            "layer": layer + 1,
            "accuracy": vars(probe.accuracy),
            "control": probe.control,
            "selectivity": probe.selectivity,
            "gap": probe.gap,
            "direction_norm": float(np.linalg.norm(mean_difference(features, np.array(both)))),
            "clusters": _clusters(find_clusters(features, both, names, seed=seed)),
        }

    # Hundreds of small fits: threads cost more than they bring, tenfold on a busy machine.
    with threadpool_limits(1):
        contrasts = {
            name: {"meaning": CONTRASTS[name], "layers": [probed(sides_NLD, layer) for layer in range(num_layers)]}
            for name, sides_NLD in pairs.items()
        }
        return {"contrasts": contrasts, "transfer": _transfers(sides, prompts, seed) if "context" in pairs else []}


def _pairs(sides: Mapping[tuple[str, str], Activations]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    base, full = sides["base", "base"], sides["full", "full"]
    pairs = {
        "both": (full.answer_NLD, base.answer_NLD),
        "words": (sides["base", "full"].answer_NLD, base.answer_NLD),
        "weights": (sides["full", "base"].answer_NLD, base.answer_NLD),
        "before": (full.before_NLD, base.before_NLD),
    }
    if ("prompted", "prompted") in sides:
        pairs["context"] = (sides["prompted", "prompted"].answer_NLD, base.answer_NLD)
    return pairs


def _transfers(sides: Mapping[tuple[str, str], Activations], prompts: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Probes of ``context`` shown ``full``: trained on one half of the prompts, asked about the other, and the other way round."""
    base, full, prompted = (sides[arm, arm].answer_NLD for arm in ("base", "full", "prompted"))
    names = np.asarray(prompts, dtype=object).astype(str)
    order = np.random.default_rng(seed).permutation(np.unique(names))
    first = np.isin(names, order[: len(order) // 2])
    found = []
    for layer in range(base.shape[1]):
        called: dict[str, list[float]] = {"full": [], "base": []}
        asked: list[str] = []
        for train, test in ((first, ~first), (~first, first)):
            features = np.concatenate([prompted[train, layer], base[train, layer]])
            probe = fit_probe(features, np.repeat([True, False], int(train.sum())))
            asked += names[test].tolist()
            for arm, values in (("full", full), ("base", base)):
                called[arm] += probe.predict(values[test, layer]).astype(float).tolist()
        found.append(
            {
                "layer": layer + 1,
                **{arm: vars(cluster_rate(values, asked, seed=seed)) for arm, values in called.items()},
                "cosine": _cosine(
                    full[:, layer].mean(0) - base[:, layer].mean(0), prompted[:, layer].mean(0) - base[:, layer].mean(0)
                ),
            }
        )
    return found


def _clusters(found: Clusters) -> dict[str, Any]:
    return {**vars(found), "distinct": found.distinct}


def _cosine(first_D: np.ndarray, second_D: np.ndarray) -> float:
    return float(first_D @ second_D / (np.linalg.norm(first_D) * np.linalg.norm(second_D)))
