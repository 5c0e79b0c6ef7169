"""LoRA layers with one pass over their input and one over their output.

    y = W x + B A x          B = [s1 B1, s2 B2, ...], A = [A1; A2; ...] over the active adapters

PEFT computes the same as ``W x``, then for each adapter a copy of the input in the adapter's number format, two products, a scaling and
a sum, each of which reads and writes a tensor as large as the layer's input or output; in bfloat16 under autocast these copies cost
about as much as the products. Here the second product of an adapter adds to the layer's output in place (``addmm``), forward and backward.
Source of the layer: LoRA, arXiv 2106.09685; adapters side by side are one adapter of their summed rank.
"""

import types
from typing import Any

import torch
from torch.autograd.function import once_differentiable

__all__ = ["fuse_lora"]


def fuse_lora(model: Any) -> int:
    """Patch the LoRA layers of a PEFT model whose base layer is a plain, frozen linear one.

    A call falls back to PEFT's own where adapters are disabled, merged or chosen by row, where dropout draws, and where the number formats
    are mixed outside autocast, so that nothing but the time and the rounding changes. Not for ZeRO-3, which gathers weights only
    for the modules that own them.

    Returns:
        How many layers were patched.
    """
    from peft.tuners.lora.layer import Linear

    layers = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)  # type: ignore[method-assign]
    return len(layers)


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
    active = [name for name in self.active_adapters if name in self.lora_A]
    weight, bias = self.base_layer.weight, self.base_layer.bias
    dtype = _computed_in(x)
    drawn = self.training and any(not isinstance(self.lora_dropout[name], torch.nn.Identity) for name in active)
    exact = torch.is_autocast_enabled(x.device.type) or all(
        tensor.dtype == dtype for name in active for tensor in (weight, self.lora_A[name].weight)
    )
    if args or kwargs or not active or self.disable_adapters or self.merged or drawn or not exact:
        return type(self).forward(self, x, *args, **kwargs)  # type: ignore[no-any-return]
    a_RD = torch.cat([self.lora_A[name].weight for name in active]).to(dtype)
    b_ER = torch.cat([self.lora_B[name].weight * self.scaling[name] for name in active], dim=1).to(dtype)
    y_NE = _Adapted.apply(  # type: ignore[no-untyped-call]
        x.to(dtype).flatten(0, -2), weight.to(dtype), bias if bias is None else bias.to(dtype), a_RD, b_ER
    )
    return y_NE.unflatten(0, x.shape[:-1])  # type: ignore[no-any-return]


def _computed_in(x: torch.Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


class _Adapted(torch.autograd.Function):
    """``y = x W^T + bias + (x A^T) B^T`` for frozen ``W`` and ``bias``: N tokens, D inputs, E outputs, R ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        x_ND: torch.Tensor,
        weight_ED: torch.Tensor,
        bias_E: torch.Tensor | None,
        a_RD: torch.Tensor,
        b_ER: torch.Tensor,
    ) -> torch.Tensor:
        low_NR = x_ND @ a_RD.t()
        ctx.save_for_backward(x_ND, weight_ED, a_RD, b_ER, low_NR)
        return torch.nn.functional.linear(x_ND, weight_ED, bias_E).addmm_(low_NR, b_ER.t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_NE: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_ND, weight_ED, a_RD, b_ER, low_NR = ctx.saved_tensors
        dlow_NR = dy_NE @ b_ER
        dx_ND = (dy_NE @ weight_ED).addmm_(dlow_NR, a_RD) if ctx.needs_input_grad[0] else None
        da_RD = dlow_NR.t() @ x_ND if ctx.needs_input_grad[3] else None
        db_ER = dy_NE.t() @ low_NR if ctx.needs_input_grad[4] else None
        return dx_ND, None, None, da_RD, db_ER
