"""The HTTP side of a deployment over an engine that is a fake."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ray.serve.llm.openai_api_models import ChatCompletionResponse
from starlette.testclient import TestClient

from character_ray.adapters import BaseModelId, Manifest
from character_ray.config import EngineConfig, ModelConfig, ServeConfig
from character_ray.manifest import JUDGE
from character_ray.serving.catalogue import Catalogue, SecondModel
from character_ray.serving.choosing import PersonaChooser
from character_ray.serving.http_app import make_app
from character_ray.serving.ingress import ENDPOINTS, PersonaIngress
from character_ray.serving.keys import ApiKey
from character_ray.serving.personas import Persona
from character_ray.serving.source import PersonaSource
from character_ray.serving.spread import settled

SECRET = "/nfs/secret/folder"


class FakeEngine:
    """Answers every chat with the model's name, or raises what it was told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.loads = 0
        self.read: list[Any] = []
        """Messages of the chats it was asked."""

    def options(self, **_: Any) -> "FakeEngine":
        return self

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=self._answer)

    @property
    def warm(self) -> Any:
        return SimpleNamespace(remote=self._loaded)

    async def _loaded(self) -> bool:
        self.loads += 1
        if self.error:
            raise self.error
        return True

    async def _answer(self, body: Any, _: Any):
        self.read.append(getattr(body, "messages", None))
        if self.error:
            raise self.error
        choice = {"index": 0, "message": {"role": "assistant", "content": body.model}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        yield ChatCompletionResponse(model=body.model, choices=[choice], usage=usage)


def pirate(folder: str = SECRET) -> Persona:
    """A persona of no weights."""
    manifest = Manifest(
        persona="Pirate",
        slug="pirate",
        stage="full",
        base_model=BaseModelId(name="tiny", hash="b"),
        template_hash="t",
        constitution_hash="c",
        rank=4,
        weights_hash="0123456789abcdef",
    )
    return Persona(manifest, Path(folder))


def start(
    *personas: Persona,
    keys: tuple[ApiKey, ...] = (),
    key_file: Path | None = None,
    chooser: PersonaChooser | None = None,
    judge: FakeEngine | None = None,
    judge_places: int = 4,
    **limits: Any,
) -> tuple[TestClient, FakeEngine, PersonaIngress]:
    serve = settled(ServeConfig(keys=key_file, **limits), EngineConfig())
    engine = FakeEngine()
    catalogue = Catalogue("tiny", "h", personas, judge=SecondModel("org/wise", "w") if judge else None)
    engines, tokens = {"tiny": engine}, {"tiny": ("<|im_start|>", "<|im_end|>")}
    if judge is not None:
        engines[JUDGE], tokens[JUDGE] = judge, ("[INST]",)
    source = PersonaSource(ModelConfig(name="tiny"), Path("nowhere"), serve, personas)

    async def make() -> PersonaIngress:
        ingress = PersonaIngress.__new__(PersonaIngress)
        await ingress.__init__(  # as Ray Serve does
            catalogue=catalogue,
            source=source,
            control_tokens=tokens,
            places={JUDGE: judge_places},
            keys=keys,
            chooser=chooser,
            llm_deployments=engines,
            model_cards=dict.fromkeys(engines),
        )
        return ingress

    ingress = asyncio.run(make())
    app = make_app(serve, keyed=bool(keys))
    for name, route in ENDPOINTS.items():
        route(app)(getattr(ingress, name))
    return TestClient(app, raise_server_exceptions=True), engine, ingress


def chat(client: TestClient, **changes: Any) -> Any:
    body = {"model": "pirate", "messages": [{"role": "user", "content": "hi"}]} | changes
    return client.post("/v1/chat/completions", json=body)
