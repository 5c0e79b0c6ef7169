"""Reference pages written from the code itself, so that they cannot drift from it.

    configs (pydantic, docstrings) -> every setting of a recipe      command line (Typer) -> every command and option
    report schema                  -> every field of report.json     measured run -> how well plans predict

``scripts/site.py`` calls this when the site is built.
"""

import ast
import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

NONE = "\N{EN DASH}"
ROOT = Path(__file__).resolve().parent.parent


def recipe_reference() -> str:
    """Every section of a recipe with its settings, types, defaults and descriptions."""
    from character_ray.config import Recipe

    parts = [
        "# Recipe settings\n",
        "A recipe is one YAML file. Every setting below may also be given after the file, as `section.key=value`; both go "
        "through the same checks, and a misspelt key is an error. This page is written from the source.\n",
        _settings("Recipe", "", Recipe),
    ]
    parts += [_settings(path, path, model) for path, model in sections(Recipe)]
    return "\n".join(parts)


def sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section inside a model by its dotted path, in the order of the source."""
    for name, info in model.model_fields.items():
        inner = section_of(info.annotation)
        if inner is not None:
            below = f"{path}.{name}" if path else name
            yield below, inner
            yield from sections(inner, below)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, if it holds one."""
    for part in [annotation, *get_args(annotation)]:
        if inspect.isclass(part) and issubclass(part, BaseModel):
            return part
    return None


def _settings(title: str, path: str, model: type[BaseModel]) -> str:
    heading = f"## `{path}`" if path else f"## {title}"
    lines = [
        f"{heading}\n",
        _text(inspect.getdoc(model) or "") + "\n",
        "| setting | type | default | |",
        "| --- | --- | --- | --- |",
    ]
    for name, info in model.model_fields.items():
        inner = section_of(info.annotation)
        full = f"{path}.{name}" if path else name
        kind = (
            f"[section](#{full.replace('.', '')})"
            if inner
            else f"{_type(info.annotation)}{_bounds(info)}".replace("|", "&#124;")
        )
        lines.append(f"| `{name}` | {kind} | {_default(info, inner)} | {_text(info.description or '')} |")
    return "\n".join(lines) + "\n"


def _type(annotation: Any) -> str:
    if annotation is NoneType:
        return "null"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, UnionType):
        return " | ".join(_type(argument) for argument in arguments)
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"{_type(arguments[0])}: {_type(arguments[1])}"
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    return {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "true | false",
        "Path": "path",
        "Any": "any",
    }.get(getattr(annotation, "__name__", str(annotation)), getattr(annotation, "__name__", str(annotation)))


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [f"{signs[key]} {getattr(item, key):g}" for item in info.metadata for key in signs if hasattr(item, key)]
    return f", {', '.join(found)}" if found else ""


def _default(info: FieldInfo, inner: type[BaseModel] | None) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if inner is not None:
        return NONE if value is None or value == () else "see there"
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (tuple, list)):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{value}`" if str(value) else '`""`'


def _text(text: str) -> str:
    """A docstring as one line of Markdown."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.split())).replace("``", "`")
    # A bar outside of code ends a cell.
    return "`".join(part if at % 2 else part.replace("|", "&#124;") for at, part in enumerate(text.split("`")))


def command_reference() -> str:
    """Every command with its arguments and options, as ``--help`` shows them."""
    from character_ray.cli import app

    group = typer.main.get_command(app)
    parts = [
        "# Command line\n",
        "Errors made on purpose are printed without a stack trace and end with status 1. This page is written from the source; "
        "`character-ray COMMAND --help` says the same.\n",
    ]
    parts += [_command(path, command) for path, command in commands(group, "character-ray")]
    return "\n".join(parts)


