"""The engine deployments: Ray's LLM server for a model alone, and with adapters from folders."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

from ray import serve
from ray.llm._internal.common.models import global_id_manager
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.utils.lora_serve_utils import LoraModelLoader
from ray.serve.llm import LLMConfig, LLMServer
from ray.serve.llm.openai_api_models import CompletionRequest

from character_ray.canary import Canary, check_canary
from character_ray.errors import AdapterError, RegistryError, StorageError
from character_ray.serving.engine import OneWorkerEngine
from character_ray.serving.metrics import EngineMetrics
from character_ray.serving.pacing import StreamPacer
from character_ray.serving.personas import Persona, pinned_copy
from character_ray.serving.source import PersonaSource

__all__ = ["FolderLoader", "ModelServer", "PersonaServer"]

logger = logging.getLogger("ray.serve")


class FolderLoader(LoraModelLoader):
    """Takes adapters from folders every replica sees, or from the registry, where Ray's own loader takes them from a bucket."""

    def __init__(self, source: PersonaSource, loaded: dict[str, Persona], **limits: Any) -> None:
        super().__init__(**limits)
        self._source = source
        self._loaded = loaded

    async def load_model_from_config(self, lora_model_id: str, llm_config: LLMConfig) -> DiskMultiplexConfig:
        """The adapter of an engine id, as a folder on this machine.

        Raises:
            AdapterError: The adapter was changed or removed since it was published.
        """
        persona = await asyncio.to_thread(self._find, lora_model_id)
        folder = await asyncio.to_thread(pinned_copy, persona)
        self._loaded[lora_model_id] = persona
        return DiskMultiplexConfig(
            model_id=lora_model_id,
            max_total_tokens=None,
            local_path=str(folder),
            lora_assigned_int_id=global_id_manager.next(),
        )

    def _find(self, engine_id: str) -> Persona:
        try:
            return self._source.find(engine_id.rpartition(":")[2])
        except (RegistryError, StorageError) as cause:
            raise AdapterError(str(cause)) from cause


class ModelServer(LLMServer):
    """Ray's server, with its worker in its own process where one is all there is, and streams that keep to a bound together."""

    # Ray Serve awaits the constructor of a deployment.
    async def __init__(self, llm_config: LLMConfig, messages_per_s: float, **options: Any) -> None:  # type: ignore[misc]
        self._pacer = StreamPacer(messages_per_s)
        accelerator: Any = llm_config.accelerator_config
        workers = llm_config.engine_kwargs["tensor_parallel_size"] * llm_config.engine_kwargs["pipeline_parallel_size"]
        if accelerator.kind == "cpu" and workers == 1:
            options.setdefault("engine_cls", OneWorkerEngine)
        await super().__init__(llm_config, **options)

    async def warm(self) -> bool:
        """Answer once the model is loaded."""
        return True

    def _batch_output_stream(self, generator: AsyncGenerator[Any, None]) -> AsyncGenerator[list[Any], None]:
        # Ray's own collects for a fixed time, which the first token of every answer would wait for.
        return self._pacer.stream(generator)


class PersonaServer(ModelServer):
    """With personas: a cold one is loaded once however many ask for it at the same time, and shows itself by its canary.

    Ray 2.60 lets all of them call vLLM's ``load_lora_adapter``, which refuses each but the first.
    """

    async def __init__(self, llm_config: LLMConfig, source: PersonaSource, **options: Any) -> None:  # type: ignore[misc]
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._personas: dict[str, Persona] = {}
        self._proven: set[str] = set()
        self._metrics = EngineMetrics()
        loader: Any = partial(FolderLoader, source, self._personas)
        await super().__init__(llm_config, source.serve.stream_messages_per_s, model_downloader=loader, **options)

    async def warm(self) -> bool:
        """Load the persona this call is multiplexed for.

        Raises:
            AdapterError: It may not be served.
        """
        await self._maybe_resolve_lora_from_multiplex()
        return True

    async def _maybe_resolve_lora_from_multiplex(self) -> None:
        engine_id = serve.get_multiplexed_model_id()
        async with self._loading[engine_id]:
            await super()._maybe_resolve_lora_from_multiplex()
            if engine_id and engine_id not in self._proven:
                persona = self._personas[engine_id]
                self._metrics.loads.inc(tags={"persona": persona.slug})
                await self._prove(engine_id, persona)
                self._proven.add(engine_id)

    async def _prove(self, engine_id: str, persona: Persona) -> None:
        if persona.canary is None:
            return
        try:
            check_canary(persona.canary, await self._answer(engine_id, persona.canary), engine_id)
        except AdapterError as error:
            self._metrics.canary_failures.inc(tags={"persona": persona.slug})
            logger.error("CANARY FAILED: %s", error)
            raise

    async def _answer(self, engine_id: str, canary: Canary) -> list[float]:
        """The engine's log-probabilities of the canary's answer."""
        request = CompletionRequest(
            model=engine_id,
            prompt=[*canary.prompt_ids, *canary.answer_ids],
            max_tokens=1,
            temperature=0,
            prompt_logprobs=0,
        )
        engine: Any = self.engine
        async for response in engine.completions(request):
            if not hasattr(response, "choices"):
                raise AdapterError(f"{engine_id}: the engine does not answer its canary ({response}).")
            scores = response.choices[0].prompt_logprobs[len(canary.prompt_ids) :]
            return [_logprob(each, token) for each, token in zip(scores, canary.answer_ids, strict=True)]
        raise AdapterError(f"{engine_id}: the engine does not answer its canary.")


def _logprob(position: dict[Any, Any], token: int) -> float:
    found: Any = position.get(token, position.get(str(token)))
    return float(found["logprob"] if isinstance(found, dict) else found.logprob)
