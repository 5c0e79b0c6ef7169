"""Training and evaluation prompts: grid cells, everyday questions, the user's own, and hints that try to override the character.

Training and evaluation never meet: their cells are told apart by a hash of the cell, their hints and everyday prompts
stand in separate lists. A larger set of the same seed contains the smaller one, so that studies of size can subsample.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

from character_ray.config import PromptsConfig
from character_ray.errors import RecipeError
from character_ray.language import language_of
from character_ray.prompts.files import read_data
from character_ray.prompts.own import own_directives
from character_ray.rows import Hint, Prompt, Source, content_hash

__all__ = ["evaluation_prompts", "prompts_hash", "training_prompts"]

Split = Literal["train", "eval"]
Cell = tuple[str, str, str, str]
Item = TypeVar("Item")

HINTS: tuple[Hint, ...] = tuple(hint for hint in get_args(Hint) if hint)

# One cell in this many belongs to the evaluation.
EVALUATION_EVERY = 5


def training_prompts(config: PromptsConfig, seed: int) -> list[Prompt]:
    """The prompts pairs are made from: grid, everyday, other languages, the user's own; each in an order the seed alone decides.

    Raises:
        RecipeError: More are asked for than there are, or a source of the user's own cannot be read.
    """
    own = [
        _prompt(text, "own", language=language_of(text), directive=directive)
        for source in config.sources
        for text, directive in own_directives(source).items()
    ]
    return _prompts("train", config.grid, config.everyday, config.languages, own, config.override_share, seed)


def evaluation_prompts(
    grid: int, everyday: int, override_share: float, seed: int, languages: Mapping[str, int] | None = None
) -> list[Prompt]:
    """The prompts every arm answers; none of them, and none of their hints, is in any training set.

    Args:
        grid: Held-out grid prompts.
        everyday: Held-out everyday prompts.
        override_share: Share of each of the two that carries a hint.
        seed: Decides which are chosen; runs are comparable only under the same one.
        languages: Held-out everyday prompts in other languages, by code.

    Raises:
        RecipeError: More are asked for than there are.
    """
    return _prompts("eval", grid, everyday, languages or {}, [], override_share, seed)


def prompts_hash(prompts: Sequence[Prompt]) -> str:
    """Content hash of a prompt set, whatever its order."""
    return content_hash(sorted(prompt["prompt_id"] for prompt in prompts))


def _prompts(
    split: Split,
    grid: int,
    everyday: int,
    languages: Mapping[str, int],
    own: Sequence[Prompt],
    override_share: float,
    seed: int,
) -> list[Prompt]:
    cells = _ordered(_cells(split), split, seed)
    questions = _everyday(split, seed)
    _check_enough(split, "grid", grid, len(cells))
    _check_enough(split, "everyday", everyday, len(questions))
    # The second set takes the kinds backwards, so that over both together no kind is ahead of another by more than one.
    return [
        *_with_hints([_from_cell(cell) for cell in cells[:grid]], HINTS, split, override_share, seed),
        *_with_hints(
            [_prompt(text, "everyday") for text in questions[:everyday]], HINTS[::-1], split, override_share, seed
        ),
        *(_prompt(text, "language", language=code) for text, code in _foreign(split, languages, seed)),
        *_with_hints(own, HINTS, split, override_share, seed),
    ]


def _check_enough(split: Split, what: str, wanted: int, available: int) -> None:
    if wanted > available:
        key, use = ("prompts", "training") if split == "train" else ("evaluate", "evaluation")
        raise RecipeError(
            f"{key}.{what}={wanted} asks for more than the {available} {what} prompts set apart for {use}; taking the "
            "rest from the other side would test a model on what it was trained on. "
            f"Set {key}.{what} to at most {available}."
        )


def _cells(split: Split) -> list[Cell]:
    data = read_data("grid.yaml")
    every = itertools.product(data["audiences"], data["scenarios"], data["objectives"], data["constraints"])
    return [cell for cell in every if (_number(cell) % EVALUATION_EVERY == 0) == (split == "eval")]


def _everyday(split: Split, seed: int) -> list[str]:
    data = read_data("everyday.yaml")[split]
    if split == "eval":
        return _ordered(data, split, seed)
    composed = [
        form.format(topic=topic) for group in data["composed"] for topic in group["topics"] for form in group["forms"]
    ]
    return _ordered(data["written"], split, seed) + _ordered(composed, split, seed)


def _foreign(split: Split, languages: Mapping[str, int], seed: int) -> list[tuple[str, str]]:
    """Prompts in other languages, each with its code; without hints, whose wordings are English."""
    data, texts = read_data("languages.yaml"), []
    for code, wanted in languages.items():
        if code not in data:
            key = "prompts" if split == "train" else "evaluate"
            raise RecipeError(
                f"{key}.languages: there are no prompts in {code!r}. Known are {', '.join(data)}; prompts in other languages can "
                "be given as a file under prompts.sources."
            )
        _check_enough(split, f"languages.{code}", wanted, len(data[code][split]))
        texts += [(text, code) for text in _ordered(data[code][split], code, seed)[:wanted]]
    return texts


def _number(*parts: Any) -> int:
    return int(content_hash(*parts), 16)


def _ordered(items: Sequence[Item], *key: object) -> list[Item]:
    """The items in an order drawn by hash, which unlike a generator's stream is the same in every library version."""
    return sorted(items, key=lambda item: content_hash(*key, item))


def _from_cell(cell: Cell) -> Prompt:
    audience, scenario, objective, constraint = cell
    phrasings = read_data("grid.yaml")["phrasings"]
    text = phrasings[_number("phrasing", cell) % len(phrasings)].format(
        audience=audience,
        Audience=audience[0].upper() + audience[1:],
        scenario=scenario,
        objective=objective,
        constraint=constraint,
    )
    return _prompt(text, "grid", cell)


def _prompt(
    text: str, source: Source, cell: Cell = ("", "", "", ""), *, language: str = "en", directive: str = ""
) -> Prompt:
    audience, scenario, objective, constraint = cell
    return Prompt(
        prompt_id=content_hash(text),
        prompt=text,
        source=source,
        hint="",
        audience=audience,
        scenario=scenario,
        objective=objective,
        constraint=constraint,
        language=language,
        directive=directive,
    )


def _with_hints(
    prompts: Sequence[Prompt], kinds: Sequence[Hint], split: Split, share: float, seed: int
) -> list[Prompt]:
    """The prompts, a hint on every ``1 / share``-th of them: kinds in turn, the wordings of a kind in turn.

    Which prompt gets which hint depends on its position only, never on how many follow.
    """
    wordings = {kind: _ordered(read_data("hints.yaml")[kind][split], kind, seed) for kind in kinds}
    result, given = [], 0
    for position, prompt in enumerate(prompts, start=1):
        if round(position * share) == given:
            result.append(prompt)
            continue
        round_of_kinds, turn = divmod(given, len(kinds))
        kind = kinds[turn]
        result.append(_hinted(prompt, kind, wordings[kind][round_of_kinds % len(wordings[kind])], seed))
        given += 1
    return result


def _hinted(prompt: Prompt, kind: Hint, wording: str, seed: int) -> Prompt:
    before = _number("side", prompt["prompt_id"], seed) % 2 == 0
    text = f"{wording} {prompt['prompt']}" if before else f"{prompt['prompt']} {wording}"
    return {**prompt, "prompt_id": content_hash(text), "prompt": text, "hint": kind}
