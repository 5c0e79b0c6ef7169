"""Prompts written from a constitution: for every directive, things to ask that let it show.

    directives x samples -> requests -> completions -> {directive, prompt, drop_reason} -> prompts

As in the published recipe the writer sees the directive and a few user turns as demonstrations; the constitution's own examples
are those. A line that is no usable user turn says why, and only the wanted number per directive is kept.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

from character_ray.config import SamplingConfig
from character_ray.constitution import Constitution
from character_ray.rows import Completion, Message, Prompt, Request, content_hash
from character_ray.stages.requests import build_request

__all__ = ["TraitPrompt", "as_prompts", "choose_traits", "trait_requests"]

# Of what a small model writes a good part is unusable.
ASKED_PER_WANTED = 3
FEWEST_WORDS, MOST_WORDS = 4, 60
SAMPLING = SamplingConfig(temperature=1.0, top_p=0.95, top_k=50, max_tokens=64)

SYSTEM = "You write what a user types into a chat. Write one message, in the user's own words and nothing else."
ASK = "Write one message from a user to a chat partner. A good answer to it would show this trait: {directive}"

_LABEL = re.compile(r"^\s*(?:user|message|question|prompt|\d+)\s*[:.)]\s*", re.IGNORECASE)
_ABOUT_THE_TASK = re.compile(
    r"\b(?:trait|chat partner|the user|user's|persona|roleplay|role-play|prompt)\b", re.IGNORECASE
)


class TraitPrompt(TypedDict):
    """A message written for a directive; used only if ``drop_reason`` is ``""``."""

    row_id: str
    directive: str
    prompt: str
    drop_reason: str


def trait_requests(constitution: Constitution, wanted: int, seed: int) -> list[Request]:
    """Three requests for every wanted prompt of every directive.

    Args:
        constitution: Its examples' user turns are the demonstrations, its directives what is asked for.
        wanted: Prompts per directive.
        seed: The recipe's seed.
    """
    directives = constitution.directives.all
    shown: list[Message] = [Message(role="system", content=SYSTEM)]
    for number, example in enumerate(constitution.examples if directives else ()):
        shown.append(Message(role="user", content=ASK.format(directive=directives[number % len(directives)])))
        shown.append(Message(role="assistant", content=example.prompt))
    return [
        build_request(
            "trait",
            content_hash(directive),
            [*shown, Message(role="user", content=ASK.format(directive=directive))],
            SAMPLING,
            sample=sample,
            seed=seed,
        )
        for directive in directives
        for sample in range(ASKED_PER_WANTED * wanted)
    ]


def choose_traits(constitution: Constitution, completions: Sequence[Completion], wanted: int) -> list[TraitPrompt]:
    """What was written, in order; beyond ``wanted`` usable ones per directive the reason is ``surplus``."""
    by_id = {content_hash(directive): directive for directive in constitution.directives.all}
    shown = {example.prompt.lower() for example in constitution.examples}
    kept: Counter[str] = Counter()
    rows = []
    for completion in completions:
        directive, text = by_id[completion["prompt_id"]], _first_line(completion["completion"])
        reason = "engine_error" if completion["error"] else _unusable(text, constitution, shown)
        if not reason:
            reason = "surplus" if kept[directive] >= wanted else ""
            kept[directive] += not reason
            shown.add(text.lower())
        rows.append(TraitPrompt(row_id=completion["row_id"], directive=directive, prompt=text, drop_reason=reason))
    return rows


def as_prompts(rows: Sequence[TraitPrompt]) -> list[Prompt]:
    """The usable ones as training prompts."""
    return [
        Prompt(
            prompt_id=content_hash(row["prompt"]),
            prompt=row["prompt"],
            source="trait",
            hint="",
            audience="",
            scenario="",
            objective="",
            constraint="",
        )
        for row in rows
        if not row["drop_reason"]
    ]


def _first_line(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "")
    return _LABEL.sub("", line).strip().strip("\"'\u201c\u201d*").strip()


def _unusable(text: str, constitution: Constitution, shown: set[str]) -> str:
    """Why a line cannot be asked as if a user had written it."""
    words = len(text.split())
    if words < FEWEST_WORDS:
        return "too_short"
    if words > MOST_WORDS or not re.search(r"[.?!]$", text):
        return "unfinished"
    if constitution.meta.name.lower() in text.lower() or _ABOUT_THE_TASK.search(text):
        return "names_the_task"
    if any(line.lower().rstrip(".") in text.lower() for line in constitution.directives.all):
        return "repeats_the_directive"
    return "duplicate" if text.lower() in shown else ""
