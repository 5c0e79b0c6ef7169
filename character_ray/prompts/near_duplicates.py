"""Near-duplicates among prompts, and between training and evaluation: both teach less than they seem to.

Similarity is the Jaccard index of the sets of word 3-grams, estimated by MinHash (128 permutations, standard error at most 0.045).
"""

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from character_ray.rows import Prompt

if TYPE_CHECKING:
    from datasketch import MinHash

__all__ = ["drop_near_duplicates", "minhash", "near_held_out"]

PERMUTATIONS = 128


def drop_near_duplicates(
    prompts: Sequence[Prompt], held_out: Iterable[str], threshold: float
) -> tuple[list[Prompt], list[tuple[Prompt, str]]]:
    """The prompts without those that repeat an earlier one or a held-out text.

    Args:
        prompts: In order of preference: of two that are alike the first stays.
        held_out: Texts that nothing may be trained on.
        threshold: Similarity from which two texts count as the same, above 0 and at most 1; at 1 only texts with the same
            words in the same order do.

    Returns:
        What is kept, in order, and each dropped prompt with the text it repeats.
    """
    index = _Index(held_out, threshold)
    kept: list[Prompt] = []
    dropped: list[tuple[Prompt, str]] = []
    for prompt in prompts:
        signature = minhash(prompt["prompt"])
        twin = index.twin_of(signature)
        if twin is None:
            index.remember(prompt["prompt"], signature)
            kept.append(prompt)
        else:
            dropped.append((prompt, twin))
    return kept, dropped


def near_held_out(texts: Iterable[str], held_out: Iterable[str], threshold: float) -> set[str]:
    """Those of the texts that repeat a held-out one; they may repeat each other.

    Args:
        texts: What would be trained on.
        held_out: Texts that nothing may be trained on.
        threshold: As for :func:`drop_near_duplicates`.
    """
    index = _Index(held_out, threshold)
    return {text for text in set(texts) if index.twin_of(minhash(text)) is not None}


class _Index:
    """Texts by similarity."""

    def __init__(self, texts: Iterable[str], threshold: float) -> None:
        from datasketch import MinHashLSH

        self._threshold = threshold
        self._index = MinHashLSH(threshold=min(threshold, 0.99), num_perm=PERMUTATIONS)
        self._hashes: dict[str, MinHash] = {}
        for text in texts:
            self.remember(text, minhash(text))

    def twin_of(self, signature: "MinHash") -> str | None:
        near = [
            text for text in self._index.query(signature) if self._hashes[text].jaccard(signature) >= self._threshold
        ]
        return min(near) if near else None

    def remember(self, text: str, signature: "MinHash") -> None:
        if text not in self._hashes:
            self._hashes[text] = signature
            self._index.insert(text, signature)


def minhash(text: str) -> "MinHash":
    """Signature of the set of word 3-grams, case and punctuation aside."""
    from datasketch import MinHash

    words = ["", *re.findall(r"\w+", text.lower()), ""]
    grams = {" ".join(gram) for gram in zip(words, words[1:], words[2:], strict=False)} or {" ".join(words)}
    signature = MinHash(num_perm=PERMUTATIONS, seed=1)
    signature.update_batch([gram.encode() for gram in grams])
    return signature