def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command below a group, by what is typed."""
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")


def _command(path: str, command: Any) -> str:
    level = "###" if path.count(" ") > 1 else "##"
    lines = [f"{level} {path}\n", " ".join((command.help or "").split()) + "\n"]
    if hasattr(command, "commands"):
        return "\n".join(lines)
    shown = [parameter for parameter in command.params if parameter.name != "help"]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    usage = [path, *(_argument(p) for p in arguments), *(["[OPTIONS]"] if options else [])]
    lines.append(f"```text\n{' '.join(usage)}\n```\n")
    if shown:
        lines += ["| | value | default | |", "| --- | --- | --- | --- |"]
    for parameter in [*arguments, *options]:
        names = (
            f"`{_argument(parameter)}`" if parameter in arguments else ", ".join(f"`{name}`" for name in parameter.opts)
        )
        kind = "flag" if getattr(parameter, "is_flag", False) else _value(parameter)
        kind += ", may be repeated" if parameter.multiple or parameter.nargs == -1 else ""
        default = (
            ""
            if parameter.default in (None, (), [], "", False) or callable(parameter.default)
            else f"`{_plain(parameter.default)}`"
        )
        default = "required" if parameter.required else default
        lines.append(f"| {names} | {kind} | {default} | {_text(getattr(parameter, 'help', '') or '')} |")
    return "\n".join(lines) + "\n"


def _value(parameter: Any) -> str:
    """What an argument or option takes."""
    shown = _type(parameter.type_descriptor.annotation).removesuffix(" | null").removeprefix("list of ")
    low, high = parameter.min, parameter.max
    bounds = [f"≥ {low}"] * (low is not None) + [f"≤ {high}"] * (high is not None)
    return _text(", ".join([shown, *bounds]))


def _argument(parameter: Any) -> str:
    name = parameter.name.upper()
    name += " ..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _plain(value: Any) -> str:
    return str(value.value if isinstance(value, enum.Enum) else value)


def report_reference() -> str:
    """Every field of ``report.json``, from its schema."""
    from character_ray.report.schema import Report

    parts = [
        "# Fields of report.json\n",
        "What the numbers mean and where they mislead: [Evaluation](../guides/evaluation.md). The JSON Schema lies in the package, "
        "`character_ray/report/report.schema.json`. This page is written from the source.\n",
    ]
    seen: set[str] = set()
    waiting: list[type[BaseModel]] = [Report]
    while waiting:
        model = waiting.pop(0)
        if model.__name__ in seen:
            continue
        seen.add(model.__name__)
        lines = [
            f"## {model.__name__}\n",
            _text(inspect.getdoc(model) or "") + "\n",
            "| field | type | |",
            "| --- | --- | --- |",
        ]
        for name, info in model.model_fields.items():
            inside = [part for part in _models(info.annotation) if part.__name__ != model.__name__]
            waiting += inside
            kind = re.sub(
                r"\b(\w+)\b",
                lambda m, names=frozenset(p.__name__ for p in inside): _linked(m[1], names),
                _type(info.annotation),
            )
            lines.append(f"| `{name}` | {kind.replace('|', '&#124;')} | {_text(info.description or '')} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _linked(word: str, names: frozenset[str]) -> str:
    return f"[{word}](#{word.lower()})" if word in names else word


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for part in [annotation, *get_args(annotation)]:
        if inspect.isclass(part) and issubclass(part, BaseModel):
            yield part
        elif part is not annotation and get_args(part):
            yield from _models(part)


def plan_check() -> str:
    """The table of predicted and measured seconds of the measured run."""
    from character_ray.plan import compare_with
    from character_ray.report.io import load_report

    report = load_report(ROOT / "docs" / "results" / "smollm2-full" / "report.json")
    lines = ["| stage | predicted, s | measured, s | error |", "| --- | ---: | ---: | ---: |"]
    for each in compare_with(report, talk_apart=True):
        error = f"{each.error:+.0%}" if each.predicted_s and each.measured_s else NONE
        name = f"**{each.stage}**" if each.stage == "whole run" else each.stage
        lines.append(f"| {name} | {each.predicted_s:.0f} | {each.measured_s:.0f} | {error} |")
    return "\n".join(lines)


def api_pages() -> dict[str, str]:
    """One page for every part of the package that has public names; filled from docstrings when the site is built."""
    pages, firsts = {}, {}
    for path in sorted((ROOT / "character_ray").iterdir()):
        name = path.stem
        if (
            name.startswith("_")
            or (path.is_dir() and not (path / "__init__.py").is_file())
            or path.suffix not in ("", ".py")
        ):
            continue
        source = (path / "__init__.py" if path.is_dir() else path).read_text(encoding="utf-8")
        if name != "cli" and re.search(r"^__all__ = ", source, re.MULTILINE):
            pages[f"reference/api/{name}.md"] = f"# character_ray.{name}\n\n::: character_ray.{name}\n"
            firsts[name] = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    lines = [f"- [`{name}`]({name}.md): {_text(first)}" for name, first in firsts.items()]
    head = "# Python\n\nThe parts with public names; which may import which: [design](../../design.md). Written from docstrings.\n"
    return pages | {"reference/api/index.md": "\n".join([head, *lines, ""])}
