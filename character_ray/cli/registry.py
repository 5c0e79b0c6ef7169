"""``character-ray registry``: publish personas, promote, roll back and retire them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from character_ray.comparison import parse_bounds, promote_version, publish_run
from character_ray.log import console
from character_ray.registry import PersonaRecord, Policy, Registry, Status, keep_policy, policy_of

__all__ = ["registry"]

registry = typer.Typer(no_args_is_help=True, help="Publish personas, promote, roll back and retire them.")

Place = Annotated[
    str,
    typer.Option("--registry", help="The registry's folder, on storage that servers see, or s3://bucket/prefix."),
]
Slug = Annotated[str, typer.Argument(help="The persona's name, such as captain-blackwood.")]
DEFAULT = "registry"


@registry.command()
def publish(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    place: Place = DEFAULT,
    live: Annotated[
        bool,
        typer.Option(help="Serve it from now on; else it is a candidate, unless the same weights are live already."),
    ] = False,
    min_: Annotated[
        list[str] | None, typer.Option("--min", help="Bound as for gate; broken, nothing is published.")
    ] = None,
    max_: Annotated[list[str] | None, typer.Option("--max", help="The same from above.")] = None,
    canary: Annotated[
        bool,
        typer.Option(
            help="Measure what it answers, so that servers can check themselves; loads the base model in float32."
        ),
    ] = True,
) -> None:
    """Publish a run's adapter, if it keeps the bounds."""
    status: Status = "live" if live else "candidate"
    record = publish_run(run, Registry(place), status, parse_bounds(min_ or (), max_ or ()), canary=canary)
    published = record.versions[-1]
    if published.status == "live" and not live:
        console.print(
            f"{record.slug} {published.weights_hash} is live already and stays so; what is known of it is new."
        )
    _show([record])


@registry.command("list")
def list_(place: Place = DEFAULT) -> None:
    """Every persona with all its versions."""
    _show(Registry(place).records())


@registry.command()
def history(slug: Slug, place: Place = DEFAULT) -> None:
    """Who made which version live, and when."""
    table = Table("when", "by", "what", "live from then on", "gate")
    for change in Registry(place).record(slug).known_history():
        what = change.action.replace("_", " ")
        table.add_row(
            change.at.isoformat() if change.at else "-",
            change.by or "-",
            what,
            change.weights_hash or "-",
            "; ".join(change.gate),
        )
    console.print(table)


@registry.command()
def promote(
    slug: Slug,
    version: Annotated[str, typer.Argument(help="The version's hash, or its beginning.")],
    place: Place = DEFAULT,
    min_: Annotated[
        list[str] | None, typer.Option("--min", help="Bound as for gate, on the report it was published with.")
    ] = None,
    max_: Annotated[list[str] | None, typer.Option("--max", help="The same from above.")] = None,
) -> None:
    """Make a published version the live one, if it keeps the bounds."""
    _show([promote_version(Registry(place), slug, version, parse_bounds(min_ or (), max_ or ()))])


@registry.command()
def rollback(slug: Slug, place: Place = DEFAULT) -> None:
    """Make the version live again that was live before."""
    _show([Registry(place).roll_back(slug)])


@registry.command()
def retire(slug: Slug, place: Place = DEFAULT) -> None:
    """Take a persona out of service; its versions stay."""
    _show([Registry(place).retire(slug)])


@registry.command()
def policy(
    place: Place = DEFAULT,
    min_: Annotated[
        list[str] | None, typer.Option("--min", help="Bound as for gate; replaces the whole policy.")
    ] = None,
    max_: Annotated[list[str] | None, typer.Option("--max", help="The same from above.")] = None,
    clear: Annotated[bool, typer.Option(help="Let everything go live that its publisher lets.")] = False,
) -> None:
    """Show or replace the bounds that every version must keep to go live, by publish --live, promote or the studio; not by rollback."""
    known = Registry(place)
    bounds = parse_bounds(min_ or (), max_ or ())
    if clear and bounds:
        raise typer.BadParameter("--clear leaves no bound, and --min or --max sets one: give one of the two")
    if clear or bounds:
        keep_policy(known, Policy(min=tuple(min_ or ()), max=tuple(max_ or ())))
    kept = policy_of(known)
    for bound in parse_bounds(kept.min, kept.max):
        console.print(str(bound), highlight=False, markup=False)
    if not (kept.min or kept.max):
        console.print("no policy: whatever keeps the bounds of its own publication goes live")


def _show(records: list[PersonaRecord]) -> None:
    table = Table("persona", "version", "status", "persona rate", "published", "by", "run")
    for record in records:
        for entry in record.versions:
            rate = entry.ratings.get("persona_rate")
            shown = "-" if rate is None else f"{rate:.0%}"
            table.add_row(
                record.slug, entry.weights_hash, entry.status, shown, entry.published_at, entry.published_by, entry.run
            )
    console.print(table)
