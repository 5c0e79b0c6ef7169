"""R6: judge seconds until every rating is known within 25 Elo points, ours over the naive way.

    python -m benchmarks.bench_evaluation --device cpu --output benchmarks/results/evaluation-cpu.json

The naive way generates a written verdict for every seating with no prefix cache, on as many prompts as were fixed beforehand. Ours reads
the verdict off one prefill behind a kept prefix, and stops when the ratings are known. So R6 is the product of two ratios, which are
recorded apart:

    seconds   of a seating: our A/B judge over vLLM that writes the verdict, the same model, the same seatings, taking turns
    battles   of simulated tournaments: mean of ours over the number of prompts that suffices in nine fields of ten, which is what
              somebody has to fix who may not look

What limits the naive way is decoding, token by token, and reading the constitution for every seating; what limits ours is reading the
second answers. ``R6_likelihood`` is the same with the likelihood judge, which reads every answer once, however many it meets. Both
judges are taken to err alike, so that a verdict is worth the same to both. The gates are the share of intervals that hold the true
rating where ours stops, and the difference of our verdicts from those of the same judge without any kept prefix.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.record import write_record
from character_ray.chat_safety import control_tokens
from character_ray.config import EngineConfig, JudgeConfig, ModelConfig, PromptsConfig
from character_ray.constitution import load_constitution, system_prompt
from character_ray.inference.ab_judge import REASONED, ABJudge, judge_messages
from character_ray.inference.kept_prefix import KeptPrefix
from character_ray.inference.likelihood import LikelihoodJudge
from character_ray.judging.audit import SeatedPair
from character_ray.judging.davidson import count_cells, fit_davidson, rate_with_ties
from character_ray.judging.rating import Battles
from character_ray.judging.schedule import all_pairs
from character_ray.models import resolve_model
from character_ray.prompts import training_prompts
from character_ray.stages.tournament import Entry, meetings, seated
from character_ray.vllm_options import engine_environment, engine_kwargs

CONSTITUTION = load_constitution(Path(__file__).parents[1] / "constitutions" / "captain-blackwood.yaml")
WITHOUT_LOOKING = 0.9
"""Share of fields in which a number of prompts that is fixed beforehand must suffice."""


class Writer:
    """vLLM without its prefix cache: answers for the judges to read, and verdicts in writing."""

    def __init__(self, model: Path, engine: EngineConfig) -> None:
        os.environ.update(engine_environment(engine))
        from vllm import LLM

        options = engine_kwargs(engine) | {"enable_prefix_caching": False}
        self._llm: Any = LLM(model=str(model), disable_log_stats=True, **options)

    def write(
        self, chats: Sequence[Any], max_tokens: int, seed: int, temperature: float = 0.0
    ) -> tuple[float, list[str], int]:
        """Seconds, texts and their tokens of one call."""
        from vllm import SamplingParams

        sampling = [
            SamplingParams(temperature=temperature, max_tokens=max_tokens, seed=seed + number)
            for number in range(len(chats))
        ]
        started = perf_counter()
        outputs = self._llm.chat(list(chats), sampling, use_tqdm=False)
        seconds = perf_counter() - started
        texts = [output.outputs[0].text.strip() for output in outputs]
        return seconds, texts, sum(len(output.outputs[0].token_ids) for output in outputs)

    def close(self) -> None:
        """End the engine's process."""
        self._llm.llm_engine.engine_core.shutdown()


def seatings(writer: Writer, prompts: int, players: int, answer_tokens: int, seed: int) -> list[SeatedPair]:
    """Every pair of contestants in both seats on every prompt, with answers that the model wrote."""
    asked = [each["prompt"] for each in training_prompts(PromptsConfig(grid=prompts, everyday=0), seed)][:prompts]
    chats = [[{"role": "user", "content": prompt}] for prompt in asked for _ in range(players)]
    _, texts, _ = writer.write(chats, answer_tokens, seed, temperature=0.8)
    entries = {
        (number, player): Entry(
            player=player, prompt_id=str(number), prompt=asked[number], completion=texts[number * players + player]
        )
        for number in range(prompts)
        for player in range(players)
    }
    return seated(meetings(dict.fromkeys(all_pairs(players), range(prompts))), entries)


def in_batches(judge: Any, rows: Sequence[Any], names: Sequence[str], size: int) -> tuple[float, list[float]]:
    """Seconds of a judge over all rows, and what it says, in their order."""
    started, found = perf_counter(), []
    for start in range(0, len(rows), size):
        batch = {name: [row[name] for row in rows[start : start + size]] for name in names}
        judged = judge({"row_id": list(range(len(batch[names[0]]))), **batch})
        found += [float(value) for value in judged.get("first_wins", judged.get("score"))]
    return perf_counter() - started, found


