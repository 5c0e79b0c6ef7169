"""Tokens, memory, hours and cost of a recipe, before anything is asked for.

    recipe -> stages with rows -> passes of each engine -> tokens -> seconds (character_ray.roofline) -> cost

Lengths are not known beforehand. A prompt is taken at 50 tokens, a token at four characters of a constitution, a completion at
``plan.mean_length`` of its ``max_tokens``; filters keep what ``plan.kept_pairs`` and ``plan.kept_conversations`` say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from character_ray.config import EngineConfig, Recipe
from character_ray.errors import RecipeError
from character_ray.model_shape import find_shape
from character_ray.plan.memory import Memory, as_loaded, driver_memory, engine_memory, kv_gib
from character_ray.plan.stage_memory import stage_memory
from character_ray.plan.steps import PROMPT_TOKENS, Step, plan_recipe
from character_ray.plan.trainings import train
from character_ray.plan.work import Work
from character_ray.roofline import GPUS, Costs, Load, cpu, generation_s, judging_s

__all__ = ["Estimate", "Plan", "check_fits", "estimate_recipe"]


@dataclass(frozen=True)
class Estimate:
    """One stage with what it takes."""

    step: Step
    prefill: float
    """Tokens read that are in no cache."""
    decode: float
    """Tokens written."""
    seconds: float
    """Engine starts included."""
    usd: float
    memory: Memory | None
    """Of one rank; ``None`` where the model is elsewhere."""


@dataclass(frozen=True)
class Plan:
    """What a recipe takes."""

    device: str
    estimates: tuple[Estimate, ...]
    driver: Mapping[str, float]
    """Main memory of the driver while it joins the adapters, GiB by purpose."""

    @property
    def seconds(self) -> float:
        """All stages, one after the other."""
        return sum(each.seconds for each in self.estimates)

    @property
    def usd(self) -> float:
        """Every stage on what it uses."""
        return sum(each.usd for each in self.estimates)

    @property
    def gpus(self) -> int:
        """GPUs of the largest stage."""
        return max(each.step.gpus for each in self.estimates)


@dataclass
class _Pass:
    """What one engine answers at once, by step."""

    loads: dict[str, Load]
    teacher: bool = False
    starts: bool = True
    """Whether an engine starts for it; one that was kept only reads other weights."""


def estimate_recipe(recipe: Recipe, costs: Costs | None = None, *, talk_apart: bool = False) -> Plan:
    """Every stage of a recipe with its tokens, memory, time and cost. Nothing is started and nothing downloaded.

    Args:
        recipe: What is planned.
        costs: What software adds.
        talk_apart: Self-interactions start an engine of their own, as they did before they shared that of the reflections.

    Raises:
        ConstitutionError: The constitution is not valid.
        ModelError: The shape of a model is not known here.
    """
    steps = {step.stage: step for step in plan_recipe(recipe)}
    student = find_shape(recipe.student)
    teacher = student
    if recipe.teacher_endpoint is None and recipe.teacher != recipe.student:
        teacher = find_shape(recipe.teacher)
    device = GPUS[recipe.plan.gpu]
    work = Work(recipe, student, None if recipe.teacher_endpoint else teacher, device, costs or Costs(), steps)
    seconds = dict.fromkeys(steps, 0.0)
    tokens = {name: [0.0, 0.0] for name in steps}
    usd, waited = (dict.fromkeys(steps, 0.0) for _ in range(2))
    for engine_pass in _passes(work, talk_apart):
        _add_pass(work, engine_pass, seconds, tokens, usd, waited)
    for stage in ("dpo", "sft"):
        tokens[stage][0], seconds[stage] = train(work, stage)
    tokens["scores"][0], seconds["scores"] = _judge(work)
    estimates = []
    for name, step in steps.items():
        priced = usd[name] + (seconds[name] - waited[name]) / 3600 * _hourly(work, step)
        memory = stage_memory(recipe, student, work.teacher, device, name)
        estimates.append(Estimate(step, tokens[name][0], tokens[name][1], seconds[name], priced, memory))
    return Plan(
        device.name if any(step.gpus for step in steps.values()) else "CPU",
        tuple(estimates),
        driver_memory(recipe, student),
    )


def check_fits(plan: Plan) -> None:
    """Refuse a plan whose stages do not fit.

    Raises:
        RecipeError: A rank of some stage needs more memory than there is; with the numbers and what to change.
    """
    problems: dict[str, list[str]] = {}
    for each in plan.estimates:
        if each.memory and each.memory.shortage:
            problems.setdefault(each.memory.shortage, []).append(each.step.stage)
    if problems:
        raise RecipeError(
            "the recipe does not fit:\n" + "\n".join(f"{', '.join(stages)}: {why}" for why, stages in problems.items())
        )


def _passes(work: Work, talk_apart: bool) -> list[_Pass]:
    """Every pass of an engine, as the pipeline makes them."""
    recipe = work.recipe
    arms, config, shared = recipe.evaluate.arms, recipe.introspect, recipe.shares_engine
    system, shown = work.prefixes
    answer, ours = work.answer, work.mean(recipe.distill.student)
    taught = work.mean(recipe.distill.teacher)
    questions = work.rows("answers") / len(arms)

    def load(step: str, cached: float, completion: float) -> dict[str, Load]:
        return {step: Load(work.rows(step), PROMPT_TOKENS, cached, completion)} if work.rows(step) else {}

    def asked(cached: Sequence[float]) -> dict[str, Load]:
        return (
            {"answers": Load(questions * len(cached), PROMPT_TOKENS, sum(cached) / len(cached), answer)}
            if cached
            else {}
        )

    by_teacher = {
        **load("teacher", shown, taught),
        **load("opposite", shown, taught),
        **load("lessons", shown, taught),
        **(asked([shown]) if "teacher" in arms and not shared else {}),
    }
    plain = [length for arm, length in (("base", 0.0), ("prompted", system), ("teacher", shown)) if arm in arms]
    by_student = load("student", 0.0, ours) | asked(plain if shared else plain[: len(plain) - ("teacher" in arms)])
    passes = [_Pass(written, teacher=True)] if (written := load("trait prompts", 0.0, taught)) else []
    passes += [_Pass(by_teacher | by_student)] if shared else [_Pass(by_teacher, teacher=True), _Pass(by_student)]
    if recipe.distill.parent:
        passes.append(_Pass(load("on-policy", 0.0, ours)))
    rounds = 2 if "control" in arms else 1
    reflections = work.mean(config.reflection_sampling)
    for number in range(rounds):
        reflected: dict[str, Load] = {}
        talk: dict[str, Load] = {}
        # The persona's come first, and may come from elsewhere.
        writes = number > 0 or config.conversations is None
        if writes:
            each = work.rows("reflections") / (rounds if config.conversations is None else rounds - 1)
            reflected = {"reflections": Load(each, PROMPT_TOKENS, shown, reflections)}
        if writes and config.interactions:
            # The opening is given; every later turn reads what the other side said and finds its own history in the cache.
            turn, said = work.mean(config.interaction_sampling), config.turns - 1
            talk = {"interactions": Load(config.interactions * said, turn, system + said * turn / 2, turn)}
        answered = asked([0.0]) if number == 0 and "dpo" in arms else {}
        passes += [_Pass(reflected | answered), _Pass(talk)] if talk_apart else [_Pass(reflected | talk | answered)]
        passes.append(_Pass(asked([0.0])))
    if "sft" in arms:
        passes.append(_Pass(asked([0.0])))
    if recipe.student_engine.is_kept:
        for number, later in enumerate(each for each in passes if shared or not each.teacher):
            later.starts = number == 0
    return passes


def _add_pass(
    work: Work,
    done: _Pass,
    seconds: dict[str, float],
    tokens: dict[str, list[float]],
    usd: dict[str, float],
    waited: dict[str, float],
) -> None:
    """Add what one pass takes to the steps it answers; its start is borne by rows, as in a run's own summary.

    What an endpoint asks for goes to ``usd``, and its seconds to ``waited``, too: they cost no machine of ours.
    """
    recipe = work.recipe
    rows = sum(load.rows for load in done.loads.values())
    for step, load in done.loads.items():
        tokens[step][0] += load.rows * load.prompt
        tokens[step][1] += load.rows * load.completion
    endpoint = recipe.teacher_endpoint
    if done.teacher and endpoint is not None:
        for step, load in done.loads.items():
            read, written = load.rows * (load.prompt + load.cached), load.rows * load.completion
            usd[step] += (read * endpoint.usd_per_million_input + written * endpoint.usd_per_million_output) / 1e6
            if endpoint.requests_per_minute:
                waiting = load.rows / endpoint.requests_per_minute * 60
                seconds[step] += waiting
                waited[step] += waiting
        return
    engine = (recipe.teacher_engine or recipe.student_engine) if done.teacher else recipe.student_engine
    shape = work.teacher if done.teacher and work.teacher else work.student
    gpus = engine.tensor_parallel * engine.pipeline_parallel if engine.device == "gpu" else 1
    device = work.device if engine.device == "gpu" else cpu(engine.cpus, recipe.plan.usd_per_core_hour)
    memory = engine_memory("", engine, shape, device, 0)
    start = (work.costs.engine_start if done.starts else work.costs.engine_reload) + shape.parameters * (
        shape.bytes_per_weight or 2
    ) / work.costs.weights_per_s
    for step, load in done.loads.items():
        # Of a conversation one turn is under way at a time.
        turns = recipe.introspect.turns - 1 if step == "interactions" else 1
        own = Load(load.rows / engine.replicas, load.prompt, load.cached, load.completion)
        context = load.cached + load.prompt + load.completion
        room = memory.parts.get("KV cache", 0.0) / (kv_gib(engine, shape) * max(context, 1))
        sequences = max(min(float(engine.max_num_seqs), room, own.rows / turns), 1.0)
        busy = generation_s(
            own,
            as_loaded(engine, shape),
            device,
            work.costs,
            sequences=sequences,
            gpus=gpus,
            tensor_parallel=engine.tensor_parallel,
        )
        seconds[step] += busy + start * load.rows / rows


def _judge(work: Work) -> tuple[float, float]:
    """Tokens read and seconds of all scorings."""
    recipe = work.recipe
    judge = recipe.judge
    device = work.device if judge.device == "gpu" else cpu(judge.cpus, recipe.plan.usd_per_core_hour)
    rounds = 2 if "control" in recipe.evaluate.arms else 1
    each = PROMPT_TOKENS / 2 + work.mean(recipe.distill.teacher)
    rows = work.rows("scores")
    share = judge.gpu_share if judge.device == "gpu" else 1
    seconds = judging_s(rows / judge.replicas, each, work.student, device, work.costs, share)
    # Pairs and conversations of every round, and the answers with the directives.
    starts = 1 if judge.is_kept else 2 * rounds + 1
    return 2 * rows * each, seconds + starts * work.costs.judge_start


def _hourly(work: Work, step: Step) -> float:
    """Price of an hour of a stage."""
    recipe = work.recipe
    plan = recipe.plan
    gpu = work.device.usd_per_hour if plan.usd_per_gpu_hour is None else plan.usd_per_gpu_hour
    if step.gpus:
        return step.gpus * gpu
    if step.stage in ("teacher", "opposite", "lessons", "trait prompts") and recipe.teacher_endpoint:
        return 0.0
    if step.stage in ("dpo", "sft"):
        cores = recipe.train.workers * recipe.train.cpus_per_worker
    elif step.stage == "scores":
        cores = recipe.judge.replicas * recipe.judge.cpus
    else:
        engine: EngineConfig = recipe.student_engine
        cores = engine.replicas * engine.cpus
    return cores * plan.usd_per_core_hour
