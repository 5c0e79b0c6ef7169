"""From adapters to a Ray Serve application: one base engine, its personas multiplexed, a judge, an OpenAI-compatible front.

    client -> PersonaIngress (names, control tokens) -> PersonaServer replicas (vLLM + LoRA) <- FolderLoader <- folders
                                                     -> ModelServer replicas (vLLM), where serve.judge names a second model

Ray's own server and ingress do the work; they are extended at the seams they offer.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.chat_safety import control_tokens
from character_ray.config import EngineConfig, ModelConfig, ServeConfig
from character_ray.errors import AdapterError, ServingError
from character_ray.live_adapter import check_live
from character_ray.manifest import JUDGE
from character_ray.models import model_hash, resolve_model
from character_ray.registry import Registry, absolute_place
from character_ray.serving.catalogue import Catalogue, base_id
from character_ray.serving.judge import engine_of_judge, find_judge, places_of_judge, settings_of_judge
from character_ray.serving.key_watch import gather_keys, keys_of_environment
from character_ray.serving.personas import load_personas
from character_ray.serving.slots import adapter_slots
from character_ray.serving.source import PersonaSource
from character_ray.serving.spread import replica_options, settled
from character_ray.serving.transport import TRANSPORT
from character_ray.vllm_options import engine_environment, engine_kwargs, lora_size

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.llm import LLMConfig

__all__ = ["build_persona_app", "open_catalogue"]


def open_catalogue(
    base: ModelConfig,
    adapters: Sequence[Path],
    serve: ServeConfig,
    registry: Path | str | None = None,
    engine: EngineConfig | None = None,
) -> tuple[Catalogue, dict[str, str]]:
    """What would be served, after every check that needs no engine, and why some of the registry's personas would not, by name.

    Raises:
        ModelError: The base model or the judge cannot be found.
        ServingError: The base has the name that is the judge's.
        AdapterError: An adapter may not be served on it, or nothing of the registry may.
        StorageError: The registry's bucket cannot be read.
    """
    folder = resolve_model(base)
    fixed = load_personas(base.name, folder, adapters, serve) if adapters or registry is None else ()
    catalogue = Catalogue(base_id(base), model_hash(folder), fixed, judge=find_judge(serve))
    if registry is None:
        return catalogue, {}
    Registry(registry).look()  # a bucket that is away is no empty registry
    targets = engine_kwargs(engine, 1)["lora_target_modules"] if engine else None
    catalogue, problems = PersonaSource(base, folder, serve, fixed, registry, targets).read(catalogue)
    if not catalogue.personas:
        told = "".join(f"\n  {slug}: {problem}" for slug, problem in problems.items()) or " it has no live persona."
        raise AdapterError(f"nothing of {registry} can be served on {base.name}:{told}")
    return catalogue, problems


def build_persona_app(
    base: ModelConfig,
    adapters: Sequence[Path],
    serve: ServeConfig,
    engine: EngineConfig,
    registry: Path | str | None = None,
) -> "Application":
    """An application that answers as the base model, as every persona, and as the judge.

    Run it with :func:`character_ray.serving.running.running`.

    Args:
        base: The model all adapters were trained on.
        adapters: PEFT folders with a manifest, on storage that every node sees.
        serve: Adapters per replica, replicas, the judge if there is one.
        engine: What one replica runs on.
        registry: Folder or ``s3://bucket/prefix`` of a registry whose live personas are served, too, and followed: what is published,
            promoted, rolled back or retired while the application runs is taken up without a restart. Those of them that may not be
            served are left out; the ingress says which and counts them.

    Raises:
        ModelError: The base model or the judge cannot be found.
        AdapterError: An adapter of a folder is damaged, belongs to another base, has too large a rank or another's name, or would be
            applied in part only; or nothing of the registry may be served.
        ServingError: The key file is not valid, or the base has the name that is the judge's.
        StorageError: The registry's bucket cannot be read.
    """
    from ray import serve as ray_serve
    from ray.llm._internal.serve.core.configs.openai_api_models import to_model_metadata
    from ray.serve.llm import build_llm_deployment
    from ray.serve.llm.ingress import make_fastapi_ingress

    from character_ray.serving.http_app import make_app
    from character_ray.serving.ingress import ENDPOINTS, PersonaIngress
    from character_ray.serving.server import ModelServer, PersonaServer

    serve = settled(serve, engine)
    catalogue, left_out = open_catalogue(base, adapters, serve, registry, engine)
    _check_prewarm(catalogue, serve, left_out)
    lasting = keys_of_environment()
    folder, keys = resolve_model(base), gather_keys(serve.keys, lasting)
    config = _llm_config(catalogue, folder, serve, engine, followed=registry is not None)
    source = PersonaSource(
        base=base,
        folder=folder,
        # Other processes have other working directories; a link is followed anew at every look, as a secret's is.
        serve=serve.model_copy(
            update={"audit": serve.audit and serve.audit.resolve(), "keys": serve.keys and serve.keys.absolute()}
        ),
        fixed=catalogue.personas[: len(adapters)],
        registry=absolute_place(registry) if registry else None,
        targets=tuple(config.engine_kwargs["lora_target_modules"]),
        rank=config.engine_kwargs["max_lora_rank"],
        resident=config.engine_kwargs["max_cpu_loras"],
        candidates=serve.candidates or any(key.candidates for key in keys),
    )
    servers = {
        catalogue.base: build_llm_deployment(config, deployment_cls=PersonaServer, bind_kwargs={"source": source})
    }
    configs, tokens, places = {catalogue.base: config}, {catalogue.base: control_tokens(folder)}, {}
    if serve.judge is not None:
        judge_engine = engine_of_judge(serve.judge, engine)
        judge_serve = settings_of_judge(serve, judge_engine)
        judge_folder = resolve_model(serve.judge.model)
        configs[JUDGE] = _judge_config(judge_folder, judge_serve, judge_engine)
        tokens[JUDGE] = control_tokens(judge_folder)
        places[JUDGE] = places_of_judge(judge_serve, judge_engine)
        paced = {"messages_per_s": serve.stream_messages_per_s}
        servers[JUDGE] = build_llm_deployment(configs[JUDGE], deployment_cls=ModelServer, bind_kwargs=paced)
    options = {
        "num_replicas": serve.ingresses,
        "max_ongoing_requests": PersonaIngress.get_deployment_options()["max_ongoing_requests"],
        "ray_actor_options": {"num_cpus": 0, "runtime_env": {"env_vars": TRANSPORT}},
    }
    ingress: Any = ray_serve.deployment(
        make_fastapi_ingress(PersonaIngress, endpoint_map=ENDPOINTS, app=make_app(serve, keyed=bool(keys))), **options
    )
    application: Application = ingress.bind(
        catalogue=catalogue,
        source=source,
        control_tokens=tokens,
        places=places,
        keys=keys,
        lasting_keys=lasting,
        llm_deployments=servers,
        model_cards={name: to_model_metadata(name, each) for name, each in configs.items()},
    )
    return application


def _check_prewarm(catalogue: Catalogue, serve: ServeConfig, left_out: Collection[str]) -> None:
    slugs = [persona.slug for persona in catalogue.personas]
    unknown = [name for name in serve.prewarm or () if name not in slugs and name not in left_out]
    if unknown:
        raise ServingError(
            f"serve.prewarm names {', '.join(unknown)}, which is not served here. Served are {', '.join(slugs)}."
        )


def _llm_config(
    catalogue: Catalogue, folder: Path, serve: ServeConfig, engine: EngineConfig, followed: bool
) -> "LLMConfig":
    size = lora_size(max(persona.manifest.rank for persona in catalogue.personas))
    slots, resident = adapter_slots(serve, engine, folder, size, len(catalogue.personas), followed=followed)
    arguments = engine_kwargs(engine, size, slots) | {"max_cpu_loras": resident} | _front(serve, engine) | engine.vllm
    for persona in catalogue.personas:
        check_live(persona.folder, persona.manifest.persona, arguments["lora_target_modules"], folder)
    # Ray forgets an adapter beyond this number, and vLLM beyond max_cpu_loras: they must agree.
    lora = {"lora_config": {"max_num_adapters_per_replica": resident}}
    return _deployed(catalogue.base, folder, arguments, serve, engine, lora)


def _judge_config(folder: Path, serve: ServeConfig, engine: EngineConfig) -> "LLMConfig":
    return _deployed(JUDGE, folder, engine_kwargs(engine) | _front(serve, engine) | engine.vllm, serve, engine, {})


def _front(serve: ServeConfig, engine: EngineConfig) -> dict[str, Any]:
    """What an engine is told that answers clients, beside what one is told that completes rows."""
    interval = serve.stream_interval or (1 if engine.device == "cpu" else 4)
    return {"stream_interval": interval, "enable_prompt_tokens_details": True}


def _deployed(
    name: str, folder: Path, arguments: dict[str, Any], serve: ServeConfig, engine: EngineConfig, lora: dict[str, Any]
) -> "LLMConfig":
    from ray.serve.llm import LLMConfig

    environment = engine_environment(engine, alone=serve.judge is None and serve.max_replicas == 1)
    settings = {
        "model_loading_config": {"model_id": name, "model_source": str(folder)},
        "accelerator_config": {"kind": engine.device},
        "engine_kwargs": arguments,
        "placement_group_config": _placement(engine),
        "deployment_config": replica_options(serve, engine),
        "runtime_env": {"env_vars": TRANSPORT | environment},
    }
    return LLMConfig.model_validate(settings | lora)


def _placement(engine: EngineConfig) -> dict[str, Any]:
    if engine.device == "cpu":
        return {"bundles": [{"CPU": engine.cpus}]}
    return {"bundle_per_worker": {"CPU": engine.cpus, "GPU": 1}}
