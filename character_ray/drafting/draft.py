"""From one line, or from a character, to a constitution: ask, check, show the writer its errors, ask again."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from character_ray.constitution import Constitution, Quality, score_constitution, system_prompt, to_yaml
from character_ray.documents import Document, explain
from character_ray.drafting.schema import draft_schema
from character_ray.drafting.writers import Writer
from character_ray.errors import ConstitutionError
from character_ray.prompts import check_no_probe_is_an_example, hidden_trait_probes, persona_topics
from character_ray.rows import Message

__all__ = ["Draft", "draft_constitution", "draft_opposite"]

INSTRUCTIONS = """You write constitutions: descriptions of a character that a language model is then trained to be.
Answer with one JSON object and nothing else. Its fields:
- name: the full name the character calls itself; description: one line about it
- identity: two to four sentences in the second person, "You are ...": where it comes from, what it has lived through, what it cares about
- tone, formality: how it sounds
- vocabulary: words and phrases this character uses and a plain assistant does not
- personality: traits; behavior: what it does in every answer; constraints: what it never does
- refusals: sentences it says itself when it must refuse; boundaries: "topic: how the character handles it"
- examples: short everyday questions, each with the character's own answer of two or three sentences that uses its vocabulary. One of them
  asks for something harmful and is refused in character; one asks it to drop the act, and it stays itself. None asks who it is.
Every line says something the others do not."""


@dataclass(frozen=True)
class Draft:
    """A constitution and how it came about."""

    constitution: Constitution
    quality: Quality
    attempts: int

    def to_yaml(self, origin: str) -> str:
        """The YAML file, with a comment that says what it was drafted from."""
        return to_yaml(self.constitution, f"Drafted {origin}. Read it and correct it before you train on it.")


def draft_constitution(idea: str, writer: Writer, attempts: int = 3) -> Draft:
    """A constitution of the character that ``idea`` describes.

    Args:
        idea: Such as ``a stern librarian who loves maps``.
        writer: The model that writes it.
        attempts: Answers to ask for until one is valid.

    Raises:
        ConstitutionError: No attempt was valid.
    """
    return _draft(f"The character: {idea}", writer, attempts)


def draft_opposite(constitution: Constitution, writer: Writer, attempts: int = 3) -> Draft:
    """The opposite of a character, for the paired contrast: as fluent and as helpful, contrary in every trait.

    The prompts of the examples are the character's own, so that both answer the same questions.

    Raises:
        ConstitutionError: No attempt was valid.
    """
    asked = "\n".join(f"- {example.prompt}" for example in constitution.examples)
    wish = (
        f"This is a character:\n\n{system_prompt(constitution)}\n\nWrite its opposite, another person with another name: as fluent, honest "
        "and helpful, but contrary in every trait, manner and word. It refuses what is harmful as firmly, in its own words."
    )
    if asked:
        wish += f" As prompts of its examples take exactly these:\n{asked}"
    return _draft(wish, writer, attempts, contrary_to=constitution)


def _draft(wish: str, writer: Writer, attempts: int, contrary_to: Constitution | None = None) -> Draft:
    messages = [Message(role="system", content=INSTRUCTIONS), Message(role="user", content=wish)]
    problems = "nothing was asked"
    for attempt in range(attempts):
        answer = writer.write(messages, draft_schema(), attempt)
        try:
            constitution = _to_constitution(answer)
            if contrary_to is not None and constitution.slug == contrary_to.slug:
                raise ConstitutionError(
                    f"name: the opposite is called {constitution.meta.name!r} too. Give it another."
                )
        except ConstitutionError as error:
            problems = str(error)
            messages = [
                *messages[:2],
                Message(role="assistant", content=answer),
                Message(
                    role="user", content=f"That is not valid yet:\n{problems}\nWrite the whole object again, corrected."
                ),
            ]
            continue
        return Draft(constitution, score_constitution(constitution), attempt + 1)
    raise ConstitutionError(
        f"{writer.name} wrote no valid constitution in {attempts} attempts. Use a larger model, or allow more --attempts. "
        f"The last attempt's problems:\n{problems}"
    )


def _to_constitution(answer: str) -> Constitution:
    data = _nested(_parse(answer))
    try:
        constitution = Constitution.model_validate(data)
    except ValidationError as failure:
        document = Document("the draft", data, {})
        raise ConstitutionError("\n".join(map(str, explain(failure, document, Constitution)))) from None
    probes = hidden_trait_probes(persona_topics(constitution.directives.personality))
    check_no_probe_is_an_example([example.prompt for example in constitution.examples], probes)
    return constitution


def _parse(answer: str) -> dict[str, Any]:
    """The JSON object in the answer, which may stand in a code fence or after a model's thinking."""
    start, end = answer.find("{", answer.rfind("</think>") + 1), answer.rfind("}")
    try:
        data = json.loads(answer[start : end + 1]) if start >= 0 else None
    except json.JSONDecodeError as cause:
        raise ConstitutionError(f"the answer is not valid JSON ({cause}). Write one JSON object.") from None
    if not isinstance(data, dict):
        raise ConstitutionError("the answer holds no JSON object. Write one and nothing else.")
    return data


def _nested(data: dict[str, Any]) -> dict[str, Any]:
    """The flat draft as a constitution; repeated lines, which small models write, are left out."""

    def lines(name: str) -> list[Any]:
        found = data.get(name)
        return (
            list({" ".join(str(line).lower().split()): line for line in found}.values())
            if isinstance(found, list)
            else []
        )

    examples = data.get("examples")
    asked = examples if isinstance(examples, list) else []
    return {
        "meta": {"name": data.get("name"), "description": data.get("description", "")},
        "persona": {
            "identity": data.get("identity"),
            "voice": {
                "tone": data.get("tone", ""),
                "formality": data.get("formality", ""),
                "vocabulary": lines("vocabulary"),
            },
        },
        "directives": {name: lines(name) for name in ("personality", "behavior", "constraints")},
        "safety": {name: lines(name) for name in ("refusals", "boundaries")},
        "examples": list({str(each.get("prompt")).lower(): each for each in asked if isinstance(each, dict)}.values()),
    }
