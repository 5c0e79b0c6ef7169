"""The training function that Ray Train runs in every worker."""

import json
import logging
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from character_ray.chat_safety import control_tokens, neutralize_all
from character_ray.config import DPOConfig, SFTConfig
from character_ray.errors import CharacterRayError, TrainingError
from character_ray.gpu_attention import without_plans
from character_ray.training.arguments import lora_config, trainer_arguments
from character_ray.training.base_model import load_base
from character_ray.training.checkpoints import last_complete
from character_ray.training.examples import describe_example, to_labelled
from character_ray.training.fitting import check_any, fitting
from character_ray.training.held_out import split_pairs
from character_ray.training.job import TrainJob
from character_ray.training.storage import check_scratch
from character_ray.whole_files import write_text

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase, TrainerCallback

    from character_ray.training.step_rows import KnowsItsRows
    from character_ray.training.throughput import Throughput

__all__ = ["FATAL", "train_worker"]

# Why a training cannot go on, written by the worker that found out: unlike a lost machine it must not be retried.
FATAL = "fatal.json"


def train_worker(config: dict[str, Any]) -> None:
    """Train one adapter; runs once per worker, and trains nothing more once a worker has left :data:`FATAL`.

    Args:
        config: ``{"job": TrainJob}``.

    Raises:
        CharacterRayError: The training cannot go on, and other workers would wait for this one, which Ray then ends, or ``FATAL`` could
            not be written.
    """
    job: TrainJob = config["job"]
    fatal = job.folder / FATAL
    if fatal.is_file():
        return
    try:
        _train(job)
    except CharacterRayError as error:
        with suppress(OSError):  # the storage may be what failed
            write_text(fatal, json.dumps(str(error)))
        if job.workers > 1 or not fatal.is_file():
            raise


def _train(job: TrainJob) -> None:
    import torch
    from transformers import set_seed

    check_scratch(job)
    # The adapter is initialised before a trainer exists that would set its seed.
    set_seed(job.seed)
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(job.folder / "tensorboard")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if job.cluster.device == "cpu":
        torch.set_num_threads(job.cluster.cpus_per_worker)
        if job.cluster.zero_stage:
            _compile_nothing()
    else:
        without_plans()
    trainer = _build_trainer(job)
    trainer.train(resume_from_checkpoint=last_complete(job.checkpoints))
    if trainer.eval_dataset is not None and not any(
        "eval_loss" in line and line["step"] == trainer.state.global_step for line in trainer.state.log_history
    ):
        trainer.evaluate()
    trainer.save_model(str(job.folder / "trained"))
    if job.cluster.checkpoint_scratch is not None:
        trainer.accelerator.wait_for_everyone()  # others on this machine may still copy from it
        shutil.rmtree(job.written_to.parent, ignore_errors=True)


def _compile_nothing() -> None:
    """Let DeepSpeed send through gloo on CPUs.

    Else the first training on a machine compiles an operator, and one that is killed meanwhile leaves PyTorch's lock file, for whose end
    later trainings wait (``torch.utils.file_baton``).
    """
    from deepspeed import ops

    ops.__compatible_ops__ = {}


def _build_trainer(job: TrainJob) -> "KnowsItsRows":
    from transformers import AutoTokenizer

    from character_ray.training.compiled_layers import compile_layers
    from character_ray.training.dropout import leave_dropout_to
    from character_ray.training.fused_lora import fuse_lora
    from character_ray.training.guards import LossHolds, MetricsFile
    from character_ray.training.liger import use_liger
    from character_ray.training.right_padding import unmask_right_padding

    tokenizer = AutoTokenizer.from_pretrained(job.base)
    callbacks: list[TrainerCallback] = [
        MetricsFile(job.folder / "metrics.jsonl", _throughput(job), job.workers if job.cluster.min_workers else None),
        *_copying(job),
    ]
    model = load_base(job)
    model.config.use_cache = False
    compiled = job.cluster.compile_layers and not job.on_policy
    kernels = "compiled" if compiled else "liger" if use_liger(model, job.cluster) else "plain"
    rows = _kept_rows(job)
    trainer: KnowsItsRows
    if isinstance(job.config, SFTConfig):
        from trl import SFTConfig as TRLSFTConfig

        from character_ray.training.stacked import StackedSFTTrainer, stack

        trainer = StackedSFTTrainer(
            model=stack(model, job),
            args=TRLSFTConfig(**trainer_arguments(job)),
            train_dataset=_conversations(job, rows, tokenizer),
            processing_class=tokenizer,
            callbacks=callbacks,
            even_rows=job.even_rows,
        )
    elif job.on_policy:
        trainer = _on_policy_trainer(job, rows, _continued(job, model), tokenizer, callbacks)
    else:
        trainer = _dpo_trainer(job, rows, _continued(job, model), tokenizer, callbacks, kernels)
    leave_dropout_to(trainer.model)
    if job.cluster.zero_stage != 3 and not trainer.is_fsdp_enabled:
        fuse_lora(trainer.model)
    unmask_right_padding(model)
    if compiled:
        compile_layers(trainer.model)
    trainer.add_callback(LossHolds(trainer.step_rows))
    _watch(job, rows, trainer, tokenizer)
    return trainer


