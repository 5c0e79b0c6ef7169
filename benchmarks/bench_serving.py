"""R5 and R5_base: what our deployment answers beside bare vLLM's own server, with many personas in one load.

    python -m benchmarks.bench_serving --device cpu --requests 32 --concurrency 8 --output benchmarks/results/serving-cpu.json

Both sides are servers in processes of their own, asked over HTTP by the same client processes: ``vllm serve`` with ``--enable-lora`` and a
slot for every adapter, and ``character-ray serve``. Engine arguments are the same; what differs is ours: the slots that may be in one
step (``--max-loras``) out of those held in memory. Every chat streams an answer of fixed length from a model drawn uniformly among A
adapters, A=0 being the base, under its persona's shared system prompt. R5 is our tokens per second at the most personas divided by bare
vLLM's there, R5_base by ours on the base alone. The arms take turns, each with its own engine start, which is not counted.
"""

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.asked_model import add_model, asked_model
from benchmarks.chat_load import Answer, ask, chats, lone_chat, run_load
from benchmarks.front_time import front_cpu_s
from benchmarks.random_adapters import mark_weights, slug_of, write_adapters
from benchmarks.record import write_record
from benchmarks.servers import free_port, served
from benchmarks.shapes import SHAPES
from character_ray.config import EngineConfig, ModelConfig, Recipe, ServeConfig
from character_ray.serving.catalogue import base_id
from character_ray.vllm_options import engine_environment, engine_kwargs, lora_size

DENSE = [name for name in SHAPES if "num_experts" not in SHAPES[name]]
WARM_UP = 100003
"""Added to a seed for requests that are not counted."""
COLD = 2
"""Personas that ours does not load before they are asked for; bare vLLM loads all adapters that its command line names."""


def vllm_flags(arguments: dict[str, Any]) -> list[str]:
    """Engine arguments as ``vllm serve`` takes them on its command line."""
    flags = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            flags += [f"--{flag}", *map(str, value)]
        elif isinstance(value, dict):
            flags += [f"--{flag}", json.dumps(value)]
        else:
            flags += [f"--{flag}", str(value)]
    return flags


