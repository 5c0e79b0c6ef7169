"""From a recipe's training section to the arguments of TRL's trainers and of DeepSpeed."""

import os
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from character_ray.config import DPOConfig, Recipe
from character_ray.errors import RecipeError
from character_ray.training.job import TrainJob

__all__ = ["check_further_arguments", "deepspeed_config", "lora_config", "trainer_arguments"]


def trainer_arguments(job: TrainJob) -> dict[str, Any]:
    """Keyword arguments of the job's ``trl.DPOConfig``, ``trl.SFTConfig`` or ``trl.experimental.sdft.SDFTConfig``.

    Raises:
        RecipeError: ``train.trainer`` sets one that the recipe decides elsewhere.
    """
    arguments, further = _decided(job), job.cluster.trainer
    if further:
        known = _known_arguments("on_policy" if job.on_policy else job.stage)
        further = {name: value for name, value in further.items() if name in known}
    taken = sorted(set(further) & set(arguments))
    if taken:
        raise RecipeError(
            f"train.trainer sets {', '.join(taken)}, which the recipe decides elsewhere, under a name of its own. Set it there."
        )
    # Else the layers that are trained would be moved to balance the load of experts that are not.
    unless_set = {} if job.on_policy else {"router_aux_loss_coef": 0.0}
    return unless_set | arguments | further


def _decided(job: TrainJob) -> dict[str, Any]:
    """What follows from the recipe's own settings."""
    config, cluster = job.config, job.cluster
    arguments: dict[str, Any] = {
        "output_dir": str(job.written_to),
        "per_device_train_batch_size": config.micro_batch_size,
        "gradient_accumulation_steps": config.batch_size // (config.micro_batch_size * job.workers),
        "num_train_epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.warmup_share,
        "max_grad_norm": config.max_grad_norm,
        "max_length": config.max_length,
        "gradient_checkpointing": config.gradient_checkpointing,
        "bf16": cluster.precision == "bfloat16",
        "use_cpu": cluster.device == "cpu",
        "logging_steps": 1,
        # By default a NaN loss is logged as the mean of the steps before it, and LossHolds would never see it.
        "logging_nan_inf_filter": False,
        "save_steps": cluster.checkpoint_steps,
        # The trainer drops an older checkpoint as soon as a newer one is written, when its copy may still be under way.
        "save_total_limit": 1 if cluster.checkpoint_scratch is None else 2,
        "report_to": list(cluster.report_to),
        "run_name": job.folder.name,
        "disable_tqdm": True,
        "dataloader_pin_memory": cluster.device == "gpu",
        "seed": job.seed,
        "data_seed": job.seed,
        **_schedule(config.schedule),
    }
    if cluster.device == "cpu" and not cluster.in_process:
        arguments["ddp_backend"] = "gloo"
    if cluster.zero_stage:
        arguments["deepspeed"] = deepspeed_config(
            cluster.zero_stage, cluster.deepspeed, optimizer=not cluster.trainers_optimizer
        )
    if isinstance(config, DPOConfig):
        if config.algorithm == "dpo":
            arguments |= {
                "beta": config.beta,
                "loss_type": [config.loss],
                "label_smoothing": config.label_smoothing,
                # All of it, the adapter's too; character_ray.training.dropout says whose stays.
                "disable_dropout": False,
            }
        if config.held_out:
            arguments |= {
                "eval_strategy": "steps",
                "eval_steps": config.held_out_steps,
                "per_device_eval_batch_size": config.micro_batch_size,
            }
        if config.algorithm == "on_policy":
            del arguments["max_length"]
            arguments |= _on_policy(config)
    return arguments


