"""What the weights of an adapter are, by the header of their file, and whether they fit the base; no weight is read."""

import re
from functools import lru_cache
from pathlib import Path

from character_ray.errors import AdapterError

__all__ = ["check_shapes", "tensor_shapes"]

_NAME = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(\.default)?\.weight")
_DTYPES = ("F32", "F16", "BF16", "F64")

Shape = tuple[int, ...]


def tensor_shapes(path: Path) -> dict[str, Shape]:
    """Name and shape of every tensor in a safetensors file.

    Raises:
        AdapterError: It is not one: truncated, too long, with a header that does not fit, or of numbers that are no weights.
    """
    header = _header(path)
    if odd := sorted({kind for _, kind in header.values()} - set(_DTYPES)):
        raise AdapterError(f"{path} holds numbers of type {', '.join(odd)}; an adapter's are {', '.join(_DTYPES)}.")
    return {name: shape for name, (shape, _) in header.items()}


def check_shapes(folder: Path, name: str, rank: int, base: Path | None = None) -> None:
    """Refuse an adapter whose factors do not fit each other, its rank or the base's layers.

    Args:
        folder: PEFT folder.
        name: Whose it is, for the error.
        rank: What its configuration says.
        base: Folder of the base model; where it names none of the adapter's layers as they are here (quantised weights, weights
            that are drawn), its shapes are not compared.

    Raises:
        AdapterError: A factor is missing, has another rank or another width than the layer, or the base has no such layer.
    """
    path = folder / "adapter_model.safetensors"
    factors: dict[str, dict[str, Shape]] = {}
    for tensor, shape in tensor_shapes(path).items():
        found = _NAME.fullmatch(tensor)
        if found is None or len(shape) != 2:
            raise AdapterError(
                f"{path}: {name} has a tensor {tensor[:120]!r} of shape {shape}, which is no factor of a linear layer, so the engine "
                "would leave it out. Fold the adapter into the base, or train it with LoRA on linear layers alone."
            )
        factors.setdefault(found["module"], {})[found["side"]] = shape
    if not factors:
        raise AdapterError(f"{path}: {name} changes no layer. Copy the adapter again from where it was trained.")
    layers = _layer_shapes(base) if base else {}
    compared = any(f"{module}.weight" in layers for module in factors)
    for module, sides in factors.items():
        if sides.keys() != {"A", "B"}:
            raise AdapterError(f"{path}: {name} has only factor {'/'.join(sides)} of {module[:120]}. Copy it again.")
        (rank_a, width), (height, rank_b) = sides["A"], sides["B"]
        if not rank_a == rank_b == rank:
            raise AdapterError(
                f"{path}: {name} has rank {rank_a} and {rank_b} at {module[:120]}, but its configuration says {rank}. "
                "Restore the folder from its run."
            )
        expected = layers.get(f"{module}.weight")
        if compared and expected != (height, width):
            raise AdapterError(
                f"{path}: {name} changes {module[:120]} of {height} x {width}, but the base has "
                f"{'no such layer' if expected is None else ' x '.join(map(str, expected))}. It was trained on another base."
            )


@lru_cache(maxsize=4)
def _layer_shapes(base: Path) -> dict[str, Shape]:
    """Every tensor of the base; nothing where a file of it has a form that is not known here."""
    try:
        return {name: shape for path in base.glob("*.safetensors") for name, (shape, _) in _header(path).items()}
    except AdapterError:
        return {}


def _header(path: Path) -> dict[str, tuple[Shape, str]]:
    """Shape and number type of every tensor."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (tuple(each.get_shape()), str(each.get_dtype())) for name, each in slices.items()}
    except (SafetensorError, OSError, ValueError) as cause:
        raise AdapterError(
            f"{path} is not a whole safetensors file ({cause}). Copy it again from where it was trained."
        ) from None
