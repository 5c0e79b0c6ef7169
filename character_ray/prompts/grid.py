"""Training and evaluation prompts: grid cells, everyday questions, and hints that try to override the character.

Training and evaluation never meet: their cells are told apart by a hash of the cell, their hints and everyday prompts stand in
separate lists. A larger set of the same seed contains the smaller one, so that studies of size can subsample.
"""

import functools
import importlib.resources
import itertools
import random
from collections.abc import Sequence
from typing import Any, Literal, get_args

import yaml

from character_ray.config import PromptsConfig
from character_ray.errors import RecipeError
from character_ray.rows import Hint, Prompt, Source, content_hash

__all__ = ["evaluation_prompts", "prompts_hash", "read_data", "training_prompts"]

Split = Literal["train", "eval"]
Cell = tuple[str, str, str, str]
HINTS: tuple[Hint, ...] = tuple(hint for hint in get_args(Hint) if hint)

# One cell in this many belongs to the evaluation.
EVALUATION_EVERY = 5


def training_prompts(config: PromptsConfig, seed: int) -> list[Prompt]:
    """The prompts pairs are made from, in an order that depends on the seed alone.

    Raises:
        RecipeError: More are asked for than there are.
    """
    return _prompts("train", config.grid, config.everyday, config.override_share, seed)


def evaluation_prompts(grid: int, everyday: int, override_share: float, seed: int) -> list[Prompt]:
    """The prompts every arm answers; none of them, and none of their hints, is in any training set.

    Raises:
        RecipeError: More are asked for than there are.
    """
    return _prompts("eval", grid, everyday, override_share, seed)


def prompts_hash(prompts: Sequence[Prompt]) -> str:
    """Content hash of a prompt set, whatever its order."""
    return content_hash(sorted(prompt["prompt_id"] for prompt in prompts))


@functools.cache
def read_data(name: str) -> Any:
    """A data file of this package."""
    return yaml.safe_load((importlib.resources.files("character_ray.prompts") / "data" / name).read_text(encoding="utf-8"))


def _prompts(split: Split, grid: int, everyday: int, override_share: float, seed: int) -> list[Prompt]:
    cells = _shuffled(_cells(split), "cells", split, seed)
    questions = _shuffled(_everyday(split), "everyday", split, seed)
    for wanted, available, what in ((grid, cells, "grid"), (everyday, questions, "everyday")):
        if wanted > len(available):
            raise RecipeError(
                f"{wanted:,} {what} prompts are asked for, but the {split} side has {len(available):,}. "
                f"Lower {'prompts' if split == 'train' else 'evaluate'}.{what}."
            )
    plain = [_from_cell(cell) for cell in cells[:grid]] + [_prompt(text, "everyday") for text in questions[:everyday]]
    return _with_hints(plain, split, override_share, seed)


def _cells(split: Split) -> list[Cell]:
    data = read_data("grid.yaml")
    every = itertools.product(data["audiences"], data["scenarios"], data["objectives"], data["constraints"])
    return [cell for cell in every if (int(content_hash(cell), 16) % EVALUATION_EVERY == 0) == (split == "eval")]


def _everyday(split: Split) -> list[str]:
    data = read_data("everyday.yaml")
    if split == "eval":
        return list(data["eval"])
    return [form.format(topic=topic) for topic in data["train"]["topics"] for form in data["train"]["forms"]]


def _shuffled(items: list[Any], *key: object) -> list[Any]:
    """A seeded order of all items, so that any number of them is a prefix of more."""
    random.Random(content_hash(*key)).shuffle(items)
    return items


def _from_cell(cell: Cell) -> Prompt:
    audience, scenario, objective, constraint = cell
    phrasings = read_data("grid.yaml")["phrasings"]
    phrasing = phrasings[int(content_hash("phrasing", cell), 16) % len(phrasings)]
    text = phrasing.format(
        audience=audience, Audience=audience[0].upper() + audience[1:], scenario=scenario, objective=objective, constraint=constraint
    )
    return _prompt(text, "grid", cell)


def _prompt(text: str, source: Source, cell: Cell = ("", "", "", ""), hint: Hint = "") -> Prompt:
    audience, scenario, objective, constraint = cell
    return Prompt(
        prompt_id=content_hash(text),
        prompt=text,
        source=source,
        hint=hint,
        audience=audience,
        scenario=scenario,
        objective=objective,
        constraint=constraint,
    )


def _with_hints(prompts: list[Prompt], split: Split, share: float, seed: int) -> list[Prompt]:
    """The prompts with hints on every ``1 / share``-th of them, kinds in turn, before or after the question."""
    wordings = {kind: read_data("hints.yaml")[kind][split] for kind in HINTS}
    result, carried = [], 0
    for number, prompt in enumerate(prompts):
        if int((number + 1) * share) <= carried:
            result.append(prompt)
            continue
        kind = HINTS[carried % len(HINTS)]
        draw = random.Random(content_hash("hint", prompt["prompt_id"], seed))
        hint = draw.choice(wordings[kind])
        text = f"{hint} {prompt['prompt']}" if draw.random() < 0.5 else f"{prompt['prompt']} {hint}"
        result.append(Prompt(**{**prompt, "prompt": text, "prompt_id": content_hash(text), "hint": kind}))
        carried += 1
    return result
