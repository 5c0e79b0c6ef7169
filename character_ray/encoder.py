"""Sentence vectors by the packaged encoder, and how much text an encoder can read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Encoder", "most_tokens"]

COUNTS_FROM_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "ibert", "mpnet")


class Encoder:
    """Turns texts into unit vectors.

    Args:
        folder: Folder of a sentence-transformers model.
    """

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import SentenceTransformer

        self._model: Any = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of shape ``(N, D)``, rows of length 1."""
        vectors: np.ndarray = self._model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return vectors


def most_tokens(model: Path, tokenizer: Any) -> int:
    """Most tokens of a text that an encoder can read, special ones included.

    Some encoders (RoBERTa and its kin) count positions from behind the padding token's, so that they have fewer than they say.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    positions = getattr(config, "max_position_embeddings", tokenizer.model_max_length)
    if config.model_type in COUNTS_FROM_PADDING:
        positions -= config.pad_token_id + 1
    return int(min(tokenizer.model_max_length, positions))
