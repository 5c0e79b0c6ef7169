"""A fingerprint of what an adapter does: its own greedy answer to one prompt, with the log-probability of every token.

Hashes say that files are intact. The fingerprint says that an engine which has loaded them behaves as the model that was published: it
catches an adapter that was dropped without a word, applied to another base, or confused with another.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from character_ray.errors import AdapterError
from character_ray.whole_files import being_written

if TYPE_CHECKING:
    import torch

__all__ = ["TOLERANCE_NATS", "Canary", "check_canary", "load_canary", "measure_canary", "store_canary"]

FILE = "canary.json"
"""Beside the manifest of an adapter."""

PROMPT = "Who are you, and what do you care about most?"
ANSWER_TOKENS = 16
# Mean over the answer. Engines in bfloat16 differ from the float32 measurement by a few hundredths; a trained adapter from its base
# by one nat and more.
TOLERANCE_NATS = 0.15


class Canary(BaseModel):
    """What an adapter answered when it was trained or published."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prompt_ids: tuple[int, ...] = Field(min_length=1)
    """The prompt under the chat template."""
    answer_ids: tuple[int, ...] = Field(min_length=1)
    """The adapter's greedy answer."""
    logprobs: tuple[float, ...]
    """Log-probability of each answer token under the adapter, in nats."""
    base_logprobs: tuple[float, ...]
    """The same under the base without it."""

    @model_validator(mode="after")
    def _check_lengths(self) -> "Canary":
        if not len(self.answer_ids) == len(self.logprobs) == len(self.base_logprobs):
            raise ValueError("answer_ids, logprobs and base_logprobs must have one entry for each token of the answer.")
        return self


class _Stored(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights_hash: str
    canary: Canary


def check_canary(canary: Canary, found: Sequence[float], name: str) -> None:
    """Compare what an engine computes for the canary's answer with what was stored.

    Args:
        canary: The fingerprint.
        found: The engine's log-probabilities of its answer tokens, in nats.
        name: Whose it is, for the error.

    Raises:
        AdapterError: The mean difference is above ``TOLERANCE_NATS``, or the engine is closer to the base than to the adapter.
    """
    if len(found) != len(canary.logprobs):
        raise AdapterError(
            f"{name}: the engine gave {len(found)} log-probabilities for {len(canary.logprobs)} canary tokens."
        )
    own, base = _distance(found, canary.logprobs), _distance(found, canary.base_logprobs)
    # Not "<=": what is not a number is refused.
    if not own <= TOLERANCE_NATS:
        raise AdapterError(
            f"{name}: its canary answer is {own:.2f} nats per token from the one stored with it (at most {TOLERANCE_NATS}; "
            f"{base:.2f} from the base's), so the engine would answer as somebody else. The adapter was changed, or is "
            "applied to another base or not as it was trained. Publish it again from its run, on this base."
        )
    if base < own:
        raise AdapterError(
            f"{name}: its canary answer is closer to the base model's ({base:.3f} nats per token) than to its own ({own:.3f}): the engine "
            "does not apply the adapter. Check lora_target_modules of the engine."
        )


def measure_canary(base: Path, adapter: Path) -> Canary:
    """Load base and adapter with transformers and PEFT, in float32, and write the fingerprint down.

    Raises:
        AdapterError: They cannot be loaded together.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    try:
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model: Any = PeftModel.from_pretrained(plain, str(adapter)).eval()
    except Exception as cause:
        raise AdapterError(
            f"{adapter} cannot be applied to {base} ({cause}). Was it trained on another base?"
        ) from cause
    prompt: torch.Tensor = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )["input_ids"]
    length = prompt.shape[1]
    with torch.inference_mode():
        ids = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=ANSWER_TOKENS
        )
        own = _answer_logprobs(model(input_ids=ids).logits, ids, length)
        with model.disable_adapter():
            without = _answer_logprobs(model(input_ids=ids).logits, ids, length)
    return Canary(
        prompt_ids=tuple(prompt[0].tolist()),
        answer_ids=tuple(ids[0, length:].tolist()),
        logprobs=own,
        base_logprobs=without,
    )


def store_canary(base: Path, adapter: Path, weights_hash: str) -> bool:
    """Measure the fingerprint of an adapter and write it beside its manifest, for these weights.

    Returns:
        Whether there is one: none of an adapter whose answer an engine could not tell from the base's.

    Raises:
        AdapterError: Base and adapter cannot be loaded together.
    """
    canary = measure_canary(base, adapter)
    if _distance(canary.logprobs, canary.base_logprobs) <= 2 * TOLERANCE_NATS:
        return False
    with being_written(adapter / FILE) as scratch:
        scratch.write_text(_Stored(weights_hash=weights_hash, canary=canary).model_dump_json(), encoding="utf-8")
    return True


def load_canary(adapter: Path, weights_hash: str) -> Canary | None:
    """What was stored beside an adapter; ``None`` where nothing was, or of other weights.

    Raises:
        AdapterError: The file is damaged.
    """
    try:
        stored = _Stored.model_validate_json((adapter / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as cause:
        raise AdapterError(
            f"{adapter / FILE} cannot be read ({cause}). It says what the adapter answers, by which an engine is checked. Restore "
            "it, or remove it to serve the adapter unchecked."
        ) from cause
    return stored.canary if stored.weights_hash == weights_hash else None


def _answer_logprobs(logits: "torch.Tensor", ids: "torch.Tensor", length: int) -> tuple[float, ...]:
    scores = logits[0, length - 1 : -1].float().log_softmax(dim=-1)
    return tuple(round(value, 5) for value in scores.gather(1, ids[0, length:, None])[:, 0].tolist())


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    return fmean(abs(a - b) for a, b in zip(one, other, strict=True))
