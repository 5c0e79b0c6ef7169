"""A new adapter on top of a trained one that stays frozen and active.

The base keeps its own number format: folding the first adapter into bfloat16 weights would lose its small updates.
"""

from typing import TYPE_CHECKING, Any

from peft import LoraConfig, PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict
from trl import SFTTrainer

from character_ray.training.arguments import lora_config
from character_ray.training.dropout import TRAINED
from character_ray.training.job import TrainJob
from character_ray.training.micro_batches import StepSampler
from character_ray.training.saves_together import SavesTogether
from character_ray.training.step_rows import KnowsItsRows

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

__all__ = ["StackedSFTTrainer", "stack"]

FROZEN = "parent"


def stack(model: "PreTrainedModel", job: TrainJob) -> PeftModel:
    """The base with a new trainable adapter, and the job's parent adapter, if any, frozen and active beneath it."""
    config: LoraConfig = lora_config(job)
    # ZeRO-3 gathers parameters of one type only.
    autocast = job.cluster.zero_stage != 3
    peft = get_peft_model(model, config, autocast_adapter_dtype=autocast)
    if job.parent is not None:
        peft.load_adapter(str(job.parent), adapter_name=FROZEN, autocast_adapter_dtype=autocast)
        peft.base_model.set_adapter([TRAINED, FROZEN])  # type: ignore[operator]  # of the LoraModel; PeftModel sets one only
        for name, parameter in peft.named_parameters():
            if f".{FROZEN}." in name:
                parameter.requires_grad_(False)
    return peft


class StackedSFTTrainer(KnowsItsRows, SavesTogether, SFTTrainer):
    """TRL's trainer, except that micro-batches hold rows of similar lengths, and that resuming leaves the frozen adapter active.

    The stock trainer reloads every adapter of a checkpoint and then activates a single one, which would silently drop the parent.

    Args:
        even_rows: The job's.
    """

    def __init__(self, *args: Any, even_rows: int | None = None, **kwargs: Any) -> None:
        self._even_rows = even_rows
        super().__init__(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        args: Any = self.args
        if args.train_sampling_strategy != "random" or args.dataloader_drop_last:  # of ``train.trainer``
            return super()._get_train_sampler(train_dataset)
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        return StepSampler(
            [len(ids) for ids in data["input_ids"]],
            micro_batch_size=args.train_batch_size,
            accumulation=args.gradient_accumulation_steps,
            workers=args.world_size,
            rank=args.process_index,
            seed=args.seed if args.data_seed is None else args.data_seed,
            epoch=lambda steps_an_epoch: self.state.global_step // steps_an_epoch,
            multiple=self._even_rows,
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: "Module | None" = None) -> None:
        target = model or self.model
        set_peft_model_state_dict(target, load_peft_weights(resume_from_checkpoint, device="cpu"), adapter_name=TRAINED)
