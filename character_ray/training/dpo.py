"""DPO with the two further terms of the published recipe, as a thin layer over TRL's trainer.

    loss = TRL's loss + nll_weight * mean_i[ -1/|c_i| sum_t log pi(c_it) ] + drift_weight * mean_t[ (log pi - log pi_ref)^2 ]

The first mean is over pairs of the token means of ``chosen``, the second over the completion tokens of both sides. (TRL's own
``sft`` term is one mean over all tokens of a batch, in which long completions count more.) Source: the DPO trainer of
OpenCharacterTraining's OpenRLHF fork. Once all pairs are ranked rightly it can go on with the hardest of each batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl import DPOTrainer

from character_ray.config import DPOConfig
from character_ray.prefix_packing import takes_a_mask
from character_ray.training.hardest import hardest, only_pairs, reward_margins, was_saturated
from character_ray.training.micro_batches import EvenSampler
from character_ray.training.reference_cache import ReferenceCache
from character_ray.training.saves_together import SavesTogether
from character_ray.training.shared_prompt import share_prompts
from character_ray.training.step_rows import KnowsItsRows

__all__ = ["PersonaDPOTrainer", "drift", "mean_nll"]


def mean_nll(log_probs_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Mean over rows of the mean negative log-likelihood of a row's tokens, nats per token.

    Args:
        log_probs_BT: Log-probability of each token, shape ``(B, T)``.
        mask_BT: 1 where a token counts, at least once a row.
    """
    return -((log_probs_BT * mask_BT).sum(1) / mask_BT.sum(1)).mean()


def drift(log_probs_BT: torch.Tensor, reference_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Mean over all tokens of the squared log-ratio of policy and reference, in squared nats."""
    return ((log_probs_BT - reference_BT).square() * mask_BT).sum() / mask_BT.sum()


class PersonaDPOTrainer(KnowsItsRows, SavesTogether, DPOTrainer):
    """TRL's trainer plus the terms that the recipe weights above 0; both are logged whenever they are computed.

    Args:
        terms: The recipe's section.
        cache: What the reference model said in earlier trainings; used where prompts are shared.
        even_rows: The job's.
    """

    def __init__(
        self,
        *args: Any,
        terms: DPOConfig,
        cache: ReferenceCache | None = None,
        even_rows: int | None = None,
        **kwargs: Any,
    ) -> None:
        self._even_rows = even_rows
        super().__init__(*args, **kwargs)
        self._terms = terms
        self._forwards: list[torch.Tensor] = []
        self._wrapped, self._unwrapped = self.model, self.accelerator.unwrap_model(self.model)
        base = self._unwrapped.get_base_model()
        if terms.share_prompts and takes_a_mask(base):
            # TRL asks the policy first and then the reference.
            share_prompts(base, cache, lambda: len(self._forwards) == 1)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self._even_rows is None:
            return super()._get_train_sampler(train_dataset)
        args: Any = self.args
        data: Any = self.train_dataset if train_dataset is None else train_dataset
        return EvenSampler(
            len(data),
            batch_size=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            multiple=self._even_rows,
            seed=args.seed if args.data_seed is None else args.data_seed,
            epoch=lambda steps_an_epoch: self.state.global_step // steps_an_epoch,
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False) -> Any:
        share, steps = self._terms.harder_pairs, self._terms.stop_when_saturated
        if not (share and steps and model.training and was_saturated(self.state.log_history, steps)):
            return self._loss(model, inputs, return_outputs)
        # What is logged is of all pairs, what is learnt of those that are left.
        with torch.no_grad():
            self._loss(model, inputs, False)
        metrics, tokens = {name: [*found] for name, found in self._metrics["train"].items()}, self._total_train_tokens
        result = self._loss(model, only_pairs(inputs, hardest(self._margins_B, share)), return_outputs)
        self._metrics["train"].update(metrics)
        self._total_train_tokens = tokens
        return result

    def _loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        with self._watching(model) as forwards:
            result = super()._compute_loss(model, inputs, return_outputs)  # type: ignore[no-untyped-call]
        if not (self._terms.nll_weight or self._terms.drift_weight or self._terms.harder_pairs):
            return result
        mask_BT = inputs["completion_mask"][:, 1:]
        policy_BT, reference_BT = (log_probs[:, -mask_BT.shape[1] :] for log_probs in forwards[:2])
        self._margins_B = reward_margins(policy_BT.detach(), reference_BT, mask_BT)
        if not (self._terms.nll_weight or self._terms.drift_weight):
            return result
        chosen = slice(len(mask_BT) // 2)  # a batch is chosen rows, then rejected rows
        terms = {"nll": mean_nll(policy_BT[chosen], mask_BT[chosen]), "drift": drift(policy_BT, reference_BT, mask_BT)}
        mode = "train" if model.training else "eval"
        for name, term in terms.items():
            self._metrics[mode][name].append(self.accelerator.gather(term.detach()).mean().item())
        extra = self._terms.nll_weight * terms["nll"] + self._terms.drift_weight * terms["drift"]
        return (result[0] + extra, result[1]) if return_outputs else result + extra

    @contextmanager
    def _watching(self, model: Any) -> Iterator[list[torch.Tensor]]:
        """Takes down the log-probabilities of the policy's forward pass and then of the reference's.

        Both run through one model, of which the policy's alone may be the compiled form: inside that its own hook is not run.
        """
        if model is not self._wrapped:  # looking for compiled modules at every step would take longer than the hooks
            self._wrapped, self._unwrapped = model, self.accelerator.unwrap_model(model)

        def note(_module: Any, _args: Any, output: Any) -> None:
            if not torch.compiler.is_compiling():
                self._forwards.append(output.log_probs)

        asked: list[Any] = [self._unwrapped] if self._unwrapped is self.model else [self._unwrapped, self.model]
        hooks = [module.register_forward_hook(note) for module in asked]
        try:
            yield self._forwards
        finally:
            for hook in hooks:
                hook.remove()
            self._forwards = []
