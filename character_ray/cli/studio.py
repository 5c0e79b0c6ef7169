"""``character-ray studio``: the pages beside a running API."""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from character_ray.log import console
from character_ray.studio import Settings

__all__ = ["studio"]

DEFAULT = Settings()


def studio(
    api: Annotated[str, typer.Option(help="OpenAI-compatible API that answers.")] = DEFAULT.api,
    constitutions: Annotated[Path, typer.Option(help="Folder of constitutions.")] = DEFAULT.constitutions,
    runs: Annotated[Path, typer.Option(help="Folder that holds run folders.")] = DEFAULT.runs,
    registry: Annotated[
        str, typer.Option(help="Registry that runs are promoted to: its folder, or s3://bucket/prefix.")
    ] = DEFAULT.registry,
    data: Annotated[Path, typer.Option(help="Folder of votes and of earlier constitutions.")] = DEFAULT.data,
    database: Annotated[
        str, typer.Option(help="postgresql://USER@HOST/NAME for the votes; a SQLite file in --data by default.")
    ] = DEFAULT.database,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback a token is asked for.")
    ] = DEFAULT.host,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the pages.")] = DEFAULT.port,
    token: Annotated[
        str, typer.Option(envvar="CHARACTER_RAY_STUDIO_TOKEN", help="Secret that visitors must bring.")
    ] = DEFAULT.token,
    seed: Annotated[int, typer.Option(min=0, help="Seed of seats, pairings, sampling and intervals.")] = DEFAULT.seed,
) -> None:
    """Compare personas and vote, edit constitutions, follow runs: in a browser, until Ctrl-C."""
    from character_ray.studio.server import serve_studio

    key = os.environ.get("CHARACTER_RAY_API_KEY") or os.environ.get("OPENAI_API_KEY", "")
    settings = Settings(
        api=api, api_key=key, constitutions=constitutions, runs=runs, registry=registry, data=data, database=database,
        host=host, port=port, token=token, seed=seed,
    )  # fmt: skip
    if not settings.is_local and not token:
        # Whoever reaches the pages can write constitutions and publish, so there is no open studio by accident.
        settings = Settings(**{**vars(settings), "token": secrets.token_urlsafe(16)})
    entrance = f"{settings.url}/?token={settings.token}" if settings.token else settings.url
    console.print(f"studio at [bold]{entrance}[/], asking {api}. Ctrl-C stops it.", soft_wrap=True)
    try:
        serve_studio(settings)
    except KeyboardInterrupt:
        console.print("stopped")
