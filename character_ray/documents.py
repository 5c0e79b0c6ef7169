"""YAML documents that know where each value was written, so an error can name file, line and field.

Recipes and constitutions are both read through here: one way to load, one way to complain. All problems of
a file are reported at once.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

__all__ = ["Document", "Problem", "explain", "load_document", "read_document"]

FieldPath = tuple[str | int, ...]
# A few lines of YAML whose aliases repeat each other can stand for more values than fit into memory.
MAX_VALUES = 100_000

REMEDIES = {
    "string_type": "Write a text, in quotes where YAML would read something else.",
    "string_too_short": "Write something here.",
}
# What pydantic calls by the names of Python's types.
KINDS = {"tuple_type": "list", "list_type": "list", "model_type": "mapping", "dict_type": "mapping"}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a document, and what to do about it."""

    source: str
    line: int | None
    field: str
    message: str
    remedy: str

    def __str__(self) -> str:
        """Where, which field, what is wrong, what to do: on one line."""
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        field = f" {self.field}:" if self.field else ""
        return f"{where}:{field} {self.message}{' ' + self.remedy if self.remedy else ''}"


@dataclass(frozen=True)
class Document:
    """A YAML mapping with the line (1-based) on which each of its fields stands."""

    source: str
    data: dict[str, Any]
    lines: Mapping[FieldPath, int]
    overrides: tuple[tuple[FieldPath, str], ...] = ()
    """Fields that were set over the file, in their order, each with the text that set it."""

    def override_of(self, path: FieldPath) -> FieldPath | None:
        """The field whose override brought this one; ``None`` where the file did."""
        setting = [field for field, _ in self.overrides if path[: len(field)] == field]
        return setting[-1] if setting else None

    def overridden_below(self, path: FieldPath) -> list[str]:
        """The overrides of fields inside this one."""
        return [text for field, text in self.overrides if len(field) > len(path) and field[: len(path)] == path]

    def line_of(self, path: FieldPath) -> int | None:
        """Line of the field, or of the nearest parent that was written down."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return None


def load_document(path: Path, error: type[Exception]) -> Document:
    """The mapping in a YAML file, with the line of every field.

    Args:
        path: The file.
        error: Exception class to raise, so that recipes and constitutions fail under their own names.

    Raises:
        Exception: ``error``, when the file is missing, is not UTF-8 YAML, writes a key twice, or does not hold a mapping.
    """
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise error(f"{source}: no such file. Check the path, or list what is there: ls {path.parent}") from None
    except (OSError, UnicodeDecodeError) as cause:
        raise error(f"{source}: cannot be read as UTF-8 text ({cause}).") from cause
    document, problems = read_document(text, source)
    if document is None:
        raise error("\n".join(map(str, problems)))
    return document


def read_document(text: str, source: str) -> tuple[Document | None, list[Problem]]:
    """The mapping in a YAML text, or every reason why there is none.

    Args:
        text: The YAML.
        source: What problems call the place it comes from.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if _num_values(node, {}) > MAX_VALUES:
            message = f"its aliases stand for more than {MAX_VALUES:,} values."
            return None, [Problem(source, None, "", message, "Write the values out where they are used.")]
        data = yaml.safe_load(text)
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        message = f"not valid YAML: {getattr(cause, 'problem', None) or cause}."
        remedy = "Check the indentation and the quotes on that line."
        return None, [Problem(source, mark.line + 1 if mark else None, "", message, remedy)]
    except RecursionError:
        return None, [Problem(source, None, "", "lists or mappings are nested too deeply to be read.", "Flatten them.")]
    if not isinstance(data, dict):
        found = "nothing" if data is None else type(data).__name__
        message = f"a mapping of fields is expected at the top level, but the file holds {found}."
        return None, [Problem(source, None, "", message, "")]
    lines: dict[FieldPath, int] = {}
    repeated = list(_index(node, (), lines))
    if repeated:
        remedy = "Remove or rename one."
        return None, [
            Problem(source, line, "", f"{_dotted(path)} is written twice; only one can count.", remedy)
            for path, line in repeated
        ]
    return Document(source, data, lines), []


