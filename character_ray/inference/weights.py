"""What an engine loads."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Weights"]


@dataclass(frozen=True)
class Weights:
    """A model folder, its control tokens, and an adapter to apply live."""

    model: Path
    special_tokens: tuple[str, ...]
    adapter: Path | None = None
    adapter_rank: int = 0
