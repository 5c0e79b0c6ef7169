"""LoRA updates by layer: how large they are, how many directions they use, and how to use fewer.

A layer's update is ``scale * B @ A`` with B of shape ``(D_out, r)`` and A of shape ``(r, D_in)``. Its singular values follow from two
small QR factorisations, so the full matrix is never built.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from character_ray.errors import AdapterError
from character_ray.threads import few_threads
from character_ray.training.algebra import plain_config

if TYPE_CHECKING:
    import torch

__all__ = ["LayerUpdate", "check_finite", "compare", "describe", "load_updates", "recompress", "truncate"]

ENERGY = 0.99  # share of the squared norm that the rank in use must hold


@dataclass(frozen=True)
class LayerUpdate:
    """The update of one layer; the scale is inside ``b``."""

    b: "torch.Tensor"
    """Shape ``(D_out, r)``, float32."""
    a: "torch.Tensor"
    """Shape ``(r, D_in)``, float32."""

    def decompose(self) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
        """``U, S, Vh`` of ``b @ a``, at most ``r`` singular values in falling order."""
        import torch

        q_b, r_b = torch.linalg.qr(self.b)
        q_a, r_a = torch.linalg.qr(self.a.T)
        u, s, vh = torch.linalg.svd(r_b @ r_a.T)
        return q_b @ u, s, vh @ q_a.T


@dataclass(frozen=True)
class LayerSummary:
    """What a layer's update amounts to."""

    norm: float
    """Frobenius norm."""
    used_rank: int
    """Fewest directions that hold 99 % of the squared norm."""


def load_updates(folder: Path) -> dict[str, LayerUpdate]:
    """The update of every layer of an adapter, by the layer's name.

    Raises:
        AdapterError: The folder is no plain LoRA adapter, or a layer has only one of its factors or factors that do not fit.
    """
    from safetensors.torch import load_file

    config = plain_config(folder)
    state = load_file(folder / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    updates = {}
    for name in sorted(state):
        if ".lora_A." not in name:
            continue
        partner = name.replace(".lora_A.", ".lora_B.")
        if partner not in state or state[partner].shape[1] != state[name].shape[0]:
            shape = tuple(state[partner].shape) if partner in state else "missing"
            raise AdapterError(
                f"{folder}: {name} has shape {tuple(state[name].shape)}, its partner {partner} is {shape}; they do not make an update. "
                "The file is damaged: restore it from its run."
            )
        layer = name.partition(".lora_A.")[0].removeprefix("base_model.model.")
        updates[layer] = LayerUpdate(state[partner].float() * scale, state[name].float())
    if not updates:
        raise AdapterError(f"{folder}: holds no LoRA factors (names with .lora_A.). Give the folder of a LoRA adapter.")
    return updates


def check_finite(folder: Path) -> None:
    """Check that every factor of an adapter is made of numbers.

    Raises:
        AdapterError: One holds NaN or infinity.
    """
    from safetensors import safe_open

    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        names = list(file.keys())
        broken = [name for name in names if not bool(file.get_tensor(name).isfinite().all())]
    if broken:
        raise AdapterError(
            f"{folder}: {len(broken)} of {len(names)} factors hold values that are no numbers (NaN or infinite), {broken[0]} for one, so a "
            "model with this adapter would say nothing. Train it again with a lower learning_rate, or in float32 (train.precision)."
        )


def describe(updates: Mapping[str, LayerUpdate]) -> dict[str, LayerSummary]:
    """Norm and rank in use of every layer."""
    return {layer: _summary(update.decompose()[1]) for layer, update in updates.items()}


def compare(first: Mapping[str, LayerUpdate], second: Mapping[str, LayerUpdate]) -> dict[str, tuple[float, float]]:
    """By layer, how far two adapters are apart: norm of the difference over the larger norm, and cosine of the two updates.

    A layer that only one adapter changes is 1 apart, with cosine 0.
    """
    import torch

    found = {}
    for layer in sorted(first.keys() | second.keys()):
        if layer not in first or layer not in second:
            found[layer] = (1.0, 0.0)
            continue
        one, two = first[layer], second[layer]
        # <B1 A1, B2 A2> = trace((B2^T B1)(A1 A2^T)): r x r matrices only.
        inner = float(torch.sum((two.b.T @ one.b) * (two.a @ one.a.T)))
        squares = [float(torch.sum((each.b.T @ each.b) * (each.a @ each.a.T))) for each in (one, two)]
        largest = max(squares) ** 0.5
        apart = max(squares[0] + squares[1] - 2 * inner, 0.0) ** 0.5
        product = (squares[0] * squares[1]) ** 0.5
        found[layer] = (apart / largest if largest else 0.0, inner / product if product else 0.0)
    return found


def truncate(updates: Mapping[str, LayerUpdate], rank: int) -> tuple[dict[str, LayerUpdate], float]:
    """The nearest updates of at most ``rank`` (Eckart-Young), and the share of the squared norm they keep over all layers."""
    import torch

    small, kept, whole = {}, 0.0, 0.0
    for layer, update in updates.items():
        u, s, vh = update.decompose()
        used = min(rank, len(s))
        root = s[:used].sqrt()
        b, a = u[:, :used] * root, vh[:used] * root[:, None]
        if used < rank:
            # Every layer of an adapter has the same rank.
            b, a = (
                torch.cat([b, torch.zeros(len(b), rank - used)], dim=1),
                torch.cat([a, torch.zeros(rank - used, a.shape[1])]),
            )
        small[layer] = LayerUpdate(b, a)
        kept, whole = kept + float(s[:used].square().sum()), whole + float(s.square().sum())
    return small, kept / whole if whole else 1.0


@few_threads()
def recompress(adapter: Path, folder: Path, rank: int) -> float:
    """Write the nearest adapter of at most ``rank``; return the share of the squared norm it keeps.

    Args:
        adapter: PEFT folder.
        folder: Where the smaller one is written; may be the same.
        rank: Of the new adapter, in every layer.

    Raises:
        AdapterError: The folder is no plain LoRA adapter.
    """
    from safetensors.torch import save_file

    small, energy = truncate(load_updates(adapter), rank)
    state = {}
    for layer, update in small.items():
        state[f"base_model.model.{layer}.lora_A.weight"] = update.a.contiguous()
        state[f"base_model.model.{layer}.lora_B.weight"] = update.b.contiguous()
    config = plain_config(adapter) | {"r": rank, "lora_alpha": rank}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return energy


def _summary(singular_values: "torch.Tensor") -> LayerSummary:
    import torch

    squares = singular_values.square()
    total = float(squares.sum())
    used = int(torch.searchsorted(squares.cumsum(0), ENERGY * total)) + 1 if total else 0
    return LayerSummary(total**0.5, used)
