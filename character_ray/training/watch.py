"""The character while it is being trained: what the policy says to questions that it is not trained on.

Every few steps the policy answers the recipe's questions with the same draws each time, and three readings of each answer tell how
the character stands:

    drift             mean over tokens of KL( policy || base ), both without the constitution, in nats per token
    likelihood_ratio  mean over answers of [log p(y | constitution, x) - log p(y | x)] / |y| under the base, in nats per token
    in_character      share of the answers whose ratio is above 0
    repetition        mean over answers of the share of token 3-grams that stood there before

The base is the policy with all its adapters disabled, so the judge does not move with what it judges. The threshold of ``in_character``
is not calibrated: the report's ``persona_rate`` is the measurement, this is the curve that shows when it begins to fall.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from statistics import fmean
from typing import Any

import torch
from accelerate.utils import gather_object  # type: ignore[import-untyped]
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers import TrainingArguments as Arguments

from character_ray.chat_template import chat_ids
from character_ray.config import WatchConfig
from character_ray.rows import Message

__all__ = ["CharacterWatch", "Reading", "repeated_share", "summarise"]

# Share of the answer's 3-grams, drift summed over its tokens in nats, tokens, and its likelihood ratio in nats per token.
Reading = dict[str, float]


def repeated_share(ids: Sequence[int]) -> float:
    """Share of an answer's token 3-grams that are a repetition of an earlier one, 0 to 1."""
    grams = list(zip(ids, ids[1:], ids[2:], strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def summarise(readings: Sequence[Reading]) -> dict[str, float]:
    """The four figures of the module's docstring from the readings of all answers."""
    return {
        "drift": sum(reading["kl"] for reading in readings) / sum(reading["tokens"] for reading in readings),
        "likelihood_ratio": fmean(reading["ratio"] for reading in readings),
        "in_character": fmean(reading["ratio"] > 0 for reading in readings),
        "repetition": fmean(reading["repetition"] for reading in readings),
    }


class CharacterWatch(TrainerCallback):
    """Adds ``watch/*`` to what the trainer logs of the first step, every ``config.steps`` steps and the last one.

    The draws of training are not touched, so a watched training ends with the weights of an unwatched one. Workers share the questions
    and log the same figures.

    Args:
        trainer: One of TRL's, over a PEFT model.
        config: The recipe's section.
        questions: What is asked, at least one question.
        turns: The constitution's system prompt and example turns.
        tokenizer: The student's.
        seed: Of the policy's answers.
    """

    def __init__(
        self,
        trainer: Trainer,
        config: WatchConfig,
        questions: Sequence[str],
        turns: Sequence[Message],
        tokenizer: PreTrainedTokenizerBase,
        seed: int,
    ) -> None:
        self._trainer, self._config, self._tokenizer, self._seed = trainer, config, tokenizer, seed
        rank, workers = trainer.accelerator.process_index, trainer.accelerator.num_processes
        asked = [Message(role="user", content=question) for question in questions]
        # Few questions may leave a worker without one; it still takes part in the exchange.
        self._plain = [chat_ids(tokenizer, [question], open_turn=True) for question in asked[rank::workers]]
        self._prompted = [chat_ids(tokenizer, [*turns, question], open_turn=True) for question in asked[rank::workers]]

    def on_step_end(self, args: Arguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure when it is time, and leave the figures to the trainer's own log line."""
        if state.global_step in (1, state.max_steps) or state.global_step % self._config.steps == 0:
            for name, value in self.measure().items():
                self._trainer._metrics["train"][f"watch/{name}"].append(value)  # type: ignore[attr-defined]  # of every TRL trainer

    def measure(self) -> dict[str, float]:
        """The four figures now; all workers must ask at once."""
        with _set_aside(self._trainer.model, self._seed), torch.no_grad():
            answers = self._answers() if self._plain else []
            readings = [
                self._read(plain, prompted, answer)
                for plain, prompted, answer in zip(self._plain, self._prompted, answers, strict=True)
            ]
        return summarise(gather_object(readings))

    def _answers(self) -> list[list[int]]:
        """Token ids of one answer to each question, the end of turn included where it was reached."""
        model: Any = self._trainer.model
        width = max(map(len, self._plain))
        pad = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._tokenizer.eos_token_id
        ids_BT = torch.tensor([[pad] * (width - len(ids)) + ids for ids in self._plain], device=model.device)
        mask_BT = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in self._plain], device=model.device)
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {self._tokenizer.eos_token_id}
        drawn = model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=self._config.max_tokens,
            do_sample=True,
            temperature=self._config.temperature,
            top_k=0,
            top_p=1.0,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=sorted(ends),
        )[:, width:].tolist()
        return [answer[: next((at + 1 for at, token in enumerate(answer) if token in ends), None)] for answer in drawn]

    def _read(self, plain: list[int], prompted: list[int], answer: list[int]) -> Reading:
        policy_TV = self._log_probs(plain, answer, base=False)
        base_TV, judge_TV = (self._log_probs(prefix, answer, base=True) for prefix in (plain, prompted))
        ids_T1 = torch.tensor(answer, device=base_TV.device)[:, None]
        return {
            "kl": float((policy_TV.exp() * (policy_TV - base_TV)).sum()),
            "tokens": float(len(answer)),
            "ratio": float((judge_TV.gather(1, ids_T1) - base_TV.gather(1, ids_T1)).mean()),
            "repetition": repeated_share(answer),
        }

    def _log_probs(self, prefix: list[int], answer: list[int], *, base: bool) -> torch.Tensor:
        """Log-probabilities over the vocabulary where each token of the answer is chosen, shape ``(T, V)``."""
        model: Any = self._trainer.model
        with model.disable_adapter() if base else nullcontext():
            ids = torch.tensor([[*prefix, *answer]], device=model.device)
            logits = model(input_ids=ids, logits_to_keep=len(answer) + 1, use_cache=False).logits
        return torch.log_softmax(logits[0, :-1].float(), -1)


@contextmanager
def _set_aside(model: Any, seed: int) -> Iterator[None]:
    """The model in evaluation with draws of its own; afterwards mode, trained parameters and draws are what they were."""
    was_training = model.training
    # Enabling adapters again would also make a frozen one beneath trainable.
    trained = {parameter: parameter.requires_grad for parameter in model.parameters()}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)
            for parameter, requires_grad in trained.items():
                parameter.requires_grad_(requires_grad)
