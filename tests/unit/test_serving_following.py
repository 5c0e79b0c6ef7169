"""What is loaded before anybody asks, and when the server says that it is ready."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from character_ray.adapters import BaseModelId, Manifest
from character_ray.config import ModelConfig, ServeConfig
from character_ray.errors import AdapterError
from character_ray.serving.catalogue import Catalogue
from character_ray.serving.following import FollowedCatalogue
from character_ray.serving.personas import Persona
from character_ray.serving.source import PersonaSource

SLUGS = ("captain", "poet", "tutor")


def catalogue() -> Catalogue:
    base = BaseModelId(name="tiny", hash="b")
    manifests = [
        Manifest(
            persona=slug.title(),
            slug=slug,
            stage="full",
            base_model=base,
            template_hash="t",
            constitution_hash="c",
            rank=4,
            weights_hash=f"of-{slug}",
        )
        for slug in SLUGS
    ]
    return Catalogue("tiny", "b", tuple(Persona(manifest, Path(manifest.slug)) for manifest in manifests))


class Engine:
    """Notes what it is asked to load, and how many were to be loaded then; the captain is damaged, and who ``hangs`` never comes."""

    def __init__(self, resident: int = 3, hangs: str = "", **settings: Any) -> None:
        source = PersonaSource(ModelConfig(), Path("base"), ServeConfig(**settings), resident=resident)
        self.asked: list[tuple[str, int]] = []
        self.hangs = hangs
        self.followed = FollowedCatalogue(catalogue(), source, self.warm, SimpleNamespace())

    async def warm(self, engine_id: str) -> None:
        slug = engine_id.rpartition(":")[2].partition("-")[0]
        self.asked.append((slug, len(self.followed.to_load)))
        if slug == "captain":
            raise AdapterError("damaged")
        if slug == self.hangs:
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("resident", "settings", "expected"),
    [
        (3, {}, [("captain", 3), ("poet", 2), ("tutor", 1)]),
        (2, {}, [("captain", 2), ("poet", 1)]),
        (3, {"prewarm": ["tutor"]}, [("tutor", 1)]),
        (3, {"prewarm": []}, []),
    ],
)
def test_what_stays_in_memory_is_loaded_unless_the_recipe_names_others(
    resident: int, settings: dict[str, Any], expected: list[tuple[str, int]]
):
    engine = Engine(resident, **settings)
    asyncio.run(engine.followed.load())
    assert engine.asked == expected
    assert engine.followed.to_load == [], "one that does not load keeps nobody waiting"


def test_one_that_hangs_keeps_the_others_waiting_only_a_while(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("character_ray.serving.following._LOAD_LIMIT_S", 0.1)
    engine = Engine(hangs="poet")
    asyncio.run(asyncio.wait_for(engine.followed.load(), 60))
    assert engine.asked == [("captain", 3), ("poet", 2), ("tutor", 1)]
    assert engine.followed.to_load == []
