"""Many personas from one recipe: one pass of each engine for the data of all, then each one's own story.

    constitutions -> prompts (shared) -> base pass (all personas, the student once) -> scores of all pairs
                  -> per persona: pairs -> ... -> report

Persona ``captain-blackwood`` of recipe ``fleet`` is the run ``fleet-captain-blackwood``, with the same stage results as if it had
been run alone on these prompts, up to the rounding of scores.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from character_ray.config import Recipe, recipe_warnings
from character_ray.errors import ConstitutionError, RecipeError
from character_ray.inference.score_sheets import Sheet, score_sheets
from character_ray.log import console, describe_counts
from character_ray.pipeline.answers import evaluation_exam
from character_ray.pipeline.base_pass import Sides, base_pass, base_work, flood, sides_of_pairs
from character_ray.pipeline.context import Context, Held, Persona, Wanted, to_generation
from character_ray.pipeline.pairs import pair_sheets
from character_ray.pipeline.personas import load_control, load_persona
from character_ray.pipeline.prompts import make_prompts
from character_ray.pipeline.ray_session import check_side_by_side, ray_session
from character_ray.pipeline.run import full_disk_named, pair_up, tell_story
from character_ray.pipeline.traits import write_trait_prompts
from character_ray.report.io import load_report
from character_ray.report.schema import Report
from character_ray.rows import Prompt
from character_ray.runs import read_summary
from character_ray.side_by_side import Work, do_all, error_of

__all__ = ["Outcome", "run_personas"]


@dataclass(frozen=True)
class Outcome:
    """What became of one persona."""

    name: str
    folder: Path
    error: str = ""
    """Empty when its story was told to the end."""


def run_personas(
    recipe: Recipe, constitutions: Sequence[Path], *, pairs_only: bool = False, side_by_side: int = 1
) -> list[Outcome]:
    """Run the recipe once for every constitution; a persona that fails, for whatever reason, does not stop the others.

    Args:
        recipe: Its own ``constitution`` is not read.
        constitutions: One YAML file per persona.
        pairs_only: Stop after the preference pairs, for training elsewhere.
        side_by_side: Personas trained and evaluated at once after the shared generation, each by a process of its own on the same
            Ray cluster, which gives their engines and workers what is free.

    Returns:
        One outcome per constitution, in their order.

    Raises:
        CharacterRayError: A constitution, model or the recipe is wrong, or the shared generation failed; what was computed stays.
    """
    distill, conversations = recipe.distill, recipe.introspect.conversations
    of_one = {
        "distill.opposite": distill.opposite,
        "distill.parent": distill.parent,
        "distill.pairs.path": distill.pairs.path if distill.pairs else None,
        "introspect.conversations.path": conversations.path if conversations else None,
    }
    for key, file in of_one.items():
        if file is not None and len(constitutions) > 1:
            raise RecipeError(
                f"{key}={file} belongs to one character, but {len(constitutions)} constitutions are given. Run it for one constitution "
                "at a time."
            )
    check_side_by_side(recipe, side_by_side)
    personas = [load_persona(recipe.model_copy(update={"constitution": path})) for path in constitutions]
    _check_names(personas, constitutions)
    control = None if pairs_only else load_control(recipe)
    for warning in recipe_warnings(recipe):
        console.print(f"[yellow]warning[/]: {warning}")
    held = Held()
    with full_disk_named(recipe):
        contexts = [
            Context.open(
                recipe.model_copy(update={"constitution": path, "name": f"{recipe.name}-{persona.constitution.slug}"}),
                held,
            )
            for path, persona in zip(constitutions, personas, strict=True)
        ]
        with ray_session(recipe), held:
            everyone = [*personas, *([control] if control else [])]
            asked = []
            written = write_trait_prompts(contexts, personas)
            for context, persona, own in zip(contexts, personas, written, strict=True):
                prompts, held_out = make_prompts(context, everyone, own)
                distilled = [persona, *([control] if control else [])]
                exam = None if pairs_only else evaluation_exam(recipe, persona, held_out)
                asked.append(_Asked(context, distilled, prompts, base_work(context, distilled, prompts, exam)))
            flood(contexts[0], [each.work for each in asked])
            _score_together(asked)
            recipes = [context.recipe for context in contexts]
            stories = [partial(_tell_one, each, constitutions, at, pairs_only) for at, each in enumerate(recipes)]
            if side_by_side > 1:
                held.end()  # each process starts its own
                errors = _side_by_side(stories, contexts, side_by_side)
            else:
                errors = _one_by_one([partial(story, held=held) for story in stories], personas, held)
    outcomes = [
        Outcome(persona.constitution.meta.name, context.run.folder, error)
        for persona, context, error in zip(personas, contexts, errors, strict=True)
    ]
    (_show_pairs if pairs_only else _show)(outcomes)
    return outcomes


@dataclass(frozen=True)
class _Asked:
    """What one run asks of untrained weights."""

    context: Context
    distilled: list[Persona]
    """Its persona, and the control where the recipe has one."""
    prompts: list[Prompt]
    work: Sides[Wanted]


def _score_together(asked: Sequence[_Asked]) -> None:
    """Score the sides of all pairs by one start of the judges, for each run to find."""
    sheets: dict[Path, Sheet] = {}
    for run in asked:
        if run.work.on_policy is not None:
            continue  # what the parent adapter says is not written yet
        sides = run.work.map(to_generation)
        for persona in run.distilled:
            with suppress(Exception):  # told by the persona's own story
                found = pair_sheets(run.context, persona, run.prompts, sides_of_pairs(sides, persona.prefix))
                for sheet in found:
                    sheets.setdefault(sheet.artefact.folder, sheet)
    if len(sheets) < 2:
        return
    first = asked[0].context
    try:
        score_sheets(
            "scores of all pairs", list(sheets.values()), first.student.folder, first.recipe.judge, first.held.judges
        )
    except Exception as error:  # whatever one persona's rows did to the judges must not stop the others
        why = escape(str(error))
        console.print(f"[yellow]scores of all pairs[/]: {why}. Every persona scores what is left of its own.")
        error_of(first.held.judges.end)  # the next persona starts its own


def _check_names(personas: Sequence[Persona], constitutions: Sequence[Path]) -> None:
    counts = Counter(persona.constitution.slug for persona in personas)
    for slug, number in counts.items():
        if number > 1:
            files = [
                str(path) for path, each in zip(constitutions, personas, strict=True) if each.constitution.slug == slug
            ]
            raise ConstitutionError(
                f"{', '.join(files)} all name the persona {slug!r}, so their runs would overwrite each other. "
                "Change meta.name, or give one of them."
            )


def _tell_one(
    recipe: Recipe,
    constitutions: Sequence[Path],
    number: int,
    pairs_only: bool,
    held: Held | None = None,
) -> None:
    """What one persona makes of the shared generation, which it finds in the store.

    Args:
        recipe: The persona's own.
        constitutions: All that were given: nobody is trained on another's probes.
        number: Which of them it is, from 0.
        pairs_only: Stop after the preference pairs.
        held: What the shared generation left up, in the same process.
    """
    everyone = [load_persona(recipe.model_copy(update={"constitution": path})) for path in constitutions]
    persona, control = everyone[number], None if pairs_only else load_control(recipe)
    context = Context.open(recipe, held)
    with full_disk_named(recipe), ray_session(recipe), nullcontext() if held else context.held:
        written = write_trait_prompts([context], [persona])[0]
        prompts, held_out = make_prompts(context, [*everyone, *([control] if control else [])], written)
        if pairs_only:
            pair_up(context, persona, prompts, base_pass(context, base_work(context, [persona], prompts)))
        else:
            tell_story(context, persona, control, prompts, held_out)


def _one_by_one(stories: Sequence[Callable[[], object]], personas: Sequence[Persona], held: Held) -> list[str]:
    """The error of each story, told one after the other; what is kept ends after one that failed, since it may be what broke."""
    errors = []
    for story, persona in zip(stories, personas, strict=True):
        console.rule(persona.constitution.meta.name)
        errors.append(error_of(story))
        if errors[-1]:
            console.print(errors[-1], style="red", markup=False)
            error_of(held.end)  # the next starts its own
    return errors


def _side_by_side(stories: Sequence[Callable[[], None]], contexts: Sequence[Context], at_once: int) -> list[str]:
    import ray

    # One Ray for all: it gives each engine and worker what is free, and lets the others wait.
    cluster = {"RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    works = [
        Work(context.run.folder.name, context.run.folder, story, cluster)
        for story, context in zip(stories, contexts, strict=True)
    ]
    return do_all(works, at_once)


def _show_pairs(outcomes: Sequence[Outcome]) -> None:
    table = Table("persona", "pairs kept", "dropped", title="Preference pairs", title_justify="left")
    for outcome in outcomes:
        if outcome.error:
            table.add_row(outcome.name, "failed", escape(outcome.error))
            continue
        pairs = read_summary(outcome.folder / "pairs")
        table.add_row(
            outcome.name, f"{pairs['rows_out']:,} of {pairs['rows_in']:,}", describe_counts(pairs.get("dropped", {}))
        )
    console.print(table)


def _show(outcomes: Sequence[Outcome]) -> None:
    table = Table("persona", "base", "prompted", "full", "rating full - base", "report", title="Persona rate, %")
    for outcome in outcomes:
        if outcome.error:
            table.add_row(outcome.name, "", "", "failed", "", escape(outcome.error))
            continue
        report = load_report(outcome.folder / "report.json")
        rates = []
        for arm in ("base", "prompted", "full"):
            value = report.arms[arm]["persona_rate"].value if arm in report.arms else None
            rates.append("-" if value is None else f"{100 * value:.0f}")
        table.add_row(outcome.name, *rates, _rating_gain(report), str(outcome.folder / "report.html"))
    console.print(table)


def _rating_gain(report: Report) -> str:
    gain = next(
        (each for each in report.differences if (each.metric, each.arm, each.against) == ("rating", "full", "base")),
        None,
    )
    return f"{gain.value:.0f} [{gain.low:.0f}, {gain.high:.0f}]" if gain else "-"