def measure(arguments: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of a seating by arm and repeat, and what else is worth recording."""
    model = resolve_model(ModelConfig())
    character, special = system_prompt(CONSTITUTION), control_tokens(model)
    on_cpu = arguments.device == "cpu"
    engine = EngineConfig(
        device=arguments.device,
        dtype="float32" if on_cpu else "bfloat16",
        max_model_len=2048,
        max_num_seqs=64 if on_cpu else 512,
        enforce_eager=on_cpu,
    )
    config = JudgeConfig(device=arguments.device, dtype="float32" if on_cpu else "bfloat16", batch_size=arguments.batch)
    writer = Writer(model, engine)
    judge, likelihood = ABJudge(str(model), character, config), LikelihoodJudge(str(model), character, config)
    arms: dict[str, list[float]] = {"naive": [], "letters": [], "likelihood": []}
    tokens, differences = [], []
    for repeat in range(arguments.repeats + 1):
        prompts = arguments.prompts if repeat else 1
        rows = seatings(writer, prompts, arguments.players, arguments.answer_tokens, 1000 * repeat)
        chats = [judge_messages(row, character, special, REASONED) for row in rows]
        naive_s, _, written = writer.write(chats, arguments.verdict_tokens, repeat)
        ordered = sorted(rows, key=lambda row: (len(row["prompt"] + row["first"]), row["prompt"], row["first"]))
        names = ("prompt", "first", "second")
        letters_s, verdicts = in_batches(judge, ordered, names, arguments.batch)
        answers = sorted({(row["prompt"], row["first"]) for row in rows}, key=lambda each: (len(each[0]), each))
        scored = [{"prompt": prompt, "completion": text} for prompt, text in answers if text]
        likelihood_s, _ = in_batches(likelihood, scored, ("prompt", "completion"), arguments.batch)
        if repeat == 0:  # warms up all three, and compares
            kept, judge._kept = judge._kept, KeptPrefix(judge._model, [])
            _, plain = in_batches(judge, ordered[:32], names, 1)
            judge._kept = kept
            differences = np.abs(np.array(plain) - verdicts[:32]).tolist()
            continue
        for name, seconds in (("naive", naive_s), ("letters", letters_s), ("likelihood", likelihood_s)):
            arms[name].append(seconds / len(rows))
        tokens.append(written / len(rows))
    writer.close()
    more = {"verdict_tokens": float(np.mean(tokens)), "largest_verdict_difference": max(differences)}
    return arms, more


def play(draw: np.random.Generator, strengths_P: np.ndarray, prompts: int, spread: float) -> Battles:
    """Every pair in both seats on every prompt, by a judge with a seat it likes and prompts that suit players differently."""
    first, second = np.nonzero(~np.eye(len(strengths_P), dtype=bool))
    own_CP = strengths_P + spread * draw.normal(size=(prompts, len(strengths_P)))
    gap = own_CP[:, first] - own_CP[:, second] + 0.2
    weights = np.stack([np.exp(gap / 2), np.full_like(gap, 0.5), np.exp(-gap / 2)], axis=-1)
    shares = (weights / weights.sum(-1, keepdims=True)).cumsum(-1)[..., :2]
    outcomes = 1 - (draw.random(gap.shape)[..., None] > shares).sum(-1) / 2
    seats = np.tile(np.stack([first, second], axis=1), (prompts, 1))
    return Battles(seats, outcomes.ravel(), np.repeat(np.arange(prompts), len(first)), 0)


def simulate(arguments: argparse.Namespace) -> tuple[list[int], float]:
    """Prompts until every rating is known within the points, by field, and the share of intervals there that hold the truth."""
    draw = np.random.default_rng(arguments.seed)
    needed, covered = [], []
    for field in range(arguments.fields):
        strengths_P = draw.normal(0, arguments.field_spread, arguments.players)
        population = play(draw, strengths_P, 4000, arguments.prompt_spread)
        cells = count_cells(population, arguments.players, 4000)
        truth_P = fit_davidson(cells, cells.total_KO).ratings_P
        battles = play(draw, strengths_P, arguments.most, arguments.prompt_spread)
        for prompts in range(arguments.round, arguments.most + 1, arguments.round):
            seen = battles.prompts_N < prompts
            part = Battles(battles.seats_N2[seen], battles.outcomes_N[seen], battles.prompts_N[seen], 0)
            rated = rate_with_ties(part, arguments.players, prompts, seed=field, resamples=400)
            if rated.half_width <= arguments.points:
                break
        else:
            raise SystemExit(f"{arguments.most} prompts do not suffice for {arguments.points} points; raise --most")
        needed.append(prompts)
        covered += [each.low <= true <= each.high for each, true in zip(rated.ratings, truth_P, strict=True)]
    return needed, float(np.mean(covered))


def main() -> None:
    """Measure, simulate, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--players", type=int, default=5)
    parser.add_argument(
        "--prompts", type=int, default=2, help="prompts of a repeat; each is judged in every pair and seat"
    )
    parser.add_argument("--answer-tokens", type=int, default=48)
    parser.add_argument("--verdict-tokens", type=int, default=200, help="longest written verdict")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--points", type=float, default=25.0)
    parser.add_argument("--fields", type=int, default=200, help="simulated tournaments")
    parser.add_argument("--field-spread", type=float, default=0.6, help="spread of the contestants' strengths, nats")
    parser.add_argument("--prompt-spread", type=float, default=0.5, help="spread of a strength over prompts, nats")
    parser.add_argument("--round", type=int, default=16)
    parser.add_argument("--most", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    needed, coverage = simulate(arguments)
    fixed = float(np.quantile(needed, WITHOUT_LOOKING))
    battles = float(np.mean(needed)) / fixed
    print(f"prompts: {np.mean(needed):.0f} on average, {fixed:.0f} when fixed; coverage {coverage:.3f}", flush=True)
    arms, more = measure(arguments)
    seconds = {name: median(values) / median(arms["naive"]) for name, values in arms.items()}
    write_record(
        arguments.output,
        "benchmarks.bench_evaluation",
        {
            "R6": battles * seconds["letters"],
            "R6_likelihood": battles * seconds["likelihood"],
            "R6_seconds": seconds["letters"],
            "R6_battles": battles,
        },
        arms,
        {"R6": f"judge seconds to {arguments.points:g} Elo points; arms are seconds of a seating"},
        vars(arguments),
        prompts_needed={"mean": float(np.mean(needed)), "fixed": fixed, "fields": len(needed)},
        gates={"coverage": coverage, **more},
    )
    if not 0.93 <= coverage <= 0.97:
        raise SystemExit(f"{coverage:.3f} of the intervals hold the true rating, not 0.93 to 0.97")


if __name__ == "__main__":
    main()
