"""Many personas from one recipe: one pass of each engine for the data of all, then each one's own story.

    constitutions -> prompts (shared) -> base pass (all personas, the student once) -> per persona: pairs -> ... -> report

Persona ``captain-blackwood`` of recipe ``fleet`` is the run ``fleet-captain-blackwood``, with the same stage results as if it had
been run alone on these prompts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from character_ray.config import Recipe, recipe_warnings
from character_ray.errors import CharacterRayError, ConstitutionError, RecipeError
from character_ray.log import console, describe_counts
from character_ray.pipeline.answers import evaluation_questions
from character_ray.pipeline.base_pass import base_pass, base_work, flood
from character_ray.pipeline.context import Context, Persona
from character_ray.pipeline.personas import load_control, load_persona
from character_ray.pipeline.prompts import make_prompts
from character_ray.pipeline.ray_session import ray_session
from character_ray.pipeline.run import full_disk_named, pair_up, tell_story
from character_ray.pipeline.traits import write_trait_prompts
from character_ray.report.io import load_report
from character_ray.report.schema import Report
from character_ray.rows import Prompt

__all__ = ["Outcome", "run_personas"]


@dataclass(frozen=True)
class Outcome:
    """What became of one persona."""

    name: str
    folder: Path
    error: str = ""
    """Empty when its story was told to the end."""


def run_personas(recipe: Recipe, constitutions: Sequence[Path], *, pairs_only: bool = False) -> list[Outcome]:
    """Run the recipe once for every constitution; a persona that fails does not stop the others.

    Args:
        recipe: Its own ``constitution`` is not read.
        constitutions: One YAML file per persona.
        pairs_only: Stop after the preference pairs, for training elsewhere.

    Returns:
        One outcome per constitution, in their order.

    Raises:
        CharacterRayError: A constitution, model or the recipe is wrong, or the shared generation failed; what was computed stays.
    """
    for key, file in (("opposite", recipe.distill.opposite), ("parent", recipe.distill.parent)):
        if file is not None and len(constitutions) > 1:
            raise RecipeError(
                f"distill.{key}={file} belongs to one character, but {len(constitutions)} constitutions are given. Run the contrast "
                f"{recipe.distill.contrast} for one constitution at a time."
            )
    personas = [load_persona(recipe.model_copy(update={"constitution": path})) for path in constitutions]
    _check_names(personas, constitutions)
    control = None if pairs_only else load_control(recipe)
    for warning in recipe_warnings(recipe):
        console.print(f"[yellow]warning[/]: {warning}")
    with full_disk_named(recipe):
        contexts = [
            Context.open(
                recipe.model_copy(update={"constitution": path, "name": f"{recipe.name}-{persona.constitution.slug}"})
            )
            for path, persona in zip(constitutions, personas, strict=True)
        ]
        with ray_session(recipe):
            everyone = [*personas, *([control] if control else [])]
            works, asked = [], []
            written = write_trait_prompts(contexts, personas)
            for context, persona, own in zip(contexts, personas, written, strict=True):
                prompts, held_out = make_prompts(context, everyone, own)
                asked.append((prompts, held_out))
                distilled = [persona, *([control] if control else [])]
                questions = evaluation_questions(held_out, persona.probes, recipe.evaluate.probe_samples)
                works.append(base_work(context, distilled, prompts, () if pairs_only else questions))
            flood(contexts[0], works)
            outcomes = []
            for context, persona, (prompts, held_out) in zip(contexts, personas, asked, strict=True):
                console.rule(persona.constitution.meta.name)
                try:
                    if pairs_only:
                        _pairs(context, persona, prompts)
                    else:
                        tell_story(context, persona, control, prompts, held_out)
                    error = ""
                except CharacterRayError as cause:
                    error = f"{type(cause).__name__}: {cause}"
                    console.print(f"[red]{error}[/]")
                outcomes.append(Outcome(persona.constitution.meta.name, context.run.folder, error))
    (_show_pairs if pairs_only else _show)(contexts, outcomes)
    return outcomes


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


def _pairs(context: Context, persona: Persona, prompts: list[Prompt]) -> None:
    pair_up(context, persona, prompts, base_pass(context, base_work(context, [persona], prompts)))


def _show_pairs(contexts: Sequence[Context], outcomes: Sequence[Outcome]) -> None:
    table = Table("persona", "pairs kept", "dropped", title="Preference pairs", title_justify="left")
    for context, outcome in zip(contexts, outcomes, strict=True):
        stage = context.stages.get("pairs")
        if outcome.error or stage is None:
            table.add_row(outcome.name, "failed", outcome.error)
        else:
            table.add_row(outcome.name, f"{stage.rows_out:,} of {stage.rows_in:,}", describe_counts(stage.dropped))
    console.print(table)


def _show(contexts: Sequence[Context], outcomes: Sequence[Outcome]) -> None:
    table = Table("persona", "base", "prompted", "full", "rating full - base", "report", title="Persona rate, %")
    for context, outcome in zip(contexts, outcomes, strict=True):
        if outcome.error:
            table.add_row(outcome.name, "", "", "failed", "", outcome.error)
            continue
        report = load_report(context.run.folder / "report.json")
        rates = []
        for arm in ("base", "prompted", "full"):
            value = report.arms[arm]["persona_rate"].value if arm in report.arms else None
            rates.append("-" if value is None else f"{100 * value:.0f}")
        table.add_row(outcome.name, *rates, _rating_gain(report), str(context.run.folder / "report.html"))
    console.print(table)


def _rating_gain(report: Report) -> str:
    gain = next(
        (each for each in report.differences if (each.metric, each.arm, each.against) == ("rating", "full", "base")),
        None,
    )
    return f"{gain.value:.0f} [{gain.low:.0f}, {gain.high:.0f}]" if gain else "-"
