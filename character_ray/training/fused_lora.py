"""LoRA layers with one pass over their input and one over their output.

    y = W x + B A x          B = [s1 B1, s2 B2, ...], A = [A1; A2; ...] over the active adapters

PEFT computes the same as ``W x``, then for each adapter a copy of the input in the adapter's number format, two products, a scaling and
a sum, each of which reads and writes a tensor as large as the layer's input or output; in bfloat16 under autocast these copies cost
about as much as the products. Here the second product of an adapter adds to the layer's output in place (``addmm``), forward and backward.
A layer is one node of autograd's graph, and leaving the adapters out for the reference's pass sets a flag in each layer, where PEFT
walks through all modules several times: a small model waits for Python rather than for its device.
Source of the layer: LoRA, arXiv 2106.09685; adapters side by side are one adapter of their summed rank.
"""

import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.autograd.function import once_differentiable

__all__ = ["fuse_lora"]


def fuse_lora(model: Any) -> int:
    """Patch the LoRA layers of a PEFT model whose base layer is a plain, frozen linear one.

    A call falls back to PEFT's own where adapters are disabled, merged or chosen by row, where dropout draws, and where the number formats
    are mixed outside autocast, so that nothing but the time and the rounding changes. Not for ZeRO-3 and FSDP, which gather weights
    only for the modules that own them.

    Returns:
        How many layers were patched.
    """
    from peft.tuners.lora.layer import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    tuned = [module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)]
    layers = [module for module in tuned if type(module) is Linear and _is_plain(module)]
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)  # type: ignore[method-assign]
    if layers and len(layers) == len(tuned):
        model.disable_adapter = lambda: _disabled(layers)
    return len(layers)


@contextmanager
def _disabled(layers: Sequence[Any]) -> Iterator[None]:
    """Layers without their adapters, whose factors go on to require what gradient they did."""
    before = [layer._disable_adapters for layer in layers]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer, was_disabled in zip(layers, before, strict=True):
            layer._disable_adapters = was_disabled


def _is_plain(layer: Any) -> bool:
    """Whether the layer's base and adapters do nothing but what the formula says, whichever of them are active."""
    base = layer.get_base_layer()
    return (
        type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and not layer.lora_variant
        and not any(factor.bias is not None for factors in (layer.lora_A, layer.lora_B) for factor in factors.values())
    )


def _forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if self.disable_adapters and not (self.merged or args or kwargs):
        return self.base_layer(x)  # type: ignore[no-any-return]
    active = [name for name in self.active_adapters if name in self.lora_A]
    weight, bias = self.base_layer.weight, self.base_layer.bias
    factors = [layers[name].weight for layers in (self.lora_A, self.lora_B) for name in active]
    dtype = _computed_in(x)
    drawn = self.training and any(not isinstance(self.lora_dropout[name], torch.nn.Identity) for name in active)
    exact = torch.is_autocast_enabled(x.device.type) or all(tensor.dtype == dtype for tensor in (weight, *factors))
    if args or kwargs or not active or self.disable_adapters or self.merged or drawn or not exact:
        return type(self).forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
    x, weight, bias = x.to(dtype), weight.to(dtype), bias if bias is None else bias.to(dtype)
    scales = [self.scaling[name] for name in active]
    if torch.compiler.is_compiling():
        return _traced(x, weight, bias, scales, factors)
    y_NE = _Adapted.apply(x.flatten(0, -2), weight, bias, scales, *factors)  # type: ignore[no-untyped-call]
    return y_NE.unflatten(0, x.shape[:-1])  # type: ignore[no-any-return]


def _traced(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    scales: Sequence[float],
    factors: Sequence[torch.Tensor],
) -> torch.Tensor:
    """The formula as a compiler shall read it, which joins sums and copies by itself.

    Traced through :class:`_Adapted`, PyTorch 2.11 loses the gradient of the factors without a word.
    """
    linear, number = torch.nn.functional.linear, len(scales)
    y = linear(x, weight, bias)
    for a, b, scale in zip(factors[:number], factors[number:], scales, strict=True):
        y = y + linear(linear(x, a.to(x.dtype)), b.to(x.dtype) * scale)
    return y


def _computed_in(x: torch.Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _joined(factors: Sequence[torch.Tensor], dim: int, dtype: torch.dtype) -> torch.Tensor:
    return (torch.cat(list(factors), dim) if len(factors) > 1 else factors[0]).to(dtype)


class _Adapted(torch.autograd.Function):
    """``y = x W^T + bias + (x A^T) B^T`` for frozen ``W`` and ``bias``: N tokens, D inputs, E outputs, R ranks of all adapters."""

    @staticmethod
    def forward(
        ctx: Any,
        x_ND: torch.Tensor,
        weight_ED: torch.Tensor,
        bias_E: torch.Tensor | None,
        scales: list[float],
        *factors: torch.Tensor,
    ) -> torch.Tensor:
        """``factors``: ``A`` of every adapter, then ``B`` of every adapter, each in its own number format."""
        number = len(scales)
        a_RD = _joined(factors[:number], 0, x_ND.dtype)
        b_ER = _joined([b * scale for b, scale in zip(factors[number:], scales, strict=True)], 1, x_ND.dtype)
        low_NR = x_ND @ a_RD.t()
        ctx.save_for_backward(x_ND, weight_ED, a_RD, b_ER, low_NR)
        ctx.scales, ctx.formats = scales, [factor.dtype for factor in factors]
        ctx.ranks = [len(a) for a in factors[:number]]
        return torch.nn.functional.linear(x_ND, weight_ED, bias_E).addmm_(low_NR, b_ER.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_NE: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_ND, weight_ED, a_RD, b_ER, low_NR = ctx.saved_tensors
        needs_x, _, _, _, *needed = ctx.needs_input_grad
        dlow_NR = dy_NE @ b_ER
        dx_ND = (dy_NE @ weight_ED).addmm_(dlow_NR, a_RD) if needs_x else None
        gradients: list[torch.Tensor | None] = [None] * len(needed)
        begin, number = 0, len(ctx.scales)
        for at, (rank, scale) in enumerate(zip(ctx.ranks, ctx.scales, strict=True)):
            ranks = slice(begin, begin := begin + rank)
            if needed[at]:
                gradients[at] = (dlow_NR[:, ranks].t() @ x_ND).to(ctx.formats[at])
            if needed[number + at]:
                gradients[number + at] = (dy_NE.t() @ low_NR[:, ranks]).to(ctx.formats[number + at]) * scale
        return dx_ND, None, None, None, *gradients
