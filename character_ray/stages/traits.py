"""Prompts written from a constitution: for every directive, things to ask that let it show.

    directives x samples -> requests -> completions -> {directive, prompt, drop_reason} -> prompts

As in the published recipe the writer sees the directive and a few user turns as demonstrations; the constitution's own examples
are those. A line that is no usable user turn says why, and only the wanted number per directive is kept.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import TypedDict

from character_ray.config import PromptsConfig, SamplingConfig
from character_ray.constitution import Constitution, names_itself
from character_ray.language import language_of
from character_ray.log import describe_counts
from character_ray.rows import Completion, Message, Prompt, Request, content_hash
from character_ray.spoken import BEGIN_OF_THOUGHT, without_thoughts
from character_ray.stages.requests import build_request
from character_ray.words import count_words

__all__ = ["TraitPrompt", "as_prompts", "choose_traits", "count_prompts", "trait_requests", "unprompted"]

# Of what a small model writes a good part is unusable.
ASKED_PER_WANTED = 3
FEWEST_WORDS, MOST_WORDS = 4, 60
SAMPLING = SamplingConfig(temperature=1.0, top_p=0.95, top_k=50)
SHOWN = 200  # characters of a thought that never ends which the report shows

SYSTEM = "You write what a user types into a chat. Write one message, in the user's own words and nothing else."
ASK = "Write one message from a user to a chat partner. A good answer to it would show this trait: {directive}"

_LABEL = re.compile(r"^\s*(?:user|message|question|prompt|\d+)\s*[:.)]\s*", re.IGNORECASE)
_ABOUT_THE_TASK = re.compile(
    r"\b(?:trait|chat partner|the user|user's|persona|roleplay|role-play|prompt)\b", re.IGNORECASE
)
# Full stops of Chinese and Japanese, of Devanagari, and the Arabic question mark end a sentence as ours do.
_FINISHED = re.compile(r"[.?!\u3002\uff0e\uff1f\uff01\uff61\u0964\u061f]$")
# Thai and Lao have no full stop: whether such a text is whole the engine alone can say.
_WITHOUT_STOPS = re.compile(r"[\u0e00-\u0eff]$")
_QUOTES = "\"'*\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d"


class TraitPrompt(TypedDict):
    """A message written for a directive; used only if ``drop_reason`` is ``""``."""

    row_id: str
    directive: str
    prompt: str
    drop_reason: str


def trait_requests(constitution: Constitution, config: PromptsConfig, seed: int) -> list[Request]:
    """Three requests for every wanted prompt of every directive.

    Args:
        constitution: Its examples' user turns are the demonstrations, its directives what is asked for.
        config: Prompts per directive, and how many tokens one may take.
        seed: The recipe's seed.
    """
    directives = constitution.directives.all
    sampling = SAMPLING.model_copy(update={"max_tokens": config.trait_max_tokens})
    shown: list[Message] = [Message(role="system", content=SYSTEM)]
    for number, example in enumerate(constitution.examples if directives else ()):
        shown.append(Message(role="user", content=ASK.format(directive=directives[number % len(directives)])))
        shown.append(Message(role="assistant", content=example.prompt))
    return [
        build_request(
            "trait",
            content_hash(directive),
            [*shown, Message(role="user", content=ASK.format(directive=directive))],
            sampling,
            sample=sample,
            seed=seed,
        )
        for directive in directives
        for sample in range(ASKED_PER_WANTED * config.traits)
    ]


def choose_traits(constitution: Constitution, completions: Sequence[Completion], wanted: int) -> list[TraitPrompt]:
    """What was written, in order; beyond ``wanted`` usable ones per directive the reason is ``surplus``."""
    by_id = {content_hash(directive): directive for directive in constitution.directives.all}
    shown = {example.prompt.lower() for example in constitution.examples}
    kept: Counter[str] = Counter()
    rows = []
    for completion in completions:
        directive, said = by_id[completion["prompt_id"]], without_thoughts(completion["completion"])
        endless = said.startswith(BEGIN_OF_THOUGHT)
        text = " ".join(said.split())[:SHOWN] if endless else _first_line(said)
        reason = "unfinished_thought" if endless else _unusable(text, completion["finish_reason"], constitution, shown)
        reason = "engine_error" if completion["error"] else reason
        if not reason:
            reason = "surplus" if kept[directive] >= wanted else ""
            kept[directive] += not reason
            shown.add(text.lower())
        rows.append(TraitPrompt(row_id=completion["row_id"], directive=directive, prompt=text, drop_reason=reason))
    return rows


def as_prompts(rows: Sequence[TraitPrompt], *, surplus: bool = False) -> list[Prompt]:
    """The usable ones as training prompts, or those that are usable but more than was wanted."""
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
            language=language_of(row["prompt"]),
            directive=row["directive"],
        )
        for row in rows
        if row["drop_reason"] == ("surplus" if surplus else "")
    ]


def count_prompts(constitution: Constitution, rows: Sequence[TraitPrompt]) -> dict[str, int]:
    """Usable prompts by directive, also of those that have none."""
    kept = Counter(row["directive"] for row in rows if not row["drop_reason"])
    return {directive: kept[directive] for directive in constitution.directives.all}


def unprompted(constitution: Constitution, rows: Sequence[TraitPrompt], config: PromptsConfig) -> str:
    """Which directives ended with no prompt, and why none of their lines could be used; empty where every one has some."""
    bare = [directive for directive, kept in count_prompts(constitution, rows).items() if not kept]
    if not bare:
        return ""
    reasons = {each: Counter(row["drop_reason"] for row in rows if row["directive"] == each) for each in bare}
    told = "; ".join(f"{each!r} ({describe_counts(reasons[each]) or 'never asked'})" for each in bare)
    remedy = (
        f"The teacher's thoughts do not end: raise prompts.trait_max_tokens={config.trait_max_tokens}."
        if any(counts["unfinished_thought"] for counts in reasons.values())
        else "A larger teacher, or examples in the constitution, give it a better start."
    )
    return (
        f"{len(bare):,} of {len(constitution.directives.all):,} directives have no prompt of their own, so nothing that is asked shows "
        f"them on purpose: {told}. {remedy}"
    )


def _first_line(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "")
    return _LABEL.sub("", line).strip().strip(_QUOTES).strip()


def _unusable(text: str, finish_reason: str, constitution: Constitution, shown: set[str]) -> str:
    """Why a line cannot be asked as if a user had written it."""
    words = count_words(text)
    if words < FEWEST_WORDS:
        return "too_short"
    whole = _FINISHED.search(text) or (finish_reason == "stop" and _WITHOUT_STOPS.search(text))
    if words > MOST_WORDS or not whole:
        return "unfinished"
    if names_itself(constitution, text) or _ABOUT_THE_TASK.search(text):
        return "names_the_task"
    if any(line.lower().rstrip(".") in text.lower() for line in constitution.directives.all):
        return "repeats_the_directive"
    return "duplicate" if text.lower() in shown else ""
