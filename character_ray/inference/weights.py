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
    base: Path | None = None
    """The model that these weights were made from, where they are not its own: an engine that holds one can read the other."""

    @property
    def kind(self) -> tuple[Path, int]:
        """What an engine is built for: it takes up any weights of the same kind without being built anew."""
        return self.base or self.model, self.adapter_rank if self.adapter else 0
