"""Which layout of a batch of pairs costs less: prompts read once under a mask, or whole rows without one.

    shared  = R rows of length L:       R L (2 P + masked a L)
    whole   = 2B rows of length T:     2B T (2 P + causal a T)

multiplications and additions forward, for P parameters in the layers and ``a = 4 x layers x width of the queries`` for each position that
a token may see. Sharing reads fewer tokens, but an attention kernel that takes a mask is slower than one that knows it is causal, and
reads the half that the mask hides; on long rows of a small or middling model that costs more than the prompts do.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LayerCost", "layer_cost", "sharing_pays"]

# Seconds of an operation of attention, the whole square counted, by those of one of a product with the weights. On a GPU as measured at
# Qwen3-4B's shape (benchmarks/results/layout-h100.json; under a mask by the kernel that needs no plan for each shape, see
# character_ray/gpu_attention.py). On a CPU assumed: both kernels as fast as the products, one skipping half.
MASKED: Mapping[str, float] = {"cuda": 10.1, "cpu": 1.0}
CAUSAL: Mapping[str, float] = {"cuda": 2.1, "cpu": 0.5}


@dataclass(frozen=True)
class LayerCost:
    """Multiplications and additions of a forward pass through a model's layers."""

    per_token: float
    per_position: float
    """For each token, of each position it may see."""
    device: str
    """``cuda`` or ``cpu``; what costs what on others is not known and taken to be as on ``cuda``."""


def layer_cost(model: Any) -> LayerCost:
    """Read off a causal language model; the embeddings, which both layouts meet equally, are left out.

    Of the experts that lie in one tensor those count that a token meets. Weights that DeepSpeed has divided among workers count whole.
    """
    config = model.config.get_text_config()
    embeddings = {id(module.weight) for module in (model.get_input_embeddings(), model.get_output_embeddings())}
    chosen = getattr(config, "num_experts_per_tok", None) or 0
    weights = 0
    for each in model.parameters():
        # A divided weight is empty here, and so is its own shape.
        shape = tuple(getattr(each, "ds_shape", each.shape))
        if len(shape) == 2 and id(each) not in embeddings:
            weights += math.prod(shape)
        elif len(shape) == 3:
            weights += min(chosen, shape[0]) * math.prod(shape[1:])
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_attention_heads * head
    return LayerCost(2.0 * weights, 4.0 * config.num_hidden_layers * width, next(model.parameters()).device.type)


def sharing_pays(cost: LayerCost, shared: tuple[int, int], whole: tuple[int, int]) -> bool:
    """Whether packed rows under a mask cost less than whole rows.

    Args:
        cost: Of the model.
        shared: Rows and their length when prompts are read once.
        whole: Rows and their length when they are not.
    """
    device = cost.device if cost.device in MASKED else "cuda"

    def operations(rows: int, length: int, penalty: float) -> float:
        return rows * length * (cost.per_token + penalty * cost.per_position * length)

    return operations(*shared, MASKED[device]) < operations(*whole, CAUSAL[device])
