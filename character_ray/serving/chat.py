"""Base model and persona in this process, token by token: the same weights with the adapter off and on."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from character_ray.chat_safety import control_tokens, neutralize
from character_ray.config import SamplingConfig
from character_ray.errors import ServingError
from character_ray.rows import Message
from character_ray.serving.personas import Persona

if TYPE_CHECKING:
    import torch
    from transformers import LogitsProcessorList

__all__ = ["ChatModel", "Conversation", "Voice"]

Voice = Literal["base", "persona"]


@dataclass
class Conversation:
    """What was said between a user and one voice."""

    voice: Voice
    system: str = ""
    turns: list[Message] = field(default_factory=list)

    def messages(self) -> list[Message]:
        """The chat as the template takes it."""
        system = [Message(role="system", content=self.system)] if self.system else []
        return system + self.turns

    def forget_oldest(self) -> None:
        """Drop the oldest question with its answer."""
        del self.turns[:2]


class ChatModel:
    """A base model with a persona's adapter, loaded once."""

    def __init__(self, base: Path, persona: Persona, sampling: SamplingConfig) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        on_gpu = torch.cuda.is_available()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(base)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16 if on_gpu else torch.float32)
        self._model = PeftModel.from_pretrained(model, str(persona.folder)).to("cuda" if on_gpu else "cpu").eval()
        self._control_tokens = control_tokens(base)
        self._sampling = sampling
        self._warp: Any = _warpers(sampling)
        eos = self._model.generation_config.eos_token_id
        self._stops = {self._tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])}

    def reply(self, conversation: Conversation, text: str, seed: int) -> Iterator[str]:
        """Answer the user, piece by piece; a caller that stops early leaves what was said by then in the conversation.

        Raises:
            ServingError: The message alone is too long for the model.
        """
        conversation.turns.append(Message(role="user", content=neutralize(text, self._control_tokens)))
        prompt = self._prompt(conversation)
        answer = ""
        try:
            for piece in self._generate(prompt, conversation.voice, seed):
                answer += piece
                yield piece
        finally:
            conversation.turns.append(
                Message(role="assistant", content=neutralize(answer.strip(), self._control_tokens))
            )

    def _prompt(self, conversation: Conversation) -> "torch.Tensor":
        """Token ids of the chat; the oldest turns are forgotten where they would leave no room for an answer."""
        room = self._model.config.max_position_embeddings - self._sampling.max_tokens
        while True:
            ids: torch.Tensor = self._tokenizer.apply_chat_template(
                conversation.messages(), add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )["input_ids"]
            if ids.shape[1] <= room:
                return ids.to(self._model.device)
            if len(conversation.turns) == 1:
                conversation.turns.clear()
                raise ServingError(f"the message has {ids.shape[1]:,} tokens and the model reads {room:,}. Shorten it.")
            conversation.forget_oldest()

    def _generate(self, prompt: "torch.Tensor", voice: Voice, seed: int) -> Iterator[str]:
        import torch
        from tokenizers.decoders import DecodeStream

        generator = torch.Generator(self._model.device).manual_seed(seed)
        # Takes ids one by one and holds back the bytes of a character that is not complete yet.
        decoder = DecodeStream(skip_special_tokens=True)
        seen, step, cache = prompt, prompt, None
        for _ in range(self._sampling.max_tokens):
            # The adapter is switched for each step, so that two answers can be written in turns.
            with torch.inference_mode(), self._model.disable_adapter() if voice == "base" else nullcontext():
                output = self._model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = output.past_key_values
            step = self._draw(seen, output.logits[:, -1].float(), generator)
            if step.item() in self._stops:
                return
            seen = torch.cat([seen, step], dim=1)
            if piece := decoder.step(self._tokenizer.backend_tokenizer, step.item()):
                yield piece

    def _draw(self, seen: "torch.Tensor", logits: "torch.Tensor", generator: "torch.Generator") -> "torch.Tensor":
        import torch

        scores: torch.Tensor = self._warp(seen, logits)
        if self._sampling.temperature == 0:
            return scores.argmax(dim=-1, keepdim=True)
        return torch.multinomial(scores.softmax(dim=-1), 1, generator=generator)


def _warpers(sampling: SamplingConfig) -> "LogitsProcessorList":
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    warpers = LogitsProcessorList()
    if sampling.repetition_penalty > 1:
        warpers.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    if sampling.temperature > 0:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_k:
            warpers.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers
