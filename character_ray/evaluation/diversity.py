"""Whether an arm says many things or one thing many times, and whether it speaks of what it was asked.

A persona that learnt a catch-phrase passes every test of voice; these figures show it as such. Axes: N answers, P prompts,
D embedding dimensions.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from character_ray.statistics import Interval, cluster_rate, group_jackknife, resample_weights

__all__ = [
    "count_words",
    "distinct",
    "distinct_interval",
    "distinct_of_as_many",
    "diversity",
    "most_repeated",
    "nearer_others",
    "on_topic",
    "self_similarity",
]

PHRASE = 4
ORDERS = 10
"""Orders of the answers that distinct n-grams are averaged over where an arm said more than is compared."""
# An answer is on topic when its own prompt is nearer to it than this share of the other prompts.
NEARER_THAN = 0.9


def diversity(
    texts_N: Sequence[str],
    prompts_N: Sequence[str],
    embeddings_ND: np.ndarray,
    nearer_others_N: Sequence[float],
    *,
    words: int,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """The figures of one arm over its answers.

    Args:
        texts_N: The answers.
        prompts_N: Prompt of each.
        embeddings_ND: Unit vector of each.
        nearer_others_N: Share of the other prompts that are nearer to it.
        words: Words that distinct n-grams are taken over, the same for all arms that are to be compared.
        seed: Seed of the bootstrap and of the orders.
        resamples: Number of resamples.

    Returns:
        ``metrics``: ``distinct_1`` to ``distinct_3`` (higher is more varied), ``self_similarity`` (cosine, lower is more varied),
        ``phrase_rate`` (share of answers with the most repeated phrase of four words), ``off_topic_rate``, ``other_prompt_rate`` (chance
        that a prompt drawn among the others is nearer to the answer than its own: 0.5 where answers have nothing to do with what was
        asked); and that ``phrase``.
    """
    phrase, holds_N = most_repeated(texts_N)
    similarity, low, high = self_similarity(embeddings_ND, prompts_N, seed=seed, resamples=resamples)
    metrics = {f"distinct_{n}": vars(distinct_interval(texts_N, prompts_N, n, words, seed)) for n in (1, 2, 3)}
    metrics["self_similarity"] = {
        "value": similarity,
        "low": low,
        "high": high,
        "n": len(texts_N),
        "method": f"bootstrap of {len(set(prompts_N))} prompts, {resamples} resamples, seed {seed}",
    }
    rates: dict[str, Sequence[float]] = {
        "phrase_rate": [float(x) for x in holds_N],
        "off_topic_rate": [float(not x) for x in on_topic(nearer_others_N)],
        "other_prompt_rate": nearer_others_N,
    }
    for name, values in rates.items():
        metrics[name] = vars(cluster_rate(values, prompts_N, seed=seed, resamples=resamples))
    return {"metrics": metrics, "phrase": phrase}


def count_words(texts: Sequence[str]) -> int:
    """Words of the texts together, as :func:`distinct` sees them."""
    return sum(len(_words(text)) for text in texts)


def distinct(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams over all n-grams of the texts together, 0 to 1 (Li et al. 2016); 0 where there is none.

    It falls with the number of words, be it from more texts or from longer ones: the longer one speaks, the more is said again.
    """
    return _Spoken(texts, n).distinct()


def distinct_of_as_many(texts: Sequence[str], n: int, words: int, seed: int) -> float:
    """:func:`distinct` over the first ``words`` words of the texts, in drawn orders, so that those who speak longer compare.

    Args:
        texts: Answers of one arm.
        n: Words of a gram.
        words: Words to look at; where the texts have no more, all of them.
        seed: Seed of the orders, over which the mean is taken.
    """
    return _Spoken(texts, n).distinct_of(range(len(texts)), words, seed)


def distinct_interval(texts_N: Sequence[str], prompts_N: Sequence[str], n: int, words: int, seed: int) -> Interval:
    """:func:`distinct_of_as_many` with an interval that leaves out a group of prompts at a time, and of the words as large a share.

    Args:
        texts_N: Answers of one arm.
        prompts_N: Prompt of each.
        n: Words of a gram.
        words: Words to look at, all where there are no more.
        seed: Seed of the orders and of the groups.
    """
    spoken = _Spoken(texts_N, n)
    said = int(spoken.sizes_N.sum())
    words = min(words, said)

    def without(kept: Sequence[int]) -> float:
        left = int(spoken.sizes_N[kept].sum())
        return spoken.distinct_of(kept, round(words * left / max(said, 1)), seed)

    found = group_jackknife(spoken.distinct_of(range(len(texts_N)), words, seed), without, prompts_N, seed=seed)
    method = (
        f"over {words:,} words in whole answers drawn with seed {seed}, the last one cut, mean of {ORDERS} orders; as many words in every "
        f"arm, since it falls with their number; {found.method}"
    )
    return replace(found, method=method)