def explain(failure: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """Every problem pydantic found, in the order of the file, each with its line and its remedy.

    Args:
        failure: What ``model.model_validate(document.data)`` raised.
        document: Where the data came from.
        model: The model, whose field names serve the suggestions for misspelt keys.
    """
    problems = [_to_problem(detail, document, model) for detail in failure.errors()]
    return sorted(problems, key=lambda problem: (problem.line or 0, problem.field))


def _num_values(node: yaml.Node | None, known: dict[int, float]) -> float:
    """Values that a node stands for with every alias written out; infinite when it contains itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # what is met again before it is counted contains itself
        children = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_num_values(child, known) for child in children)
    return known[id(node)]


def _index(node: yaml.Node | None, path: FieldPath, lines: dict[FieldPath, int]) -> Iterable[tuple[FieldPath, int]]:
    """Fill ``lines``; yield the paths of keys that were written twice."""
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            child = (*path, key.value)
            lines[child] = key.start_mark.line + 1
            if key.value in seen:
                yield child, key.start_mark.line + 1
            seen.add(key.value)
            yield from _index(value, child, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            child = (*path, position)
            lines[child] = value.start_mark.line + 1
            yield from _index(value, child, lines)


def _to_problem(detail: ErrorDetails, document: Document, model: type[BaseModel]) -> Problem:
    path = tuple(detail["loc"])
    message, remedy = detail["msg"], ""
    override = document.override_of(path)
    match detail["type"]:
        case "extra_forbidden":
            known = _fields_of(model, path[:-1])
            close = difflib.get_close_matches(str(path[-1]), known, n=1)
            message = f"unknown key {path[-1]!r}."
            remedy = f"Did you mean {close[0]!r}?" if close else f"Known keys here: {', '.join(sorted(known))}."
        case "missing":
            message, remedy = "is required but missing.", "Add it."
        case "value_error":
            message = f"{_shown(detail['input'])}{detail['msg'].removeprefix('Value error, ')}"
        case kind if kind in KINDS:
            message = f"must be a {KINDS[kind]}, but the value is {detail['input']!r}."
            remedy = _how_to_write(KINDS[kind], path, model, override is not None)
        case _:
            message = f"{detail['msg']}, but the value is {detail['input']!r}."
            remedy = REMEDIES.get(detail["type"], "")
    if override is not None:
        return Problem(
            f"override {_dotted(override)}", None, "" if path == override else _dotted(path), message, remedy
        )
    source, line = document.source, document.line_of(path)
    if below := document.overridden_below(path):
        # The file and its overrides together: neither may be wrong by itself.
        source, line = f"{source if line is None else f'{source}:{line}'} with {', '.join(below)}", None
    return Problem(source, line, _dotted(path), message, remedy)


def _how_to_write(kind: str, path: FieldPath, model: type[BaseModel], overridden: bool) -> str:
    """How a list or a mapping is written in the place of a field."""
    field = _dotted(path)
    if kind == "list":
        return (
            f"Write {field}=[…, …]."
            if overridden
            else "Write [a, b], or one line each, beginning with a dash and a space."
        )
    section = _section_at(model, path)
    if section is None or not path or isinstance(path[-1], int):
        return "Write a mapping: its fields below it, indented."
    # A setting of its own rather than a section, where it has one.
    key = next((name for name, each in section.model_fields.items() if _section_in(each.annotation) is None), "…")
    return f"Write {field}.{key}=…." if overridden else f"Write {path[-1]}: {{{key}: …}}."


def _shown(value: Any) -> str:
    """The offending value before a message of our own, unless it is a whole section."""
    return f"{value!r} " if isinstance(value, str | int | float | bool) else ""


def _fields_of(model: type[BaseModel], path: FieldPath) -> list[str]:
    """Field names of the sub-model that ``path`` leads to."""
    section = _section_at(model, path)
    return list(section.model_fields) if section else []


def _section_at(model: type[BaseModel], path: FieldPath) -> type[BaseModel] | None:
    """The sub-model that ``path`` leads to."""
    current: type[BaseModel] | None = model
    for part in path:
        if not isinstance(part, str) or current is None:
            continue
        if part not in current.model_fields:
            return None
        current = _section_in(current.model_fields[part].annotation)
    return current


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, perhaps one of several or in a list."""
    candidates = [annotation, *get_args(annotation)]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _dotted(path: FieldPath) -> str:
    """``("examples", 0, "prompt")`` as a person writes it: ``examples[0].prompt``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
