"""What every arm is asked, and how each arm is asked it."""

from collections.abc import Sequence

from character_ray.config import Arm
from character_ray.constitution import prompted_messages, teacher_messages
from character_ray.pipeline.context import Context, Persona
from character_ray.prompts import Probe
from character_ray.rows import Message, Prompt, Request
from character_ray.runs import Artefact
from character_ray.stages.requests import build_request

__all__ = ["ask_arm", "evaluation_questions"]


def evaluation_questions(
    held_out: Sequence[Prompt], probes: Sequence[Probe], probe_samples: int
) -> list[tuple[Prompt, int]]:
    """Each held-out prompt once and each probe ``probe_samples`` times, with the number of the sample."""
    return [(prompt, 0) for prompt in held_out] + [
        (probe.prompt, sample) for probe in probes for sample in range(probe_samples)
    ]


def ask_arm(
    context: Context, persona: Persona, arm: Arm, questions: Sequence[tuple[Prompt, int]], adapter: Artefact | None
) -> tuple[Artefact, list[Request]]:
    """An arm's answers: where they go and what is asked. Only ``prompted`` and ``teacher`` see the constitution."""
    recipe = context.recipe
    sampling = recipe.evaluate.sampling
    sees = arm in ("prompted", "teacher")
    # The kind is the same for every arm, so that each question is drawn with the same seed wherever the chat is the same.
    requests = [
        build_request(
            "answer",
            prompt["prompt_id"],
            _messages(persona, arm, prompt["prompt"]),
            sampling,
            sample=sample,
            seed=recipe.seed,
        )
        for prompt, sample in questions
    ]
    inputs = {
        "weights": adapter.fingerprint if adapter else "",
        "model": (context.teacher if arm == "teacher" else context.student).identity,
        "engine": [recipe.student_engine.dtype, recipe.student_engine.adapters if adapter else ""],
        "constitution": persona.constitution.fingerprint if sees else "",
        "questions": [[prompt["prompt_id"], sample] for prompt, sample in questions],
        "sampling": sampling.model_dump(),
        "seed": recipe.seed,
    }
    return context.artefact(f"answers-{arm}", inputs), requests


def _messages(persona: Persona, arm: Arm, prompt: str) -> list[Message]:
    if arm == "prompted":
        return prompted_messages(persona.constitution, prompt)
    if arm == "teacher":
        return teacher_messages(persona.constitution, prompt)
    return [Message(role="user", content=prompt)]
