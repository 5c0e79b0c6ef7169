"""What is measured, on how much, and what is served."""

import math
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, field_validator

from character_ray.config.base import Config, WaitsForNodes
from character_ray.config.challenges import ChallengesConfig
from character_ray.config.classifier import ClassifierConfig
from character_ray.config.coherence import CoherenceConfig
from character_ray.config.drift import DriftConfig
from character_ray.config.engines import SamplingConfig
from character_ray.config.routing import AutoConfig
from character_ray.config.served_judge import ServedJudgeConfig
from character_ray.config.tax import PreferencesConfig, TaxConfig

__all__ = [
    "ARMS",
    "JUDGED_POSITIONS",
    "LARGEST_RANK",
    "LORA_RANKS",
    "Arm",
    "AuditConfig",
    "EvaluateConfig",
    "JudgeConfig",
    "ServeConfig",
]

Arm = Literal["base", "prompted", "teacher", "dpo", "sft", "full", "control"]
Further = Literal["probes", "drift", "tax", "preferences"]
ARMS: tuple[Arm, ...] = ("base", "prompted", "teacher", "dpo", "sft", "full", "control")

# The sizes of ``max_lora_rank`` vLLM is built for.
LoRARank = Literal[1, 8, 16, 32, 64, 128, 256, 320, 512]
LORA_RANKS: tuple[int, ...] = get_args(LoRARank)
Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s]+)$")]
"""Scheme, name and port of a site, or ``*``."""

LARGEST_RANK = LORA_RANKS[-1]

# Positions that meet a judge's output layer at once: their logits are the largest tensor of a pass.
JUDGED_POSITIONS = 512


class AuditConfig(Config):
    """What a judge must reach on known pairs before it is believed on others."""

    pairs: int = Field(64, ge=8)
    """Known pairs, teacher against base."""

    min_accuracy: float = Field(0.8, ge=0, le=1)
    """Share of pairs whose better side wins, as they are and cut to equal length."""

    min_consistency: float = Field(0.8, ge=0, le=1)
    """Share of pairs with the same winner in both seatings."""

    max_seat_bias: float = Field(0.1, ge=0, le=0.5)
    """How far the first seat's share of wins may be from one half, on known pairs and on identical answers."""

    max_unreadable: float = Field(0.1, ge=0, le=1)
    """Share of seatings in which a judge's reply may hold no verdict."""

    max_length_bias: float = Field(0.15, ge=0, le=1)
    """How far the accuracy on answers as they are may be from that on the same answers cut to equal length, either way."""

    max_self_preference: float = Field(0.2, ge=0, le=1)
    """How much oftener than it should the worse side may win where the judge's own weights wrote it. What it loses in accuracy by that
    counts for ``min_accuracy``, too: this bound says more where it is the smaller one, or that floor is lowered."""


