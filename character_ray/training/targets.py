"""Whether the layers a recipe wants to train exist in the model, known before anything is trained."""

import logging
from collections.abc import Mapping, Sequence
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
    return _blocks(base)[0]


def _blocks(base: Path) -> tuple[dict[str, int], dict[str, int]]:
    """What :func:`linear_layers` says, and the MLP's weights that belong to no linear layer, with the number of their parameters.

    The latter are a mixture's: transformers keeps all experts of a layer in one tensor, and the router's weight in a module of its own.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    inside = {name: module for name, module in model.named_modules() if any(part.isdigit() for part in name.split("."))}
    linear = {
        name: module.in_features + module.out_features
        for name, module in inside.items()
        if isinstance(module, torch.nn.Linear)
    }
    others = {
        f"{name}.{weight}": parameter.numel()
        for name, module in inside.items()
        if name not in linear and _has_part(name, _MLP)
        for weight, parameter in module.named_parameters(recurse=False)
        if parameter.ndim > 1
    }
    return linear, others


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
    """Check that every target names a layer and that the MLP is among them; warn of what of a mixture of experts stays as it is.

    Args:
        section: Such as ``dpo.lora``, for the error.
        targets: Names of layers, matched as PEFT does: the whole name or its end.
        base: Folder of the model.

    Raises:
        RecipeError: A target matches no layer, or none is part of an MLP that has linear layers.
    """
    layers, others = _blocks(base)
    kinds = sorted({layer.rpartition(".")[2] for layer in layers})
    matched = {target: [layer for layer in layers if _matches(layer, target)] for target in targets}
    missing = [target for target, found in matched.items() if not found]
    if missing:
        tensors = ", ".join(sorted({_within_its_block(name) for name in others}))
        experts = (
            f" Of its experts it has tensors of their own ({tensors}), which an adapter here does not change: leave their layers out, to "
            "train the others alone."
        )
        raise RecipeError(
            f"{section}.target_modules: {', '.join(missing)} match{'es' if len(missing) == 1 else ''} no linear layer of {base.name}, "
            f"so nothing there would be trained. Its layers are {', '.join(kinds)}.{experts if others else ''}"
        )
    inside = [layer for found in matched.values() for layer in found if _has_part(layer, _MLP)]
    if not inside and any(_has_part(layer, _MLP) for layer in layers):
        missed = sorted({layer.rpartition(".")[2] for layer in layers if _has_part(layer, _MLP)})
        raise RecipeError(
            f"{section}.target_modules: {', '.join(targets)} leave out the whole MLP of {base.name}, where most of a character is learnt. "
            f"Add {', '.join(missed)}."
        )
    _warn_of_the_untrained(section, targets, base.name, layers, others)


def _warn_of_the_untrained(
    section: str, targets: Sequence[str], model: str, layers: Mapping[str, int], others: Mapping[str, int]
) -> None:
    if others:
        logger.warning(
            "%s trains %s of %s, a mixture of experts; %s stay as in the base, %s parameters. They are no linear layers, and factors of "
            "such alone can be joined exactly, checked and served here.",
            section,
            ", ".join(targets),
            model,
            " and ".join(sorted({_within_its_block(name) for name in others})),
            f"{sum(others.values()):,}",
        )
    routers = {layer.rpartition(".")[2] for layer in layers if layer.rpartition(".")[2] in _ROUTERS}
    if routers and not any(target.rpartition(".")[2] in routers for target in targets):
        logger.warning(
            "%s.target_modules leave out the router of %s, a mixture of experts: which expert answers stays as it was. Add %s to train it.",
            section,
            model,
            " and ".join(sorted(routers)),
        )


def _within_its_block(name: str) -> str:
    """``mlp.experts.down_proj`` of ``model.layers.0.mlp.experts.down_proj``."""
    parts = name.split(".")
    return ".".join(parts[next(at for at, part in enumerate(parts) if part.isdigit()) + 1 :])


def _matches(layer: str, target: str) -> bool:
    return layer == target or layer.endswith(f".{target}")


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
