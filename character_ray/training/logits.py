"""What two models say of the same text, to prove that one is the other in another form."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["TOLERANCE", "adapted_logits", "text_logits"]

# Two orders of adding the same numbers in float32 differ in the last bits; logits are of order ten.
TOLERANCE = 1e-3

TEXT = "Tell me about the sea, and about what you would do if the weather turned tonight."


def adapted_logits(base: Path, adapter: Path) -> "torch.Tensor":
    """Logits of the base with an adapter beside its layers, float32, shape ``(T, V)``."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return text_logits(PeftModel.from_pretrained(model, str(adapter)), base)


def text_logits(model: "torch.nn.Module", base: Path) -> "torch.Tensor":
    """Logits of a model that reads a fixed text, shape ``(T, V)``.

    Args:
        model: A causal language model.
        base: Folder of its tokenizer.
    """
    import torch
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(base)(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=ids).logits[0].float()
    return logits
