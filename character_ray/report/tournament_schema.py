"""``tournament.json``: ratings, how they came about, and how far the judges can be believed."""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from character_ray.report.base import Figure
from character_ray.report.schema import Metric

__all__ = [
    "TOURNAMENT_VERSION",
    "ContestantPart",
    "JudgePart",
    "JudgesAgree",
    "PairPart",
    "SelfPreference",
    "TournamentReport",
]

TOURNAMENT_VERSION: Final = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="null")


class ContestantPart(_Part):
    """Who took part."""

    run: str
    """Folder of its run, or address at which it was served."""
    arm: str
    """Arm of the run, or the version that answered at the address."""
    rating: Metric
    """Davidson's model, in Elo points with mean 1000."""
    elo_sequential: Figure
    """The seed's Elo, averaged over shuffled orders of the battles."""
    mean_words: float


class JudgePart(_Part):
    """One judge, and what it is worth."""

    kind: str
    model: str
    template: str
    """Hash of what it is asked."""
    audit: dict[str, Metric]
    seat: Metric
    """Advantage of the first seat by this judge alone, in Elo points."""
    ratings: dict[str, Metric]
    """Ratings by this judge alone."""
    seatings: int
    unreadable: int
    """Seatings without a verdict."""
    wall_s: float
    """Seconds of all its passes, the audit's included."""
    shares_weights_with: list[str]
    """Contestants that are this judge's own weights, trained or not, as far as hashes, addresses and names tell."""


class PairPart(_Part):
    """Two contestants."""

    first: str
    second: str
    wins: int
    """Prompts on which the first wins in both seats."""
    ties: int
    losses: int
    unscored: int
    difference: Metric
    """Rating of the first minus that of the second."""
    share: float
    """Mean points of the first, over prompts and seats."""
    low: float
    """Interval of the share that holds at every look together."""
    high: float
    p_value: float
    """Valid at every look together; not adjusted for the number of pairs."""
    state: Literal["open", "first", "second", "close"]
    """What is known of the pair, adjusted for the number of pairs: who wins, that both are close, or neither."""
    prompts: int


class JudgesAgree(_Part):
    """Two judges on the seatings that both gave a verdict on."""

    first: str
    second: str
    agreement: Figure
    opposite: Figure
    """Share of seatings where one says A and the other B."""
    kappa: Figure | None
    n: int


class SelfPreference(_Part):
    """Points that a judge gives its own weights beyond what the other judges give them, in battles against others."""

    judge: str
    points: Metric


class TournamentReport(_Part):
    """Everything the page of a tournament shows."""

    schema_version: Literal[1] = TOURNAMENT_VERSION
    name: str
    seed: int
    command: str
    """What was typed."""
    recipe: dict[str, Any]
    constitution: str
    constitution_hash: str
    num_prompts: int
    """Prompts that were asked about."""
    prompts_hash: str
    contestants: dict[str, ContestantPart]
    pairs: list[PairPart]
    win_rates: dict[str, dict[str, Figure]]
    """Share of points of the row against the column; a tie counts half. The intervals are those of ``pairs``."""
    seat: Metric
    """Advantage of the first seat in the panel's verdicts, in Elo points; 0 is fair."""
    length: Metric
    """Advantage in Elo points of an answer of twice the words; ratings are then those at equal length."""
    tie_share: Metric
    """Share of ties between equals."""
    battles: int
    """Pairs on prompts, each in both seats, with a verdict."""
    unscored: int
    """Battles with a seating that no judge could be read on; they moved nothing."""
    battles_without_stopping: int
    """Battles of the whole schedule."""
    judges: dict[str, JudgePart]
    agreements: list[JudgesAgree]
    fleiss_kappa: Figure | None
    """Of the whole panel; ``None`` with one judge, or where all verdicts are the same."""
    self_preference: list[SelfPreference]
    notes: list[str] = Field(default_factory=list)
    versions: dict[str, str]
    hardware: dict[str, Any]
    wall_s: float
