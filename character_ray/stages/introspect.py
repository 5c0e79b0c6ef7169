"""Introspection: the distilled model writes about itself and talks to itself under its constitution, then learns it without.

    reflection prompts -> requests under the constitution -> completions -> {user: prompt, assistant: text}
    openings           -> dialogues under the constitution -> turns      -> {user, assistant, user, ..., assistant}
    pairs              -> plain rows                                     -> {user: prompt, assistant: chosen}

The constitution is in the context when a row is generated and, unless a recipe keeps it, absent from the row that is trained on.
Reflections are keyed by (role, sample), so that resuming never loses one repetition for another.
"""

import math
import random
from collections.abc import Mapping, Sequence

from character_ray.config import FilterConfig, IntrospectConfig
from character_ray.constitution import Constitution, system_prompt, teacher_messages
from character_ray.prompts.reflections import Opening, ReflectionPrompt
from character_ray.rows import (
    AMONG_SAMPLES,
    Completion,
    Conversation,
    Dialogue,
    Message,
    Pair,
    Request,
    Talk,
    content_hash,
)
from character_ray.stages.distill import tidy
from character_ray.stages.filters import drop_reason, said_before
from character_ray.stages.requests import build_request

__all__ = ["build_conversations", "dialogues", "plain_rows", "reflection_requests"]


def reflection_requests(
    prompts: Sequence[ReflectionPrompt], constitution: Constitution, config: IntrospectConfig, seed: int
) -> list[Request]:
    """One request per (role, sample), under the constitution and its example turns."""
    return [
        build_request(
            f"reflection/{prompt.role}",
            content_hash(prompt.role, prompt.text),
            teacher_messages(constitution, prompt.text),
            config.reflection_sampling,
            sample=prompt.sample,
            seed=seed,
        )
        for prompt in prompts
    ]


def dialogues(
    openings: Sequence[Opening], constitution: Constitution, config: IntrospectConfig, seed: int
) -> list[Dialogue]:
    """One dialogue per opening; a guided one is told its topic in the system prompt of both sides."""
    rows = []
    for opening in openings:
        system = f"{system_prompt(constitution)}\n\nYou are talking with another instance of yourself, freely and in character."
        if opening.topic:
            system += f" The two of you talk about {opening.topic}."
        row_id = content_hash("interaction", system, opening.text, opening.sample, config.turns, seed)
        sampling = config.interaction_sampling.model_dump()
        rows.append(Dialogue(row_id=row_id, system=system, opening=opening.text, turns=config.turns, sampling=sampling))
    return rows


def build_conversations(
    reflections: Sequence[tuple[ReflectionPrompt, Completion]],
    interactions: Sequence[Talk],
    scores: Mapping[str, float],
    filters: FilterConfig,
    system: str = "",
) -> list[Conversation]:
    """Training rows of both kinds; a row that must not be trained on says why, and of identical texts only the first is kept.

    Args:
        reflections: Each prompt with its completion.
        interactions: Every dialogue as it was held.
        scores: Likelihood-ratio score by row id; a dialogue has the score of its last turn.
        filters: What is dropped.
        system: System prompt that every row keeps; empty to train without one.
    """
    rows = [_reflection(prompt, completion, scores, filters) for prompt, completion in reflections]
    rows += [_interaction(talk, scores, filters) for talk in interactions]
    seen: set[str] = set()
    for row in rows:
        text = " ".join(turn["content"] for turn in row["messages"] if turn["role"] == "assistant")
        if not row["drop_reason"] and text in seen:
            row["drop_reason"] = "duplicate"
        seen.add(text)
        if system:
            row["messages"] = [Message(role="system", content=system), *row["messages"]]
    return rows


def plain_rows(pairs: Sequence[Pair], num: int, seed: int) -> list[Conversation]:
    """A seeded choice of distillation rows, which keep everyday answers in the mixture; no answer comes twice."""
    kept = [pair for pair in pairs if not pair["drop_reason"] and pair["kind"] not in AMONG_SAMPLES]
    chosen = random.Random(seed).sample(kept, min(num, len(kept)))
    return [
        Conversation(
            row_id=content_hash("plain", pair["row_id"]),
            kind="plain",
            role="",
            messages=[*pair["prompt"], *pair["chosen"]],
            score=pair["chosen_score"],
            drop_reason="",
        )
        for pair in chosen
    ]


def _reflection(
    prompt: ReflectionPrompt, completion: Completion, scores: Mapping[str, float], filters: FilterConfig
) -> Conversation:
    text = tidy(completion, filters)
    score = scores.get(completion["row_id"], float("nan"))
    reason = "engine_error" if completion["error"] else drop_reason(text, completion["finish_reason"], filters)
    return Conversation(
        row_id=completion["row_id"],
        kind="reflection",
        role=prompt.role,
        messages=[Message(role="user", content=prompt.text), Message(role="assistant", content=text)],
        score=score,
        drop_reason=reason or _score_reason(score, filters),
    )


def _interaction(talk: Talk, scores: Mapping[str, float], filters: FilterConfig) -> Conversation:
    finish_reason = "length" if talk["num_cut"] else "stop"
    # Both sides are the model's own, but the opening is not.
    turns = [turn["content"] for turn in talk["messages"][1:]]
    reasons = [drop_reason(turn, finish_reason, filters) for turn in turns]
    if said_before(turns) > filters.max_repeated_turn:
        reasons.append("repeated_turn")
    if talk["error"] or talk["drop_reason"]:
        reasons = ["engine_error" if talk["error"] else talk["drop_reason"]]
    score = scores.get(talk["row_id"], float("nan"))
    return Conversation(
        row_id=talk["row_id"],
        kind="interaction",
        role="",
        messages=talk["messages"],
        score=score,
        drop_reason=next((reason for reason in reasons if reason), "") or _score_reason(score, filters),
    )


def _score_reason(score: float, filters: FilterConfig) -> str:
    if math.isnan(score):
        return "unscored"
    return "low_contrast" if score < filters.min_contrast else ""
