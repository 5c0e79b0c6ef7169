"""A finished run becomes a version in a registry, and a version the live one, if the report keeps the bounds."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from character_ray.canary import measure_canary
from character_ray.comparison.gate import Bound, check_bounds, parse_bounds
from character_ray.errors import RegistryError
from character_ray.models import resolve_model
from character_ray.registry import Entry, PersonaRecord, Registry, Status, policy_of, ratings_of
from character_ray.report.io import load_report
from character_ray.report.schema import Report
from character_ray.serving.runs import open_run
from character_ray.yardstick import yardstick_of

__all__ = ["promote_version", "publish_run"]


def publish_run(
    run: Path, registry: Registry, status: Status, bounds: Sequence[Bound], *, canary: bool = False
) -> PersonaRecord:
    """Publish a run's adapter with the headline figures of its report.

    Args:
        run: Folder of a finished run.
        registry: Where it goes.
        status: ``candidate`` or ``live``.
        bounds: What its report must keep, beside the registry's policy where it goes live; each is recorded with what was found.
        canary: Measure what the adapter answers, so that servers can check themselves; loads the base model in float32.

    Raises:
        ReportError: The run has no report, or a bound names what the report does not have.
        RegistryError: A bound is broken, or the registry may not take the adapter.
        AdapterError: The adapter is damaged or unsafe.
    """
    report = load_report(run / "report.json")
    if status == "live":
        bounds = [*_policy(registry), *bounds]
    gate = _kept(report, bounds, f"{run} is not published")
    return registry.publish(
        run / "adapter",
        status,
        run=str(run),
        ratings=ratings_of(report.model_dump()),
        gate=gate,
        canary=measure_canary(resolve_model(open_run(run).base), run / "adapter") if canary else None,
        yardstick=yardstick_of(report.model_dump()),
        report=report.model_copy(update={"transcripts": []}).model_dump_json(),
    )


def promote_version(registry: Registry, slug: str, weights_hash: str, bounds: Sequence[Bound]) -> PersonaRecord:
    """Make a published version the live one, if the report it was published with keeps the bounds.

    Args:
        registry: Where it is.
        slug: The persona.
        weights_hash: The version; the beginning of its hash is enough.
        bounds: What its report must keep beside the registry's policy; each is recorded with what was found.

    Raises:
        ReportError: A bound names what the report does not have.
        RegistryError: There is no such version, or several; it breaks a bound; or there are bounds and no report of it.
        StorageError: The bucket cannot be read or written.
    """
    entry = registry.version(registry.record(slug), weights_hash)
    bounds = [*_policy(registry), *bounds]
    gate = (
        _kept(_report(registry, slug, entry), bounds, f"{slug} {entry.weights_hash} is not promoted") if bounds else ()
    )
    return registry.promote(slug, entry.weights_hash, gate=gate)


def _policy(registry: Registry) -> list[Bound]:
    policy = policy_of(registry)
    return parse_bounds(policy.min, policy.max)


def _kept(report: Report, bounds: Sequence[Bound], refused: str) -> list[str]:
    """Each bound with what was found."""
    verdicts = check_bounds(report, bounds)
    broken = [f"{verdict.bound}, found {verdict.found}" for verdict in verdicts if not verdict.kept]
    if broken:
        raise RegistryError(f"{refused}, because it breaks {'; '.join(broken)}.")
    return [f"{verdict.bound}, found {verdict.found}" for verdict in verdicts]


def _report(registry: Registry, slug: str, entry: Entry) -> Report:
    """The report that the registry keeps; of a version published before it kept any that of its run, if it is of these weights."""
    text = registry.report(entry)
    if text is not None:
        try:
            return Report.model_validate_json(text)
        except ValidationError as failure:
            raise RegistryError(
                f"{registry.place}/reports/{entry.weights_hash}.json cannot be read ({failure.errors()[0]['msg']}). Publish the run again."
            ) from None
    path = Path(entry.run) / "report.json"
    if entry.run and path.is_file():
        report = load_report(path)
        if report.adapter is not None and report.adapter.hash == entry.weights_hash:
            return report
    raise RegistryError(
        f"{slug} {entry.weights_hash} was published without its report, so no bound can be checked. Publish its run again with "
        "the bounds (character-ray registry publish RUN --live --min ...)."
    )
