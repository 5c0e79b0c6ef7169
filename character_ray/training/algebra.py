"""Exact algebra on LoRA adapters: several become one, and one becomes part of the base.

A LoRA adapter adds ``scale * B @ A`` to a weight. The sum of two such updates is again one, with the factors put side by side:
``[s1*B1, s2*B2] @ [A1; A2]``. PEFT's ``add_weighted_adapter(..., "linear")`` adds the factors instead and so leaves cross
terms; ``"cat"`` is this, but writes the scales into A in the adapter's dtype.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.errors import AdapterError
from character_ray.threads import few_threads

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["concatenate", "fold", "logit_differences", "merged", "plain_config"]


def concatenate(adapters: Sequence[Path], folder: Path, weights: Sequence[float] | None = None) -> int:
    """Write one adapter that equals the weighted sum of several; return its rank.

    The scales ``alpha / rank`` and the weights go into B in float32, so the result has ``alpha == rank`` and scale one.

    Args:
        adapters: PEFT folders on the same base model.
        folder: Where the new PEFT folder is written.
        weights: One factor per adapter; 1 by default.

    Raises:
        AdapterError: An adapter uses a scale or bias that a plain concatenation would not reproduce.
    """
    import torch
    from safetensors.torch import load_file, save_file

    configs = [plain_config(path) for path in adapters]
    states = [load_file(path / "adapter_model.safetensors") for path in adapters]
    factors = weights if weights is not None else [1.0] * len(adapters)
    scales = [weight * config["lora_alpha"] / config["r"] for weight, config in zip(factors, configs, strict=True)]
    rank = int(sum(config["r"] for config in configs))
    joined: dict[str, torch.Tensor] = {}
    for name in sorted(set().union(*states)):
        like = next(state[name] for state in states if name in state)
        parts = []
        for state, config, scale in zip(states, configs, scales, strict=True):
            part = state[name].float() if name in state else _absent(like, name, config["r"])
            parts.append(part * scale if ".lora_B." in name else part)
        joined[name] = torch.cat(parts, dim=1 if ".lora_B." in name else 0).contiguous()
    targets = sorted(set().union(*(config["target_modules"] for config in configs)))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(joined, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {**configs[0], "r": rank, "lora_alpha": rank, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return rank


@few_threads()
def fold(base: Path, adapter: Path, folder: Path, dtype: str) -> None:
    """Write a copy of the base with the adapter added to its weights.

    The sum is made in float32 and rounded once, to ``dtype``; a sum made in bfloat16 would lose small updates.

    Args:
        base: Folder of the base model.
        adapter: PEFT folder.
        folder: Where the model folder is written.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
    """
    import torch
    from transformers import AutoTokenizer

    merged(base, adapter).to(getattr(torch, dtype)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)


def merged(base: Path, adapter: Path) -> Any:
    """The base with the adapter added to its weights, in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()


@few_threads()
def logit_differences(
    base: Path,
    sequence: Sequence[Path],
    weights: Sequence[float],
    singles: Sequence[Path],
    text: str,
    dtypes: Sequence[str] = ("float32", "bfloat16"),
) -> list[dict[str, float]]:
    """Largest absolute differences between the logits of adapters applied together and of each one made from them.

    The base is loaded once, in float32, and rounded from there.

    Args:
        base: Folder of the base model.
        sequence: PEFT folders, all active at once.
        weights: One factor for each of them.
        singles: PEFT folders, each made from all of them.
        text: What the logits are taken on; every position counts.
        dtypes: Number formats of weights and activations, each one narrower than the one before.

    Returns:
        For each of the singles the difference by number format.
    """
    import torch
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(base)(text, return_tensors="pt").input_ids
    paths = [*sequence, *singles]
    names = [f"adapter_{number}" for number in range(len(paths))]
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    peft = PeftModel.from_pretrained(model, str(paths[0]), adapter_name=names[0], autocast_adapter_dtype=False)
    for name, path in zip(names[1:], paths[1:], strict=True):
        peft.load_adapter(str(path), adapter_name=name, autocast_adapter_dtype=False)
    for layer in peft.modules():
        if isinstance(layer, LoraLayer):
            for name, factor in zip(names, weights, strict=False):
                layer.set_scale(name, factor)

    def logits(active: list[str]) -> "torch.Tensor":
        peft.base_model.set_adapter(active)  # type: ignore[operator]  # of the LoraModel; PeftModel sets one only
        with torch.no_grad():
            found: torch.Tensor = peft(input_ids=ids).logits.float()
            return found

    differences: list[dict[str, float]] = [{} for _ in singles]
    for dtype in dtypes:
        peft.to(getattr(torch, dtype)).eval()
        wanted = logits(names[: len(sequence)])
        for name, found in zip(names[len(sequence) :], differences, strict=True):
            found[dtype] = float((logits([name]) - wanted).abs().max())
    return differences


def plain_config(folder: Path) -> dict[str, Any]:
    """PEFT's configuration of an adapter whose update is nothing but ``alpha / rank * B @ A``.

    Raises:
        AdapterError: It is scaled in another way, or trains more.
    """
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    unusual = [
        key for key in ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save") if config.get(key)
    ]
    if unusual or config.get("bias", "none") != "none":
        raise AdapterError(
            f"{folder}: uses {', '.join(unusual) or 'trained biases'}, which a concatenation of factors would not reproduce. "
            "Fold it into the base instead."
        )
    return dict(config)


def _absent(like: "torch.Tensor", name: str, rank: int) -> "torch.Tensor":
    """Zeros that stand for a layer only the other adapter changes."""
    import torch

    shape = (like.shape[0], rank) if ".lora_B." in name else (rank, like.shape[1])
    return torch.zeros(shape)