@contextmanager
def bare(options: argparse.Namespace, recipe: Recipe, folder: Path, adapters: Sequence[Path]) -> Iterator[str]:
    """Bare vLLM's server as its documentation starts it, with all adapters named and a slot for each."""
    arguments = engine_kwargs(recipe.student_engine, lora_size(options.rank), len(adapters))
    arguments.pop("worker_extension_cls", None)  # how ours computes adapters
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    command += ["--disable-uvicorn-access-log"]
    command += ["--served-model-name", base_id(recipe.student), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--lora-modules", *(f"{path.name}={path}" for path in adapters), *vllm_flags(arguments)]
    log = options.scratch / "bare.log"
    plain = recipe.student_engine.model_copy(update={"lora_kernels": None})
    with served(command, port, log, options.start_limit_s, engine_environment(plain)) as url:
        yield url


@contextmanager
def ours(options: argparse.Namespace, recipe: Recipe, folder: Path, adapters: Sequence[Path]) -> Iterator[str]:
    """``character-ray serve`` on the adapters' folders; their manifests hold the recipe."""
    port = free_port()
    run = "from character_ray.cli import main; main()"
    command = [sys.executable, "-c", run, "serve", *map(str, adapters), "--port", str(port)]
    paths = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
    log = options.scratch / "ours.log"
    with served(command, port, log, options.start_limit_s, {"PYTHONPATH": paths}, "/ready") as url:
        yield url


ARMS = {"bare": bare, "ours": ours}


def measure(options: argparse.Namespace, url: str, base: str, slugs: Sequence[str], seed: int) -> dict[str, float]:
    """Tokens per second and time to first token by number of personas, after every adapter was asked twice, alone."""
    late = []
    for slug in slugs:
        first, second = (ask(url, lone_chat(slug, seed + WARM_UP + number)) for number in range(2))
        late.append(1000 * ((first.ended_s - first.sent_s) - (second.ended_s - second.sent_s)))
    found = {"prewarmed_ms": statistics.median(late[:-COLD]), "hot_load_ms": statistics.median(late[-COLD:])}
    for number in (0, *options.personas):
        models = list(slugs[:number]) or [base]
        run_load(
            url,
            chats(models, options.concurrency, options.warm_tokens, seed + WARM_UP + 2 + number, options.shared_words),
            options.concurrency,
            options.clients,
            options.load_limit_s,
        )
        bodies = chats(models, options.requests, options.tokens, seed + number, options.shared_words)
        before_s = front_cpu_s()
        answers = run_load(url, bodies, options.concurrency, options.clients, options.load_limit_s)
        front_s = front_cpu_s() - before_s
        found |= {f"{name}_{number}": value for name, value in summary(answers, front_s).items()}
    return found


def summary(answers: Sequence[Answer], front_s: float) -> dict[str, float]:
    """Output tokens per second from the first request to the last answer, the front's CPU time for each, time to the first token."""
    tokens = sum(answer.tokens for answer in answers)
    span = max(answer.ended_s for answer in answers) - min(answer.sent_s for answer in answers)
    first = sorted(1000 * (answer.first_s - answer.sent_s) for answer in answers)
    return {
        "tokens_per_s": tokens / span,
        "front_us": 1e6 * front_s / tokens,
        "ttft_p50_ms": statistics.median(first),
        "ttft_p95_ms": first[math.ceil(0.95 * len(first)) - 1],
    }


def ratios(medians: dict[str, float], personas: Sequence[int]) -> dict[str, float]:
    """The ratios that the measured arms allow; R5 and R5_base are those at the most personas."""
    found: dict[str, float] = {}
    most = max(personas)
    for number in personas:
        name = "" if number == most else f"_at_{number}"
        ours_rate = medians.get(f"ours_tokens_per_s_{number}")
        if ours_rate is None:
            continue
        if rate := medians.get(f"bare_tokens_per_s_{number}"):
            found[f"R5{name}"] = ours_rate / rate
        found[f"R5_base{name}"] = ours_rate / medians["ours_tokens_per_s_0"]
    for arm in ("bare", "ours"):
        if f"{arm}_tokens_per_s_{most}" in medians:
            found[f"{arm}_of_its_base"] = medians[f"{arm}_tokens_per_s_{most}"] / medians[f"{arm}_tokens_per_s_0"]
    if "bare_tokens_per_s_0" in medians and "ours_tokens_per_s_0" in medians:
        found["base_ours_of_bare"] = medians["ours_tokens_per_s_0"] / medians["bare_tokens_per_s_0"]
    return found


def recipe_of(options: argparse.Namespace, folder: Path) -> Recipe:
    """Engine and serve settings of both arms."""
    number = max(options.personas)
    cpu = options.device == "cpu"
    engine = EngineConfig(
        device=options.device,
        dtype="float32" if cpu else "bfloat16",
        max_model_len=2048,
        max_num_seqs=options.seqs or options.concurrency,
        enforce_eager=cpu or options.enforce_eager,
        gpu_memory_utilization=0.85,
        lora_kernels=options.lora_kernels and options.lora_kernels.resolve(),
        vllm=({"load_format": "dummy"} if options.shape else {})
        | ({"compilation_config": {"cudagraph_capture_sizes": options.graphs}} if options.graphs else {}),
    )
    model = ModelConfig(name=str(folder) if options.shape else options.model)
    return Recipe(
        name="bench-serving",
        constitution=Path("constitutions/captain-blackwood.yaml"),
        student=model,
        teacher=model,
        student_engine=engine,
        serve=ServeConfig(
            max_loras=options.max_loras or number,
            max_cpu_loras=number,
            prewarm=tuple(map(slug_of, range(number - COLD))),
            max_queued_requests=2 * options.concurrency,
            max_persona_requests=2 * options.concurrency,
            stream_messages_per_s=options.messages_per_s,
        ),
    )


def main() -> None:
    """Measure, print the ratios, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    add_model(parser, DENSE, "character-ray-serving")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=tuple(ARMS))
    parser.add_argument(
        "--personas", nargs="+", type=int, default=(1, 4, 16), help="numbers of adapters; 0 always runs"
    )
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--max-loras", type=int, help="adapters in one step of ours; as many as personas by default")
    parser.add_argument(
        "--messages-per-s",
        type=float,
        default=ServeConfig().stream_messages_per_s,
        help="that ours streams in; a message holds several tokens where more are streamed",
    )
    parser.add_argument("--lora-kernels", type=Path, help="tuned block sizes for ours (benchmarks.tune_lora_kernels)")
    parser.add_argument("--concurrency", type=int, help="chats at a time: 256 on a GPU, 8 on a CPU")
    parser.add_argument("--seqs", type=int, help="chats in one step of the engine; --concurrency by default")
    parser.add_argument("--requests", type=int, help="chats of a measurement; four times --concurrency by default")
    parser.add_argument("--tokens", type=int, help="of every answer: 128 on a GPU, 16 on a CPU")
    parser.add_argument("--shared-words", type=int, help="of a persona's system prompt: 200 on a GPU, 20 on a CPU")
    parser.add_argument("--warm-tokens", type=int, default=8)
    parser.add_argument("--clients", type=int, help="client processes: 6 on a GPU, 1 on a CPU")
    parser.add_argument("--repeats", type=int, default=3, help="engine starts of each arm")
    parser.add_argument("--graphs", nargs="+", type=int, help="batch sizes to capture; vLLM's choice by default")
    parser.add_argument("--enforce-eager", action="store_true")
    parser.add_argument("--start-limit-s", type=float, default=240)
    parser.add_argument("--load-limit-s", type=float, default=180)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    if max(options.personas) <= COLD:
        parser.error(f"--personas needs more than {COLD}, the number that is left to be loaded when asked for")
    gpu = options.device == "gpu"
    options.concurrency = options.concurrency or (256 if gpu else 8)
    options.requests = options.requests or 4 * options.concurrency
    options.tokens = options.tokens or (128 if gpu else 16)
    options.shared_words = options.shared_words or (200 if gpu else 20)
    options.clients = options.clients or (6 if gpu else 1)
    options.scratch = options.scratch.resolve()
    folder = asked_model(options, mark_weights)
    recipe = recipe_of(options, folder)
    adapters = write_adapters(folder, options.scratch / "adapters", max(options.personas), options.rank, recipe)
    arms: dict[str, list[float]] = {}
    for repeat in range(options.repeats):
        for name in options.arms:
            with ARMS[name](options, recipe, folder, adapters) as url:
                slugs = [path.name for path in adapters]
                found = measure(options, url, base_id(recipe.student), slugs, 1000 * repeat)
            print(json.dumps({f"{name}_{key}": round(value, 2) for key, value in found.items()}), flush=True)
            for key, value in found.items():
                arms.setdefault(f"{name}_{key}", []).append(value)
    medians = {name: statistics.median(values) for name, values in arms.items()}
    write_record(
        options.output,
        "benchmarks.bench_serving",
        ratios(medians, options.personas),
        arms,
        {
            "tokens_per_s_A": "output tokens per second with A adapters",
            "ttft": "ms",
            "front_us": "CPU time per output token of all processes but the engine's, what Ray does meanwhile included",
            "hot_load_ms": "first less second request to a persona that ours had not loaded",
            "prewarmed_ms": "the same of those loaded before anybody asked",
        },
        {**vars(options), "recipe": recipe.model_dump(mode="json")},
    )


if __name__ == "__main__":
    main()
