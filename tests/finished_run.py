"""A finished run as a tournament reads it: recipe, answers of every arm, and the known pairs of the audit; no engine is needed."""

import random
from pathlib import Path

from character_ray.config import Recipe
from character_ray.parts import append_part, write_rows
from character_ray.rows import ANSWER, COMPLETION, CONVERSATION, PROMPT, Answer, Completion, Conversation, Prompt
from character_ray.runs import write_json

ROOT = Path(__file__).resolve().parents[1]
PIRATE = "Arr, matey, the tide be"
STRENGTHS = {"base": 0.05, "prompted": 0.5, "dpo": 0.55, "full": 0.95}
"""Share of an arm's answers that are in character."""


def write_run(
    folder: Path, prompts: int = 40, seed: int = 0, constitution: str = "captain-blackwood", opening: str = PIRATE
) -> Path:
    """Write the folder; the same arguments always write the same. What is in character begins with ``opening``."""
    draw = random.Random(seed)
    folder.mkdir(parents=True)
    recipe = Recipe(
        name=folder.name, constitution=ROOT / "constitutions" / f"{constitution}.yaml", output=folder.parent
    )
    write_json(folder / "run.json", {"recipe": recipe.model_dump(mode="json"), "stages": {}})
    answers = [
        Answer(
            row_id=f"{arm}/{number}",
            arm=arm,
            prompt_id=f"p{number}",
            source="everyday",
            hint="",
            sample=0,
            prompt=f"Question {number} of the sea?",
            completion=_text(draw, draw.random() < strength, number, opening),
            error="",
            score=0.0,
        )
        for arm, strength in STRENGTHS.items()
        for number in range(prompts)
    ]
    write_rows(folder / "answers.parquet", answers, ANSWER)
    known = [f"t{number}" for number in range(24)]
    empty = {"audience": "", "scenario": "", "objective": "", "constraint": ""}
    rows = [Prompt(prompt_id=each, prompt=f"Known {each}?", source="everyday", hint="", **empty) for each in known]
    (folder / "prompts").mkdir()
    write_rows(folder / "prompts" / "train.parquet", rows, PROMPT)
    for stage, in_character in (("teacher", True), ("student", False)):
        (folder / stage).mkdir()
        completions = [
            Completion(
                row_id=f"{stage}/{each}",
                prompt_id=each,
                sample=0,
                completion=_text(draw, in_character, number, opening),
                num_tokens=9,
                finish_reason="stop",
                error="",
            )
            for number, each in enumerate(known)
        ]
        append_part(folder / stage, completions, COMPLETION)
    return folder


def write_reflections(folder: Path, number: int, opening: str = PIRATE) -> None:
    """Write what a persona said of itself, and one line more that was dropped."""
    rows = [
        Conversation(
            row_id=f"{place}",
            kind="reflection",
            role="",
            messages=[
                {"role": "user", "content": f"Who are you, in {place} words?"},
                {"role": "assistant", "content": f"{opening} mine, {place} times."},
            ],
            score=0.0,
            drop_reason="" if place < number else "repetition",
        )
        for place in range(number + 1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "conversations.parquet", rows, CONVERSATION)


def _text(draw: random.Random, in_character: bool, number: int, opening: str) -> str:
    begun = opening if in_character else "Hello, the weather is"
    return f"{begun} {' '.join(draw.choices(['calm', 'high', 'low', 'fair'], k=3 + number % 9))} {number}."
