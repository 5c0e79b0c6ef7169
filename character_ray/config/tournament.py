"""A tournament: who meets whom, who judges, and when enough has been asked."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from character_ray.config.base import Config
from character_ray.config.endpoint import EndpointConfig
from character_ray.config.engines import EngineConfig, ModelConfig, SamplingConfig
from character_ray.config.evaluation import AuditConfig, JudgeConfig
from character_ray.config.served import ServedConfig

__all__ = ["ContestantsConfig", "JudgeSpec", "RatingConfig", "StopConfig", "Tournament"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class ContestantsConfig(Config):
    """Arms of one run, or one model that is asked now."""

    run: Path | None = None
    """Folder of a finished run, which has ``answers.parquet``."""

    arms: tuple[str, ...] = Field(("base", "full"), min_length=1)
    """Arms that take part, each with the answers it gave in the run's evaluation."""

    served: ServedConfig | None = None
    """In place of a run: a model of a running application, which is asked the runs' prompts, or the audit run's where no run takes
    part, with that run's sampling and seeds."""

    @model_validator(mode="after")
    def _check(self) -> "ContestantsConfig":
        if (self.run is None) == (self.served is None):
            raise ValueError(
                "a contestant has either run, a finished run's folder, or served, a model that answers now. Give one of them."
            )
        if self.served is not None and "arms" in self.model_fields_set:
            raise ValueError(f"arms are of a run, but {self.served.model} is served. Remove arms.")
        return self


class JudgeSpec(Config):
    """One judge. Each sees every battle in both seats."""

    name: str = Field(pattern=NAME)
    """What reports call it."""

    kind: Literal["likelihood", "letters", "text"]
    """``likelihood``: log p(answer | constitution) minus log p(answer), per token. ``letters``: probability of A against B as the next
    token, in one prefill. ``text``: a written comparison whose last verdict counts."""

    model: ModelConfig | None = None
    """Its weights, or its name at the endpoint; ``None`` takes the student of the first run, before training."""

    endpoint: EndpointConfig | None = None
    """Ask it at an OpenAI-compatible endpoint; ``letters`` then needs one that returns log-probabilities, and
    ``likelihood`` one that scores a given text (vLLM's ``prompt_logprobs``), as an application of ``character-ray serve`` does for keys
    that may."""

    engine: EngineConfig | None = None
    """vLLM engine that a ``text`` judge runs on here."""

    forward: JudgeConfig = JudgeConfig()
    """Device and batches of ``likelihood`` and ``letters`` judges that run here."""

    sampling: SamplingConfig = SamplingConfig(temperature=0.0, top_p=1.0, max_tokens=512)
    """How a ``text`` judge writes."""

    tie_margin: float = Field(0.02, ge=0)
    """No further apart is a tie: in nats per token for ``likelihood``, in probability around one half for ``letters``; a ``text`` judge
    says itself what ties."""

    @property
    def says_probabilities(self) -> bool:
        """Whether it says how likely the first seat is the better one, and not only which, with its margin applied already."""
        return self.kind == "letters"

    @model_validator(mode="after")
    def _check(self) -> "JudgeSpec":
        if self.endpoint is not None and self.model is None:
            raise ValueError(
                f"judge {self.name!r} has an endpoint but no model. Add model.name: what it is called there."
            )
        if self.kind == "text" and (self.engine is None) == (self.endpoint is None):
            raise ValueError(
                f"judge {self.name!r} writes its verdicts, so it needs either an engine or an endpoint section. Give one of them."
            )
        if self.engine is not None and self.engine.keep:
            raise ValueError(
                f"judge {self.name!r}: engines of judges end with each round, so keep=true has no effect. Leave it and gpu_share out."
            )
        if self.kind != "text" and self.engine is not None:
            raise ValueError(
                f"judge {self.name!r} writes nothing, so it has no use for an engine. Remove it; see forward."
            )
        return self


class StopConfig(Config):
    """When a pair is decided: the verdict may be looked at after every round without raising more false alarms."""

    alpha: float = Field(0.05, gt=0, lt=1)
    """Chance that any pair of equals is called a win and a loss, over all pairs and rounds together."""

    close: float = Field(0.1, ge=0, lt=0.5)
    """A pair is also decided once the share of points is known to lie within this of one half; 0 never."""

    points: float | None = Field(None, gt=0)
    """Ask every pair until the interval of every rating reaches no further than this many Elo points, instead of asking each until it
    is decided."""