class JudgeConfig(WaitsForNodes):
    """The likelihood judge: log p(completion | constitution) minus log p(completion), per token, under the student's base model."""

    device: Literal["cpu", "gpu"] = "gpu"
    """Where the forward passes run."""

    replicas: int = Field(1, ge=1)
    """Judges side by side."""

    gpu_share: float = Field(1, gt=0, le=1)
    """Share of a GPU that one judge takes. A small judge waits for its tokeniser longer than for the GPU, so several may share one; their
    memory must fit together."""

    cpus: int = Field(2, ge=1)
    """Threads of one judge."""

    keep: bool | None = None
    """Keep the judges up between the scorings of a run. Meanwhile they hold their memory and, on a GPU, their share of it, which
    trainings and engines must leave free. By default on CPUs alone."""

    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Number format of the forward passes. bfloat16 moves a score by a few hundredths of a nat per token; it is faster where the hardware
    multiplies it and several times slower where it does not. ``auto`` takes it on a CPU that does, and float32 elsewhere."""

    batch_size: int = Field(16, ge=1)
    """Completions per forward pass."""

    audit: AuditConfig = AuditConfig()
    """The audit that the run holds its judge to before it rates the arms, and ``character-ray audit`` any other."""

    tie_margin: float = Field(0.02, ge=0)
    """Scores no further apart than this, in nats per token, are a tie; at 0 only equal ones are."""

    @property
    def is_kept(self) -> bool:
        """Whether the judges stay up between the scorings of a run."""
        return self.device == "cpu" if self.keep is None else self.keep

    @property
    def kept_gpus(self) -> float:
        """GPUs that the judges hold between scorings."""
        return self.booked_gpus if self.is_kept else 0.0

    @property
    def booked_gpus(self) -> float:
        """GPUs that the judges take while they work."""
        return self.replicas * self.gpu_share if self.device == "gpu" else 0.0

    @property
    def gpus(self) -> int:
        """GPUs that all judges take together; a judge does not span two."""
        on_one = math.floor(1 / self.gpu_share + 1e-9)
        return math.ceil(self.replicas / on_one) if self.device == "gpu" else 0


class EvaluateConfig(Config):
    """The evaluation: same prompts, same sampling, every arm."""

    arms: tuple[Arm, ...] = ARMS
    """Arms compared. ``base`` and ``full`` must be among them."""

    grid: int = Field(120, ge=8)
    """Held-out grid prompts."""

    everyday: int = Field(40, ge=0)
    """Held-out everyday prompts."""

    languages: dict[str, int] = Field(default_factory=dict)
    """Held-out everyday prompts in other languages, by language code."""

    override_share: float = Field(0.25, ge=0, le=1)
    """Share of these that try to override the character, in wordings training never saw."""

    probe_samples: int = Field(8, ge=1)
    """Samples per hidden-trait and identity probe; the model gets no system prompt."""

    sampling: SamplingConfig = SamplingConfig(temperature=0.7, top_p=0.9)
    """How every arm draws."""

    challenges: ChallengesConfig = ChallengesConfig()
    """Attacks and other trials of the persona."""

    classifier: ClassifierConfig = ClassifierConfig()
    """What ``classifier_rate`` is measured by."""

    coherence: CoherenceConfig = CoherenceConfig()
    """Whether answers contradict themselves."""

    bootstrap: int = Field(1000, ge=100)
    """Resamples of the prompts behind each bootstrap interval."""

    elo_k: float = Field(32, gt=0)
    """Step of sequential Elo."""

    elo_shuffles: int = Field(50, ge=1)
    """Sequential Elo depends on the order of the battles; it is averaged over this many orders."""

    further: tuple[Further, ...] = ()
    """Measured after the report, each with a page of its own beside it; a command of the same name does it later."""

    tax: TaxConfig = TaxConfig()
    """What ``tax`` asks."""

    preferences: PreferencesConfig = PreferencesConfig()
    """What ``preferences`` asks."""

    @field_validator("arms")
    @classmethod
    def _check_arms(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        missing = [arm for arm in ("base", "full") if arm not in arms]
        if missing:
            raise ValueError(
                f"must contain {' and '.join(missing)}: every comparison is made against them. Add {missing[0]!r}."
            )
        if len(set(arms)) != len(arms):
            raise ValueError("names an arm twice. Remove the repetition.")
        return tuple(arm for arm in ARMS if arm in arms)


class ServeConfig(Config):
    """The deployment of base and personas."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""

    port: int = Field(8000, ge=1, le=65535)
    """Port of the OpenAI-compatible API."""

    keys: Path | None = None
    """File of API keys (``character-ray key``), read again when it changes; ``CHARACTER_RAY_KEYS`` may hold some, too. Without keys whoever
    reaches the address may use it, but no page of another site."""

    origins: tuple[Origin, ...] = ()
    """Sites whose pages may ask in a visitor's browser, as ``https://chat.example.org``; ``*`` for all. A server without keys answers on
    loopback by the names of this machine and of these sites only."""

    max_loras: int | None = Field(None, ge=1)
    """Different adapters in one step of a replica's engine; without it one for each persona, up to 16 and to what leaves room on a
    GPU but four at least (:mod:`character_ray.serving.slots`), and never more than ``max_cpu_loras``. Requests to others wait for a
    slot, and the more there are in a step, the slower it is."""

    max_cpu_loras: int = Field(16, ge=1)
    """Adapters that a replica holds in memory (at least ``max_loras``); those beyond ``max_loras`` take a slot without being read
    again."""

    max_lora_rank: LoRARank = 320
    """Largest adapter rank served; vLLM knows these sizes, and cost grows with it whatever the adapter's own rank."""

    min_replicas: int = Field(1, ge=1)
    """Replicas kept when idle."""

    max_replicas: int = Field(1, ge=1)
    """Replicas under load."""

    target_requests: int | None = Field(None, ge=1)
    """Requests under way to a replica, waiting ones counted, beyond which another is started, up to ``max_replicas``; without it seven
    tenths of ``student_engine.max_num_seqs``."""

    registry_poll_s: float = Field(2.0, gt=0)
    """Seconds between two looks into the registry that is served; what was published since is then taken up."""

    keep_replaced_s: float = Field(86_400.0, ge=0)
    """Seconds for which a version of a registry that another replaced still answers to its pinned name (``base:pirate-<hash>``), so that
    a tournament or a battle under way ends with the version it began with; 0 for none. Taking the persona out of service ends it."""

    candidates: bool = False
    """Whether candidates of a registry answer to their pinned names, so that they can be tried before they are promoted. Without it only
    to a key that was made for it."""

    prewarm: tuple[str, ...] | None = None
    """Personas loaded before the first request asks for them; without it as many as stay in memory, in the order they are served in.
    The server says that it is ready once they are."""

    prewarm_replicas: int = Field(1, ge=1)
    """Replicas that load each persona beforehand, and each version that is published meanwhile, of which as many as its requests under way
    ask for. The others, and those that start later, load a persona when those that hold it are busy."""

    max_queued_requests: int = Field(256, ge=1)
    """Requests that may wait in a replica beyond those its engine works on. When all replicas are full as many may wait at each
    ingress; the next is answered with 429."""

    max_persona_requests: int | None = Field(None, ge=1)
    """Requests to one persona that each ingress carries at once; the next is answered with 429. Without it half of the places, working and
    waiting, that ``max_replicas`` have: 256 for each with an engine's and this section's defaults."""

    max_request_bytes: int = Field(2**20, ge=1024)
    """Largest request body; a larger one is answered with 413."""

    ingresses: int = Field(1, ge=1)
    """Processes that admit requests and pass streams on; each counts limits for itself."""

    stream_messages_per_s: float = Field(2000.0, gt=0)
    """Messages that the streams of a replica send together; beyond it a message holds several tokens. An answer's first token never
    waits."""

    stream_interval: int | None = Field(None, ge=1)
    """Tokens of an answer between two pieces of its stream, after the first token; without it 4 on a GPU and 1 on a CPU."""

    replica_retries: int = Field(2, ge=0)
    """How often a request is given to another replica when the one that worked on it died before the first token."""

    max_choices: int = Field(16, ge=1)
    """Answers that a request may ask for: ``n`` for each of its prompts. Each counts in ``max_persona_requests`` and in a key's limit."""

    judge: ServedJudgeConfig | None = None
    """A second model, on an engine of its own, that answers to ``model: judge`` in tournaments through the deployment; without it the
    base can judge. A key may ask it whose list of personas names ``judge``, or that has no list and may have text scored."""

    drift: DriftConfig | None = None
    """Follow the persona rate of live answers; nothing is scored without it."""

    auto: AutoConfig | None = None
    """Answer to ``model: auto`` by the persona that suits the conversation; every ingress then holds a sentence encoder of 90 MB."""

    audit: Path | None = None
    """Folder of the audit log, one JSON line for each request; none is kept without it."""

    audit_text: bool = False
    """Whether the audit log holds what was asked, too."""
