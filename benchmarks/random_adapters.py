"""Adapters of random weights at a model's shape, as a trained persona's folder looks: for speed, where what is said does not matter."""

import json
from pathlib import Path

from character_ray.adapters import weights_hash, write_manifest
from character_ray.config import Recipe
from character_ray.manifest import BaseModelId, Manifest
from character_ray.models import model_hash, template_hash

__all__ = ["mark_weights", "slug_of", "write_adapters"]


def mark_weights(folder: Path) -> Path:
    """Give a folder of :func:`benchmarks.shapes.shape_folder` a safetensors file of one number, for it to have a hash.

    With ``load_format=dummy`` vLLM does not read it.
    """
    import torch
    from safetensors.torch import save_file

    if not list(folder.glob("*.safetensors")):
        save_file({"unused": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def slug_of(number: int) -> str:
    """The name of the adapter with this number."""
    return f"persona-{number:02d}"


def write_adapters(base: Path, parent: Path, number: int, rank: int, recipe: Recipe) -> list[Path]:
    """Adapters of every linear layer, each with its own weights; the manifest carries ``recipe``, which ``serve`` follows.

    Args:
        base: Folder of a dense Llama or Qwen3 model.
        parent: Where they are written.
        number: How many; the first is drawn from seed 0.
        rank: Of each.
        recipe: Engine and serve settings.
    """
    import torch
    from safetensors.torch import save_file

    layers = _linear_layers(base)
    identity = BaseModelId(name=recipe.student.name, hash=model_hash(base))
    folders = []
    for seed in range(number):
        folder = parent / slug_of(seed)
        folder.mkdir(parents=True, exist_ok=True)
        draw = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, (inputs, outputs) in layers.items():
            lora_a = torch.randn(rank, inputs, generator=draw) / inputs**0.5
            tensors[f"base_model.model.{name}.lora_A.weight"] = lora_a.to(torch.bfloat16)
            lora_b = torch.randn(outputs, rank, generator=draw) * (0.1 / rank**0.5)
            tensors[f"base_model.model.{name}.lora_B.weight"] = lora_b.to(torch.bfloat16)
        save_file(tensors, folder / "adapter_model.safetensors")
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": str(base),
            "bias": "none",
            "lora_alpha": rank,
            "lora_dropout": 0.0,
            "r": rank,
            "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
        }
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
        manifest = Manifest(
            persona=f"Persona {seed:02d}",
            slug=folder.name,
            description="random weights, for a benchmark",
            stage="full",
            base_model=identity,
            template_hash=template_hash(base),
            constitution_hash=f"none-{seed}",
            rank=rank,
            weights_hash=weights_hash(folder),
            recipe=recipe.model_dump(mode="json"),
        )
        write_manifest(folder, manifest)
        folders.append(folder)
    return folders


def _linear_layers(base: Path) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every linear layer of the blocks, by its name in the model."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    hidden, middle, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    queries, keys = heads * head, config.get("num_key_value_heads", heads) * head
    sizes = {
        "self_attn.q_proj": (hidden, queries),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, middle),
        "mlp.up_proj": (hidden, middle),
        "mlp.down_proj": (middle, hidden),
    }
    return {
        f"model.layers.{number}.{name}": size
        for number in range(config["num_hidden_layers"])
        for name, size in sizes.items()
    }