class _Spoken:
    """The n-grams of texts as numbers, equal ones alike."""

    def __init__(self, texts: Sequence[str], n: int) -> None:
        said, known = [_words(text) for text in texts], dict[tuple[str, ...], int]()
        self._n = n
        self.sizes_N = np.array([len(words) for words in said], dtype=int)
        self._grams = [
            np.array([known.setdefault(gram, len(known)) for gram in _grams_of(words, n)], dtype=int) for words in said
        ]
        self._num_known = len(known)

    def distinct(self) -> float:
        """Over all of them."""
        return self._share(self._grams)

    def distinct_of(self, kept: Sequence[int], words: int, seed: int) -> float:
        """Over the first words of some texts, by number, in the orders that all texts have; the mean of the orders."""
        if self.sizes_N[kept].sum() <= words:
            return self._share([self._grams[place] for place in kept])
        draw, inside = np.random.default_rng(seed), set(kept)
        orders = [draw.permutation(len(self._grams)) for _ in range(ORDERS)]
        return float(np.mean([self._share(self._first([p for p in order if p in inside], words)) for order in orders]))

    def _first(self, places: Sequence[int], words: int) -> list[np.ndarray]:
        """Grams of the first words of the texts, the last text cut."""
        taken, left = [], words
        for place in places:
            size = min(int(self.sizes_N[place]), left)
            taken.append(self._grams[place][: max(size - self._n + 1, 0)])
            left -= size
            if not left:
                break
        return taken

    def _share(self, grams: Sequence[np.ndarray]) -> float:
        together = np.concatenate(grams) if grams else np.array([], dtype=int)
        seen = np.zeros(self._num_known, dtype=bool)
        seen[together] = True
        return float(seen.sum() / len(together)) if len(together) else 0.0


def most_repeated(texts: Sequence[str], n: int = PHRASE) -> tuple[str, list[bool]]:
    """The phrase of ``n`` words that most texts hold, the first in order of the alphabet, and which of them hold it.

    A phrase that one text alone holds is none: then it is empty and no text holds it.
    """
    sets = [set(_grams(text, n)) for text in texts]
    counts = Counter(gram for grams in sets for gram in grams)
    gram, most = min(counts.items(), key=lambda item: (-item[1], item[0]), default=((), 0))
    if most < 2:
        return "", [False] * len(texts)
    return " ".join(gram), [gram in grams for grams in sets]


def self_similarity(
    embeddings_ND: np.ndarray, prompts_N: Sequence[str], *, seed: int, resamples: int
) -> tuple[float, float, float]:
    """Mean cosine of two answers to different prompts, with a 95 % bootstrap interval over prompts.

    Args:
        embeddings_ND: Unit vectors.
        prompts_N: Prompt of each answer.
        seed: Seed of the bootstrap.
        resamples: Number of resamples.

    Raises:
        ValueError: All answers are to one prompt.
    """
    names, index_N = np.unique(np.asarray(prompts_N), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"self-similarity compares answers to different prompts, and there is {len(names)}")
    sums_PD = np.zeros((len(names), embeddings_ND.shape[1]))
    np.add.at(sums_PD, index_N, embeddings_ND)
    sizes_P = np.bincount(index_N).astype(float)
    products_PP = sums_PD @ sums_PD.T
    pairs_PP = np.outer(sizes_P, sizes_P)
    # A prompt drawn twice is not compared with itself: equal answers would make the resamples look alike.
    np.fill_diagonal(products_PP, 0.0)
    np.fill_diagonal(pairs_PP, 0.0)
    value = float(products_PP.sum() / pairs_PP.sum())
    weights_BP = resample_weights(len(names), resamples, seed).astype(float)
    boot_B = ((weights_BP @ products_PP) * weights_BP).sum(1) / np.maximum(
        ((weights_BP @ pairs_PP) * weights_BP).sum(1), 1e-9
    )
    low, high = (float(x) for x in np.quantile(boot_B, (0.025, 0.975)))
    return value, low, high


def nearer_others(answers_ND: np.ndarray, prompts_PD: np.ndarray, own_N: Sequence[int]) -> list[float]:
    """For each answer the share of the other prompts that are nearer to it than its own, by cosine; as near counts half.

    Args:
        answers_ND: Unit vectors of the answers.
        prompts_PD: Unit vectors of all prompts.
        own_N: Row of each answer's prompt.
    """
    cosines_NP = answers_ND @ prompts_PD.T
    own = np.asarray(own_N)
    mine_N = cosines_NP[np.arange(len(own)), own]
    nearer_N = (cosines_NP > mine_N[:, None]).sum(1) + ((cosines_NP == mine_N[:, None]).sum(1) - 1) / 2
    found: list[float] = (nearer_N / max(len(prompts_PD) - 1, 1)).tolist()
    return found


def on_topic(nearer_others_N: Sequence[float]) -> list[bool]:
    """Whether an answer is nearer to its own prompt than to nine tenths of the others: a proxy of the task being done."""
    return [share <= 1 - NEARER_THAN + 1e-9 for share in nearer_others_N]


def _words(text: str) -> list[str]:
    return re.findall(r"[\w'\u2019]+", text.lower())


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    return _grams_of(_words(text), n)


def _grams_of(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))
