"""What attention costs beside the products with the weights: the constants of ``character_ray/training/layout.py``, measured.

    python -m benchmarks.measure_layout --shape qwen3-4b --device gpu --output benchmarks/results/layout-h100.json

One layer's products and one layer's attention are each timed as a step of DPO meets them, twice forward and once backward, the
weights frozen. Seconds for an operation of attention, the whole square counted, divided by seconds for one of the products is what
``layout.py`` multiplies with: ``causal`` for whole rows, ``masked`` for packed ones by the kernel that PyTorch chooses, and one figure
for each kernel that takes a mask.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import linear, scaled_dot_product_attention

from benchmarks.record import write_record
from benchmarks.shapes import SHAPES

ANY = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH, SDPBackend.CUDNN_ATTENTION]
MASKED = {
    "masked": ANY,
    "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    "cudnn": [SDPBackend.CUDNN_ATTENTION],
    "math": [SDPBackend.MATH],
}


def seconds_of(step: Callable[[], object], device: str, repeats: int) -> list[float]:
    """Wall time of each repeat after two that warm up."""
    found = []
    for _ in range(2 + repeats):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        found.append(time.perf_counter() - start)
    return found[2:]


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def trained(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> Callable[[], None]:
    """Policy forward and backward, reference forward."""

    def step() -> None:
        output = function(*inputs)
        output.backward(torch.ones_like(output))
        with torch.no_grad():
            function(*inputs)

    return step


def main() -> None:
    """Measure, print the constants, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="qwen3-4b")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rows", type=int, default=4, help="packed rows; whole rows are twice as many")
    parser.add_argument("--packed", type=int, default=1856, help="length of a packed row, tokens")
    parser.add_argument("--whole", type=int, default=1024, help="length of a whole row, tokens")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, required=True)
    asked = parser.parse_args()
    config = SHAPES[asked.shape]
    heads, head, hidden, inner = (
        config[name] for name in ("num_attention_heads", "head_dim", "hidden_size", "intermediate_size")
    )
    device = "cuda" if asked.device == "gpu" else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int, grad: bool = True) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=dtype).requires_grad_(grad)

    tokens = asked.rows * asked.packed
    weight = draw(inner, hidden, grad=False)
    steps = {"products": (trained(lambda x: linear(x, weight), draw(tokens, hidden)), 2.0 * tokens * hidden * inner)}

    def queries(rows: int, length: int) -> list[torch.Tensor]:
        return [draw(rows, heads, length, head) for _ in range(3)]

    def operations(rows: int, length: int) -> float:
        return 4.0 * rows * heads * head * length * length

    steps["causal"] = (
        trained(
            lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True),
            *queries(2 * asked.rows, asked.whole),
        ),
        operations(2 * asked.rows, asked.whole),
    )
    mask = _two_leaves(asked.rows, asked.packed, 2 * (asked.packed - asked.whole), device)
    for name, backends in MASKED.items():

        def attend(
            q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, backends: list[SDPBackend] = backends
        ) -> torch.Tensor:
            with sdpa_kernel(backends):
                return scaled_dot_product_attention(q, k, v, attn_mask=mask)

        steps[name] = (
            trained(attend, *queries(asked.rows, asked.packed)),
            operations(asked.rows, asked.packed),
        )
    arms, refused = {}, {}
    for name, (step, _) in steps.items():
        try:
            arms[name] = seconds_of(step, device, asked.repeats)
        except RuntimeError as error:  # PyTorch's "No available kernel"
            refused[name] = str(error)
    per_operation = {name: statistics.median(arms[name]) / steps[name][1] for name in arms}
    write_record(
        asked.output,
        "benchmarks.measure_layout",
        {
            f"layout_{name}": each / per_operation["products"]
            for name, each in per_operation.items()
            if name != "products"
        },
        arms,
        {"layout": "seconds of two passes forward and one backward"},
        vars(asked),
        refused=refused,
        # Passes: forward twice, backward once for products (weights are frozen) and two and a half times for attention.
        tflops={name: (3.0 if name == "products" else 4.5) / 1e12 / each for name, each in per_operation.items()},
    )


def _two_leaves(rows: int, length: int, leaves: int, device: str) -> torch.Tensor:
    """The mask of rows that hold one prompt and two sides of equal length, ``leaves`` tokens together."""
    place = torch.arange(length, device=device)
    branch = (place >= length - leaves).long() + (place >= length - leaves // 2).long()
    seen = (place[:, None] >= place) & ((branch[None, :] == 0) | (branch[:, None] == branch))
    return seen.expand(rows, 1, length, length)


if __name__ == "__main__":
    main()
