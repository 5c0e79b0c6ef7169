"""The persona tax: what a model could do before and can still do after, on tasks whose answers are checked exactly.

No judge is involved. A persona may put the right answer in its own words, so arithmetic looks for the number anywhere; a format that
was asked for must be kept to the letter, since a program reads it.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from character_ray.prompts.files import read_data
from character_ray.rows import content_hash

__all__ = ["KINDS", "Choice", "Task", "choices", "compose_tasks", "solves"]

KINDS = ("arithmetic", "words", "json", "list", "capitals", "ending")


@dataclass(frozen=True)
class Task:
    """One question whose answer a program can check."""

    task_id: str
    kind: str
    prompt: str
    expected: Any
    """The number, the count, the keys or the ending; ``None`` where the kind says it all."""


@dataclass(frozen=True)
class Choice:
    """One question with options, the right one first."""

    task_id: str
    question: str
    options: tuple[str, ...]


def compose_tasks(per_kind: int, seed: int) -> list[Task]:
    """As many different tasks of each kind, drawn by seed.

    Raises:
        ValueError: A kind cannot be composed in so many ways.
    """
    data = read_data("tasks.yaml")
    tasks: list[Task] = []
    for kind in KINDS:
        draw = random.Random(f"{kind}-{seed}")
        found: dict[str, Task] = {}
        for _ in range(50 * per_kind):
            if len(found) == per_kind:
                break
            task = _compose(kind, draw.choice(data[kind]), data, draw)
            found.setdefault(task.task_id, task)
        if len(found) < per_kind:
            raise ValueError(
                f"only {len(found)} different tasks of the kind {kind} can be composed, {per_kind} were asked for"
            )
        tasks += found.values()
    return tasks


def choices() -> list[Choice]:
    """The packaged multiple-choice questions."""
    return [
        Choice(content_hash("choice", each["question"]), each["question"], tuple(each["options"]))
        for each in read_data("tasks.yaml")["choice"]
    ]


def solves(task: Task, answer: str) -> bool:
    """Whether the answer does what was asked, checked to the letter."""
    return _CHECKS[task.kind](answer.strip(), task.expected)


def _compose(kind: str, form: str, data: dict[str, Any], draw: random.Random) -> Task:
    filled: dict[str, Any] = {"thing": draw.choice(data["things"]), "phrase": draw.choice(data["phrases"])}
    filled["count"] = draw.randint(3, 6)
    expected: Any = {"words": filled["count"], "list": filled["count"], "ending": filled["phrase"]}.get(kind)
    if kind == "json":
        expected = sorted(re.findall(r'"(\w+)"', form))
    if kind == "arithmetic":
        a, b = draw.randint(6, 40), draw.randint(2, 9)
        filled |= {"a": a, "b": b}
        expected = a - b if "minus" in form else a * b if "times" in form else a + b
        if expected in (a, b):  # repeating the question would count as an answer
            return _compose(kind, form, data, draw)
    prompt = form.format(**filled)
    return Task(content_hash(kind, prompt), kind, prompt, expected)


def _has_number(answer: str, expected: int) -> bool:
    """Whether the number stands in the answer by itself, not as part of another."""
    return re.search(rf"(?<![\d.,-]){expected}(?!\d|[.,]\d)", answer) is not None


def _is_object(answer: str, keys: Sequence[str]) -> bool:
    """Whether the whole answer is a JSON object with these keys; a code fence around it is allowed."""
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", answer, re.DOTALL)
    try:
        value = json.loads(fenced[1] if fenced else answer)
    except json.JSONDecodeError:
        return False
    return isinstance(value, dict) and sorted(value) == list(keys)


def _is_list(answer: str, count: int) -> bool:
    lines = [line for line in answer.splitlines() if line.strip()]
    return len(lines) == count and all(re.match(r"\s*[-\N{EN DASH}]\s*\S", line) for line in lines)


def _ends_with(answer: str, phrase: str) -> bool:
    return answer.rstrip(" .!\"'\N{RIGHT DOUBLE QUOTATION MARK}").casefold().endswith(phrase.casefold())


_CHECKS: dict[str, Callable[[str, Any], bool]] = {
    "arithmetic": _has_number,
    "words": lambda answer, count: len(re.findall(r"\w[\w'-]*", answer)) == count,
    "json": _is_object,
    "list": _is_list,
    "capitals": lambda answer, _: any(map(str.isalpha, answer)) and answer == answer.upper(),
    "ending": _ends_with,
}
