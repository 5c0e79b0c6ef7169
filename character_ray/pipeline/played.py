"""What was judged so far in a tournament."""

from dataclasses import dataclass, field

from character_ray.inference.find_model import FoundModel
from character_ray.judging.audit import Audit
from character_ray.judging.schedule import Pair
from character_ray.judging.stopping import Comparison
from character_ray.judging.verdict import Seat
from character_ray.pipeline.contestants import Lineup
from character_ray.pipeline.judges import Judged
from character_ray.stages.tournament import Meeting

__all__ = ["Played"]


@dataclass
class Played:
    """Meetings, what each judge said of them, and what is known of the pairs."""

    lineup: Lineup
    comparisons: dict[Pair, Comparison]
    found: dict[int, FoundModel] = field(default_factory=dict)
    """What endpoints say of the contestants that are served, by their number."""
    meetings: list[Meeting] = field(default_factory=list)
    said: dict[str, dict[str, Judged]] = field(default_factory=dict)
    """By judge and row id."""
    seats: dict[str, dict[str, Seat | None]] = field(default_factory=dict)
    """Verdicts by judge and row id."""
    panel: dict[str, Seat | None] = field(default_factory=dict)
    audits: dict[str, Audit] = field(default_factory=dict)
    wall_s: dict[str, float] = field(default_factory=dict)
    asked: dict[Pair, int] = field(init=False)
    """How many of the prompts each pair was asked, from the first on."""

    def __post_init__(self) -> None:
        self.asked = dict.fromkeys(self.comparisons, 0)

    @property
    def prompts(self) -> int:
        """Prompts that any pair was asked."""
        return max(self.asked.values())
