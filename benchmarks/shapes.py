"""Models of real shapes with random weights, for speed where no trained weights can be had."""

import json
import shutil
from pathlib import Path

from character_ray.config import ModelConfig
from character_ray.models import resolve_model

__all__ = ["SHAPES", "shape_folder", "write_random_weights"]

# From the published config.json of Qwen/Qwen3-4B-Instruct-2507 and Qwen/Qwen3-30B-A3B-Instruct-2507.
_QWEN3 = {
    "attention_bias": False,
    "head_dim": 128,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 262144,
    "rms_norm_eps": 1e-6,
    "rope_theta": 5000000,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
SHAPES = {
    "qwen3-4b": _QWEN3
    | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "qwen3-30b-a3b": _QWEN3
    | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "moe_intermediate_size": 768,
        "num_attention_heads": 32,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "num_hidden_layers": 48,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
}


def shape_folder(shape: str, parent: Path, layers: int | None = None) -> Path:
    """A model folder of this shape: its configuration and the embedded model's tokenizer, no weights (vLLM's ``load_format=dummy``).

    The tokenizer's 49,152 tokens are fewer than the shape's vocabulary; what lies beyond them decodes to nothing. With ``layers`` the
    model is cut short.
    """
    folder = parent / shape
    folder.mkdir(parents=True, exist_ok=True)
    embedded = resolve_model(ModelConfig())
    for path in embedded.glob("*"):
        if path.name.startswith(("tokenizer", "special_tokens", "chat_template", "vocab", "merges")):
            shutil.copy(path, folder / path.name)
    special = json.loads((embedded / "config.json").read_text(encoding="utf-8"))
    cut = {} if layers is None else {"num_hidden_layers": layers}
    config = (
        SHAPES[shape] | cut | {name: special.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    )
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    return folder


def write_random_weights(folder: Path, seed: int = 0) -> Path:
    """Fill a folder of :func:`shape_folder` with weights drawn by the architecture's own initialisation, in bfloat16."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if not list(folder.glob("*.safetensors")):
        torch.manual_seed(seed)
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
        model.save_pretrained(folder)
        del model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return folder
