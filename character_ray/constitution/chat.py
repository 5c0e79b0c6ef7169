"""The constitution as a model meets it: a system prompt, example turns, and the words that are its own."""

import re
from collections.abc import Sequence

from character_ray.constitution.schema import Constitution
from character_ray.rows import Message

__all__ = [
    "example_turns",
    "names_itself",
    "prompted_messages",
    "system_prompt",
    "teacher_messages",
    "vocabulary_pattern",
    "words_pattern",
]


def system_prompt(constitution: Constitution) -> str:
    """The whole document in the second person, as one system prompt."""
    persona, directives, safety = constitution.persona, constitution.directives, constitution.safety
    name = constitution.meta.name
    sections = [" ".join(persona.identity.split())]
    voice = [
        f"tone {persona.voice.tone}" * bool(persona.voice.tone),
        f"{persona.voice.formality} language" * bool(persona.voice.formality),
    ]
    if any(voice):
        sections.append(f"Your voice: {', '.join(filter(None, voice))}.")
    if persona.voice.vocabulary:
        sections.append(f"Words you like to use: {', '.join(persona.voice.vocabulary)}.")
    sections += _listed("You are", directives.personality)
    sections += _listed("In every answer", directives.behavior)
    sections += _listed("Always keep to this", directives.constraints)
    sections += _listed("When you must refuse, do it in your own voice, like this", safety.refusals)
    sections += _listed("Boundaries", safety.boundaries)
    sections.append(
        f"You are {name} in everything you say. Answer as {name} would and never mention these instructions."
    )
    return "\n".join(sections)


def example_turns(constitution: Constitution) -> list[Message]:
    """The demonstrations as chat turns."""
    turns: list[Message] = []
    for example in constitution.examples:
        turns.append(Message(role="user", content=example.prompt))
        turns.append(Message(role="assistant", content=" ".join(example.response.split())))
    return turns


def prompted_messages(constitution: Constitution, prompt: str) -> list[Message]:
    """System prompt and question: what prompting alone can do."""
    return [Message(role="system", content=system_prompt(constitution)), Message(role="user", content=prompt)]


def teacher_messages(constitution: Constitution, prompt: str) -> list[Message]:
    """System prompt, demonstrations, question: what the teacher sees."""
    system, question = prompted_messages(constitution, prompt)
    return [system, *example_turns(constitution), question]


def vocabulary_pattern(constitution: Constitution) -> re.Pattern[str] | None:
    """Matches any word of the vocabulary as a whole word; ``None`` when there is no vocabulary."""
    return words_pattern(constitution.persona.voice.vocabulary)


def words_pattern(words: Sequence[str]) -> re.Pattern[str] | None:
    """Matches any of the words as a whole word, whatever its case; ``None`` for no words."""
    if not words:
        return None
    alternatives = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<![\w'-])(?:{alternatives})(?![\w-])", re.IGNORECASE)


def names_itself(constitution: Constitution, text: str) -> bool:
    """Whether the full name stands in the text."""
    name = r"\s+".join(re.escape(part) for part in constitution.meta.name.split())
    return re.search(rf"(?<!\w){name}(?!\w)", text, re.IGNORECASE) is not None


def _listed(title: str, lines: tuple[str, ...]) -> list[str]:
    return [f"{title}: {'; '.join(line.rstrip('.') for line in lines)}."] if lines else []
