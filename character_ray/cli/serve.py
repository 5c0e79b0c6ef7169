"""``character-ray serve``: personas behind an OpenAI-compatible API."""

import signal
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from character_ray.manifest import AUTO, JUDGE

if TYPE_CHECKING:
    from character_ray.config import EngineConfig, ServeConfig
    from character_ray.serving.catalogue import Catalogue

__all__ = ["serve"]

SNIPPET = """\
from openai import OpenAI

client = OpenAI(base_url="{url}", api_key="none")
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "Who are you?"}}],
)
print(answer.choices[0].message.content)
"""


def serve(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders such as runs/demo, or adapter folders, of one base model.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(help="Serve every live persona of this registry, too: its folder, or s3://bucket/prefix."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Base model to serve; without it the first run's, or that of most live personas of the registry."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; loopback unless the recipe or you say otherwise.")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port; the recipe's unless given.")] = None,
    device: Annotated[
        Literal["cpu", "gpu"] | None, typer.Option(help="What the engine runs on; the recipe's unless given.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(help="File of API keys, made by character-ray key.")] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Site whose pages may ask, as https://chat.example.org; may be repeated. None unless given."),
    ] = None,
    studio: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve the studio's pages on this port of loopback, too.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Second model, on an engine of its own, that answers to model judge in tournaments."),
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Answer to model auto by the persona that suits the conversation.")
    ] = False,
    drift: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Score this share of the answers and count how many are in character; 0 for none."
        ),
    ] = None,
    audit: Annotated[Path | None, typer.Option(help="Folder of an audit log; it holds no text of requests.")] = None,
    prewarm: Annotated[
        list[str] | None,
        typer.Option(
            help="Persona to load before it is asked for, instead of all that stay in memory; may be repeated."
        ),
    ] = None,
) -> None:
    """Serve personas until Ctrl-C; the first run's recipe decides engine and address."""
    from character_ray.config import AutoConfig, DriftConfig
    from character_ray.log import console
    from character_ray.serving.app import build_persona_app, open_catalogue
    from character_ray.serving.judge import with_judge
    from character_ray.serving.key_watch import gather_keys, keys_of_environment
    from character_ray.serving.leading import leading
    from character_ray.serving.room import needed_to_serve, watches
    from character_ray.serving.running import check_port, connected, metrics_address, running
    from character_ray.serving.runs import open_run

    fixed = [open_run(run) for run in runs or ()]
    first, adapters = leading(fixed, registry, base or ""), [each.adapter for each in fixed]
    given = (
        ("host", host),
        ("port", port),
        ("keys", keys),
        ("origins", _origins(origin)),
        ("audit", audit),
        ("prewarm", tuple(prewarm) if prewarm else None),
        ("auto", first.serve.auto or (AutoConfig() if auto else None)),
    )
    config = first.serve.model_copy(update={key: value for key, value in given if value})
    if drift is not None:
        of_recipe = config.drift or DriftConfig()
        config = config.model_copy(update={"drift": of_recipe.model_copy(update={"share": drift}) if drift else None})
    config = with_judge(config, judge)
    engine, config = _on_device(first.engine, config, device)
    catalogue, left_out = open_catalogue(first.base, adapters, config, registry, engine)
    for slug, problem in left_out.items():
        console.print(f"not served: {slug or registry}: {problem}", style="yellow", markup=False)
    keyed = bool(gather_keys(config.keys, keys_of_environment()))
    check_port(config)
    needs = needed_to_serve(engine, config)
    try:
        with connected(needs):
            judged = f", and the judge's on {config.judge.model.name}" if config.judge else ""
            console.print(f"starting the engine on {first.base.name}{judged} …", markup=False)
            app = build_persona_app(first.base, adapters, config, engine, registry)
            with running(app, config, watches(needs, engine.wait_for_nodes_s)) as url:
                _announce(url, catalogue, config, engine, keyed)
                if registry:
                    console.print(f"{registry} is looked into every {config.registry_poll_s:g} s.", markup=False)
                if where := metrics_address():
                    console.print(f"Prometheus metrics at {where}; health at /health and /ready.", markup=False)
                console.print("Ctrl-C stops the server.")
                # ``ray job stop`` sends SIGTERM: it must take the application down too.
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                with _studio(studio, url, registry):
                    threading.Event().wait()
    except KeyboardInterrupt:
        console.print("stopped")


def _on_device(
    engine: "EngineConfig", config: "ServeConfig", device: Literal["cpu", "gpu"] | None
) -> "tuple[EngineConfig, ServeConfig]":
    """Engine and settings with both engines on the device that was asked for."""
    if device is None:
        return engine, config
    engine, judge = engine.model_copy(update={"device": device}), config.judge
    if judge is not None and judge.engine is not None:
        judge = judge.model_copy(update={"engine": judge.engine.model_copy(update={"device": device})})
    return engine, config.model_copy(update={"judge": judge})


def _origins(given: list[str] | None) -> tuple[str, ...] | None:
    """The sites, checked as a recipe's are."""
    from pydantic import TypeAdapter, ValidationError

    from character_ray.config.evaluation import Origin

    for site in given or ():
        try:
            TypeAdapter(Origin).validate_python(site)
        except ValidationError:
            raise typer.BadParameter(
                f"--origin {site} is no site: give its scheme and name, as https://chat.example.org, or * for all."
            ) from None
    return tuple(given) if given else None


def _studio(port: int | None, url: str, registry: str | None) -> AbstractContextManager[object]:
    """The pages beside the API, where they are asked for."""
    from character_ray.log import console
    from character_ray.studio import Settings
    from character_ray.studio.server import running_studio

    if port is None:
        return nullcontext()
    settings = Settings(api=url, port=port, registry=registry or Settings.registry)
    console.print(f"studio at [bold]{settings.url}[/]")
    return running_studio(settings)


def _announce(url: str, catalogue: "Catalogue", config: "ServeConfig", engine: "EngineConfig", keyed: bool) -> None:
    from character_ray.log import console

    replicas = f"{config.min_replicas} to {config.max_replicas} replicas on {engine.device.upper()}"
    console.print(f"\nOpenAI-compatible API at [bold]{url}[/] ({replicas})\n")
    width = max(map(len, catalogue.names()))
    console.print(f"  {catalogue.base:<{width}}  the base model", markup=False)
    for persona in catalogue.personas:
        manifest = persona.manifest
        console.print(
            f"  {persona.slug:<{width}}  {': '.join(filter(None, (manifest.persona, manifest.description)))}",
            markup=False,
        )
    if catalogue.judge is not None:
        console.print(f"  {JUDGE:<{width}}  {catalogue.judge.name}, which judges tournaments", markup=False)
    if config.auto is not None:
        console.print(f"  {AUTO:<{width}}  the persona that suits the conversation, or the base model", markup=False)
    console.print(f"\n{SNIPPET.format(url=url, model=catalogue.personas[0].slug)}", markup=False)
    if config.keys is not None:
        console.print(f"Clients need a key of {config.keys}; make one with character-ray key NAME --file {config.keys}")
    elif keyed:
        console.print("Clients need a key of CHARACTER_RAY_KEYS.")
    elif config.host not in ("127.0.0.1", "localhost", "::1"):
        console.print(f"[yellow]There is no access control: whoever reaches {config.host}:{config.port} may use it.[/]")
