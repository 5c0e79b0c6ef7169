"""Sentence vectors by the packaged encoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Encoder"]


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