class RatingConfig(Config):
    """How ratings are fitted."""

    length: bool = False
    """Fit how much a longer answer gains, so that the ratings are those at equal length."""

    prior_games: float = Field(1.0, gt=0)
    """Games drawn against an opponent of mean strength that every contestant is taken to have played; keeps ratings finite."""

    bootstrap: int = Field(1000, ge=100)
    """Resamples of the prompts."""

    elo_k: float = Field(32, gt=0)
    """Step of sequential Elo."""

    elo_shuffles: int = Field(50, ge=1)
    """Orders that sequential Elo is averaged over."""


class Tournament(Config):
    """Contestants, judges and rules."""

    name: str = Field(pattern=NAME)
    """Its folder is ``output/name``."""

    output: Path = Path("runs")
    """Folder of all runs; it must be on storage that every node sees."""

    seed: int = Field(0, ge=0)
    """Every random draw derives from it."""

    contestants: tuple[ContestantsConfig, ...] = Field(min_length=1)
    """Who meets whom: arms of one run or of several, and models that are served."""

    constitution: Path | None = None
    """The character that is judged; needed where the runs are of different personas."""

    judges: tuple[JudgeSpec, ...] = Field(min_length=1)
    """One judge or a panel."""

    panel: Literal["majority", "mean"] = "majority"
    """How several judges become one verdict: most votes, or the mean of what they say, which must then be of one kind: probabilities
    (``letters``, whose smallest ``tie_margin`` applies to the mean) or verdicts (``likelihood`` and ``text``)."""

    audit: AuditConfig = AuditConfig()
    """What every judge must reach on known pairs; below it the tournament does not start."""

    audit_run: Path | None = None
    """Run whose teacher and base completions are the known pairs; ``None`` takes the first contestants' run of the judged character. Where
    no run takes part, its held-out prompts are asked, too."""

    prompts: int | None = Field(None, ge=8)
    """Prompts drawn from those that all contestants answered; ``None`` takes all."""

    round: int = Field(16, ge=1)
    """Prompts of a pair's first round."""

    round_growth: float = Field(1.0, ge=1)
    """Every round of a pair has this many times the prompts of the one before. An engine starts anew for each round, so 2 keeps starts
    few."""

    schedule: Literal["uniform", "active"] = "uniform"
    """``uniform`` asks all pairs that are open; ``active`` asks all in the first round, then those whose order is least certain. Each pair
    goes through the same rounds of prompts at its own pace, so that one that waited can still be asked every prompt."""

    pairs_per_round: int = Field(3, ge=1)
    """Pairs of an active round; more of them are fewer rounds."""

    stop: StopConfig | None = None
    """When to stop asking; ``None`` asks every pair on every prompt."""

    rating: RatingConfig = RatingConfig()
    """Ratings and their intervals."""

    @property
    def judges_of_probabilities(self) -> list[JudgeSpec]:
        """Judges that say how likely the first seat is the better one."""
        return [judge for judge in self.judges if judge.says_probabilities]

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.output / self.name

    @model_validator(mode="after")
    def _check(self) -> "Tournament":
        names = [judge.name for judge in self.judges]
        if len(set(names)) != len(names):
            raise ValueError(
                f"judges: {', '.join(names)} name one twice, so their verdicts could not be told apart. Rename one."
            )
        if self.panel == "mean" and 0 < len(self.judges_of_probabilities) < len(self.judges):
            said = [
                f"{judge.name} ({'probabilities' if judge.says_probabilities else 'verdicts'})" for judge in self.judges
            ]
            raise ValueError(
                f"panel: mean would average what is not of one unit: {', '.join(said)}. A verdict counts as certainty beside a "
                "probability, and tie_margin is in nats for the one and in probability for the other. Let the judges vote (panel: "
                "majority), or keep judges of one kind."
            )
        players = [
            player
            for each in self.contestants
            for player in (
                [(each.served.url, each.served.model)] if each.served else [(str(each.run), arm) for arm in each.arms]
            )
        ]
        if len(set(players)) != len(players):
            raise ValueError(
                "contestants: an arm of a run, or a model at an address, is named twice. Remove the repetition."
            )
        if len(players) < 2:
            raise ValueError(
                f"contestants: {players[0][1]} of {players[0][0]} has nobody to meet. Name another arm, run or served model."
            )
        if self.audit_run is None and all(each.run is None for each in self.contestants):
            raise ValueError(
                "contestants: all are served, so nothing says what they are asked, nor on which known pairs the judges are audited. "
                "Set audit_run to a finished run of the judged character."
            )
        return self
