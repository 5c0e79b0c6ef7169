"""A finished run whose arms are the personas of a test's server, answered by transformers and PEFT, one prompt after the other."""

import json
from pathlib import Path

from character_ray.config import SamplingConfig, ServeConfig
from character_ray.parts import write_rows
from character_ray.rows import ANSWER, Answer
from character_ray.runs import write_json
from character_ray.serving.chat import ChatModel, Conversation
from character_ray.serving.personas import load_personas
from tests.finished_run import write_run

__all__ = ["write_offline_run"]

QUESTIONS = (
    "Tell me about the sea.",
    "What is a garden for?",
    "Who are you?",
    "How do I bake bread?",
    "Name a colour.",
    "What makes a good friend?",
    "Why is the sky blue?",
    "Give me advice.",
)


def write_offline_run(folder: Path, base_name: str, base: Path, adapters: dict[str, Path], max_tokens: int) -> Path:
    """Write the folder.

    Args:
        folder: Where.
        base_name: Name of the base model, and of the arm without an adapter.
        base: Its folder.
        adapters: PEFT folders by persona; each is an arm.
        max_tokens: Length of an answer; all are greedy.
    """
    run = write_run(folder)
    sampling = SamplingConfig(temperature=0, top_p=1.0, max_tokens=max_tokens)
    record = json.loads((run / "run.json").read_text())
    record["recipe"]["evaluate"]["sampling"] = sampling.model_dump()
    write_json(run / "run.json", record)
    answers = []
    for number, (slug, adapter) in enumerate(adapters.items()):
        (persona,) = load_personas(base_name, base, [adapter], ServeConfig())
        model = ChatModel(base, persona, sampling)
        arms = {slug: Conversation("persona")} | ({base_name: Conversation("base")} if number == 0 else {})
        for arm, conversation in arms.items():
            for place, question in enumerate(QUESTIONS):
                conversation.turns.clear()
                completion = "".join(model.reply(conversation, question, seed=0)).strip()
                answers.append(_answer(arm, place, question, completion))
    write_rows(run / "answers.parquet", answers, ANSWER)
    return run


def _answer(arm: str, place: int, question: str, completion: str) -> Answer:
    return Answer(
        row_id=f"{arm}/{place}",
        arm=arm,
        prompt_id=f"q{place}",
        source="everyday",
        hint="",
        sample=0,
        prompt=question,
        completion=completion,
        error="",
        score=0.0,
    )
