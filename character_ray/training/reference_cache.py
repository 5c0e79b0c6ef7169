"""Log-probabilities of the reference model, kept for trainings to come.

The reference never changes, so trainings that differ only in rank, learning rate or loss ask it the same thing. What is kept belongs
to a whole micro-batch, not to a row: rounding depends on what a row is computed beside, and a policy that is still the reference must
differ from it by nothing.
"""

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import torch

from character_ray.parts import read_rows, write_rows

__all__ = ["ReferenceCache"]

KEPT = pa.schema({"key": pa.string(), "log_probs": pa.list_(pa.float32())})


class ReferenceCache:
    """Log-probabilities by micro-batch, in memory and in a folder that any number of trainings share.

    Args:
        folder: Belongs to one reference model in one number format; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._new: list[dict[str, object]] = []
        self._known = {
            str(row["key"]): torch.tensor(row["log_probs"])
            for path in sorted(folder.glob("part-*.parquet"))
            for row in read_rows(path)
        }

    @staticmethod
    def key(ids_BT: torch.Tensor, labels_BT: torch.Tensor) -> str:
        """What a micro-batch is known by: its tokens, those that are scored, and how they are arranged."""
        digest = hashlib.sha256(repr(tuple(ids_BT.shape)).encode())
        for tensor in (ids_BT, labels_BT):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def get(self, key: str) -> torch.Tensor | None:
        """Log-probabilities of the scored tokens, shape ``(N,)``, nats; ``None`` when they are not known."""
        return self._known.get(key)

    def put(self, key: str, log_probs_N: torch.Tensor) -> None:
        """Keep what was computed."""
        kept = log_probs_N.detach().float().cpu()
        self._known[key] = kept
        self._new.append({"key": key, "log_probs": kept.tolist()})

    def flush(self) -> None:
        """Write what is new to the folder, under a name no other process takes."""
        if self._new:
            keys = "".join(str(row["key"]) for row in self._new)
            name = hashlib.sha256(f"{keys}{os.getpid()}".encode()).hexdigest()[:16]
            write_rows(self._folder / f"part-{name}.parquet", self._new, KEPT)
            self._new = []
