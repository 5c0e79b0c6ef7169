"""Revealed preferences of every arm of a finished run.

adapters -> preferences.json, preferences.html
"""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from character_ray.errors import RecipeError
from character_ray.evaluation.preferences import agreement, ask_pairs, describe, rate_traits, schedule_pairs, traits
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.ray_session import ray_session
from character_ray.report.page import link_pages
from character_ray.report.plots import Dot, dot_plot
from character_ray.report.sheet import Plot, Section, Sheet, write_sheet
from character_ray.runs import write_json

__all__ = ["preferences_run", "preferences_sheet"]

SHOWN = 12


def preferences_run(folder: Path) -> dict[str, Any]:
    """Ask every arm for the same pairs of traits; write the ratings and how far the arms agree.

    Raises:
        ReportError: The run is not finished.
        RecipeError: ``evaluate.preferences.rivals`` is odd.
    """
    run = FinishedRun.open(folder)
    rivals = run.recipe.evaluate.preferences.rivals
    if rivals % 2:
        raise RecipeError(
            f"evaluate.preferences.rivals={rivals} is odd, but each trait meets as many others on either side of a circle. "
            f"Set it to {rivals + 1}."
        )
    with ray_session(run.recipe, folder, does=["measure"]):
        found = run.on_ray(_ask, run)
    write_json(folder / "preferences.json", found)
    write_sheet(preferences_sheet(found), folder / "preferences.html")
    link_pages(folder)
    return found


def _ask(run: FinishedRun) -> dict[str, Any]:
    recipe, arms = run.recipe, run.arms
    reader = run.reader(arms)
    pairs = schedule_pairs(recipe.evaluate.preferences.rivals, recipe.seed)
    ratings, measured = {}, {}
    for arm in arms:
        prompts = {pair.prompt(swapped=swapped) for pair in pairs for swapped in (False, True)}
        chats = {prompt: run.chat(arm, prompt) for prompt in prompts}
        asked = ask_pairs(reader, arm, pairs, chats, recipe.judge.batch_size)
        ratings[arm] = rate_traits(pairs, asked.preference_K)
        measured[arm] = {
            "ratings": describe(traits(), ratings[arm]),
            "preference": float(np.abs(asked.preference_K).mean()),
            "seat": float(asked.seat_K.mean()),
        }
    draws = {"seed": recipe.seed, "resamples": recipe.evaluate.bootstrap}
    return {
        "format": 1,
        "run": run.folder.name,
        "model": recipe.student.name,
        "command": f"character-ray preferences {run.folder}",
        "num_pairs": len(pairs),
        "arms": measured,
        "agreements": [
            {"first": first, "second": second, **vars(agreement(ratings[first], ratings[second], **draws))}
            for first, second in combinations(arms, 2)
        ],
    }


def preferences_sheet(found: dict[str, Any]) -> Sheet:
    """The page of a ``preferences.json``."""
    ratings = {arm: {each["trait"]: each["rating"] for each in own["ratings"]} for arm, own in found["arms"].items()}
    shift = {name: value - ratings["base"][name] for name, value in ratings["full"].items()}
    order = sorted(shift, key=lambda name: -shift[name])
    dots = [
        Dot(
            f"{each['first'][:4]}/{each['second'][:4]}",
            each["value"],
            each["low"],
            each["high"],
            f"{each['value']:.2f} [{each['low']:.2f}, {each['high']:.2f}]",
            "headline" if {each["first"], each["second"]} == {"base", "full"} else "weights",
        )
        for each in found["agreements"]
    ]
    pair = next(each for each in found["agreements"] if (each["first"], each["second"]) == ("base", "full"))
    return Sheet(
        "Revealed preferences",
        found["run"],
        [
            f"The trained model's order of 144 traits agrees with that of {found['model']} as it was at a rank correlation of "
            f"{pair['value']:.2f} [{pair['low']:.2f}, {pair['high']:.2f}].",
            f"It gained most for {', '.join(order[:3])}; it lost most for {', '.join(order[-1:-4:-1])}.",
        ],
        [
            Section(
                "Agreement of arms",
                ["Spearman's rank correlation of the ratings, with 95 % intervals over traits."],
                [
                    Plot(
                        "Spearman",
                        "",
                        dot_plot("Agreement", dots, [-1.0, -0.5, 0.0, 0.5, 1.0], lambda tick: f"{tick:g}"),
                    )
                ],
            ),
            Section(
                "What moved",
                ["Rating of full minus rating of base, in Elo points."],
                (),
                ["trait", "shift", "base", "full"],
                [
                    [name, f"{shift[name]:+.0f}", f"{ratings['base'][name]:.0f}", f"{ratings['full'][name]:.0f}"]
                    for name in [*order[:SHOWN], *order[-SHOWN:]]
                ],
            ),
            Section(
                "How sure each arm is",
                [
                    "Mean size of a preference beside the pull of seat A, in nats of log-odds. Where the seat pulls much harder than the "
                    "traits, an arm has little to reveal; the seat itself is taken out by asking in both orders."
                ],
                (),
                ["arm", "preference", "pull of seat A"],
                [[arm, f"{own['preference']:.2f}", f"{own['seat']:+.2f}"] for arm, own in found["arms"].items()],
            ),
            Section(
                "How",
                [
                    f"{found['num_pairs']} pairs, each in both orders, the same for every arm; the next token's odds of A over B. "
                    f"Made by: {found['command']}."
                ],
            ),
        ],
    )
