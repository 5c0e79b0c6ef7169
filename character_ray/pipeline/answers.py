"""What every arm is asked, and how each arm is asked it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from character_ray.config import Arm, Recipe, SamplingConfig
from character_ray.constitution import prompted_messages, teacher_messages
from character_ray.pipeline.context import Context, Persona, RemoteModel, Wanted
from character_ray.prompts import Probe
from character_ray.prompts.challenges import Challenge, Script, challenges, erosion_scripts
from character_ray.rows import Message, Prompt, Scripted, content_hash
from character_ray.runs import Artefact
from character_ray.stages.requests import build_request
from character_ray.stages.thoughts import begin_thought

__all__ = ["Exam", "Part", "ask_arm", "asked_challenges", "evaluation_exam", "evaluation_questions"]

Part = Literal["answers", "challenges", "erosion"]


@dataclass(frozen=True)
class Exam:
    """Everything that every arm of a run is asked."""

    questions: list[tuple[Prompt, int]]
    """Held-out prompts and probes, each with the number of its sample."""
    challenges: list[Challenge]
    scripts: list[Script]


def evaluation_exam(recipe: Recipe, persona: Persona, held_out: Sequence[Prompt]) -> Exam:
    """What a recipe asks about a persona."""
    config = recipe.evaluate.challenges
    return Exam(
        evaluation_questions(held_out, persona.probes, recipe.evaluate.probe_samples),
        asked_challenges(recipe, persona),
        erosion_scripts(config.erosion, config.turns, recipe.seed),
    )


def asked_challenges(recipe: Recipe, persona: Persona) -> list[Challenge]:
    """The challenges of a persona that a recipe asks for."""
    config, directives = recipe.evaluate.challenges, persona.constitution.directives
    return challenges(
        {
            "personality": directives.personality,
            "behavior": directives.behavior,
            "constraints": directives.constraints,
        },
        per_attack=config.per_attack,
        safety=config.safety,
        per_directive=config.per_directive,
    )


def evaluation_questions(
    held_out: Sequence[Prompt], probes: Sequence[Probe], probe_samples: int
) -> list[tuple[Prompt, int]]:
    """Each held-out prompt once and each probe ``probe_samples`` times, with the number of the sample."""
    return [(prompt, 0) for prompt in held_out] + [
        (probe.prompt, sample) for probe in probes for sample in range(probe_samples)
    ]


def ask_arm(context: Context, persona: Persona, arm: Arm, exam: Exam, adapter: Artefact | None) -> dict[Part, Wanted]:
    """What an arm is asked and where its answers go, by part of the exam. Only ``prompted`` and ``teacher`` see the constitution.

    A teacher behind an endpoint holds no erosion conversations.
    """
    parts: dict[Part, Wanted] = {"answers": _ask_questions(context, persona, arm, exam, adapter)}
    if exam.challenges:
        parts["challenges"] = _ask_challenges(context, persona, arm, exam, adapter)
    if exam.scripts and not (arm == "teacher" and isinstance(context.teacher, RemoteModel)):
        parts["erosion"] = _ask_scripts(context, persona, arm, exam, adapter)
    return parts


def _ask_questions(context: Context, persona: Persona, arm: Arm, exam: Exam, adapter: Artefact | None) -> Wanted:
    recipe = context.recipe
    sampling = _with_room_to_think(recipe, arm, recipe.evaluate.sampling)
    # The kind is the same for every arm, so that each question is drawn with the same seed wherever the chat is the same.
    requests = [
        build_request(
            "answer",
            prompt["prompt_id"],
            _thinking(recipe, persona, arm, _messages(persona, arm, prompt["prompt"])),
            sampling,
            sample=sample,
            seed=recipe.seed,
        )
        for prompt, sample in exam.questions
    ]
    inputs = _inputs(context, persona, arm, adapter) | {
        "questions": [[prompt["prompt_id"], sample] for prompt, sample in exam.questions],
        "sampling": sampling.model_dump(),
        **_begun(recipe, arm),
    }
    return Wanted(context.artefact(f"answers-{arm}", inputs), requests)


def _ask_challenges(context: Context, persona: Persona, arm: Arm, exam: Exam, adapter: Artefact | None) -> Wanted:
    sampling = _with_room_to_think(context.recipe, arm, _shorter(context.recipe))
    requests = [
        build_request(
            "challenge",
            each.challenge_id,
            _tried(context.recipe, persona, arm, each),
            sampling,
            sample=0,
            seed=context.recipe.seed,
        )
        for each in exam.challenges
    ]
    inputs = _inputs(context, persona, arm, adapter) | {
        "challenges": content_hash([each.challenge_id for each in exam.challenges]),
        "sampling": sampling.model_dump(),
        **_begun(context.recipe, arm),
    }
    return Wanted(context.artefact(f"challenges-{arm}", inputs), requests)


def _ask_scripts(context: Context, persona: Persona, arm: Arm, exam: Exam, adapter: Artefact | None) -> Wanted:
    sampling, before = _shorter(context.recipe).model_dump(), _messages(persona, arm, "")[:-1]
    rows = [
        Scripted(
            row_id=content_hash("erosion", script.script_id, sampling, context.recipe.seed, before),
            context=before,
            lines=list(script.lines),
            turns=len(script.lines) + 1,
            sampling=sampling,
        )
        for script in exam.scripts
    ]
    inputs = _inputs(context, persona, arm, adapter) | {
        "scripts": content_hash([script.script_id for script in exam.scripts]),
        "sampling": sampling,
    }
    return Wanted(context.artefact(f"erosion-{arm}", inputs), rows)


def _inputs(context: Context, persona: Persona, arm: Arm, adapter: Artefact | None) -> dict[str, Any]:
    """What decides an arm's answers besides what is asked."""
    recipe, sees = context.recipe, arm in ("prompted", "teacher")
    return {
        "weights": adapter.fingerprint if adapter else "",
        "model": (context.teacher if arm == "teacher" else context.student).identity,
        "engine": [
            recipe.teacher_numerics if arm == "teacher" else recipe.student_engine.numerics,
            recipe.student_engine.adapters if adapter else "",
        ],
        "constitution": persona.constitution.fingerprint if sees else "",
        "seed": recipe.seed,
    }


