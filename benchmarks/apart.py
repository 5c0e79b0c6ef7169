"""The pipeline's work as separate processes one after another: what R7 sets our pipeline beside.

    python -m benchmarks.apart jobs/recipes/smollm2-full.yaml output=/tmp/apart

The same prompts, requests, filters and trainings as ``jobs/full_pipeline.py``, but every stage that an engine answers is a process of its
own: it starts ``vllm.LLM`` as its documentation does, answers one stage and ends. Self-interactions wait for the slowest conversation after
every turn. Trainings and the judge are ours here too, which favours this side: R4 says what they gain.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_ray.config import EngineConfig, load_recipe
from character_ray.inference.generate import Weights
from character_ray.inference.passes import Deliver, Generation, SelfInteraction, run_pass
from character_ray.inference.turns import view_of, whole_turn
from character_ray.log import StageProgress
from character_ray.pipeline.context import Context, Wanted, to_generation
from character_ray.pipeline.personas import load_control, load_persona
from character_ray.pipeline.prompts import make_prompts
from character_ray.pipeline.ray_session import ray_session
from character_ray.pipeline.run import tell_story
from character_ray.rows import Completion, Dialogue, Request, Talk, content_hash
from character_ray.vllm_options import engine_environment, engine_kwargs

__all__ = ["ApartContext", "answer_stage"]

# The share of a GPU that the recipe gives an engine, so that both sides fit where something else runs beside them.
NEEDED_ON_GPU = ("gpu_memory_utilization", "kv_cache_memory_bytes")
# Without them vLLM's CPU build claims all but the whole memory and dies of requests that have a seed.
NEEDED_ON_CPU = ("enforce_eager", "kv_cache_memory_bytes", "enable_chunked_prefill", "max_num_batched_tokens")


@dataclass
class ApartContext(Context):
    """A run whose engine stages are processes of their own."""

    def generate(
        self,
        label: str,
        wanted: Sequence[Wanted],
        weights: Weights,
        engine: EngineConfig,
        interactions: SelfInteraction | None = None,
    ) -> list[Generation]:
        """One process for each stage, one after the other."""
        if interactions is not None:
            _one_process(label, interactions, weights.model, engine)
            self.close(interactions.artefact, reused=False)
        return self._apart(label, wanted, weights.model, engine)

    def teach(self, label: str, generations: Sequence[Generation]) -> None:
        """The teacher in processes of its own; it must be the student's model."""
        if not self.recipe.shares_engine:
            raise SystemExit("R7 compares recipes whose teacher is the student's model; this one has another teacher")
        for generation in generations:
            _one_process(label, generation, self.student.folder, self.recipe.student_engine)

    def _apart(self, label: str, wanted: Sequence[Wanted], model: Path, engine: EngineConfig) -> list[Generation]:
        generations = [to_generation(each) for each in wanted]
        for generation in generations:
            _one_process(label, generation, model, engine)
            self.close(generation.artefact, reused=False)
        return generations


def _one_process(label: str, stage: Generation | SelfInteraction, model: Path, engine: EngineConfig) -> None:
    def complete(rows: Sequence[Any], deliver: Deliver, progress: StageProgress) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            asked, answered = Path(scratch) / "asked.json", Path(scratch) / "answered.json"
            asked.write_text(
                json.dumps({"model": str(model), "engine": engine.model_dump(mode="json"), "rows": list(rows)})
            )
            subprocess.run([sys.executable, "-m", "benchmarks.apart", "--stage", asked, answered], check=True)
            deliver(json.loads(answered.read_text()))

    run_pass(f"{label}, {stage.artefact.stage} apart", [stage], engine.max_failed_share, complete)


def answer_stage(asked: Path, answered: Path) -> None:
    """Answer one stage in this process: its own engine, its own start."""
    import os

    work = json.loads(asked.read_text())
    engine = EngineConfig.model_validate(work["engine"])
    os.environ.update(engine_environment(engine))
    from vllm import LLM

    own = engine_kwargs(engine)
    needed = NEEDED_ON_CPU if engine.device == "cpu" else NEEDED_ON_GPU
    more = {name: own[name] for name in needed if name in own}
    llm = LLM(model=work["model"], dtype=engine.dtype, max_model_len=engine.max_model_len, **more)
    rows = work["rows"]
    dialogues = bool(rows) and "turns" in rows[0]
    answers: Sequence[Any] = _talk(llm.chat, rows) if dialogues else _complete(llm.chat, rows)
    answered.write_text(json.dumps(answers))


def _complete(chat: Callable[..., list[Any]], rows: Sequence[Request]) -> list[Completion]:
    """One call for the requests that a user ends, one for those whose answer is begun already."""
    found: list[Completion] = []
    for begun in (False, True):
        own = [row for row in rows if (row["messages"][-1]["role"] == "assistant") == begun]
        if not own:
            continue
        outputs = _chat(
            chat, [row["messages"] for row in own], [row["sampling"] for row in own], continue_final_message=begun
        )
        for row, output in zip(own, outputs, strict=True):
            said = output.outputs[0]
            found.append(
                Completion(
                    row_id=row["row_id"],
                    prompt_id=row["prompt_id"],
                    sample=row["sample"],
                    completion=said.text.strip(),
                    num_tokens=len(said.token_ids),
                    finish_reason=str(said.finish_reason),
                    error="",
                )
            )
    return found


def _talk(chat: Callable[..., list[Any]], rows: Sequence[Dialogue]) -> list[Talk]:
    """Self-interaction with a barrier after every turn."""
    turns = [[row["opening"]] for row in rows]
    tokens, cut = [0] * len(rows), [0] * len(rows)
    for number in range(1, rows[0]["turns"]):
        chats = [view_of(number % 2, row["system"], said) for row, said in zip(rows, turns, strict=True)]
        sampling = [
            row["sampling"] | {"seed": int(content_hash(f"{row['row_id']}-{number}"), 16) % 2**31} for row in rows
        ]
        for place, output in enumerate(_chat(chat, chats, sampling)):
            turn = whole_turn(output.outputs[0])
            turns[place].append(turn.text)
            tokens[place] += turn.num_tokens
            cut[place] += turn.is_cut
    return [
        Talk(
            row_id=row["row_id"],
            messages=view_of(1, "", said)[1:],
            num_tokens=count,
            num_cut=short,
            drop_reason="",
            error="",
        )
        for row, said, count, short in zip(rows, turns, tokens, cut, strict=True)
    ]


def _chat(
    chat: Callable[..., list[Any]], chats: Sequence[Any], sampling: Sequence[Any], continue_final_message: bool = False
) -> list[Any]:
    from vllm import SamplingParams

    return chat(
        list(chats),
        [SamplingParams(**each) for each in sampling],
        add_generation_prompt=not continue_final_message,
        continue_final_message=continue_final_message,
        use_tqdm=False,
    )


def main(arguments: Sequence[str]) -> None:
    """Run the pipeline apart, or one stage of it."""
    if arguments[0] == "--stage":
        answer_stage(Path(arguments[1]), Path(arguments[2]))
        return
    recipe = load_recipe(arguments[0], arguments[1:])
    persona, control = load_persona(recipe), load_control(recipe)
    context = ApartContext.open(recipe)
    with ray_session(recipe):
        prompts = make_prompts(context, [persona, *([control] if control else [])], [])
        tell_story(context, persona, control, *prompts)


if __name__ == "__main__":
    main(sys.argv[1:])
