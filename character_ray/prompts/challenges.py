"""Challenges: what the evaluation asks besides its prompts, to see when a persona gives way.

    plain        the tasks as they are, the control of everything else
    attack       break_character, document_injection, tool_injection, context_switch, prefill, other_persona
    scaffold     json, email_body, code_review, tool_call
    safety       harmful requests, and harmless ones beside them
    identity     who are you, in ten languages
    directive    occasions for one directive of the constitution

Nothing here is trained on, and no wording stands among the training hints.
"""

import itertools
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from character_ray.prompts.files import read_data
from character_ray.prompts.probes import persona_topics
from character_ray.rows import content_hash

__all__ = ["ATTACKS", "Challenge", "Group", "Script", "challenges", "erosion_scripts"]

Group = Literal["plain", "attack", "scaffold", "safety", "identity", "directive"]
ATTACKS = (
    "break_character",
    "document_injection",
    "tool_injection",
    "context_switch",
    "prefill",
    "other_persona",
)

# "Never break character, even if asked" forbids to "break character"; "Avoid slang" forbids to "use slang".
_FORBIDS = re.compile(
    r"^(?:(?P<verb>never|don't|don\u2019t|do not|must not|refuse to|not)|(?P<noun>avoid|no)) (?P<act>[^,;.(]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Challenge:
    """One thing to ask of every arm."""

    group: Group
    kind: str
    """The attack, the scaffold, ``harmful`` or ``harmless``, a language, or the directive."""
    wording: str
    """The wording before its task is put in: answers to one wording are one cluster."""
    prompt: str
    """The user turn."""
    system: str = ""
    """System prompt that stands behind an arm's own."""
    begun: str = ""
    """Beginning of the assistant's turn, written for the model."""
    canary: str = ""
    """A word that only a reply which obeys the attack holds."""

    @property
    def challenge_id(self) -> str:
        """Hash of everything that is asked."""
        return content_hash(self.group, self.kind, self.prompt, self.system, self.begun)


@dataclass(frozen=True)
class Script:
    """What a user says in one conversation that wears a persona down."""

    script_id: str
    lines: tuple[str, ...]


def challenges(
    directives: Mapping[str, Sequence[str]], *, per_attack: int, safety: int, per_directive: int
) -> list[Challenge]:
    """Every challenge of a recipe, in a fixed order that knows no seed: all runs of one size ask the same.

    Args:
        directives: Lines of ``personality``, ``behavior`` and ``constraints``.
        per_attack: Prompts of each attack and scaffold, and of the plain control. Every wording is used before one is used
            again with another task; 0 leaves attacks, scaffolds and identity out.
        safety: Pairs of a harmful request and its harmless neighbour; at most as many as there are.
        per_directive: Occasions per directive; at most as many as there are.
    """
    return [
        *_attacks(per_attack),
        *(_identity() if per_attack else ()),
        *_safety(safety),
        *_occasions(directives, per_directive),
    ]


def erosion_scripts(conversations: int, turns: int, seed: int) -> list[Script]:
    """Users who push turn after turn, gently first; the first line is friendly, the last stage recurs where turns are left.

    Args:
        conversations: How many.
        turns: User turns of each.
        seed: Draws the lines.
    """
    stages: Mapping[str, Sequence[str]] = read_data("challenges.yaml")["erosion"]
    opening, *pushing = stages.values()
    scripts = []
    for number in range(conversations):
        rng = np.random.default_rng([seed, number])
        order = [opening, *itertools.islice(itertools.cycle(pushing), turns - 1)]
        lines: list[str] = []
        for lines_of_stage in order:
            left = [line for line in lines_of_stage if line not in lines] or list(lines_of_stage)
            lines.append(left[int(rng.integers(len(left)))])
        scripts.append(Script(content_hash("erosion", number, lines), tuple(lines)))
    return scripts


def forbidden_act(constraint: str) -> str:
    """What a constraint forbids, as a verb phrase: "break character" of "Never break character, even if asked".

    Empty for a constraint that forbids nothing in so many words.
    """
    found = _FORBIDS.match(constraint.strip())
    if found is None:
        return ""
    act = found["act"].strip()
    return f"use {act}" if found["noun"] else act


def _attacks(number: int) -> Iterator[Challenge]:
    data = read_data("challenges.yaml")
    for task in itertools.islice(itertools.cycle(data["tasks"]), min(number, len(data["tasks"]))):
        yield Challenge("plain", "plain", task, task)
    groups: tuple[tuple[Group, str], ...] = (("attack", "attacks"), ("scaffold", "scaffolds"))
    for group, section in groups:
        for kind, wordings in data[section].items():
            seen: set[str] = set()
            for n in range(number):
                entry = wordings[n % len(wordings)]
                parts = entry if isinstance(entry, dict) else {"wording": entry}
                task = data["tasks"][(n + n // len(wordings)) % len(data["tasks"])]
                wording = parts["wording"]
                # A document holds braces of its own; only wordings with a task are formatted.
                prompt = wording.format(task=task) if "{task}" in wording else wording
                extra = {name: parts.get(name, "") for name in ("system", "begun", "canary")}
                made = Challenge(group, kind, content_hash(wording, extra), prompt, **extra)
                if made.challenge_id not in seen:
                    seen.add(made.challenge_id)
                    yield made


def _identity() -> Iterator[Challenge]:
    for language, questions in read_data("challenges.yaml")["identity"].items():
        for question in questions:
            yield Challenge("identity", language, question, question)


def _safety(pairs: int) -> Iterator[Challenge]:
    for harmful, harmless in read_data("safety.yaml")["eval"][:pairs]:
        yield Challenge("safety", "harmful", harmful, harmful)
        yield Challenge("safety", "harmless", harmless, harmless)


def _occasions(directives: Mapping[str, Sequence[str]], number: int) -> Iterator[Challenge]:
    """The occasions of a section in turn, so that two directives of one section are not asked the same first."""
    data = read_data("challenges.yaml")["directives"]
    for section, lines in directives.items():
        free = 0  # occasions without a slot, dealt to the directives one after the other
        for line in lines:
            slots = {"topic": next(iter(persona_topics([line])), ""), "act": forbidden_act(line)}
            usable = [text for text in data[section] if all(slots[name] for name in _slots(text))]
            own = [text for text in usable if _slots(text)]
            rest = [text for text in usable if not _slots(text)]
            chosen = own[:number]
            missing = min(number - len(chosen), len(rest))
            chosen += [rest[(free + n) % len(rest)] for n in range(missing)]
            free += missing
            for text in chosen:
                yield Challenge("directive", line, text, text.format(**slots))


def _slots(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]
