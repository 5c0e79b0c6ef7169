"""What stays up from pass to pass answers under the weights it is asked for, and under no others."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from character_ray.config import EngineConfig, JudgeConfig, load_recipe
from character_ray.errors import RecipeError
from character_ray.inference import judge_actors
from character_ray.inference.kept_judges import _Bench
from character_ray.inference.talker import Talker
from character_ray.inference.weights import Weights
from character_ray.pipeline import base_pass
from character_ray.pipeline.context import Held
from character_ray.pipeline.ray_session import check_side_by_side

RECIPES = Path(__file__).resolve().parents[2] / "jobs" / "recipes"
BASE = Weights(Path("base"), ())
DPO = Weights(Path("dpo"), (), base=Path("base"))
OTHER = Weights(Path("other"), ())


class FakeEngine:
    """Reads weights as vLLM does, or fails to."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.errored = self.fails = False

    async def collective_rpc(self, method: str, kwargs: dict[str, str]) -> None:
        assert method == "reload_weights"
        if self.fails:
            raise OSError("half read")
        self.read.append(kwargs["weights_path"])

    async def reset_prefix_cache(self) -> bool:
        return True

    def shutdown(self) -> None:
        pass


class FakeTalker(Talker):
    """Says which weights it holds; a row that is ``slow`` waits until it is let go on."""

    def _start(self, weights: Weights) -> None:
        self.starts = [*getattr(self, "starts", []), str(weights.model)]
        self._engine = FakeEngine()
        self._weights, self._half_read = weights, False
        self.go_on = asyncio.Event()

    async def _answer(self, row):
        if row == "slow":
            await self.go_on.wait()
        return str(self._weights.model)


def talker() -> FakeTalker:
    return FakeTalker(BASE, EngineConfig(device="cpu"))


async def ask(talker: FakeTalker, weights: Weights, *rows: str) -> list[str]:
    return [json.loads(said) for said in await talker.answer([json.dumps(row) for row in rows], weights)]


def test_weights_of_one_base_are_read_and_of_another_start_an_engine():
    async def story() -> None:
        kept = talker()
        assert await ask(kept, BASE, "a") == ["base"]
        assert await ask(kept, DPO, "a", "b") == ["dpo", "dpo"]
        assert (kept.starts, kept._engine.read) == (["base"], ["dpo"])
        assert await ask(kept, OTHER, "a") == ["other"]
        assert kept.starts == ["base", "other"]

    asyncio.run(story())


def test_other_weights_wait_for_rows_that_are_under_way():
    async def story() -> None:
        kept = talker()
        slow = asyncio.create_task(ask(kept, BASE, "slow", "a"))
        await asyncio.sleep(0)
        other = asyncio.create_task(ask(kept, DPO, "a"))
        await asyncio.sleep(0.01)
        assert not kept._engine.read, "the engine read other weights under a row's feet"
        kept.go_on.set()
        assert await slow == ["base", "base"]
        assert await other == ["dpo"]

    asyncio.run(story())


def test_an_engine_that_failed_to_read_or_died_is_started_anew():
    async def story() -> None:
        kept = talker()
        await ask(kept, BASE, "a")
        kept._engine.fails = True
        with pytest.raises(OSError, match="half read"):
            await ask(kept, DPO, "a")
        # It may hold some of either: not even the weights it had are asked of it.
        assert await ask(kept, BASE, "a") == ["base"]
        assert kept.starts == ["base", "base"]
        kept._engine.errored = True
        assert await ask(kept, BASE, "a") == ["base"]
        assert kept.starts == ["base", "base", "base"]

    asyncio.run(story())


def test_judges_on_one_bench_load_their_model_once(monkeypatch):
    loaded: list[Path] = []
    monkeypatch.setattr(judge_actors, "_shared", None)
    monkeypatch.setattr(judge_actors, "_load", lambda folder, _: loaded.append(folder) or object())
    config = JudgeConfig(device="cpu")

    class Judge:
        def __init__(self, name: str) -> None:
            self.name, self.model = name, judge_actors.load_judge_model(Path("base"), config)

        def __call__(self, batch):
            return {"by": self.name}

    bench = _Bench()
    said = [bench.judge(Judge, (name,), {})["by"] for name in ("one", "one", "two", "one")]
    assert (said, loaded) == (["one", "one", "two", "one"], [Path("base")])


def test_the_shared_pass_of_many_personas_leaves_its_engines_to_their_own(monkeypatch):
    asked = []
    monkeypatch.setattr(base_pass, "generate", lambda *arguments: asked.append(arguments[-1]))
    held = Held()
    recipe = SimpleNamespace(shares_engine=True, student_engine=None)
    context = SimpleNamespace(recipe=recipe, base_weights=lambda: BASE, held=held)
    base_pass.flood(context, [])
    assert asked == [held.engines]


def test_runs_that_keep_gpus_are_not_put_side_by_side():
    check_side_by_side(load_recipe(RECIPES / "smollm2-full.yaml"), 1)
    check_side_by_side(load_recipe(RECIPES / "demo-cpu.yaml"), 4)
    with pytest.raises(RecipeError, match=r"3 runs side by side would each keep 0.6 GPUs .*student_engine.keep=false"):
        check_side_by_side(load_recipe(RECIPES / "smollm2-full.yaml"), 3)
