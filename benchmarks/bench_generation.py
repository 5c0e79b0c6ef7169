"""R1, R2 and R3 of generation: what Ray costs beside bare vLLM, what caching the constitution gains, and what waiting costs.

    python -m benchmarks.bench_generation --device cpu --rows 96 --repeats 3 --output benchmarks/results/generation-cpu.json

R1 is our stage's rate divided by bare vLLM's over the same prompts with the same engine arguments: the better of ``vllm.LLM.chat`` and
of its asynchronous engine, which gets all prompts at once and tokenised beforehand. R2 is the gain of our stage by the prefix cache,
divided by the gain that the prefill and decode rates of the same run allow. R3 is the wall time of self-interaction with a barrier
after every turn, on the better of the two, divided by ours. One start of an engine serves all that is asked of it and counts in
nothing: bare vLLM's rate is that beyond a short run, and ours counts from the moment a quarter of the rows is done; its drain at the
end, which the bare rate is spared, counts. R3 takes the difference of a long and a short run on both sides.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.asked_model import add_model, asked_model
from benchmarks.bare_vllm import BARE, Bare, prompt_tokens
from benchmarks.our_generation import our_engine
from benchmarks.record import write_record
from benchmarks.workload import conversations, requests
from character_ray.config import EngineConfig
from character_ray.rows import Request


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
        asked = Asked(arguments, 1000 * repeat)
        for name, value in chain(of_bare(asked, engine, model), of_ours(asked, engine, model)):
            print(f"{name}: {value:.4g}", flush=True)
            arms.setdefault(name, []).append(value)
    return arms


class Asked:
    """The rows of one repeat, which no other repeat has cached."""

    def __init__(self, arguments: argparse.Namespace, seed: int) -> None:
        few, many, tokens, turns = arguments.rows // 4, arguments.rows, arguments.tokens, arguments.turns
        self.ratios = set(arguments.ratios)
        self.warm_up, self.few, self.many = (
            requests(rows, tokens, seed + kind) for rows, kind in ((few, 0), (few, 1), (many, 2))
        )
        self.first_talks, self.few_talks, self.many_talks = (
            conversations(talks, turns, seed + kind)
            for talks, kind in ((arguments.talks // 4, 3), (arguments.talks // 4, 4), (arguments.talks, 5))
        )


def of_bare(asked: Asked, engine: EngineConfig, model: Path) -> Iterator[tuple[str, float]]:
    """Bare vLLM's rates, each of its two forms started once, and what an ideal prefix cache would gain."""
    complete: list[float] = []
    talk: list[float] = []
    for name, kind in BARE.items() if asked.ratios & {"R1", "R3"} else ():
        bare = kind(model, engine)
        if "R1" in asked.ratios:
            bare.complete(asked.warm_up)
            complete.append(rate_beyond_start(bare.complete, asked.few, asked.many))
            yield f"bare_{name}", complete[-1]
        if "R3" in asked.ratios:
            bare.talk(asked.first_talks)
            talk.append(rate_beyond_start(bare.talk, asked.few_talks, asked.many_talks))
            yield f"bare_{name}_turn_barrier", talk[-1]
        bare.close()
    if complete:
        yield "bare", max(complete)
    if talk:
        yield "bare_turn_barrier", max(talk)
    if "R2" in asked.ratios:
        yield from ideal_gain(asked, _uncached(engine), model).items()


def ideal_gain(asked: Asked, uncached: EngineConfig, model: Path) -> dict[str, float]:
    """The gain of a prefix cache that prefill and decode rates allow.

    Without a cache T = P p + D d, for P prompt tokens, D completion tokens and seconds p and d a token; with an ideal one P shrinks
    to the tokens that no earlier row began with.
    """
    bare = Bare(model, uncached)
    bare.complete(asked.warm_up)
    first_token_s, rows = bare.complete([_one_token(request) for request in asked.many])
    whole_s, tokens = bare.complete(asked.many)
    bare.close()
    every_token, distinct_tokens = prompt_tokens(model, asked.many)
    decode_s = whole_s - first_token_s
    return {
        "ideal_gain": whole_s / (first_token_s * distinct_tokens / every_token + decode_s),
        "prefill_tokens_per_s": every_token / first_token_s,
        "decode_tokens_per_s": (tokens - rows) / decode_s,
    }


def of_ours(asked: Asked, engine: EngineConfig, model: Path) -> Iterator[tuple[str, float]]:
    """Our rates on one engine, and without its prefix cache on another."""
    with our_engine(model, engine) as ours:
        if asked.ratios & {"R1", "R2"}:
            yield "ours", ours.complete(asked.many)
        if "R3" in asked.ratios:
            ours.talk(asked.first_talks)
            yield "ours_self_interaction", rate_beyond_start(ours.talk, asked.few_talks, asked.many_talks)
    if "R2" in asked.ratios:
        with our_engine(model, _uncached(engine)) as ours:
            yield "ours_uncached", ours.complete(asked.many)


RATIOS = ("R1", "R2", "R3")


def ratios(medians: dict[str, float]) -> dict[str, float]:
    """The ratios that the measured arms allow."""
    found = {}
    if "bare" in medians:
        found["R1"] = medians["ours"] / medians["bare"]
    if "ours_uncached" in medians:
        found["R2"] = medians["ours"] / medians["ours_uncached"] / medians["ideal_gain"]
    if "bare_turn_barrier" in medians:
        found["R3"] = medians["ours_self_interaction"] / medians["bare_turn_barrier"]
    return found


def _uncached(engine: EngineConfig) -> EngineConfig:
    return engine.model_copy(update={"vllm": {**engine.vllm, "enable_prefix_caching": False}})


def _one_token(request: Request) -> Request:
    return {**request, "sampling": {**request["sampling"], "max_tokens": 1}}


def main() -> None:
    """Measure, print the ratios, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    add_model(parser)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seqs", type=int, default=32)
    parser.add_argument("--talks", type=int, default=24, help="self-interactions")
    parser.add_argument("--turns", type=int, default=10, help="of a self-interaction")
    parser.add_argument(
        "--block-size", type=int, help="tokens of a block of the prefix cache; vLLM's own choice by default"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ratios", nargs="+", choices=RATIOS, default=RATIOS)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    engine = EngineConfig(
        device=arguments.device,
        dtype="float32" if arguments.device == "cpu" else "bfloat16",
        max_model_len=4096,
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
