"""The persona tax of a finished run: what every arm can still do.

tasks -> answers of every arm's engine -> checks, likelihoods of options -> tax.json, tax.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from character_ray.config import Arm, SamplingConfig
from character_ray.constitution import system_prompt
from character_ray.evaluation.capability import KINDS, Task, choices, compose_tasks, solves
from character_ray.evaluation.harness import check_harness, harness_command, run_harness
from character_ray.evaluation.options import option_log_probs
from character_ray.inference.judge_actors import judge_dtype
from character_ray.inference.passes import Generation
from character_ray.pipeline.context import Context, Wanted
from character_ray.pipeline.finished import FinishedRun
from character_ray.pipeline.ray_session import ray_session
from character_ray.report.page import link_pages
from character_ray.report.plots import Dot, dot_plot
from character_ray.report.sheet import Plot, Section, Sheet, percent, write_sheet
from character_ray.runs import write_json
from character_ray.stages.requests import build_request
from character_ray.statistics import cluster_rate, holm, mcnemar, paired_difference

__all__ = ["tax_measures", "tax_run", "tax_sheet"]

RATES = [0.0, 0.25, 0.5, 0.75, 1.0]


def tax_run(folder: Path) -> dict[str, Any]:
    """Ask every arm the same tasks and write what each can do, with differences from base paired by task.

    Raises:
        ReportError: The run is not finished.
        RecipeError: Harness tasks are asked for and the harness is missing or failed.
    """
    run = FinishedRun.open(folder)
    config = run.recipe.evaluate.tax
    check_harness(config.lm_eval_tasks)
    tasks = compose_tasks(config.tasks_per_kind, run.recipe.seed)
    with ray_session(run.recipe, does=["measure"]):
        texts = _answer(run, tasks)
        picked = run.on_ray(_pick, run)
    solved = {arm: [solves(task, text) for task, text in zip(tasks, texts[arm], strict=True)] for arm in run.arms}
    found: dict[str, Any] = {
        "format": 1,
        "run": folder.name,
        "model": run.recipe.student.name,
        "command": f"character-ray tax {folder}",
        "seed": run.recipe.seed,
        **tax_measures(tasks, solved, picked, seed=run.recipe.seed, resamples=run.recipe.evaluate.bootstrap),
        "examples": [
            {"kind": kind, "prompt": tasks[place].prompt, "answers": {arm: texts[arm][place] for arm in run.arms}}
            for kind in KINDS
            for place in [next(place for place, task in enumerate(tasks) if task.kind == kind)]
        ],
        "harness": _harness(run) if config.lm_eval_tasks else {},
    }
    write_json(folder / "tax.json", found)
    write_sheet(tax_sheet(found), folder / "tax.html")
    link_pages(folder)
    return found


def tax_measures(
    tasks: Sequence[Task],
    solved: dict[Arm, list[bool]],
    picked: dict[Arm, list[bool]],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Rates by arm and kind, over all kinds, and every arm's tax: base minus arm, paired by task.

    Args:
        tasks: What was asked.
        solved: By arm, whether each task was done.
        picked: By arm, whether each multiple-choice question was right.
        seed: Seed of the bootstrap.
        resamples: Its resamples.
    """
    names = [task.task_id for task in tasks]
    questions = [each.task_id for each in choices()]
    rates: dict[str, dict[str, Any]] = {}
    for arm, values in solved.items():
        by_kind = {
            kind: [float(done) for task, done in zip(tasks, values, strict=True) if task.kind == kind] for kind in KINDS
        }
        rates[arm] = {
            kind: vars(cluster_rate(own, [str(i) for i in range(len(own))], seed=seed)) for kind, own in by_kind.items()
        }
        rates[arm]["choice"] = vars(cluster_rate([float(right) for right in picked[arm]], questions, seed=seed))
        every = [*map(float, values), *map(float, picked[arm])]
        rates[arm]["all"] = vars(cluster_rate(every, [*names, *questions], seed=seed))
    others = [arm for arm in solved if arm != "base"]
    both = {arm: [*map(float, solved[arm]), *map(float, picked[arm])] for arm in solved}
    adjusted = holm([mcnemar(both["base"], both[arm]) for arm in others])
    return {
        "rates": rates,
        "tax": [
            {
                "arm": arm,
                **vars(
                    paired_difference(
                        both["base"],
                        [*names, *questions],
                        both[arm],
                        [*names, *questions],
                        seed=seed,
                        resamples=resamples,
                    )
                ),
                "p_value": p_value,
            }
            for arm, p_value in zip(others, adjusted, strict=True)
        ],
    }


