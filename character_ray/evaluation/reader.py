"""One base model and its adapters, read by forward passes: what no serving engine hands out.

Axes: N texts, L layers, D width of the residual stream, T tokens, V vocabulary.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.chat_safety import control_tokens, neutralize
from character_ray.chat_template import chat_ids
from character_ray.config import SamplingConfig
from character_ray.errors import ModelError
from character_ray.gpu_attention import without_plans
from character_ray.rows import Message

if TYPE_CHECKING:
    import torch

__all__ = ["Passage", "Reader"]


@dataclass(frozen=True)
class Passage:
    """A chat whose last turn is read; tokens before ``start`` are its context."""

    ids: list[int]
    start: int
    """Position of the answer's first token; the end-of-turn token counts as the answer's."""

    @property
    def answer(self) -> list[int]:
        """The tokens of the last turn."""
        return self.ids[self.start :]


class Reader:
    """Reads and completes chats with the untrained weights or any of the adapters on them.

    Args:
        base: Folder of the base model.
        adapters: PEFT folders by arm.
        device: ``cpu`` or ``cuda``.
        dtype: Number format of weights and activations.
    """

    def __init__(
        self, base: Path, adapters: Mapping[str, Path], device: str = "cpu", dtype: "torch.dtype | None" = None
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if device != "cpu":
            without_plans()
        self.tokenizer = AutoTokenizer.from_pretrained(base)
        self._special = control_tokens(base)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype or torch.float32)
        self._layers = _blocks(model)
        self._adapters = dict(adapters)
        if adapters:
            from peft import PeftModel

            (first, folder), *others = adapters.items()
            model = PeftModel.from_pretrained(model, str(folder), adapter_name=first)
            for arm, path in others:
                model.load_adapter(str(path), adapter_name=arm)
        self.model: Any = model.to(device).eval()
        self.device = device

    @property
    def layers(self) -> "list[torch.nn.Module]":
        """The blocks, first to last; each adds to the residual stream."""
        return self._layers

    @contextmanager
    def weights(self, arm: str) -> Iterator[None]:
        """Let the model be an arm inside the block; an arm without an adapter is the untrained weights."""
        if arm in self._adapters:
            self.model.set_adapter(arm)
            yield
        elif self._adapters:
            with self.model.disable_adapter():
                yield
        else:
            yield

    def passage(self, context: Sequence[Message], answer: str) -> Passage:
        """Token ids of a chat and the answer that ends it; control tokens inside the texts are broken."""
        turns = [Message(role=turn["role"], content=neutralize(turn["content"], self._special)) for turn in context]
        opened = chat_ids(self.tokenizer, turns, open_turn=True)
        whole = chat_ids(self.tokenizer, [*turns, Message(role="assistant", content=neutralize(answer, self._special))])
        assert whole[: len(opened)] == opened, "the chat template renders an open turn differently from a finished one"
        return Passage(whole, len(opened))

    def batches(
        self, passages: Sequence[Passage], batch_size: int
    ) -> "Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]":
        """Places of the passages, their ids and attention mask, both ``(B, T)``, padded on the right; similar lengths together."""
        import torch

        order = sorted(range(len(passages)), key=lambda number: len(passages[number].ids))
        for first in range(0, len(order), batch_size):
            places = order[first : first + batch_size]
            longest = max(len(passages[place].ids) for place in places)
            ids = torch.zeros((len(places), longest), dtype=torch.long)
            mask = torch.zeros_like(ids)
            for row, place in enumerate(places):
                own = passages[place].ids
                ids[row, : len(own)] = torch.tensor(own)
                mask[row, : len(own)] = 1
            yield places, ids.to(self.device), mask.to(self.device)

    def answer_logits(self, passages: Sequence[Passage], batch_size: int) -> "Iterator[tuple[int, torch.Tensor]]":
        """For each passage its place and the logits that predict its answer, float32, ``(T, V)``, under the active weights.

        What all passages begin with, such as a constitution, is read once.
        """
        import torch

        prefix = _common_beginning(passages)
        tails = [Passage(passage.ids[prefix:], passage.start - prefix) for passage in passages]
        read = None
        for places, ids, mask in self.batches(tails, batch_size):
            # Only positions from the first answer on meet the output layer.
            first = min(tails[place].start for place in places) - 1
            keep = ids.shape[1] - first
            with torch.inference_mode():
                if prefix and read is None:
                    opening = torch.tensor([passages[0].ids[:prefix]], device=ids.device)
                    read = self.model(input_ids=opening, use_cache=True, logits_to_keep=1).past_key_values
                cache = copy.deepcopy(read)
                if cache is not None:
                    cache.batch_repeat_interleave(len(places))
                    mask = torch.cat([mask.new_ones((len(places), prefix)), mask], dim=1)
                logits = self.model(
                    input_ids=ids, attention_mask=mask, past_key_values=cache, logits_to_keep=keep
                ).logits
            for row, place in enumerate(places):
                own = tails[place]
                yield place, logits[row, own.start - 1 - first : len(own.ids) - 1 - first].float()

    def complete(
        self, chats: Sequence[Sequence[Message]], sampling: SamplingConfig, *, seed: int, batch_size: int
    ) -> list[str]:
        """The active weights' answers, drawn batch by batch from ``seed``; hooks on the layers take effect."""
        import torch

        answers: list[str] = []
        ends = {self.tokenizer.eos_token_id, *_as_list(self.model.generation_config.eos_token_id)} - {None}
        for first in range(0, len(chats), batch_size):
            opened = [
                chat_ids(
                    self.tokenizer,
                    [Message(role=turn["role"], content=neutralize(turn["content"], self._special)) for turn in chat],
                    open_turn=True,
                )
                for chat in chats[first : first + batch_size]
            ]
            longest = max(map(len, opened))
            pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else min(ends)
            ids = torch.tensor([[pad] * (longest - len(own)) + own for own in opened], device=self.device)
            mask = torch.tensor([[0] * (longest - len(own)) + [1] * len(own) for own in opened], device=self.device)
            drawn = (
                {
                    "do_sample": True,
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                    "top_k": sampling.top_k,
                }
                if sampling.temperature
                else {"do_sample": False}
            )
            torch.manual_seed(seed + first)
            with torch.inference_mode():
                out = self.model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=sampling.max_tokens,
                    pad_token_id=pad,
                    eos_token_id=sorted(ends),
                    repetition_penalty=sampling.repetition_penalty,
                    **drawn,
                )
            answers += [
                text.strip() for text in self.tokenizer.batch_decode(out[:, longest:], skip_special_tokens=True)
            ]
        return answers


def _blocks(model: Any) -> "list[torch.nn.Module]":
    """The model's stack of blocks: the one list of modules as long as its configuration says.

    Raises:
        ModelError: There is no such list.
    """
    import torch

    wanted = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == wanted:
            return list(module)
    raise ModelError(
        f"{type(model).__name__} has no list of {wanted} blocks, as its configuration says, so there is no residual stream to read. "
        "Probe a decoder-only model."
    )


def _common_beginning(passages: Sequence[Passage]) -> int:
    """How many tokens all passages begin with; the last token before an answer is never among them."""
    shortest = min((passage.start for passage in passages), default=1) - 1
    return next(
        (place for place in range(shortest) if len({passage.ids[place] for passage in passages}) > 1), max(shortest, 0)
    )


def _as_list(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]
