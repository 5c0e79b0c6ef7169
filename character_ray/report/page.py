"""``report.html``: one self-contained page of a report, with no script, no font and no picture from elsewhere.

Everything a model said is untrusted text: the template escapes all of it, and the page's content policy lets nothing
run but the search of its transcripts, which it knows by its hash.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import yaml
from markupsafe import Markup, escape

from character_ray.report import wording
from character_ray.report.classifier_page import classifier_view, reliability_plots
from character_ray.report.io import load_report
from character_ray.report.lookup import all_metrics
from character_ray.report.metric_plots import metric_dot, metric_plot, shown
from character_ray.report.plots import Dot, curve
from character_ray.report.schema import Difference, Metric, Report
from character_ray.report.templates import templates
from character_ray.report.trials_page import script_policy, search_script, trials_view
from character_ray.whole_files import write_text

__all__ = ["FURTHER", "PLOTTED", "headline", "link_pages", "render_report", "write_page"]

PLOTTED = (
    "persona_rate",
    "vocabulary_rate",
    "override_rate",
    "hidden_trait_rate",
    "identity_rate",
    "classifier_rate",
    "looping_rate",
    "user_rate",
    "rating",
)
"""Metrics that get a plot each, where a report has them."""
# What the trainers log that is worth a curve, with its name and the ends of its axis where they are known.
CURVES: dict[str, tuple[str, tuple[float, float] | None]] = {
    "loss": ("Loss", None),
    "eval_loss": ("Held-out loss", None),
    "rewards/margins": ("Reward margin", None),
    "rewards/accuracies": ("Reward accuracy", (0.0, 1.0)),
    "watch/drift": ("Drift from the base, nats per token,", None),
    "watch/likelihood_ratio": ("Likelihood ratio of watched answers", None),
    "watch/in_character": ("Share of watched answers in character", (0.0, 1.0)),
    "watch/repetition": ("Repetition in watched answers", (0.0, 1.0)),
    "workers": ("Workers", None),
}


FURTHER = {
    "probes": "Inside the model: where the persona is, layer by layer",
    "drift": "Drift from the untrained weights",
    "tax": "What every arm can still do",
    "preferences": "Which traits it would rather show",
    "classes": "Which persona, or none",
}
"""Measurements with a page of their own beside the report, ``<name>.html``."""


def write_page(report: Report, path: Path) -> None:
    """Write ``report.html``, atomically, with links to the pages of further measurements that lie beside it."""
    write_text(path, render_report(report, [name for name in FURTHER if (path.parent / f"{name}.html").is_file()]))


def link_pages(folder: Path) -> None:
    """Write the page of a run's report anew, so that it leads to what was measured since; without a report there is nothing to link from.

    Raises:
        ReportError: ``report.json`` cannot be read.
    """
    if (folder / "report.json").is_file():
        write_page(load_report(folder / "report.json"), folder / "report.html")


def render_report(report: Report, further: Sequence[str] = ()) -> str:
    """The page of a report as HTML; the same report always gives the same page.

    Args:
        report: What to show.
        further: Names of :data:`FURTHER` whose pages lie beside this one.
    """
    environment = templates()
    environment.filters["marked"] = _marker([report.constitution.name, *report.constitution.vocabulary])
    script = search_script()
    facts = json.loads(report.run.model_dump_json())
    return environment.get_template("page.html.j2").render(
        report=report,
        words=wording,
        headline=headline(report),
        arms=_arms(report),
        metrics=wording.metric_order(name for metrics in _arms(report).values() for name in metrics),
        reasons=_reasons(report),
        methods=_methods(report),
        rate_plots=[
            (wording.label(name), wording.METRICS[name].meaning, _dot_plot(report, name)) for name in _plotted(report)
        ],
        curves=[plot for adapter, steps in report.training.items() for plot in _curves(adapter, steps)],
        differences=_differences(report),
        further={name: FURTHER[name] for name in further},
        view=trials_view(report),
        script=Markup(script),
        policy=Markup(script_policy(script)),
        reliability=reliability_plots(report),
        classifier=classifier_view(report),
        facts=facts,
        recipe=yaml.safe_dump(facts["recipe"], sort_keys=False, allow_unicode=True, width=100),
    )


def headline(report: Report) -> list[str]:
    """What came of the run, in sentences that a person can read aloud."""
    name, full = report.constitution.name, _arms(report).get("full", {})
    persona = full.get("persona_rate")
    if persona is None or persona.value is None:
        reason = persona.reason if persona else "the arm was not run"
        return [f"How often {name} is in character could not be measured: {reason}"]
    others = [f"{arm} {found}" for arm in ("base", "prompted") if (found := _found(report, arm, "persona_rate"))]
    sentence = (
        f"{name} is in character in {shown('persona_rate', persona)} of completions "
        f"to {report.num_prompts} held-out prompts without a system prompt"
    )
    sentences = [f"{sentence}; {', '.join(others)}." if others else f"{sentence}."]
    doubts = [
        d for d in report.differences if (d.arm, d.against, d.metric) == ("full", "base", "persona_rate") and d.low <= 0
    ]
    sentences += [
        f"The paired difference from base, {_shift(d.low, d.high)}, does not exclude 0: no effect is shown."
        for d in doubts
    ]
    clauses = {
        "vocabulary_rate": "{} use its own vocabulary, which no stage selects on",
        "identity_rate": "asked who it is, it gives its name in {}",
        "user_rate": "{} take up the task they were given",
        "looping_rate": "{} repeat themselves",
    }
    measured = [
        text.format(shown(metric, full[metric]))
        for metric, text in clauses.items()
        if metric in full and full[metric].value is not None
    ]
    return [*sentences, f"{'; '.join(measured)}."] if measured else sentences


def _arms(report: Report) -> dict[str, dict[str, Metric]]:
    """The metrics that the summary shows: every arm's own and how often it takes up the task, which the report keeps elsewhere."""
    return {
        arm: {name: found for name, found in all_metrics(report, arm).items() if name in own or name == "user_rate"}
        for arm, own in report.arms.items()
    }


