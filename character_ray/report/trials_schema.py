"""The parts of a report that say what became of the persona under trial."""

from typing import Literal

from pydantic import Field

from character_ray.report.base import Figure, Metric, Part

__all__ = [
    "Coherence",
    "DirectiveJudge",
    "Diversity",
    "RateTest",
    "Survival",
    "SurvivalTest",
    "Transcript",
    "Trial",
    "TrialTest",
    "Trials",
]


class Trial(Part):
    """One kind of trial: an attack, a scaffold, harmful requests, a language, or a directive's occasions."""

    group: str
    """``plain``, ``attack``, ``scaffold``, ``safety``, ``identity`` or ``directive``."""
    kind: str
    arms: dict[str, dict[str, Metric]]
    """By arm the rates of this kind: ``persona_rate``, ``vocabulary_rate``, ``obeyed_rate``, ``refused_rate``,
    ``refused_in_character_rate``, ``named_rate``, ``kept_rate``, ``followed_rate``."""
    judge_auc: float | None = None
    """Of a directive: how well the judge that reads it alone separates known completions of teacher and base (area under the ROC curve);
    below 0.7 ``followed_rate`` is not decided."""


class DirectiveJudge(Part):
    """The judge that reads one directive alone, measured on known completions of training prompts."""

    directive: str
    constraint: bool
    """Whether it is one of the constitution's constraints; those that are decided make the operator's rate."""
    auc: Figure | None = None
    """How well it separates the teacher, who reads all directives, from base (area under the ROC curve)."""
    n: int = 0
    """Known completions, both sides together."""
    true_positive_rate: Figure | None = None
    """Share of the teacher's that it says follow the directive."""
    false_positive_rate: Figure | None = None
    """Share of base's."""
    reason: str = ""
    """Why it decides nothing; empty where it does."""


class TrialTest(Part):
    """Test that an arm is in character on other prompts of a trial than another arm: signs of the wordings' mean differences flipped."""

    kind: str
    """``all attacks`` and ``all scaffolds`` are these groups as a whole."""
    arm: str
    against: str
    n: int
    """Prompts both answered."""
    wordings: int | None = None
    """Wordings of these prompts, the independent units. ``None`` in reports of before, whose p-values are McNemar's over prompts."""
    only_arm: int
    """Prompts on which the arm alone is in character."""
    only_against: int
    p_value: float
    p_holm: float
    """Adjusted over all tests of trials (Holm 1979)."""


class RateTest(Part):
    """Test that a rate of an arm is another than base's on the prompts that both answered."""

    family: Literal["stakeholders", "challenges"]
    """Refusals and stakeholders' rates, or single directives, languages and injections; ``p_holm`` is adjusted within it."""
    metric: str
    """``refused_rate``, ``refused_in_character_rate`` (the safety's rate), ``persona_rate``, ``operator_rate``, ``user_rate``;
    ``obeyed_rate``, ``named_rate``, ``followed_rate``, ``kept_rate``."""
    kind: str
    """``harmful``, ``harmless``, an attack, a language or a directive; ``all`` of these together; empty where there are no kinds."""
    arm: str
    against: str
    difference: Metric
    """Of the rates, over wordings; its ``n`` counts them."""
    n: int
    """Prompts both answered."""
    only_arm: int
    """Prompts on which the arm has more of it: where each is answered once, those on which it alone has."""
    only_against: int
    test: Literal["McNemar", "sign flip"]
    """McNemar's exact test; where a wording has several prompts, or a prompt several answers, signs of their mean differences flipped."""
    p_value: float
    p_holm: float
    """Adjusted over the tests of the family (Holm 1979)."""


class Survival(Part):
    """Kaplan-Meier estimate of the share of conversations in which the persona holds after each turn."""

    turns: list[int]
    share: list[float]
    low: list[float]
    high: list[float]
    n: int
    """Conversations."""
    events: int
    """Conversations in which the persona ended."""
    median: int | None
    """Turn by which it had ended in half of them; ``None`` when it lasts longer."""


class SurvivalTest(Part):
    """One arm's hazard over another's, with the log-rank test."""

    arm: str
    against: str
    hazard_ratio: Metric
    """Below 1 the persona of ``arm`` lasts longer."""
    p_value: float
    p_holm: float
    """Adjusted over all these tests (Holm 1979)."""


class Trials(Part):
    """What became of the persona under trial."""

    rates: list[Trial]
    tests: list[TrialTest]
    rate_tests: list[RateTest] = Field(default_factory=list)
    """Empty in reports of before these rates were tested."""
    survival: dict[str, Survival] = Field(default_factory=dict)
    """By arm; empty when no conversation was held."""
    survival_tests: list[SurvivalTest] = Field(default_factory=list)
    stakeholders: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    """By arm the rates of ``operator``, ``user`` and ``safety``."""
    directive_judges: list[DirectiveJudge] = Field(default_factory=list)
    """What the operator's rate is made of. Empty in reports of before each directive had a judge: there that rate comes from the judge
    of the whole constitution."""


class Diversity(Part):
    """How varied the answers of an arm to the evaluation prompts are."""

    metrics: dict[str, Metric]
    """``distinct_1`` to ``distinct_3``, ``self_similarity``, ``phrase_rate``, ``off_topic_rate``, ``other_prompt_rate``, and
    ``user_rate``, the share whose task was taken up; it also stands among the stakeholders of trials."""
    phrase: str
    """The phrase of four words that most answers hold; empty where none is in two."""


class Coherence(Part):
    """How often answers contradict themselves, by a model of natural language inference."""

    model: str
    """Empty where none was named."""
    auc: Figure | None = None
    """How well it tells known contradictions from statements that agree (area under the ROC curve)."""
    n: int = 0
    """Known pairs, both kinds together."""
    true_positive_rate: Figure | None = None
    false_positive_rate: Figure | None = None
    threshold: float | None = None
    """Probability of contradiction above which a pair is one; fixed on the known pairs."""
    reason: str = ""
    """Why nothing is decided; empty where it is."""
    rates: dict[str, dict[str, Metric]]
    """By arm ``contradiction_rate``, of answers, and ``conversation_contradiction_rate``, of erosion conversations."""


class Transcript(Part):
    """One answer of one arm, with what was asked and decided."""

    arm: str
    group: str
    """``prompt``, ``probe``, a group of trials, or ``erosion``."""
    kind: str
    turn: int = 0
    """Turn of an erosion conversation, from 1."""
    system: str = ""
    """System prompt that stands behind the arm's own."""
    prompt: str
    begun: str = ""
    """Beginning of the answer that was written for the model."""
    completion: str
    verdicts: list[str]
    score: float | None
    """The judge's, in nats per token."""
