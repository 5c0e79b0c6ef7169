"""R1, R2 and R3 of generation: what Ray costs beside bare vLLM, what caching the constitution gains, and what waiting costs.

    python -m benchmarks.bench_generation --device cpu --rows 96 --repeats 3 --output benchmarks/results/generation-cpu.json

R1 is our stage's rate divided by bare vLLM's over the same prompts with the same engine arguments: the better of one ``vllm.LLM.chat``
and of its asynchronous engine, which gets all prompts at once and tokenised beforehand. R2 is the gain
of our stage by the prefix cache, divided by the gain that the prefill and decode rates of the same run allow. R3 is the
wall time of self-interaction with a barrier after every turn, on the better of the two, divided by ours. The start of an engine is in none:
bare vLLM's rate is that beyond a short run, and ours counts from the moment a quarter of the rows is done; its drain at the end, which
the bare rate is spared, counts. R3 takes the difference of a long and a short run on both sides. The arms take turns.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.asked_model import add_model, asked_model
from benchmarks.bare_vllm import BARE, Bare, prompt_tokens
from benchmarks.record import write_record
from benchmarks.workload import conversations, requests
from character_ray.chat_safety import control_tokens
from character_ray.config import EngineConfig
from character_ray.inference.generate import Weights, generate
from character_ray.inference.kept_engines import KeptEngines
from character_ray.inference.passes import Generation, SelfInteraction
from character_ray.parts import read_rows
from character_ray.rows import Dialogue, Request
from character_ray.runs import Store


def ours_complete(weights: Weights, engine: EngineConfig, rows: Sequence[Request]) -> float:
    """Tokens per second of our stage, from the moment a quarter of its rows is done to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        generation = Generation(Store(folder).artefact("bench", {"rows": [row["row_id"] for row in rows]}), rows)
        _as_a_run_does([generation], weights, engine)
        parts = sorted(folder.rglob("part-*.parquet"))  # numbered in the order they were written
        done = tokens = 0
        began = ended = parts[0].stat().st_mtime
        for path in parts:
            ended, finished = path.stat().st_mtime, read_rows(path)
            if done < len(rows) / 4:
                began = ended
            else:
                tokens += sum(row["num_tokens"] for row in finished)
            done += len(finished)
        return tokens / (ended - began)


def ours_talk(weights: Weights, engine: EngineConfig, rows: Sequence[Dialogue]) -> tuple[float, int]:
    """Wall seconds and turns of our self-interaction, engine start included."""
    with tempfile.TemporaryDirectory() as folder:
        artefact = Store(Path(folder)).artefact("bench", {"rows": [row["row_id"] for row in rows]})
        started = monotonic()
        interactions = SelfInteraction(artefact, rows)
        _as_a_run_does([interactions], weights, engine)
        return monotonic() - started, sum(len(row["messages"]) - 1 for row in interactions.talks())


def _as_a_run_does(stages: Sequence[Generation | SelfInteraction], weights: Weights, engine: EngineConfig) -> None:
    """One pass, on engines that a run would keep where the engine's section does."""
    kept = KeptEngines()
    generate("ours", stages, weights, engine, kept)
    kept.end()


def rate_beyond_start(
    run: Callable[[Sequence[Any]], tuple[float, int]], short: Sequence[Any], long: Sequence[Any]
) -> float:
    """Units per second between a short and a long run, so that what both spend on starting and draining cancels."""
    short_s, short_units = run(short)
    long_s, long_units = run(long)
    return (long_units - short_units) / (long_s - short_s)


def measure(arguments: argparse.Namespace, engine: EngineConfig, model: Path) -> dict[str, list[float]]:
    """Every arm's repeats: tokens per second for R1 and R2, turns per second for R3, and what the ideal of R2 is made of."""
    arms: dict[str, list[float]] = {}
    for repeat in range(arguments.repeats):
        measured: dict[str, float] = {}
        for ratio in arguments.ratios:
            measured |= MEASURES[ratio](arguments, engine, model, 1000 * repeat)
        for name, value in measured.items():
            arms.setdefault(name, []).append(value)
        print(json.dumps({name: round(value, 3) for name, value in measured.items()}), flush=True)
    return arms


