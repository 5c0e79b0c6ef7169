"""A trained character follows a new version of its constitution without being trained again.

    run + new constitution -> changes -> affected prompts -> teacher under the new version -> pairs, beside untouched old ones
      -> delta (the character frozen beneath it) -> character + delta as one adapter -> answers -> locality, report

The new run's folder is ``output/<name>``; everything but the affected prompts' answers is read from the old run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from character_ray.adapters import load_manifest
from character_ray.config import Recipe, UpdateConfig
from character_ray.config.evaluation import LARGEST_RANK
from character_ray.constitution import (
    Change,
    Constitution,
    check_same_as_recorded,
    diff_constitutions,
    load_constitution,
)
from character_ray.encoder import Encoder
from character_ray.errors import ConstitutionError, RecipeError, ReportError
from character_ray.inference.likelihood import ScoreRequest
from character_ray.inference.passes import Generation
from character_ray.models import ENCODER, resolve_model
from character_ray.parts import read_rows, write_rows
from character_ray.pipeline.adapters import deliverable, join_delta, link_deliverable, train_delta
from character_ray.pipeline.answers import Exam, ask_arm, evaluation_questions
from character_ray.pipeline.context import Context, Persona, Wanted
from character_ray.pipeline.data import ask_lessons, ask_teacher
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.ray_session import ray_session
from character_ray.pipeline.scores import relevance_sheet, score_all, sheet_of
from character_ray.pipeline.update_measure import measure_update
from character_ray.pipeline.update_report import Known, known_completions, report_update
from character_ray.rows import CONVERSATION, Completion, Pair, Prompt, content_hash
from character_ray.runs import Artefact, write_json
from character_ray.stages.distill import build_pairs, tidy
from character_ray.stages.lessons import Lesson, lesson_pairs, plan_lessons
from character_ray.stages.updates import (
    affected_prompts,
    changed_lines,
    changes_voice,
    retained_pairs,
    update_conversations,
)
from character_ray.training.packages import check_packages

__all__ = ["check_changes", "update_run", "updated_recipe"]


@dataclass(frozen=True)
class _Plan:
    """What has to be made anew."""

    changes: list[Change]
    prompts: list[Prompt]
    lessons: list[Lesson]
    retained: list[Pair]


def update_run(
    folder: Path, constitution: Path, config: UpdateConfig, *, name: str = "", against: Path | None = None
) -> dict[str, Any]:
    """Update the character of a finished run, and measure what changed; resumable, as a run is.

    Args:
        folder: The finished run; its arm ``full`` is the character.
        constitution: The new version.
        config: How much is made anew, and the delta.
        name: Name of the new run; the old one's with ``-updated`` by default.
        against: A finished run that was trained on the new version from the beginning, to compare with.

    Returns:
        What ``update.json`` of the new run holds.

    Raises:
        CharacterRayError: The run is not finished, its constitution was edited since, the new version is another persona's or says
            the same, the adapter would be too large to serve, or a stage failed; what was computed stays.
    """
    run, after = FinishedRun.open(folder), load_constitution(constitution)
    if not (folder / "pairs" / "pairs.parquet").is_file():
        raise ReportError(
            f"{folder} has no pairs of its own (it may be an update itself), so nothing is known of what a further change leaves "
            "alone. Update the run that was trained from the beginning, with a constitution that has both changes."
        )
    before, character = run.persona.constitution, run.adapters(["full"])["full"]
    manifest = load_manifest(character)
    changes = check_changes(
        before,
        after,
        trained_on=manifest.constitution_hash,
        old_source=run.recipe.constitution,
        new_source=constitution,
    )
    recipe = updated_recipe(run.recipe, constitution, config, name, manifest.rank)
    check_packages(recipe.train)
    other = FinishedRun.open(against) if against else None
    if other is not None and other.persona.constitution.fingerprint != after.fingerprint:
        raise ReportError(
            f"{against} was trained on another constitution than {constitution}, so it shows nothing about this update. "
            f"Give a run of {constitution}."
        )
    context, persona = Context.open(recipe), Persona(after)
    plan = _plan(context, run, after, changes, config)
    with ray_session(recipe, does=["train"]), context.held:
        data, known, calibration = _make_data(context, persona, run, plan)
        delta = train_delta(context, persona, data, character)
        updated = join_delta(context, persona, character, delta)
        link_deliverable(context.run.folder, updated)
        questions = evaluation_questions(run.prompts("evaluation"), persona.probes, recipe.evaluate.probe_samples)
        answered = _answer(context, persona, questions, updated)
        measured = measure_update(context, persona, run, questions, answered, changes, other)
        report_update(context, persona, run, questions, answered, known, calibration, delta, updated)
    found = {
        "format": 1,
        "run": str(folder),
        "against": str(against) if against else None,
        "before": before.fingerprint,
        "after": after.fingerprint,
        "update": config.model_dump(),
        "changes": [
            {"field": change.field, "kind": change.kind, "before": change.before, "after": change.after}
            for change in changes
        ],
        "num_prompts": {
            "training": len(run.prompts("train")),
            "affected": len(plan.prompts),
            "lessons": len(plan.lessons),
            "retained": len(plan.retained),
            "trained_on": int(data.summary["rows_out"]),
        },
        "adapter": {
            "rank": load_manifest(deliverable(updated)).rank,
            "delta_rank": config.rank,
            "hash": load_manifest(deliverable(updated)).weights_hash,
            "logit_difference": updated.summary["logit_difference"],
        },
        "seed": recipe.seed,
        "wall_s": sum(stage.wall_s for stage in context.stages.values()),
        **measured,
    }
    write_json(context.run.folder / "update.json", found)
    return found


def check_changes(
    before: Constitution, after: Constitution, *, trained_on: str, old_source: Path | str, new_source: Path | str
) -> list[Change]:
    """What the new version changes for a model.

    Args:
        before: The old version, as its file says now.
        after: The new version.
        trained_on: Fingerprint of the version that was trained on.
        old_source: File of the old version, for messages.
        new_source: File of the new version, for messages.

    Raises:
        ConstitutionError: The old file was edited since, the new version has another name, or nothing a model sees differs.
    """
    check_same_as_recorded(before, old_source, trained_on, "the trained character")
    if before.slug != after.slug:
        raise ConstitutionError(
            f"{new_source} is of {after.meta.name}, but {old_source} of {before.meta.name}. An update keeps the name; train another "
            "persona with character-ray run."
        )
    changes = [change for change in diff_constitutions(before, after) if change.reaches_model]
    if not changes:
        raise ConstitutionError(f"{new_source} says what {old_source} says: there is nothing to update.")
    return changes


def updated_recipe(recipe: Recipe, constitution: Path, config: UpdateConfig, name: str, rank: int) -> Recipe:
    """The recipe of the new run: the old one's, with the new version and a delta in place of its second adapter.

    Raises:
        RecipeError: Character, of this rank, and delta together could not be served.
        ReportError: The new run has the old one's name.
    """
    name = name or f"{recipe.name}-updated"
    if name == recipe.name:
        raise ReportError(
            f"--name {name} is the run that is updated. An update keeps the old run; choose another name."
        )
    both = rank + config.rank
    if recipe.student_engine.adapters == "fold":
        both = min(both, LARGEST_RANK)  # more than an engine holds is recompressed, as in a run
    if both > recipe.serve.max_lora_rank:
        raise RecipeError(
            f"the character has rank {rank} and the delta {config.rank}; together they exceed serve.max_lora_rank="
            f"{recipe.serve.max_lora_rank} of its run's recipe, so the result could never be served. Take a smaller delta with --rank, "
            "or raise it in the recipe and run that again: finished stages are reused."
        )
    lora = recipe.sft.lora.model_copy(update={"rank": config.rank, "alpha": 2 * config.rank})
    sft = recipe.sft.model_copy(
        update={
            "lora": lora,
            "epochs": config.epochs,
            "loss_on": "last_turn",
            "learning_rate": config.learning_rate or recipe.sft.learning_rate,
        }
    )
    return recipe.model_copy(update={"name": name, "constitution": constitution, "sft": sft})


def _plan(
    context: Context, run: FinishedRun, after: Constitution, changes: Sequence[Change], config: UpdateConfig
) -> _Plan:
    recipe, prompts = context.recipe, run.prompts("train")
    pairs: list[Pair] = read_rows(run.folder / "pairs" / "pairs.parquet")  # type: ignore[assignment]
    asked = {pair["prompt_id"] for pair in pairs if pair["kind"] == "contrast"}
    prompts = [prompt for prompt in prompts if prompt["prompt_id"] in asked]
    old, new = changed_lines(changes)
    encode = Encoder(resolve_model(ENCODER))
    lines = list(dict.fromkeys([*new, *old])) or ["voice"]
    likeness = encode([prompt["prompt"] for prompt in prompts]) @ encode(lines).T
    affected = affected_prompts(prompts, likeness, config.nearest, voice=changes_voice(changes))
    touched = {*new, *(["safety.refusals"] if any(change.field == "safety.refusals" for change in changes) else [])}
    lessons = [lesson for lesson in plan_lessons(prompts, after, recipe.distill) if lesson.directive in touched]
    number = round(config.retain * (len(affected) + len(lessons)))
    retained = retained_pairs(pairs, affected, [*old, *touched], number, recipe.seed)
    return _Plan(list(changes), affected, lessons, retained)


def _answer(
    context: Context, persona: Persona, questions: Sequence[tuple[Prompt, int]], updated: Artefact
) -> Generation:
    """What the updated character says to held-out prompts and probes."""
    (asked,) = ask_arm(context, persona, "full", Exam(list(questions), [], []), updated).values()
    weights = context.weights(updated.folder / "adapter", "updated-folded")
    (generation,) = context.generate("updated model", [asked], weights, context.recipe.student_engine)
    return generation


def _make_data(
    context: Context, persona: Persona, run: FinishedRun, plan: _Plan
) -> tuple[Artefact, Known, tuple[list[float], list[float]]]:
    """The teacher answers the affected prompts under the new version; what passes the filters is trained on, with what is retained.

    Also what teacher and untrained student are known to have said, and the scores of it that fix the judge's threshold under the new
    version.
    """
    recipe = context.recipe
    by_lessons = ask_lessons(context, persona, plan.prompts, plan.lessons) if plan.lessons else None
    wanted: list[Wanted] = [ask_teacher(context, persona, plan.prompts), *([by_lessons[0]] if by_lessons else [])]
    taught = context.ask_teacher("teacher under the new version", wanted)
    sides = list(taught)
    if by_lessons:
        sides += context.generate("student", [by_lessons[1]], context.base_weights(), recipe.student_engine)
    rejected = _old_rejected(run, plan.prompts)
    texts = {prompt["prompt_id"]: prompt["prompt"] for prompt in plan.prompts}
    texts |= {f"{lesson.lesson_id}-{side}": lesson.prompt for lesson in plan.lessons for side in ("chosen", "rejected")}
    completions = [*(each for side in sides for each in side.completions()), *rejected]
    known = known_completions(run, plan.prompts, taught[0], recipe.seed)
    # The teacher's new answers are among the known ones: each is scored once, tidied as a run's are.
    scored = {each["row_id"]: each for each in (*completions, *known.teacher, *known.student)}
    texts |= known.prompts
    rows = [
        ScoreRequest(row_id=row_id, prompt=texts[each["prompt_id"]], completion=tidy(each, recipe.distill.filters))
        for row_id, each in scored.items()
    ]
    sheets = [sheet_of(context, persona, "scores-update", rows)]
    if recipe.distill.choose == "relevance":
        sheets.append(relevance_sheet(context, "", taught[0].completions(), texts))
    scores, *relevance = score_all(context, sheets)
    lessons = lesson_pairs(plan.lessons, completions, scores, recipe.distill)
    inputs = {
        "sources": [side.artefact.fingerprint for side in sides],
        "rejected": content_hash([each["row_id"] for each in rejected]),
        "retained": content_hash([pair["row_id"] for pair in plan.retained]),
        "judge": recipe.judge.dtype,
        "filters": recipe.distill.filters.model_dump(),
        **({"relevance": sheets[1].artefact.fingerprint} if relevance else {}),
        **({"equal_lessons": "dropped"} if any(pair["drop_reason"] == "duplicate" for pair in lessons) else {}),
    }
    artefact = context.artefact("update-data", inputs)
    reused = artefact.is_done
    with artefact.making() as to_make:
        if to_make:
            by = relevance[0] if relevance else None
            made = build_pairs(plan.prompts, taught[0].completions(), rejected, scores, recipe.distill, by)
            made += lessons
            conversations = update_conversations(made, plan.retained)
            write_rows(artefact.folder / "conversations.parquet", conversations, CONVERSATION)
            reasons = [row["drop_reason"] for row in conversations if row["drop_reason"]]
            artefact.finish(
                {
                    "rows_in": len(conversations),
                    "rows_out": len(conversations) - len(reasons),
                    "dropped": {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)},
                }
            )
    context.close(artefact, reused=reused)
    return artefact, known, known.calibration(scores)


def _old_rejected(run: FinishedRun, prompts: Sequence[Prompt]) -> list[Completion]:
    """What the old pairs rejected on these prompts, which the filters compare the new answers with."""
    pairs: list[Pair] = read_rows(run.folder / "pairs" / "pairs.parquet")  # type: ignore[assignment]
    by_prompt = {pair["prompt_id"]: pair for pair in pairs if pair["kind"] == "contrast"}
    return [
        Completion(
            row_id=content_hash("rejected", by_prompt[prompt["prompt_id"]]["row_id"]),
            prompt_id=prompt["prompt_id"],
            sample=0,
            completion=by_prompt[prompt["prompt_id"]]["rejected"][-1]["content"],
            num_tokens=0,
            finish_reason="stop",
            error="",
        )
        for prompt in prompts
    ]
