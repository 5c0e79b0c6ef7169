"""``report.json``: the machine's copy of everything a report page shows.

``arms.<arm>.<metric>`` is a :class:`Metric`; a number that could not be measured is ``null`` with a reason, never 0.
``report.schema.json`` beside this file is generated from these models (``character-ray report --schema``).
"""

from typing import Any, Final, Literal

from pydantic import Field

from character_ray.report.base import Figure, Metric
from character_ray.report.base import Part as _Part
from character_ray.report.classifier_schema import Classifier, ClassReport
from character_ray.report.trials_schema import Coherence, Diversity, Transcript, Trials

__all__ = [
    "SCHEMA_VERSION",
    "Adapter",
    "Agreement",
    "ClassReport",
    "Classifier",
    "Constitution",
    "Coverage",
    "Difference",
    "HiddenTraits",
    "Judge",
    "JudgeAudit",
    "Metric",
    "Probe",
    "Report",
    "Run",
    "SideBySide",
    "StageSummary",
]

SCHEMA_VERSION: Final = 1


class Difference(_Part):
    """Arm minus another arm on one metric, paired by prompt."""

    metric: str
    arm: str
    against: str
    value: float
    low: float
    high: float
    n: int
    method: str


class Coverage(_Part):
    """One dimension of a prompt set."""

    dimension: str
    counts: dict[str, int]
    """Prompts by value; a value that none has counts 0."""


class StageSummary(_Part):
    """What one stage did."""

    wall_s: float
    """Seconds of the run that did the work, also when this run reused it."""
    rows_in: int
    rows_out: int
    dropped: dict[str, int] = Field(default_factory=dict)
    """Rows dropped, by reason."""
    drop_examples: dict[str, str] = Field(default_factory=dict)
    """A dropped text by reason, from stages that filter."""
    by_directive: dict[str, int] = Field(default_factory=dict)
    """Kept pairs by the directive they are a lesson about."""
    reused: bool = False
    """Whether this run found the stage finished."""


class Run(_Part):
    """Where the numbers come from."""

    name: str
    recipe: dict[str, Any]
    seed: int
    model: dict[str, Any]
    """Student and teacher: name, revision, content hash."""
    versions: dict[str, str]
    hardware: dict[str, Any]
    wall_s: float
    """Seconds of all stages together, reused ones at the time they took when they were made."""
    stages: dict[str, StageSummary]
    notes: list[str] = Field(default_factory=list)
    """What a reader must know: arms left out, warnings, where measures disagree."""


class Constitution(_Part):
    """The persona that was trained."""

    name: str
    hash: str
    quality: float
    """Quality score, 0 to 1."""
    remedies: list[str]
    """Each lost point of quality and its remedy."""
    vocabulary: list[str]
    directives: list[str] = Field(default_factory=list)
    """What it asks of the character, line by line. Empty in reports of before it was written down."""


class JudgeAudit(_Part):
    """What a judge is worth on pairs whose better side is known: the teacher's answer in character, and the untrained student's."""

    measures: dict[str, Metric]
    """``accuracy``, ``equal_length``, ``length_bias``, ``consistency``, ``seat_share``, ``identical_seat``, ``unreadable``; ``length_gap``
    where the better side is now longer and now shorter, ``self_preference`` where the judge's own weights wrote one side."""
    failures: list[str]
    """Bounds of the recipe that it breaks; then the arms are not rated."""


class Judge(_Part):
    """The likelihood judge and the threshold that makes a rate of it."""

    model: str
    threshold: float
    """Nats per token; a completion scoring above it is in character."""
    calibrated_on: str
    """Which rows fixed the threshold; never those of the evaluated arms."""
    n: int
    auc: Figure
    """Area under the ROC curve of teacher against base on the calibration rows."""
    true_positive_rate: Figure
    """On the rows that fixed the threshold, as the next; the intervals take the threshold as given."""
    false_positive_rate: Figure
    system_prompt: str = ""
    """The constitution as the judge reads it: with the threshold enough to judge other answers by the same measure."""
    audit: JudgeAudit | None = None
    """``None`` in reports of before the judge was audited in its run."""