def measure_r1(arguments: argparse.Namespace, engine: EngineConfig, model: Path, seed: int) -> dict[str, float]:
    """Tokens per second of bare vLLM and of ours."""
    few, many = (requests(rows, arguments.tokens, seed + rows) for rows in (arguments.rows // 4, arguments.rows))
    rates = {}
    for name, kind in BARE.items():
        bare = kind(model, engine)
        bare.complete(few)
        rates[f"bare_{name}"] = rate_beyond_start(bare.complete, requests(len(few), arguments.tokens, seed + 1), many)
        bare.close()
    return rates | {"bare": max(rates.values()), "ours": _ours(model, engine, many)}


def measure_r2(arguments: argparse.Namespace, engine: EngineConfig, model: Path, seed: int) -> dict[str, float]:
    """Tokens per second of ours with and without prefix cache, and the gain that prefill and decode rates allow.

    Without a cache T = P p + D d, for P prompt tokens, D completion tokens and seconds p and d a token; with an ideal one P shrinks
    to the tokens that no earlier row began with.
    """
    few, many = (requests(rows, arguments.tokens, seed + 1 + rows) for rows in (arguments.rows // 4, arguments.rows))
    uncached = engine.model_copy(update={"vllm": {**engine.vllm, "enable_prefix_caching": False}})
    bare = Bare(model, uncached)
    bare.complete(few)
    first_token_s, rows = bare.complete([_one_token(request) for request in many])
    whole_s, tokens = bare.complete(many)
    bare.close()
    every_token, distinct_tokens = prompt_tokens(model, many)
    decode_s = whole_s - first_token_s
    ideal_s = first_token_s * distinct_tokens / every_token + decode_s
    return {
        "cached": _ours(model, engine, many),
        "uncached": _ours(model, uncached, many),
        "ideal_gain": whole_s / ideal_s,
        "prefill_tokens_per_s": every_token / first_token_s,
        "decode_tokens_per_s": (tokens - rows) / decode_s,
    }


def measure_r3(arguments: argparse.Namespace, engine: EngineConfig, model: Path, seed: int) -> dict[str, float]:
    """Turns per second of bare vLLM with a barrier after every turn, and of ours, beyond a short run."""
    turns = arguments.turns
    few, many = (conversations(rows, turns, seed + 2 + rows) for rows in (arguments.rows // 4, arguments.rows))
    barriers = {}
    for name, kind in BARE.items():
        bare = kind(model, engine)
        bare.talk(few)
        barriers[f"bare_{name}_turn_barrier"] = rate_beyond_start(
            bare.talk, conversations(len(few), turns, seed + 3), many
        )
        bare.close()
    weights = Weights(model, tuple(control_tokens(model)))
    with _ray():
        ours = rate_beyond_start(lambda rows: ours_talk(weights, engine, rows), few, many)
    return barriers | {"bare_turn_barrier": max(barriers.values()), "ours_self_interaction": ours}


MEASURES = {"R1": measure_r1, "R2": measure_r2, "R3": measure_r3}


def ratios(medians: dict[str, float]) -> dict[str, float]:
    """The ratios that the measured arms allow."""
    found = {}
    if "bare" in medians:
        found["R1"] = medians["ours"] / medians["bare"]
    if "cached" in medians:
        found["R2"] = medians["cached"] / medians["uncached"] / medians["ideal_gain"]
    if "bare_turn_barrier" in medians:
        found["R3"] = medians["ours_self_interaction"] / medians["bare_turn_barrier"]
    return found


def _ours(model: Path, engine: EngineConfig, rows: Sequence[Request]) -> float:
    with _ray():
        return ours_complete(Weights(model, tuple(control_tokens(model))), engine, rows)


def _one_token(request: Request) -> Request:
    return {**request, "sampling": {**request["sampling"], "max_tokens": 1}}


@contextmanager
def _ray() -> Iterator[None]:
    import ray

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def main() -> None:
    """Measure, print the ratios, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    add_model(parser)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seqs", type=int, default=32)
    parser.add_argument("--turns", type=int, default=10, help="of a self-interaction")
    parser.add_argument(
        "--block-size", type=int, help="tokens of a block of the prefix cache; vLLM's own choice by default"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ratios", nargs="+", choices=tuple(MEASURES), default=tuple(MEASURES))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    engine = EngineConfig(
        device=arguments.device,
        dtype="float32" if arguments.device == "cpu" else "bfloat16",
        max_model_len=2048,
        max_num_seqs=arguments.seqs,
        batch_size=max(1, arguments.seqs // 4),
        enforce_eager=arguments.device == "cpu",
        gpu_memory_utilization=0.8,
        vllm=({"block_size": arguments.block_size} if arguments.block_size else {})
        | ({"load_format": "dummy"} if arguments.shape else {}),
    )
    model_folder = asked_model(arguments, lambda folder: folder)
    arms = measure(arguments, engine, model_folder)
    medians = {name: statistics.median(values) for name, values in arms.items()}
    write_record(
        arguments.output,
        "benchmarks.bench_generation",
        ratios(medians),
        arms,
        {"R1": "tokens per second", "R2": "tokens per second, cached and uncached", "R3": "turns per second"},
        {**vars(arguments), "engine": engine.model_dump()},
    )


if __name__ == "__main__":
    main()
