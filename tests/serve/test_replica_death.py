"""Eight personas on two replicas: none answers as another, and a replica that is killed takes no request with it."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from openai import AsyncOpenAI

from benchmarks.random_adapters import write_adapters
from character_ray.config import EngineConfig, Recipe, ServeConfig
from character_ray.serving.interference import Mixed, Trace, judge
from character_ray.serving.interference_load import trace_of
from tests.serve.started import started

PERSONAS = 8
TOKENS = 6
PROMPTS = ("Who are you?", "What is the sea?")


class Deployment:
    """The process under test."""

    def __init__(self, process: psutil.Process, url: str, names: list[str]) -> None:
        self.process, self.url, self.names = process, url, names

    def client(self) -> AsyncOpenAI:
        """One that does not hide a failure by asking again."""
        return AsyncOpenAI(base_url=self.url, api_key="none", max_retries=0, timeout=180)

    def engines(self) -> list[psutil.Process]:
        """The replicas that hold an engine."""
        children = self.process.children(recursive=True)
        return [child for child in children if "ServeReplica" in _title(child) and "PersonaServer" in _title(child)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def deployment(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("two-replicas")
    recipe = Recipe(
        name="two-replicas",
        constitution=Path("constitutions/captain-blackwood.yaml"),
        student_engine=EngineConfig(
            device="cpu",
            dtype="float32",
            cpus=1,
            max_model_len=1024,
            max_num_seqs=8,
            kv_cache_gib=0.1,
            enforce_eager=True,
        ),
        serve=ServeConfig(max_loras=4, max_cpu_loras=PERSONAS, min_replicas=2, max_replicas=2),
    )
    adapters = write_adapters(base_model, folder / "adapters", PERSONAS, 4, recipe)
    with started(folder, *map(str, adapters)) as server:
        names = [adapter.name for adapter in adapters]
        yield Deployment(psutil.Process(server.process.pid), f"http://127.0.0.1:{server.port}/v1", names)


@pytest.fixture(scope="module")
def alone(deployment: Deployment) -> tuple[dict[str, list[Trace]], dict[str, list[Trace]]]:
    """Every persona's answers with nobody else being asked, twice."""

    async def answers() -> dict[str, list[Trace]]:
        async with deployment.client() as client:
            return {
                name: [await trace_of(client, name, prompt, TOKENS) for prompt in PROMPTS] for name in deployment.names
            }

    return asyncio.run(answers()), asyncio.run(answers())


async def mixed_load(deployment: Deployment, repeats: int, kill: bool) -> tuple[list[Mixed], list[Exception], int]:
    """Answers, failures and broken streams of a load in which every persona is asked; a replica is killed when a quarter is done."""
    answers: list[Mixed] = []
    failures: list[Exception] = []
    broken = 0
    room = asyncio.Semaphore(16)
    async with deployment.client() as client:

        async def whole(name: str, prompt: int) -> None:
            async with room:
                try:
                    answers.append(Mixed(name, prompt, await trace_of(client, name, PROMPTS[prompt], TOKENS)))
                except Exception as error:
                    failures.append(error)

        async def streamed(name: str) -> None:
            nonlocal broken
            async with room:
                pieces = 0
                try:
                    stream = await client.chat.completions.create(
                        model=name,
                        messages=[{"role": "user", "content": PROMPTS[0]}],
                        max_tokens=TOKENS,
                        stream=True,
                    )
                    async for _ in stream:
                        pieces += 1
                except Exception as error:
                    # A stream that has begun is not repeated, but it must not look finished.
                    broken += pieces > 0
                    if not pieces:
                        failures.append(error)

        async def killer() -> None:
            while len(answers) < repeats * len(deployment.names) * len(PROMPTS) / 4:
                await asyncio.sleep(0.05)
            deployment.engines()[0].kill()

        order = [(name, prompt) for _ in range(repeats) for prompt in range(len(PROMPTS)) for name in deployment.names]
        await asyncio.gather(
            *(whole(*each) for each in order),
            *(streamed(name) for name in deployment.names),
            *([killer()] if kill else []),
        )
    return answers, failures, broken


def test_every_answer_under_mixed_load_is_its_own_personas(deployment: Deployment, alone):
    answers, failures, broken = asyncio.run(mixed_load(deployment, repeats=2, kill=False))
    verdict = judge(*alone, answers)
    assert not failures and not broken
    assert verdict.clean, verdict
    assert not verdict.alike, "the personas of this test can be told apart"


def test_a_killed_replica_loses_no_request_and_confuses_no_persona(deployment: Deployment, alone):
    before = deployment.engines()
    assert len(before) == 2
    children = before[0].children(recursive=True)
    answers, failures, broken = asyncio.run(mixed_load(deployment, repeats=4, kill=True))
    assert not _alive(before[0])
    assert failures == []
    assert len(answers) == 4 * PERSONAS * len(PROMPTS)
    assert broken <= len(deployment.names)
    assert judge(*alone, answers).clean
    deadline = time.monotonic() + 60
    while any(_alive(child) for child in children):
        assert time.monotonic() < deadline, "the dead replica's engine lives on"
        time.sleep(0.5)