def _throughput(job: TrainJob) -> "Throughput":
    import torch

    from character_ray.training.throughput import Throughput, flops_per_token

    # DPO's reference, like the on-policy teacher, reads every token once more, or would if what it says were not kept.
    readings = 3 if job.stage == "dpo" else 2
    device = torch.cuda.get_device_name() if job.cluster.device == "gpu" else ""
    return Throughput(flops_per_token(job.base, readings), device, job.workers)


def _copying(job: TrainJob) -> "list[TrainerCallback]":
    if job.cluster.checkpoint_scratch is None:
        return []
    from ray.train import get_context

    from character_ray.training.checkpoint_copy import CopiesCheckpoints

    return [CopiesCheckpoints(job.checkpoints, get_context().get_world_rank(), job.workers)]


def _continued(job: TrainJob, model: Any) -> Any:
    """The model, with the parent's factors to go on with where there is one."""
    if job.parent is None:
        return model
    from peft import LoraConfig, PeftModel

    config = LoraConfig.from_pretrained(str(job.parent))
    # PEFT looks up the model that an adapter names, on the hub if need be, when it writes one.
    config.base_model_name_or_path = str(job.base)
    config.lora_dropout = job.config.lora.dropout  # of its factors the parent decides everything else
    # Given a trainable adapter, DPO's trainer keeps a frozen copy of it as the reference.
    autocast = job.cluster.zero_stage != 3
    return PeftModel.from_pretrained(
        model, str(job.parent), is_trainable=True, config=config, autocast_adapter_dtype=autocast
    )


def _watch(
    job: TrainJob, rows: list[dict[str, Any]], trainer: "KnowsItsRows", tokenizer: "PreTrainedTokenizerBase"
) -> None:
    """Follow the character, if the recipe asks for it, by questions that no row asks."""
    config = job.config.watch
    if config is None:
        return
    from character_ray.training.guards import CharacterHolds
    from character_ray.training.watch import CharacterWatch

    asked = {turn["content"] for row in rows for turn in row.get("prompt") or row["messages"] if turn["role"] == "user"}
    questions = [question for question in config.questions if question not in asked]
    if not questions:
        raise TrainingError(
            f"every one of the {len(config.questions)} questions of {job.stage}.watch.questions is also a training prompt, so none shows "
            "how the character holds elsewhere. Add questions that are not trained on."
        )
    trainer.add_callback(CharacterWatch(trainer, config, questions, job.turns, tokenizer, job.seed))
    trainer.add_callback(CharacterHolds(config, trainer.step_rows))


def _on_policy_trainer(
    job: TrainJob,
    rows: list[dict[str, Any]],
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    callbacks: list["TrainerCallback"],
) -> "KnowsItsRows":
    # TRL warns at import that its experimental trainers may change; the lock pins the one used here.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import torch
    from transformers import AutoModelForCausalLM
    from trl.experimental.sdft import SDFTConfig

    from character_ray.training.on_policy import OnPolicyTrainer
    from character_ray.training.prompts import prompts_for_samples

    assert isinstance(job.config, DPOConfig)
    trained_on, held_out = split_pairs(rows, job.config.held_out, job.seed)
    prompts = prompts_for_samples(job, trained_on, tokenizer, model.config.max_position_embeddings)
    _show(job, prompts.first)
    teacher = None
    if job.teacher is not None:
        teacher = AutoModelForCausalLM.from_pretrained(job.teacher, dtype=getattr(torch, job.cluster.precision))
    trainer: KnowsItsRows = OnPolicyTrainer(
        model=model,
        teacher=teacher,
        args=SDFTConfig(**trainer_arguments(job)),
        train_dataset=prompts.data,
        eval_dataset=(
            prompts_for_samples(job, held_out, tokenizer, model.config.max_position_embeddings).data
            if held_out
            else None
        ),
        processing_class=tokenizer,
        peft_config=None if job.parent else lora_config(job),
        callbacks=callbacks,
    )
    return trainer


