"""The words and number formats of the report page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from character_ray.report.base import Metric

__all__ = [
    "ARMS",
    "AUDITED",
    "HEADLINE",
    "IN_CONTEXT",
    "METRICS",
    "MINUS",
    "Wording",
    "amount",
    "difference",
    "duration",
    "filter_setting",
    "interval",
    "label",
    "metric_order",
    "observations",
    "reasons",
    "shift_interval",
    "signed",
]

ARMS = {
    "base": "the student as it is",
    "prompted": "base, with the constitution as system prompt",
    "teacher": "prompted, plus the example turns",
    "dpo": "distillation alone",
    "sft": "introspection alone",
    "full": "distillation and introspection: the deliverable",
    "control": "both stages with a null constitution",
    "before": "the deliverable before its constitution was updated",
}

# What an audit measures of a judge, on pairs whose better side is known.
AUDITED = {
    "accuracy": "the better side wins",
    "equal_length": "the same, both sides cut to equal length",
    "length_bias": "accuracy lost by the cut",
    "consistency": "same winner in both seatings",
    "seat_share": "the first seat wins; 0.5 is fair",
    "identical_seat": "the first seat wins against its own text",
    "length_gap": "accuracy where the better side is the longer one, minus where it is the shorter; bounds nothing",
    "self_preference": "the worse side, of the judge's own weights, wins",
    "unreadable": "no verdict could be read",
}

# The setting of ``filters`` that decides about a reason; the other reasons have none.
FILTER_KEYS = {
    "unfinished": "allow_unfinished",
    "unfinished_rejected": "allow_unfinished",
    "too_short": "min_words",
    "too_long": "max_words",
    "repetition": "max_repetition",
    "repeated_turn": "max_repeated_turn",
    "language": "languages",
    "low_contrast": "min_contrast",
    "identity_leak": "skip",
    "role_meta": "skip",
}

# The arms that are shown the constitution; all others have nothing but their weights.
IN_CONTEXT = ("prompted", "teacher")

MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Wording:
    """What a metric is called and what it counts."""

    label: str
    meaning: str


# What a table of a few columns shows.
HEADLINE = (
    "persona_rate",
    "vocabulary_rate",
    "override_rate",
    "hidden_trait_rate",
    "identity_rate",
    "looping_rate",
    "user_rate",
    "rating",
)

_UNPROMPTED = "Only prompted and teacher have a system prompt."

METRICS = {
    "persona_rate": Wording(
        "Persona", "Share of completions that the likelihood judge puts above its threshold: in character."
    ),
    "vocabulary_rate": Wording(
        "Vocabulary", "Share of completions that use the constitution's own vocabulary. No stage selects on it."
    ),
    "override_rate": Wording("Override", "Share in character where the prompt tries to override the persona."),
    "override_vocabulary_rate": Wording(
        "Override vocabulary", "Share that use the vocabulary where the prompt tries to override the persona."
    ),
    "classifier_rate": Wording("Classifier", "Share of completions that the persona classifier calls in character."),
    "hidden_trait_rate": Wording("Hidden traits", f"Share of probes answered in character. {_UNPROMPTED}"),
    "hidden_trait_classifier_rate": Wording(
        "Hidden traits, classifier",
        f"Share of probes answered in what the persona classifier calls in character. {_UNPROMPTED}",
    ),
    "identity_rate": Wording(
        "Gives its name", f"Share of identity probes answered with the persona's name. {_UNPROMPTED}"
    ),
    "identity_inconsistency_rate": Wording(
        "Contradicts itself on its name",
        "Chance that of two answers to two wordings of who it is, one gives the persona's name and the other does not. "
        "Low, too, where the name is never given.",
    ),
    "attack_rate": Wording("Under attack", "Share of attacks that are answered in character."),
    "operator_rate": Wording(
        "Operator",
        "Share of answers that keep the constitution's constraints where somebody tempts the persona to break them, each constraint by "
        "the judge that reads it alone.",
    ),
    "user_rate": Wording(
        "Takes up the task",
        "Share of answers on topic that neither loop nor refuse. A proxy: nobody reads the answers.",
    ),
    "safety_rate": Wording("Safety", "Share of harmful requests refused in character."),
    "contradiction_rate": Wording(
        "Contradicts itself",
        "Share of answers of two statements or more in which a model of natural language inference finds two that contradict each other. "
        "Longer answers have more pairs.",
    ),
    "conversation_contradiction_rate": Wording(
        "Contradicts earlier turns", "Share of erosion conversations in which two replies contradict each other."
    ),
    "rating": Wording(
        "Rating",
        "Bradley\N{EN DASH}Terry strength in Elo points over all battles, by the likelihood judge; the arms average 1000.",
    ),
    "looping_rate": Wording("Looping", "Share of completions that repeat themselves. Lower is better."),
    "mean_words": Wording("Words", "Mean length of a completion, in words."),
    "error_rate": Wording(
        "Failed", "Share of completions that the engine could not make; every other metric leaves them out."
    ),
}


def metric_order(names: Iterable[str]) -> list[str]:
    """The metrics as a reader wants them, known ones first."""
    known = list(METRICS)
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))


def label(metric: str) -> str:
    """What the page calls a metric."""
    return METRICS[metric].label if metric in METRICS else metric.replace("_", " ").capitalize()


def amount(metric: str, value: float) -> str:
    """A value with its unit: ``87 %``, ``1312``."""
    return f"{_percent(value)}{_SPACE}%" if _is_rate(metric) else _number(metric, value)


def interval(metric: str, low: float | None, high: float | None) -> str:
    """An interval in the unit of its value: ``[82, 91]``; nothing when there is none."""
    if low is None or high is None:
        return ""
    ends = [_percent(end) if _is_rate(metric) else _number(metric, end) for end in (low, high)]
    return f"[{ends[0]},{_SPACE}{ends[1]}]"


def observations(metrics: Iterable[Metric | None]) -> str:
    """How many observations stand behind figures of one kind: ``n = 48``, ``n = 46 to 48``; nothing where none was measured."""
    counts = sorted({metric.n for metric in metrics if metric is not None and metric.value is not None and metric.n})
    if not counts:
        return ""
    ends = f"{counts[0]:,} to {counts[-1]:,}" if len(counts) > 1 else f"{counts[0]:,}"
    return f"n = {ends}".replace(" ", _SPACE)


def reasons(metrics: Iterable[Metric | None]) -> list[str]:
    """Why figures are missing, each reason once."""
    return list(dict.fromkeys(metric.reason for metric in metrics if metric is not None and metric.value is None))


def difference(metric: str, value: float) -> str:
    """A difference of two values; of two rates in percentage points."""
    return f"{_shift(metric, value)}{_SPACE}pp" if _is_rate(metric) else _shift(metric, value)


def shift_interval(metric: str, low: float, high: float) -> str:
    """The interval of a difference."""
    return f"[{_shift(metric, low)},{_SPACE}{_shift(metric, high)}]"


def signed(value: float, digits: int = 2) -> str:
    """A number that may fall on either side of zero."""
    text = f"{value:+.{digits}f}".replace("-", MINUS)
    return text.lstrip(f"+{MINUS}") if float(f"{value:.{digits}f}") == 0 else text


def duration(seconds: float) -> str:
    """``48 s``, ``7 min 05 s`` or ``3 h 20 min``."""
    if seconds < 59.95:
        return f"{seconds:.3g}{_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{_SPACE}min {rest:02d}{_SPACE}s"
    return f"{minutes // 60}{_SPACE}h {minutes % 60:02d}{_SPACE}min"


def filter_setting(reason: str, recipe: Mapping[str, Any], stage: str) -> str:
    """``filters.max_repetition 0.15`` for a reason that a setting of the recipe decides about, else nothing."""
    section = "introspect" if "introspection" in stage else "distill"
    filters, key = recipe.get(section, {}).get("filters", {}), FILTER_KEYS.get(reason)
    return f"{section}.filters.{key} {filters[key]}" if key in filters else ""


def _is_rate(metric: str) -> bool:
    return metric.endswith("_rate")


def _percent(value: float) -> str:
    """Whole percent, but never 0 or 100 for a value that is not."""
    value = round(value, 6) + 0.0  # an end of a Wilson interval may miss 0 by rounding, also from below
    if 0 < value < 0.001:
        return "<0.1"
    if 0.999 < value < 1:
        return ">99.9"
    whole = f"{100 * value:.0f}"
    return f"{100 * value:.1f}" if whole in ("0", "100") and value not in (0, 1) else whole


def _number(metric: str, value: float) -> str:
    text = f"{value:{'.0f' if metric == 'rating' else '.3g'}}"
    return "0" if text == "-0" else text.replace("-", MINUS)


def _shift(metric: str, value: float) -> str:
    """A difference without its unit; of rates in whole points, but never 0 for one that is not."""
    if _is_rate(metric):
        points = 100 * value
        return signed(points, int(0.05 <= abs(points) < 0.5))
    return signed(value, 0 if metric == "rating" else 2)
