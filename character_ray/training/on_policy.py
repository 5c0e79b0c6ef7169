"""On-policy distillation: the student answers, and a teacher with the constitution in its context corrects every token.

    loss = mean_i[ 1/|y_i| sum_t KL( pi(. | x, y_<t) || teacher(. | constitution, x, y_<t) ) ],   y_i drawn from pi(. | x)

The gradient flows through the divergence at each position, not through the choice of the samples. The student never sees the
constitution, so nothing of it can be recited; what it learns is to do without it. Source: TRL's self-distillation trainer (Shenfeld et
al., 2026, arXiv:2601.19897). What differs here:

1. The context is the constitution's system prompt and example turns before the question, not text appended to it.
2. The divergence is the reverse one over the whole vocabulary, or over the student's likeliest tokens and one bucket for the rest.
3. Prompts are shuffled by seed and epoch, so that a resumed training meets the rows that an undisturbed one would.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from transformers import PreTrainedModel
from trl.experimental.sdft import SDFTTrainer
from trl.experimental.sdft.sdft_trainer import DemonstrationTeacherContextBuilder
from trl.trainer.utils import RepeatSampler

from character_ray.chat_template import chat_ids
from character_ray.rows import Message
from character_ray.training.saves_together import SavesTogether
from character_ray.training.step_rows import KnowsItsRows

__all__ = ["OnPolicyTrainer", "in_context"]


def in_context(turns: Sequence[Message], prompt: Sequence[Message]) -> list[Message]:
    """The prompt as the teacher reads it; a system prompt of its own follows the constitution's.

    Args:
        turns: The constitution's system prompt, then its example turns.
        prompt: What the student is asked.
    """
    if prompt[0]["role"] != "system":
        return [*turns, *prompt]
    system = Message(role="system", content=f"{turns[0]['content']}\n{prompt[0]['content']}")
    return [system, *turns[1:], *prompt[1:]]


class OnPolicyTrainer(KnowsItsRows, SavesTogether, SDFTTrainer):
    """TRL's trainer with the constitution as the teacher's context.

    Columns of its data: ``prompt``, messages that end on a user turn, and ``privileged_context``, the constitution's turns.

    Args:
        teacher: Another model with the student's tokenizer; by default the base beneath the adapter.
    """

    def __init__(self, *args: Any, teacher: PreTrainedModel | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher_context_builder = _ConstitutionContext(self)  # type: ignore[no-untyped-call]  # TRL's experimental trainers are not typed
        self._other_teacher = teacher is not None
        if teacher is not None:
            self.teacher_model = teacher.requires_grad_(False).eval().to(self.accelerator.device)

    def _get_teacher_context_for_self_distillation(self) -> AbstractContextManager[Any]:
        if self._other_teacher:
            return nullcontext()
        base: AbstractContextManager[Any] = super()._get_teacher_context_for_self_distillation()  # type: ignore[no-untyped-call]
        return base

    def _tokenize_prompts(self, prompts: list[list[Message]]) -> list[list[int]]:
        return [chat_ids(self._tokenizer, prompt, open_turn=True) for prompt in prompts]

    def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:
        args: Any = self.args
        prompts_per_step = args.generation_batch_size // self.num_generations
        data: Any = self.train_dataset if dataset is None else dataset
        return _EpochSampler(
            lambda: self.state.global_step // (len(data) // prompts_per_step),
            data_source=data,
            mini_repeat_count=self.num_generations,
            batch_size=prompts_per_step,
            repeat_count=self.num_iterations * args.steps_per_generation,
            seed=args.seed,
        )


class _ConstitutionContext(DemonstrationTeacherContextBuilder):
    """The constitution's turns before the prompt."""

    def _compose_teacher_prompt(self, prompt: list[Message], privileged_context: list[Message]) -> list[Message]:
        return in_context(privileged_context, prompt)


class _EpochSampler(RepeatSampler):
    """TRL's sampler, whose order depends on the epoch alone and not on how many epochs this process has seen."""

    def __init__(self, epoch: Callable[[], int], *, seed: int, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self._epoch, self._seed = epoch, seed

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch())
        yield from super().__iter__()  # type: ignore[no-untyped-call]
