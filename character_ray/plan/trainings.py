"""Tokens and seconds of the trainings of a plan."""

from character_ray.plan.steps import PROMPT_TOKENS
from character_ray.plan.work import Work
from character_ray.prompts import reflection_prompts
from character_ray.roofline import Device, cpu, reading_s, sampling_s, training_s

__all__ = ["train"]


def train(work: Work, stage: str) -> tuple[float, float]:
    """Tokens read and seconds of all trainings of one kind, their starts included."""
    recipe = work.recipe
    plan, cluster = recipe.plan, recipe.train
    rounds = 2 if "control" in recipe.evaluate.arms else 1
    device = work.device if cluster.device == "gpu" else cpu(cluster.cpus_per_worker, plan.usd_per_core_hour)
    config = recipe.dpo if stage == "dpo" else recipe.sft
    if stage == "dpo" and recipe.dpo.algorithm == "on_policy":
        tokens, seconds = _train_on_policy(work, device)
        return tokens, seconds + rounds * work.costs.training_start
    if stage == "dpo":
        trainings, kept = rounds, plan.kept_pairs
        example = PROMPT_TOKENS + work.mean(recipe.distill.teacher) + work.mean(recipe.distill.student)
        readings, lora = 4 + config.gradient_checkpointing, _lora(work, "dpo")
    else:
        trainings, kept = rounds + ("sft" in recipe.evaluate.arms), plan.kept_conversations
        example = _mean_conversation(work)
        readings, lora = 3 + config.gradient_checkpointing, _lora(work, "dpo") + _lora(work, "sft")
    rows = work.rows(stage) * kept * config.epochs
    micro_batches = rows / (config.micro_batch_size * cluster.workers)
    tokens = config.micro_batch_size * example
    seconds = training_s(micro_batches, tokens, readings, lora, work.student, device, work.costs)
    return rows * example, seconds + trainings * work.costs.training_start


def _train_on_policy(work: Work, device: Device) -> tuple[float, float]:
    """Tokens read and seconds of on-policy distillation, where the student answers and the teacher reads it with the constitution."""
    recipe, costs = work.recipe, work.costs
    config, cluster, own = recipe.dpo, recipe.train, recipe.dpo.on_policy
    samples = work.rows("dpo") * recipe.plan.kept_pairs * own.samples * config.epochs
    shown = work.prefixes[1]
    example = PROMPT_TOKENS + own.max_tokens * recipe.plan.mean_length
    micro_batches = samples / (config.micro_batch_size * cluster.workers)
    # A batch is drawn at once, and until the longest of it ends.
    drawn = sampling_s(
        samples / config.batch_size * own.max_tokens, config.batch_size / cluster.workers, work.student, device, costs
    )
    read = reading_s(
        micro_batches, config.micro_batch_size * (shown + example), work.teacher or work.student, device, costs
    )
    readings, lora = 3 + config.gradient_checkpointing, _lora(work, "dpo")
    tokens = config.micro_batch_size * example
    trained = training_s(micro_batches, tokens, readings, lora, work.student, device, costs)
    return samples * (2 * example + shown), drawn + read + trained


def _mean_conversation(work: Work) -> float:
    """Tokens of a mean introspection row."""
    config = work.recipe.introspect
    reflections = len(reflection_prompts(config.reflections))
    talked = config.turns * work.mean(config.interaction_sampling)
    told = PROMPT_TOKENS + work.mean(config.reflection_sampling)
    plain = PROMPT_TOKENS + work.mean(work.recipe.distill.teacher)
    every = reflections + config.interactions + config.plain
    return (reflections * told + config.interactions * talked + config.plain * plain) / max(every, 1)


def _lora(work: Work, stage: str) -> int:
    lora = (work.recipe.dpo if stage == "dpo" else work.recipe.sft).lora
    return work.student.lora(lora.rank, lora.target_modules)
