"""The constitution: a persona as a YAML document, in the seed's schema.

meta · persona {identity, voice} · directives {personality, behavior, constraints} · safety {refusals, boundaries} · examples
"""

import re
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, StringConstraints, ValidationError, field_validator

from character_ray.config import Config
from character_ray.documents import Document, Problem, explain, load_document, read_document
from character_ray.errors import ConstitutionError
from character_ray.rows import content_hash

__all__ = [
    "Constitution",
    "Directives",
    "Example",
    "Meta",
    "Persona",
    "Safety",
    "Voice",
    "load_constitution",
    "read_constitution",
    "to_yaml",
]


def _check_no_control_token(text: str) -> str:
    if re.search(r"<\|[^|<>]{1,40}\|>", text):
        raise ValueError("holds a control token of a chat template, which would end the turn it stands in. Remove it.")
    return text


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_check_no_control_token)]


class Meta(Config):
    """What the document is."""

    name: Text
    """The persona's name as it speaks of itself."""

    version: Text = "1.0"
    """Version of the document."""

    description: str = ""
    """One line for people; it does not reach the model."""

    author: str = ""
    """Who wrote it."""


class Voice(Config):
    """How the persona sounds."""

    tone: str = ""
    """For instance ``gruff but warm``."""

    formality: str = ""
    """For instance ``informal``."""

    vocabulary: tuple[Text, ...] = ()
    """Words that are the persona's own; the share of completions using one is reported and nothing selects on it."""

    @field_validator("vocabulary")
    @classmethod
    def _check_distinct(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        _check_no_repeats(words)
        return words


class Persona(Config):
    """Who the persona is."""

    identity: Text
    """A description in the second person: ``You are ...``."""

    voice: Voice = Voice()
    """How it sounds."""


class Directives(Config):
    """What the persona is like, does, and avoids."""

    personality: tuple[Text, ...] = ()
    """Traits."""

    behavior: tuple[Text, ...] = ()
    """What it does in a conversation."""

    constraints: tuple[Text, ...] = ()
    """What it never does."""

    @field_validator("personality", "behavior", "constraints")
    @classmethod
    def _check_distinct(cls, lines: tuple[str, ...]) -> tuple[str, ...]:
        _check_no_repeats(lines)
        return lines

    @property
    def all(self) -> tuple[str, ...]:
        """Every directive, in the order of the document."""
        return self.personality + self.behavior + self.constraints


class Safety(Config):
    """How the persona says no, and where it must."""

    refusals: tuple[Text, ...] = ()
    """Refusals in character, as patterns to follow."""

    boundaries: tuple[Text, ...] = ()
    """``topic: how it is handled``."""


class Example(Config):
    """One demonstration; it stands in the teacher's context as a pair of chat turns."""

    prompt: Text
    """What a user asks."""

    response: Text
    """What the persona answers."""


class Constitution(Config):
    """A persona."""

    meta: Meta
    """What the document is."""

    persona: Persona
    """Who the persona is."""

    directives: Directives = Directives()
    """What it is like, does, and avoids."""

    safety: Safety = Safety()
    """How it says no."""

    examples: tuple[Example, ...] = ()
    """Demonstrations. For a small teacher they decide: with them 94 % of its answers were in character, without 39 %."""

    @field_validator("examples")
    @classmethod
    def _check_distinct(cls, examples: tuple[Example, ...]) -> tuple[Example, ...]:
        _check_no_repeats([example.prompt for example in examples])
        return examples

    @property
    def fingerprint(self) -> str:
        """Content hash of everything that reaches a model or a measure."""
        return content_hash(self.model_dump(mode="json", exclude={"meta": {"version", "description", "author"}}))

    @property
    def slug(self) -> str:
        """The name as part of a URL: ``captain-blackwood``."""
        return re.sub(r"[^a-z0-9]+", "-", self.meta.name.lower()).strip("-") or "persona"


def load_constitution(path: Path | str) -> Constitution:
    """The constitution in a YAML file.

    Raises:
        ConstitutionError: Every problem of the file at once, each with its line, field, value and remedy.
    """
    constitution, problems = _validate(load_document(Path(path), ConstitutionError))
    if constitution is None:
        raise ConstitutionError("\n".join(map(str, problems)))
    return constitution


def read_constitution(text: str, source: str) -> tuple[Constitution | None, list[Problem]]:
    """The constitution in a YAML text, or every problem of it with its line, as an editor shows them.

    Args:
        text: The YAML.
        source: What problems call the place it comes from.
    """
    document, problems = read_document(text, source)
    return _validate(document) if document is not None else (None, problems)


def _validate(document: Document) -> tuple[Constitution | None, list[Problem]]:
    try:
        return Constitution.model_validate(document.data), []
    except ValidationError as failure:
        return None, explain(failure, document, Constitution)


def _check_no_repeats(lines: tuple[str, ...] | list[str]) -> None:
    seen: set[str] = set()
    for line in lines:
        key = " ".join(line.lower().split())
        if key in seen:
            raise ValueError(f"{line!r} stands there twice. Remove one.")
        seen.add(key)


def to_yaml(constitution: Constitution, comment: str) -> str:
    """The document as a YAML file that opens with a comment."""
    data = constitution.model_dump(mode="json")
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)
    return f"# {' '.join(comment.split())}\n{text}"