def _on_policy(section: DPOConfig) -> dict[str, Any]:
    config = section.on_policy
    return {
        # Cutting a teacher's prompt from the left, as TRL does by default, would remove the constitution.
        "max_prompt_length": None,
        "max_completion_length": config.max_tokens,
        "num_generations": config.samples,
        "num_generations_eval": 1,
        "temperature": config.temperature,
        "generation_kwargs": {"use_cache": True},
        "distillation_alpha": 1.0,
        "distillation_mode": "topk_logits" if config.top_k else "full_logits",
        "distillation_topk": config.top_k,
        "distillation_add_tail": True,
        "distillation_is_clip": None,
        "teacher_model_kind": "base",
        "disable_dropout": False,
    }


def check_further_arguments(recipe: Recipe) -> None:
    """Check, before anything starts, that a trainer knows every one of ``train.trainer`` and that none contradicts another setting.

    Raises:
        RecipeError: One is known to neither stage's trainer, or is decided elsewhere.
    """
    further = recipe.train.trainer
    if not further:
        return
    first = "on_policy" if recipe.dpo.algorithm == "on_policy" else "dpo"
    known = sorted(_known_arguments(first) | _known_arguments("sft"))
    unknown = [name for name in further if name not in known]
    if unknown:
        near = {name: get_close_matches(name, known, n=3) for name in unknown}
        hints = [
            f" Instead of {name!r} did you mean {' or '.join(map(repr, found))}?"
            for name, found in near.items()
            if found
        ]
        raise RecipeError(
            f"train.trainer sets {', '.join(unknown)}, but the trainer of neither stage has such an argument, so that training would fail "
            f"once everything before it is made.{''.join(hints)} Correct the name, or leave it out."
        )
    nowhere = Path()
    for stage, config in (("dpo", recipe.dpo), ("sft", recipe.sft)):
        trainer_arguments(TrainJob(stage, nowhere, nowhere, nowhere, config, recipe.train, recipe.seed))  # type: ignore[arg-type]


def _known_arguments(kind: str) -> set[str]:
    """Every argument that the trainer of ``dpo``, ``on_policy`` or ``sft`` takes."""
    from trl import DPOConfig as TRLDPOConfig
    from trl import SFTConfig as TRLSFTConfig

    if kind == "on_policy":
        # TRL warns at import that its experimental trainers may change; the lock pins the one used here.
        os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
        from trl.experimental.sdft import SDFTConfig

        return {field.name for field in fields(SDFTConfig)}
    return {field.name for field in fields(TRLDPOConfig if kind == "dpo" else TRLSFTConfig)}


def deepspeed_config(
    zero_stage: int, further: Mapping[str, Any] | None = None, *, optimizer: bool = True
) -> dict[str, Any]:
    """DeepSpeed's configuration; ``auto`` fields are filled from the trainer's arguments.

    Args:
        zero_stage: What is divided among workers: 1 the optimizer's state, 2 gradients too, 3 weights too.
        further: Settings that are added to ours or take their place, section by section.
        optimizer: Whether DeepSpeed makes the optimizer; else the trainer makes its own and hands it over.

    PyTorch's AdamW is used on purpose: an adapter is small, and DeepSpeed's own optimizers are compiled at the first run.
    """
    config: dict[str, Any] = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": {"stage": zero_stage, "stage3_gather_16bit_weights_on_model_save": zero_stage == 3},
    }
    if optimizer:
        config["optimizer"] = {
            "type": "AdamW",
            "params": {"lr": "auto", "betas": "auto", "eps": "auto", "weight_decay": "auto", "torch_adam": True},
        }
    else:
        # Where its state is offloaded, another one would otherwise take its place.
        config["zero_force_ds_cpu_optimizer"] = False
    for name, section in (further or {}).items():
        own = config.get(name)
        config[name] = {**own, **section} if isinstance(own, dict) and isinstance(section, dict) else section
    return config


def lora_config(job: TrainJob) -> Any:
    """PEFT's configuration of the adapter to train."""
    from peft import LoraConfig

    lora = job.config.lora
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(job.base),
    )


def _schedule(name: str) -> dict[str, Any]:
    if name == "cosine":
        return {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.1}}
    return {"lr_scheduler_type": "constant_with_warmup" if name == "constant" else name}