def _shorter(recipe: Recipe) -> SamplingConfig:
    sampling = recipe.evaluate.sampling
    return sampling.model_copy(update={"max_tokens": min(sampling.max_tokens, recipe.evaluate.challenges.max_tokens)})


def _with_room_to_think(recipe: Recipe, arm: Arm, sampling: SamplingConfig) -> SamplingConfig:
    """A teacher whose thought is begun for it has as many tokens more as it has for its pairs."""
    if _prefill(recipe, arm) is None:
        return sampling
    return sampling.model_copy(update={"max_tokens": sampling.max_tokens + recipe.distill.teacher.max_tokens})


def _messages(persona: Persona, arm: Arm, prompt: str) -> list[Message]:
    if arm == "prompted":
        return prompted_messages(persona.constitution, prompt)
    if arm == "teacher":
        return teacher_messages(persona.constitution, prompt)
    return [Message(role="user", content=prompt)]


def _prefill(recipe: Recipe, arm: Arm) -> str | None:
    """The thought that is begun for an arm: the teacher's own."""
    return recipe.distill.think_prefill if arm == "teacher" else None


def _begun(recipe: Recipe, arm: Arm) -> dict[str, str]:
    """The same as an input of a stage."""
    begun = _prefill(recipe, arm)
    return {"think_prefill": begun} if begun else {}


def _thinking(recipe: Recipe, persona: Persona, arm: Arm, messages: list[Message]) -> list[Message]:
    """The chat with the thought begun that the recipe begins for its teacher."""
    return begin_thought(messages, _prefill(recipe, arm), persona.constitution)


def _tried(recipe: Recipe, persona: Persona, arm: Arm, challenge: Challenge) -> list[Message]:
    """An arm's chat with what a challenge adds: a system prompt behind its own, and the beginning of its answer."""
    messages = _messages(persona, arm, challenge.prompt)
    if challenge.system:
        own = [turn["content"] for turn in messages if turn["role"] == "system"]
        rest = [turn for turn in messages if turn["role"] != "system"]
        messages = [Message(role="system", content="\n\n".join([*own, challenge.system])), *rest]
    if challenge.begun:
        return [*messages, Message(role="assistant", content=challenge.begun)]
    return _thinking(recipe, persona, arm, messages)