def _answer(run: FinishedRun, tasks: Sequence[Task]) -> dict[Arm, list[str]]:
    """Every arm's answers, each set of weights loaded once; answers of an earlier attempt are read."""
    context, recipe = Context.open(run.recipe), run.recipe
    sampling = SamplingConfig(temperature=0, top_p=1, max_tokens=recipe.evaluate.tax.max_tokens)
    adapters = run.adapters(run.arms)

    def wanted(arm: Arm) -> Wanted:
        requests = [
            build_request("tax", task.task_id, run.chat(arm, task.prompt), sampling, seed=recipe.seed) for task in tasks
        ]
        inputs = {
            "model": context.student.identity,
            "weights": run.weights_hash(arm),
            "engine": recipe.student_engine.numerics,
            "rows": [request["row_id"] for request in requests],
        }
        return Wanted(context.artefact(f"tax-{arm}", inputs), requests)

    untrained: list[Arm] = [arm for arm in run.arms if arm not in adapters]
    with context.held:
        done = context.generate(
            "tax: base", [wanted(arm) for arm in untrained], context.base_weights(), recipe.student_engine
        )
        answered: dict[Arm, Generation] = dict(zip(untrained, done, strict=True))
        for arm in run.arms:
            if arm in adapters:
                weights = context.weights(adapters[arm], f"{arm}-folded")
                (answered[arm],) = context.generate(f"tax: {arm}", [wanted(arm)], weights, recipe.student_engine)
    return {arm: [row["completion"] for row in answered[arm].spoken()] for arm in run.arms}


def _pick(run: FinishedRun) -> dict[Arm, list[bool]]:
    """Whether each arm finds the right option of each question the likeliest, per token."""
    reader = run.reader(run.arms)
    asked = choices()
    picked: dict[Arm, list[bool]] = {}
    for arm in run.arms:
        chats = [run.chat(arm, each.question) for each in asked]
        scores = option_log_probs(reader, arm, chats, [each.options for each in asked], run.recipe.judge.batch_size)
        picked[arm] = [bool(max(range(len(own)), key=own.__getitem__) == 0) for own in scores]
    return picked


def _harness(run: FinishedRun) -> dict[str, Any]:
    """The evaluation harness on every arm."""
    config, adapters = run.recipe.evaluate.tax, run.adapters(run.arms)
    found: dict[str, Any] = {}
    for arm in run.arms:
        if arm == "teacher":  # the harness takes no example turns
            continue
        output = run.folder / "harness" / arm
        command = harness_command(
            run.base,
            adapters.get(arm),
            config.lm_eval_tasks,
            output,
            device="cpu" if run.recipe.judge.device == "cpu" else "cuda",
            dtype=str(judge_dtype(run.recipe.judge)).removeprefix("torch."),
            seed=run.recipe.seed,
            system_prompt=system_prompt(run.persona.constitution) if arm == "prompted" else "",
            limit=config.lm_eval_limit,
        )
        found[arm] = run_harness(command, output)
    return found


def tax_sheet(found: dict[str, Any]) -> Sheet:
    """The page of a ``tax.json``."""
    rates, kinds = found["rates"], [*KINDS, "choice", "all"]
    full = next(each for each in found["tax"] if each["arm"] == "full")
    dots = [
        Dot(
            arm,
            each["all"]["value"],
            each["all"]["low"],
            each["all"]["high"],
            percent(each["all"]),
            "headline" if arm == "full" else "weights",
        )
        for arm, each in rates.items()
    ]
    return Sheet(
        "Persona tax",
        found["run"],
        [
            f"Of the same {full['n']} tasks {found['model']} as it was does {percent(rates['base']['all'])}, and the trained model "
            f"{percent(rates['full']['all'])}.",
            f"The tax is {_points(full)}, paired by task.",
        ],
        [
            Section(
                "By arm and kind",
                [
                    "Answers are checked by a program, to the letter; choice is whether the right option is the likeliest per token."
                ],
                [Plot("All tasks", "", dot_plot("Tasks done by arm", dots, RATES, lambda tick: f"{100 * tick:.0f}"))],
                [
                    "arm",
                    *(f"{kind}, n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{rates['base'][kind]['n']}" for kind in kinds),
                ],
                [[arm, *(percent(each[kind]) for kind in kinds)] for arm, each in rates.items()],
            ),
            Section(
                "Base minus arm",
                ["Paired by task; p of McNemar's exact test, adjusted by Holm over the arms."],
                (),
                ["arm", "tax", "p", "tasks"],
                [[each["arm"], _points(each), f"{each['p_value']:.3g}", str(each["n"])] for each in found["tax"]],
            ),
            *_harness_section(found["harness"]),
            Section(
                "Examples",
                ["The first task of each kind."],
                (),
                ["task", *rates],
                [[each["prompt"], *(each["answers"][arm] for arm in rates)] for each in found["examples"]],
                range(1, 1 + len(rates)),
            ),
            Section("How", [f"Tasks composed with seed {found['seed']}, greedy answers. Made by: {found['command']}."]),
        ],
    )


def _harness_section(found: dict[str, Any]) -> list[Section]:
    if not found:
        return []
    names = sorted({(task, name) for tasks in found.values() for task, values in tasks.items() for name in values})
    rows = [
        [
            f"{task}: {name}",
            *(f"{tasks[task][name]:.3f}" if name in tasks.get(task, {}) else "-" for tasks in found.values()),
        ]
        for task, name in names
    ]
    return [Section("Evaluation harness", ["As the harness names its metrics."], (), ["metric", *found], rows)]


def _points(interval: dict[str, Any]) -> str:
    return f"{100 * interval['value']:+.0f} points [{100 * interval['low']:+.0f}, {100 * interval['high']:+.0f}]"
