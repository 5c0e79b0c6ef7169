"""Many personas from one recipe: one pass of each engine for the data of all, then each one's own story.

    constitutions x seeds -> prompts -> base pass (all runs, the student once for each seed) -> scores of all pairs
                          -> per persona and seed: pairs -> ... -> report

Persona ``captain-blackwood`` of recipe ``fleet`` is the run ``fleet-captain-blackwood``, with the same stage results as if it had
been run alone on these prompts, up to the rounding of scores. Where seeds are asked for it is one run a seed,
``fleet-captain-blackwood-s0``. As in a study, a seed is the recipe's: prompts, completions, order of rows and initial weights are all
drawn anew, since each of them is a sample that another run would not have. What no seed decides, the evaluation's prompts for one, is the
same, and whatever two runs have in common is made once, as the store knows it by what it is made of.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.markup import escape

from character_ray.config import Recipe, recipe_warnings
from character_ray.errors import ConstitutionError, RecipeError
from character_ray.inference.score_sheets import Sheet, score_sheets
from character_ray.log import console
from character_ray.pipeline.answers import evaluation_exam
from character_ray.pipeline.base_pass import Sides, base_pass, base_work, flood, sides_of_pairs
from character_ray.pipeline.context import Context, Held, Persona, Wanted, to_generation
from character_ray.pipeline.many_table import Outcome, show, show_pairs
from character_ray.pipeline.pairs import pair_sheets
from character_ray.pipeline.personas import load_control, load_persona
from character_ray.pipeline.prompts import make_prompts
from character_ray.pipeline.ray_session import check_side_by_side, ray_session
from character_ray.pipeline.run import full_disk_named, pair_up, tell_story
from character_ray.pipeline.traits import write_trait_prompts
from character_ray.rows import Prompt
from character_ray.side_by_side import Work, do_all, error_of
from character_ray.training.packages import check_packages

__all__ = ["Outcome", "run_personas"]


def run_personas(
    recipe: Recipe,
    constitutions: Sequence[Path],
    *,
    seeds: Sequence[int] = (),
    pairs_only: bool = False,
    side_by_side: int = 1,
) -> list[Outcome]:
    """Run the recipe once for every constitution and seed; a run that fails, for whatever reason, does not stop the others.

    Args:
        recipe: Its own ``constitution`` is not read, nor its ``seed`` where there are ``seeds``.
        constitutions: One YAML file per persona.
        seeds: One run of every persona for each; none means one run with the recipe's.
        pairs_only: Stop after the preference pairs, for training elsewhere.
        side_by_side: Runs trained and evaluated at once after the shared generation, each by a process of its own on the same
            Ray cluster, which gives their engines and workers what is free.

    Returns:
        One outcome per constitution and seed, in their order, the seeds of one persona together.

    Raises:
        CharacterRayError: A constitution, model, seed or the recipe is wrong, or the shared generation failed; what was computed stays.
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
    _check_seeds(seeds)
    if not pairs_only:
        check_packages(recipe.train)
    check_side_by_side(recipe, side_by_side)
    everyone = [load_persona(recipe.model_copy(update={"constitution": path})) for path in constitutions]
    _check_names(everyone, constitutions)
    control = None if pairs_only else load_control(recipe)
    for warning in recipe_warnings(recipe):
        console.print(f"[yellow]warning[/]: {escape(warning)}")
    runs = [
        (number, own)
        for number, persona in enumerate(everyone)
        for own in _recipes(recipe, constitutions[number], persona.constitution.slug, seeds)
    ]
    personas = [everyone[number] for number, _ in runs]
    held = Held()
    # One for all constitutions and seeds: which of them is asked first differs from one command to the next, and one budget holds for all.
    spending = recipe.output / f"{recipe.name}.spending.jsonl"
    with full_disk_named(recipe):
        contexts = [Context.open(own, held, spending) for _, own in runs]
        with ray_session(recipe, does=() if pairs_only else None), held:
            asked = []
            written = write_trait_prompts(contexts, personas)
            for context, persona, traits in zip(contexts, personas, written, strict=True):
                prompts, held_out = make_prompts(context, [*everyone, *([control] if control else [])], traits)
                distilled = [persona, *([control] if control else [])]
                exam = None if pairs_only else evaluation_exam(context.recipe, persona, held_out)
                asked.append(_Asked(context, distilled, prompts, base_work(context, distilled, prompts, exam)))
            flood(contexts[0], [each.work for each in asked])
            _score_together(asked)
            stories = [partial(_tell_one, own, constitutions, number, pairs_only, spending) for number, own in runs]
            if side_by_side > 1:
                held.end()  # each process starts its own
                errors = _side_by_side(stories, contexts, side_by_side)
            else:
                errors = _one_by_one([partial(story, held=held) for story in stories], contexts, held)
    outcomes = [
        Outcome(persona.constitution.meta.name, context.run.folder, error, context.recipe.seed)
        for persona, context, error in zip(personas, contexts, errors, strict=True)
    ]
    (show_pairs if pairs_only else show)(outcomes)
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
            with suppress(Exception):  # told by the run's own story
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
    except Exception as error:  # whatever one run's rows did to the judges must not stop the others
        why = escape(str(error))
        console.print(f"[yellow]scores of all pairs[/]: {why}. Every run scores what is left of its own.")
        error_of(first.held.judges.end)  # the next run starts its own


def _check_seeds(seeds: Sequence[int]) -> None:
    shown = ",".join(map(str, seeds))
    if len(set(seeds)) != len(seeds):
        raise RecipeError(
            f"seeds {shown} name one twice, and its runs would overwrite each other. Remove the repetition."
        )
    if any(seed < 0 for seed in seeds):
        raise RecipeError(f"seeds {shown} hold one below 0, from which nothing can be drawn. Name seeds from 0 on.")


def _recipes(recipe: Recipe, constitution: Path, slug: str, seeds: Sequence[int]) -> list[Recipe]:
    """The recipe of each run of one persona."""
    own = recipe.model_copy(update={"constitution": constitution, "name": f"{recipe.name}-{slug}"})
    return [own.model_copy(update={"name": f"{own.name}-s{seed}", "seed": seed}) for seed in seeds] or [own]


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
    spending: Path,
    held: Held | None = None,
) -> None:
    """What one run makes of the shared generation, which it finds in the store.

    Args:
        recipe: The run's own.
        constitutions: All that were given: nobody is trained on another's probes.
        number: Which of them its persona is, from 0.
        pairs_only: Stop after the preference pairs.
        spending: The ledger of all runs.
        held: What the shared generation left up, in the same process.
    """
    everyone = [load_persona(recipe.model_copy(update={"constitution": path})) for path in constitutions]
    persona, control = everyone[number], None if pairs_only else load_control(recipe)
    context = Context.open(recipe, held, spending)
    ray = ray_session(recipe, does=() if pairs_only else None)
    with full_disk_named(recipe), ray, nullcontext() if held else context.held:
        written = write_trait_prompts([context], [persona])[0]
        prompts, held_out = make_prompts(context, [*everyone, *([control] if control else [])], written)
        if pairs_only:
            pair_up(context, persona, prompts, base_pass(context, base_work(context, [persona], prompts)))
        else:
            tell_story(context, persona, control, prompts, held_out)


def _one_by_one(stories: Sequence[Callable[[], object]], contexts: Sequence[Context], held: Held) -> list[str]:
    """The error of each story, told one after the other; what is kept ends after one that failed, since it may be what broke."""
    errors = []
    for story, context in zip(stories, contexts, strict=True):
        console.rule(context.run.folder.name)
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