def _dpo_trainer(
    job: TrainJob,
    rows: list[dict[str, Any]],
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    callbacks: list["TrainerCallback"],
    kernels: str,
) -> "KnowsItsRows":
    assert isinstance(job.config, DPOConfig)
    from trl import DPOConfig as TRLDPOConfig

    from character_ray.training.dpo import PersonaDPOTrainer
    from character_ray.training.guards import StartsAtReference, StopsWhenSaturated, WritesReference
    from character_ray.training.reference_cache import ReferenceCache

    # Under ZeRO-3 every worker must take part in every pass, for its share of the weights.
    cache = ReferenceCache(job.references / kernels) if job.references and job.cluster.zero_stage != 3 else None
    if cache is not None:
        callbacks.append(WritesReference(cache))
    pairs, held_out = split_pairs(rows, job.config.held_out, job.seed)
    stops = [] if job.config.harder_pairs else [StopsWhenSaturated(job.config.stop_when_saturated)]
    # With dropout a policy whose factors are not 0 begins around its reference, not at it.
    starts = [] if job.parent and job.config.lora.dropout else [StartsAtReference(compiled=kernels == "compiled")]
    trainer: KnowsItsRows = PersonaDPOTrainer(
        model=model,
        terms=job.config,
        cache=cache,
        even_rows=job.even_rows,
        args=TRLDPOConfig(**trainer_arguments(job)),
        train_dataset=_pairs(job, pairs, tokenizer, held_out=False),
        eval_dataset=_pairs(job, held_out, tokenizer, held_out=True) if held_out else None,
        processing_class=tokenizer,
        peft_config=None if job.parent else lora_config(job),
        callbacks=[*starts, *stops, *callbacks],
    )
    return trainer


def _pairs(
    job: TrainJob, rows: list[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase", *, held_out: bool
) -> "Dataset | None":
    """Preference rows for TRL; of those that are trained on, both sides of the first are written out as the model sees them.

    ``None`` where nothing that is held out fits.
    """
    from datasets import Dataset

    sides = ("chosen", "rejected")
    examples = [
        [to_labelled(row["row_id"], [*row["prompt"], *row[side]], tokenizer, "last_turn") for side in sides]
        for row in rows
    ]
    kept, lengths = fitting(examples, job.config.max_length)
    if not held_out:
        check_any(kept, lengths, job.config.max_length, job.stage)
        lengths.write(job.folder)
        first = zip(sides, examples[kept[0]], strict=True)
        _show(job, "\n".join(f"{side}\n{describe_example(_cut(text, job), tokenizer)}\n" for side, text in first))
    found = [{column: rows[number][column] for column in ("row_id", "prompt", *sides)} for number in kept]
    return Dataset.from_list(found) if found else None


def _conversations(job: TrainJob, rows: list[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase") -> "Dataset":
    """Labelled conversations; the first is written out as the model sees it."""
    from datasets import Dataset

    assert isinstance(job.config, SFTConfig)
    examples = [to_labelled(row["row_id"], row["messages"], tokenizer, job.config.loss_on) for row in rows]
    kept, lengths = fitting([[example] for example in examples], job.config.max_length)
    check_any(kept, lengths, job.config.max_length, job.stage)
    lengths.write(job.folder)
    read = [_cut(examples[number], job) for number in kept]
    _show(job, describe_example(read[0], tokenizer) + "\n")
    return Dataset.from_list(
        [{**example, "row_id": rows[number]["row_id"]} for number, example in zip(kept, read, strict=True)]
    )


def _cut(example: dict[str, list[int]], job: TrainJob) -> dict[str, list[int]]:
    return {column: tokens[: job.config.max_length] for column, tokens in example.items()}


def _show(job: TrainJob, text: str) -> None:
    write_text(job.first_example, text)


def _kept_rows(job: TrainJob) -> list[dict[str, Any]]:
    """The rows to train on, their texts as engines and judges read them: control tokens in a prompt command nothing."""
    from character_ray.parts import read_rows

    rows = [row for row in read_rows(job.data) if not row["drop_reason"]]
    if not rows:
        raise TrainingError(
            f"{job.data}: no row is left to train on; all were dropped. Loosen the filters or generate more."
        )
    tokens = control_tokens(job.base)
    return [
        row
        | {
            column: neutralize_all(row[column], tokens)
            for column in ("prompt", "chosen", "rejected", "messages")
            if column in row
        }
        for row in rows
    ]
