"""Whether the layers a recipe wants to train exist in the model, known before anything is trained."""

import logging
from collections.abc import Sequence
from pathlib import Path

from character_ray.config import LoRAConfig
from character_ray.errors import RecipeError

__all__ = ["adapter_parameters", "check_same_tokens", "check_targets", "linear_layers"]

logger = logging.getLogger(__name__)

_MLP = ("mlp", "ffn", "feed_forward", "experts", "block_sparse_moe")
_ROUTERS = ("gate", "router")


def linear_layers(base: Path) -> dict[str, int]:
    """All linear layers inside the model's blocks, read from its configuration; no weight is loaded.

    Returns:
        By name, the parameters that rank 1 of an adapter adds: input width plus output width.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    return {
        name: module.in_features + module.out_features
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and any(part.isdigit() for part in name.split("."))
    }


def adapter_parameters(base: Path, lora: LoRAConfig) -> int:
    """Parameters of an adapter of this model.

    Args:
        base: Folder of the model.
        lora: Its rank and the layers it changes.
    """
    return lora.rank * sum(
        width
        for layer, width in linear_layers(base).items()
        if any(_matches(layer, target) for target in lora.target_modules)
    )


def check_targets(section: str, targets: Sequence[str], base: Path) -> None:
    """Check that every target names a layer and that the MLP is among them; warn when a mixture's router is left out.

    Args:
        section: Such as ``dpo.lora``, for the error.
        targets: Names of layers, matched as PEFT does: the whole name or its end.
        base: Folder of the model.

    Raises:
        RecipeError: A target matches no layer, or none is part of an MLP.
    """
    layers = linear_layers(base)
    kinds = sorted({layer.rpartition(".")[2] for layer in layers})
    matched = {target: [layer for layer in layers if _matches(layer, target)] for target in targets}
    missing = [target for target, found in matched.items() if not found]
    if missing:
        raise RecipeError(
            f"{section}.target_modules: {', '.join(missing)} match{'es' if len(missing) == 1 else ''} no linear layer of {base.name}, "
            f"so nothing there would be trained. Its layers are {', '.join(kinds)}."
        )
    inside = [layer for found in matched.values() for layer in found if _has_part(layer, _MLP)]
    if not inside and any(_has_part(layer, _MLP) for layer in layers):
        missed = sorted({layer.rpartition(".")[2] for layer in layers if _has_part(layer, _MLP)})
        raise RecipeError(
            f"{section}.target_modules: {', '.join(targets)} leave out the whole MLP of {base.name}, where most of a character is learnt. "
            f"Add {', '.join(missed)}."
        )
    if _is_mixture(base) and not any(target.rpartition(".")[2] in _ROUTERS for target in targets):
        logger.warning(
            "%s.target_modules leave out the router of %s, a mixture of experts: which expert answers stays as it was.",
            section,
            base.name,
        )


def _matches(layer: str, target: str) -> bool:
    return layer == target or layer.endswith(f".{target}")


def _is_mixture(base: Path) -> bool:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base)
    return any(getattr(config, key, None) for key in ("num_experts", "num_local_experts", "n_routed_experts"))


def _has_part(layer: str, names: Sequence[str]) -> bool:
    return any(part in names for part in layer.split("."))


def check_same_tokens(student: Path, teacher: Path) -> None:
    """Check that both models give every token the same number: their distributions are compared entry by entry.

    Raises:
        RecipeError: They do not.
    """
    from transformers import AutoTokenizer

    vocabularies = [AutoTokenizer.from_pretrained(folder).get_vocab() for folder in (student, teacher)]
    if vocabularies[0] != vocabularies[1]:
        differing = len(vocabularies[0].items() ^ vocabularies[1].items())
        raise RecipeError(
            f"dpo.algorithm=on_policy compares teacher and student token by token, but the tokenizers of {student.name} and "
            f"{teacher.name} differ in {differing} entries. Name a teacher of the student's family, leave teacher out, or set "
            "dpo.algorithm=dpo, which compares texts."
        )
