"""What the page shows of the run's persona classifier."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from character_ray.report.base import Metric
from character_ray.report.cells import cell, number
from character_ray.report.plots import reliability_diagram
from character_ray.report.schema import Report

__all__ = ["classifier_view", "reliability_plots"]

CALIBRATED = (
    "Share in character over predicted probability, on prompts it was not trained on; a calibrated classifier lies on the line. Areas "
    "show the number of completions."
)


def classifier_view(report: Report) -> dict[str, Any]:
    """Tables of the classifier, ready for the template; empty where there is none."""
    own = report.classifier
    if own is None:
        return {}
    return {
        "own": own,
        "classes": [
            (name, figures, own.confusion[place] if own.confusion else [])
            for place, (name, figures) in enumerate(own.classes.items())
        ],
        "written_by": list(dict.fromkeys(name for row in own.generators.values() for name in row)),
        "cell": cell,
        "number": number,
        "of_generator": lambda name: [row.get(name) for row in own.generators.values()],
        "of_arms": lambda name: [rates[name] for rates in own.arms.values() if name in rates],
    }


def reliability_plots(report: Report) -> list[tuple[str, str, Markup]]:
    """Reliability diagrams, each with its name and what it shows: of the probabilities that decide, and of those before the temperature."""
    own = report.classifier
    if own is None or not own.reliability:
        return []
    plots = [
        _plot("Reliability of the persona classifier", CALIBRATED, own.expected_calibration_error, own.reliability)
    ]
    if own.uncalibrated_error is not None and own.uncalibrated_reliability:
        caption = f"Before its logits were divided by {own.temperature:.2f}, which was fitted on prompts of its own."
        plots.append(
            _plot("Reliability before calibration", caption, own.uncalibrated_error, own.uncalibrated_reliability)
        )
    return plots


def _plot(name: str, caption: str, error: Metric, bins: Sequence[dict[str, float]]) -> tuple[str, str, Markup]:
    listing = ", ".join(f"{bin_['confidence']:.2f} predicted, {bin_['observed']:.2f} observed" for bin_ in bins)
    drawn = reliability_diagram(f"{name}: {listing}", bins)
    return name, f"{caption} Expected calibration error {_error(error)}.", drawn


def _error(error: Metric) -> str:
    ends = f" [{error.low:.3f}, {error.high:.3f}]" if error.low is not None and error.high is not None else ""
    return "not measured" if error.value is None else f"{error.value:.3f}{ends}"
