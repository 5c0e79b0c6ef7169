"""How much of what introspection reads is padding, with plain batches and with micro-batches of similar lengths.

    python -m benchmarks.measure_padding runs/captain/introspection/conversations.parquet --output benchmarks/results/padding-captain.json

Tokens of one epoch, padding included; where a step is bounded by products with the weights its time goes by them. Nothing is trained:
both arms cut the same steps, one in the order in which rows are drawn, the other as ``character_ray/training/micro_batches.py`` does. A
ratio is the tokens read ours ÷ plain; ``ideal`` in the record, the tokens there are ÷ plain, is what no padding at all would make of it.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.record import write_record
from character_ray.config import ModelConfig
from character_ray.models import resolve_model
from character_ray.parts import read_rows
from character_ray.training.examples import to_labelled
from character_ray.training.micro_batches import StepSampler, padded_tokens

# Rows of a step and of a micro-batch, for all workers together.
SHAPES = ((16, 2), (16, 4), (16, 8), (64, 4))


def main() -> None:
    """Measure every shape and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("--model", default=ModelConfig().name, help="whose template and tokenizer")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    lengths = _lengths(asked.conversations, asked.model, asked.max_length)
    arms: dict[str, list[float]] = {"tokens": [float(sum(lengths))]}
    ratios, ideal = {}, {}
    for batch, micro in SHAPES:
        name = f"{batch}_{micro}"
        samplers = [_sampler(lengths, batch, micro, seed) for seed in range(asked.seeds)]
        plain = arms[f"plain_{name}"] = [
            float(sum(padded_tokens(lengths, list(_in_order(step, micro))) for step in each.steps(0)))
            for each in samplers
        ]
        ours = arms[f"ours_{name}"] = [float(padded_tokens(lengths, list(each))) for each in samplers]
        ratios[f"padding_{name}"] = sum(ours) / sum(plain)
        ideal[f"padding_{name}"] = sum(lengths) / (sum(plain) / len(plain))
    write_record(
        asked.output,
        "benchmarks.measure_padding",
        ratios,
        arms,
        {"padding": "tokens read in one epoch, padding included, once for each seed"},
        vars(asked) | {"rows": len(lengths), "longest": max(lengths)},
        ideal=ideal,
    )


def _lengths(path: Path, model: str, most: int) -> list[int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(ModelConfig(name=model)))
    rows = [row for row in read_rows(path) if not row["drop_reason"]]
    examples = (to_labelled(row["row_id"], row["messages"], tokenizer, "all_turns") for row in rows)
    return [min(len(example["input_ids"]), most) for example in examples]


def _sampler(lengths: Sequence[int], batch: int, micro: int, seed: int) -> StepSampler:
    return StepSampler(
        lengths,
        micro_batch_size=micro,
        accumulation=batch // micro,
        workers=1,
        rank=0,
        seed=seed,
        epoch=lambda _steps: 0,
    )


def _in_order(step: Sequence[int], micro: int) -> Iterator[Sequence[int]]:
    return (step[start : start + micro] for start in range(0, len(step), micro))


if __name__ == "__main__":
    main()
