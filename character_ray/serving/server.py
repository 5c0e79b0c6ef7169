"""The engine deployment: Ray's LLM server with adapters from folders."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.llm._internal.common.models import global_id_manager
from ray.llm._internal.serve.core.configs.llm_config import DiskMultiplexConfig
from ray.llm._internal.serve.utils.lora_serve_utils import LoraModelLoader
from ray.serve.llm import LLMConfig, LLMServer

from character_ray.serving.personas import Persona, pinned_copy

__all__ = ["FolderLoader", "PersonaServer"]


class FolderLoader(LoraModelLoader):
    """Takes adapters from folders every replica sees, where Ray's own loader takes them from a bucket."""

    def __init__(self, personas: Mapping[str, Persona], **limits: Any) -> None:
        super().__init__(**limits)
        self._personas = personas

    async def load_model_from_config(self, lora_model_id: str, llm_config: LLMConfig) -> DiskMultiplexConfig:
        """The adapter of an engine id, as a folder on this machine.

        Raises:
            AdapterError: The adapter was changed or removed since the deployment was built.
        """
        folder = await asyncio.to_thread(pinned_copy, self._personas[lora_model_id])
        return DiskMultiplexConfig(
            model_id=lora_model_id,
            max_total_tokens=None,
            local_path=str(folder),
            lora_assigned_int_id=global_id_manager.next(),
        )


class PersonaServer(LLMServer):
    """Ray's server, but a cold persona is loaded once however many requests ask for it at the same time.

    Ray 2.60 lets all of them call vLLM's ``load_lora_adapter``, which refuses each but the first.
    """

    # Ray Serve awaits the constructor of a deployment.
    async def __init__(self, llm_config: LLMConfig, **options: Any) -> None:  # type: ignore[misc]
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        await super().__init__(llm_config, **options)

    async def _maybe_resolve_lora_from_multiplex(self) -> None:
        async with self._loading[serve.get_multiplexed_model_id()]:
            await super()._maybe_resolve_lora_from_multiplex()