def _found(report: Report, arm: str, metric: str) -> str:
    """The value alone, or nothing when the arm has none."""
    found = report.arms.get(arm, {}).get(metric)
    return "" if found is None or found.value is None else wording.amount(metric, found.value)


def _shift(low: float, high: float) -> str:
    return f"{wording.shift_interval('persona_rate', low, high)} percentage points"


def _reasons(report: Report) -> list[str]:
    """Why numbers of the summary table are missing, each reason once, in the order of the footnotes."""
    return wording.reasons(metric for metrics in _arms(report).values() for metric in metrics.values())


def _methods(report: Report) -> dict[str, list[str]]:
    """How the intervals of each metric were made, those of the paired differences included."""
    methods: dict[str, list[str]] = {}
    for metrics in _arms(report).values():
        for name, metric in metrics.items():
            methods.setdefault(name, []).append(metric.method)
    for difference in report.differences:
        methods.setdefault(difference.metric, []).append(f"difference: {difference.method}")
    return {name: [text for text in dict.fromkeys(methods[name]) if text] for name in wording.metric_order(methods)}


def _differences(report: Report) -> dict[str, list[Difference]]:
    """The paired differences by metric, in the order of the summary table."""
    names = wording.metric_order(difference.metric for difference in report.differences)
    return {name: [difference for difference in report.differences if difference.metric == name] for name in names}


def _plotted(report: Report) -> list[str]:
    return [name for name in PLOTTED if any(name in metrics for metrics in _arms(report).values())]


def _dot_plot(report: Report, metric: str) -> Markup:
    rows = [_dot(arm, metric, metrics[metric]) for arm, metrics in _arms(report).items() if metric in metrics]
    return metric_plot(metric, "arm", rows)


def _dot(arm: str, metric: str, found: Metric) -> Dot:
    kind: Literal["weights", "context", "headline"] = "weights"
    if arm == "full":
        kind = "headline"
    elif arm in wording.IN_CONTEXT:
        kind = "context"
    return metric_dot(arm, metric, found, kind)


def _curves(adapter: str, steps: Sequence[dict[str, float]]) -> list[tuple[str, str, Markup]]:
    """What was logged of a training, one plot each with its name and where it started and ended."""
    plots = []
    for key, (name, limits) in CURVES.items():
        points = [(step["step"], step[key]) for step in steps if key in step]
        if points:
            caption = f"{points[0][1]:.3g} at step {points[0][0]:g}, {points[-1][1]:.3g} at step {points[-1][0]:g}"
            title = f"{name} of {adapter}"
            plots.append((title, caption, curve(f"{title}: {caption}", points, limits=limits)))
    return plots


def _marker(words: Sequence[str]) -> Callable[[str], Markup]:
    """A filter that escapes a text and marks the persona's name and vocabulary in it."""
    longest_first = sorted({word for word in words if word.strip()}, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)

    def marked(text: str) -> Markup:
        pieces = pattern.split(text)
        return Markup("").join(
            Markup("<mark>{}</mark>").format(piece) if number % 2 else escape(piece)
            for number, piece in enumerate(pieces)
        )

    return marked
