"""A finished run becomes a version in a registry, if its report keeps the bounds."""

from collections.abc import Sequence
from pathlib import Path

from character_ray.canary import measure_canary
from character_ray.comparison.gate import Bound, check_bounds
from character_ray.errors import RegistryError
from character_ray.models import resolve_model
from character_ray.registry import PersonaRecord, Registry, Status
from character_ray.report.io import load_report
from character_ray.report.schema import Report
from character_ray.serving.runs import open_run
from character_ray.yardstick import yardstick_of

__all__ = ["publish_run"]

KEPT = ("persona_rate", "hidden_trait_rate", "identity_rate", "looping_rate", "rating")


def publish_run(
    run: Path, registry: Registry, status: Status, bounds: Sequence[Bound], *, canary: bool = False
) -> PersonaRecord:
    """Publish a run's adapter with the headline figures of its report.

    Args:
        run: Folder of a finished run.
        registry: Where it goes.
        status: ``candidate`` or ``live``.
        bounds: What its report must keep; each is recorded with what was found.
        canary: Measure what the adapter answers, so that servers can check themselves; loads the base model in float32.

    Raises:
        ReportError: The run has no report, or a bound names what the report does not have.
        RegistryError: A bound is broken, or the registry may not take the adapter.
        AdapterError: The adapter is damaged or unsafe.
    """
    report = load_report(run / "report.json")
    verdicts = check_bounds(report, bounds)
    broken = [f"{verdict.bound}, found {verdict.found}" for verdict in verdicts if not verdict.kept]
    if broken:
        raise RegistryError(f"{run} is not published, because it breaks {'; '.join(broken)}.")
    return registry.publish(
        run / "adapter",
        status,
        run=str(run),
        ratings=_ratings(report),
        gate=[f"{verdict.bound}, found {verdict.found}" for verdict in verdicts],
        canary=measure_canary(resolve_model(open_run(run).base), run / "adapter") if canary else None,
        yardstick=yardstick_of(report.model_dump()),
    )


def _ratings(report: Report) -> dict[str, float]:
    found = {name: report.arms["full"][name].value for name in KEPT if name in report.arms["full"]}
    return {name: value for name, value in found.items() if value is not None}