class Agreement(_Part):
    """How often two ways of deciding persona agree, over all answers of all arms."""

    first: str
    second: str
    agreement: Figure
    """Share of answers on which both say the same."""
    kappa: Figure | None
    """Cohen's kappa; ``None`` when one of them never varies."""
    n: int
    only_first: int
    """Answers only the first calls in character."""
    only_second: int


class HiddenTraits(_Part):
    """Whether the character shows where nobody asks for it, decided twice; only prompted and teacher have a system prompt."""

    group: str
    """``directive`` for the occasions of one; ``all`` for all probes, and for the occasions of all directives together."""
    kind: str
    """``probes``, ``directives``, or the directive."""
    arms: dict[str, dict[str, Metric]]
    """By arm the share in character: ``hidden_trait_rate`` by the likelihood judge, ``hidden_trait_classifier_rate`` by the classifier."""
    agreement: Agreement | None
    """Of the two over the answers of all arms; ``None`` without a classifier."""


class SideBySide(_Part):
    """One evaluation prompt answered by every arm."""

    prompt: str
    source: str
    hint: str
    completions: dict[str, str]
    scores: dict[str, float | None]


class Probe(_Part):
    """One hidden-trait or identity probe, asked without a system prompt; all samples of every arm."""

    prompt: str
    kind: Literal["identity", "trait"]
    completions: dict[str, list[str]]


class Recompressed(_Part):
    """What the deliverable was made of, where that had a larger rank than an engine holds."""

    rank: int
    """Of both adapters together, as it was measured."""
    energy: float
    """Share of its squared norm that the deliverable keeps, 0 to 1."""


class Adapter(_Part):
    """The deliverable."""

    path: str
    rank: int
    hash: str
    logit_difference_float32: float
    """Largest absolute logit difference between the one adapter and the two applied in sequence, in float32."""
    logit_difference_bfloat16: float
    """The same with weights and activations in bfloat16."""
    recompressed: Recompressed | None = None


class Report(_Part):
    """Everything a report page shows."""

    schema_version: Literal[1] = SCHEMA_VERSION
    run: Run
    constitution: Constitution
    prompts_hash: str
    """Content hash of the evaluation prompts."""
    num_prompts: int
    coverage: dict[Literal["train", "evaluation"], list[Coverage]] = Field(default_factory=dict)
    """What the prompts cover, by set; empty in reports of before it was kept, and of updates."""
    arms: dict[str, dict[str, Metric]]
    missing_arms: dict[str, str] = Field(default_factory=dict)
    """Arms of the roadmap that were not run, with the reason."""
    differences: list[Difference]
    judge: Judge
    classifier: Classifier | None
    """``None`` when it could not be trained; ``run.notes`` says why."""
    agreements: list[Agreement]
    hidden_traits: list[HiddenTraits] = Field(default_factory=list)
    """Empty in reports of before the classifier read the probes, and of updates."""
    tie_share: Metric | None = None
    """Share of ties between two arms of equal strength, as the rating's fit sees it; ``None`` in reports of before ties were modelled."""
    elo_sequential: dict[str, Figure]
    """Sequential Elo (K and start in the recipe), averaged over shuffled orders."""
    win_rates: dict[str, dict[str, Figure]]
    """``win_rates[a][b]``: share of battles ``a`` wins against ``b``, a tie counting half."""
    training: dict[str, list[dict[str, float]]]
    """Per trained adapter the logged steps: ``step``, ``loss`` and what the trainer logs beside it."""
    adapter: Adapter | None
    samples: list[SideBySide]
    probes: list[Probe]
    trials: Trials | None = None
    """``None`` when the recipe asks for no challenge (``evaluate.challenges``)."""
    diversity: dict[str, Diversity] = Field(default_factory=dict)
    """By arm, over its answers to the evaluation prompts."""
    coherence: Coherence | None = None
    """``None`` in reports of before contradictions were looked for."""
    transcripts: list[Transcript] = Field(default_factory=list)
    """Every answer of every arm."""
