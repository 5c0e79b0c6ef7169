"""Several adapters made into one, and the proof of what that one is.

    exact           [w1*s1*B1, w2*s2*B2, ...] @ [A1; A2; ...]      rank: the sum of all
    exact, rank r   the nearest update of rank r (SVD)             states the energy kept
    legacy_linear   PEFT's ``linear``: factors are added, so that besides w1*dW1 + w2*dW2 there are cross terms B1 A2 and B2 A1

Whatever the method, the result's logits are compared in float32 with those of the base into which every weighted update was folded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from character_ray.adapters import Manifest, adapter_rank, load_manifest, weights_hash, write_manifest
from character_ray.errors import AdapterError
from character_ray.threads import few_threads
from character_ray.training.algebra import concatenate
from character_ray.training.factors import LayerUpdate, load_updates, recompress
from character_ray.training.logits import TOLERANCE, adapted_logits, text_logits
from character_ray.whole_files import folder_being_written

if TYPE_CHECKING:
    import torch

__all__ = ["Combined", "Method", "combine"]

Method = Literal["exact", "legacy_linear"]


@dataclass(frozen=True)
class Combined:
    """What was written and how close it is to what was asked for."""

    rank: int
    energy: float | None
    """Share of the squared norm kept; 1 unless a smaller rank was asked for, ``None`` where cross terms make it another update."""
    logit_difference: float
    """Largest absolute difference of a logit from the folded model's, float32."""
    largest_logit: float
    """Largest absolute logit of the folded model, for scale."""


@few_threads()
def combine(
    adapters: Sequence[Path],
    weights: Sequence[float],
    base: Path,
    folder: Path,
    *,
    method: Method = "exact",
    rank: int | None = None,
) -> Combined:
    """Write one adapter for the weighted sum of several.

    Args:
        adapters: PEFT folders with manifests, of one base model and chat template.
        weights: One factor per adapter.
        base: Folder of the base model.
        folder: New PEFT folder.
        method: ``exact``, or ``legacy_linear`` to repeat published results.
        rank: Recompress to this rank; ``None``, or more than the sum of all, keeps the sum. Only for ``exact``.

    Raises:
        AdapterError: The adapters do not belong together, cannot be combined in this way, or the result is not what was asked for.
    """
    manifests = [load_manifest(path) for path in adapters]
    _check(adapters, manifests, weights, folder, method, rank)
    updates = [load_updates(path) for path in adapters]
    with folder_being_written(folder) as made:
        energy = _write(adapters, weights, base, made, method, rank)
        wanted = _folded_logits(base, updates, weights)
        difference = float((adapted_logits(base, made) - wanted).abs().max())
        if method == "exact" and energy == 1.0 and not difference <= TOLERANCE:
            raise AdapterError(
                f"{folder}: its logits would differ by {difference:.2g} from those of the folded model, more than {TOLERANCE}: the "
                "combination is not exact, so it was not kept. Report this."
            )
        write_manifest(made, _manifest(manifests, made))
    return Combined(adapter_rank(folder), energy, difference, float(wanted.abs().max()))


def _write(
    adapters: Sequence[Path], weights: Sequence[float], base: Path, folder: Path, method: Method, rank: int | None
) -> float | None:
    """Write the combination; the share of the squared norm that it keeps, where that is what it does."""
    if method == "legacy_linear":
        _linear(adapters, weights, base, folder)
        return None
    concatenate(adapters, folder, weights)
    if rank is not None and rank < adapter_rank(folder):
        return recompress(folder, folder, rank)
    return 1.0


def _manifest(manifests: Sequence[Manifest], folder: Path) -> Manifest:
    return manifests[0].model_copy(
        update={
            "stage": "combined",
            "rank": adapter_rank(folder),
            "weights_hash": weights_hash(folder),
            "parents": [each.weights_hash for each in manifests],
        }
    )


def _check(
    adapters: Sequence[Path],
    manifests: Sequence[Manifest],
    weights: Sequence[float],
    folder: Path,
    method: Method,
    rank: int | None,
) -> None:
    if len(weights) != len(adapters):
        raise AdapterError(
            f"{len(adapters)} adapters but {len(weights)} weights. Give one weight per adapter, in their order."
        )
    if folder.exists():
        raise AdapterError(f"{folder} is there already, and nothing is overwritten. Name a new folder.")
    for path, manifest in zip(adapters, manifests, strict=True):
        for what, own, first in (
            ("base model", manifest.base_model.hash, manifests[0].base_model.hash),
            ("chat template", manifest.template_hash, manifests[0].template_hash),
        ):
            if own != first:
                raise AdapterError(
                    f"{path} and {adapters[0]} were trained on a different {what} (hash {own} and {first}), so their updates do not "
                    "add up to anything. Combine adapters of one base only."
                )
    ranks = {manifest.rank for manifest in manifests}
    if method == "legacy_linear" and (len(ranks) > 1 or rank is not None):
        raise AdapterError(
            f"legacy_linear adds factors of equal rank and keeps it; the adapters have ranks {sorted(ranks)} and --rank is {rank}. "
            "Use the exact method."
        )


def _linear(adapters: Sequence[Path], weights: Sequence[float], base: Path, folder: Path) -> None:
    """PEFT's own combination, saved as a plain adapter."""
    import shutil
    import tempfile

    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    names = [f"adapter_{number}" for number in range(len(adapters))]
    peft = PeftModel.from_pretrained(model, str(adapters[0]), adapter_name=names[0])
    for name, path in zip(names[1:], adapters[1:], strict=True):
        peft.load_adapter(str(path), adapter_name=name)
    peft.add_weighted_adapter(names, list(weights), "combined", combination_type="linear")
    # PEFT looks up the model that an adapter names, on the hub if need be, when it writes one.
    peft.peft_config["combined"].base_model_name_or_path = str(base)
    with tempfile.TemporaryDirectory() as scratch:
        peft.save_pretrained(scratch, selected_adapters=["combined"])
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(Path(scratch) / "combined" / name, folder / name)


def _folded_logits(
    base: Path, updates: Sequence[Mapping[str, LayerUpdate]], weights: Sequence[float]
) -> "torch.Tensor":
    """Logits of the base into whose weights every update is added, float32, shape ``(T, V)``."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        for each, weight in zip(updates, weights, strict=True):
            for layer, update in each.items():
                model.get_submodule(layer).weight += weight * (update.b @ update.a)
    return text_logits(model, base)
