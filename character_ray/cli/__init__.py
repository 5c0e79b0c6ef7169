"""``character-ray``: one command per thing a user does. Errors raised on purpose are printed without a stack trace."""

import sys

import typer

from character_ray.cli.adapter import adapter
from character_ray.cli.audit import audit
from character_ray.cli.chat import chat
from character_ray.cli.classify import classify
from character_ray.cli.draft import draft
from character_ray.cli.export import export
from character_ray.cli.further import drift, preferences, tax
from character_ray.cli.interference import interference
from character_ray.cli.key import key
from character_ray.cli.migrate import import_files
from character_ray.cli.pipeline import many, preview, run
from character_ray.cli.plan import plan
from character_ray.cli.probe import probe
from character_ray.cli.registry import registry
from character_ray.cli.reports import compare, gate
from character_ray.cli.route import route
from character_ray.cli.serve import serve
from character_ray.cli.studio import studio
from character_ray.cli.tournament import tournament
from character_ray.cli.update import update
from character_ray.cli.validate import validate
from character_ray.errors import CharacterRayError

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (
    draft,
    validate,
    plan,
    preview,
    run,
    many,
    update,
    audit,
    tournament,
    probe,
    drift,
    tax,
    preferences,
    classify,
    compare,
    gate,
    export,
    chat,
    serve,
    studio,
    interference,
    key,
):
    app.command()(command)
app.command("import")(import_files)
app.add_typer(adapter, name="adapter")
app.add_typer(registry, name="registry")
app.add_typer(route, name="route")


def main() -> None:
    """Entry point of the command."""
    try:
        app()
    except CharacterRayError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
