"""The shape of a model, from its ``config.json`` or, where no copy is at hand, from a small table.

    shape -> parameters, parameters at work per token, bytes of keys and values per token, parameters of a LoRA

Nothing is downloaded and no weight is read.
"""

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from character_ray.config import ModelConfig
from character_ray.errors import ModelError
from character_ray.models import PACKAGED, cache_folder

__all__ = ["BYTES", "KNOWN_SHAPES", "ModelShape", "assumed_shape", "find_shape", "read_shape"]

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}
"""Of one number, by the format that a recipe names."""


@dataclass(frozen=True)
class ModelShape:
    """A decoder of Llama's kind: grouped attention, a gated feed-forward layer, perhaps with experts."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    """Width of the feed-forward layer, or of one expert."""
    vocabulary: int
    tied: bool
    """Input and output embedding are one matrix."""
    experts: int = 1
    experts_per_token: int = 1
    bytes_per_weight: float | None = None
    """Where the folder is quantised; otherwise the engine's number format decides."""

    @property
    def attention(self) -> int:
        """Parameters of the attention of one layer."""
        return 2 * self.hidden * self.head_size * (self.heads + self.kv_heads)

    @property
    def expert(self) -> int:
        """Parameters of one feed-forward layer, or of one expert."""
        return 3 * self.hidden * self.feed_forward

    @property
    def embedding(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocabulary * self.hidden

    @property
    def blocks(self) -> int:
        """Parameters of all layers; norms are left out."""
        router = self.hidden * self.experts if self.experts > 1 else 0
        return self.layers * (self.attention + router + self.experts * self.expert)

    @property
    def blocks_at_work(self) -> int:
        """Parameters of all layers that one token meets."""
        router = self.hidden * self.experts if self.experts > 1 else 0
        return self.layers * (self.attention + router + self.experts_per_token * self.expert)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.blocks + self.embedding * (1 if self.tied else 2)

    def weight_bytes(self, dtype: str) -> float:
        """Bytes of all parameters in an engine's number format; those of a quantised folder as they are stored."""
        return self.parameters * (self.bytes_per_weight or BYTES[dtype])

    def parameters_read(self, sequences: float) -> float:
        """Parameters that one decoding step of this many sequences reads: of the experts, those that any of them chose."""
        untouched = (1 - self.experts_per_token / self.experts) ** sequences if self.experts > 1 else 0.0
        return self.blocks - self.layers * self.experts * self.expert * untouched + self.embedding

    def kv_bytes(self, tensor_parallel: int = 1, bytes_each: int = 2) -> float:
        """Bytes of keys and values of one token on one of ``tensor_parallel`` GPUs; heads fewer than GPUs are repeated."""
        return 2 * self.layers * max(self.kv_heads / tensor_parallel, 1) * self.head_size * bytes_each

    def lora(self, rank: int, targets: tuple[str, ...]) -> int:
        """Parameters of a LoRA of this rank; of experts each has its own."""
        query, keys = self.heads * self.head_size, self.kv_heads * self.head_size
        sides = {
            "q_proj": self.hidden + query,
            "k_proj": self.hidden + keys,
            "v_proj": self.hidden + keys,
            "o_proj": query + self.hidden,
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), self.experts * (self.hidden + self.feed_forward)),
        }
        return rank * self.layers * sum(sides.get(target, 0) for target in targets)


# From the published config.json of each.
KNOWN_SHAPES = {
    "smollm2-135m": ModelShape(30, 576, 9, 3, 64, 1536, 49152, tied=True),
    "smollm2-360m": ModelShape(32, 960, 15, 5, 64, 2560, 49152, tied=True),
    "smollm2-1.7b": ModelShape(24, 2048, 32, 32, 64, 8192, 49152, tied=True),
    "qwen3-0.6b": ModelShape(28, 1024, 16, 8, 128, 3072, 151936, tied=True),
    "qwen3-1.7b": ModelShape(28, 2048, 16, 8, 128, 6144, 151936, tied=True),
    "qwen3-4b": ModelShape(36, 2560, 32, 8, 128, 9728, 151936, tied=True),
    "qwen3-8b": ModelShape(36, 4096, 32, 8, 128, 12288, 151936, tied=False),
    "qwen3-14b": ModelShape(40, 5120, 40, 8, 128, 17408, 151936, tied=False),
    "qwen3-32b": ModelShape(64, 5120, 64, 8, 128, 25600, 151936, tied=False),
    "qwen3-30b-a3b": ModelShape(48, 2048, 32, 4, 128, 768, 151936, tied=False, experts=128, experts_per_token=8),
    "qwen3-235b-a22b": ModelShape(94, 4096, 64, 4, 128, 1536, 151936, tied=False, experts=128, experts_per_token=8),
}


def find_shape(model: ModelConfig) -> ModelShape:
    """The shape of a model: from its folder, the cache of packaged models or of the hub, else from the table.

    Raises:
        ModelError: No ``config.json`` is at hand and the table does not know the name; or the file is of another kind of model.
    """
    folder, entry = _described(model), _table_entry(model)
    if folder is not None:
        return read_shape(folder)
    if entry is None:
        fetch = model.name if _is_hub_id(model) else "OWNER/NAME"
        raise ModelError(
            f"the shape of model {model.name!r} is not known: no config.json of it is on this machine, and the table has only "
            f"{', '.join(KNOWN_SHAPES)}. Fetch it with hf download {fetch} config.json, or give the path of a folder that holds it "
            "(weights are not needed)."
        )
    return KNOWN_SHAPES[entry]


def assumed_shape(model: ModelConfig) -> str | None:
    """The entry of the table that :func:`find_shape` takes by the model's name alone, such as ``qwen3-4b`` for any ``qwen3-4b-...``.

    ``None`` where the model's own ``config.json`` is read, it is packaged, or nothing is known.
    """
    if model.name.lower() in PACKAGED or _described(model) is not None:
        return None
    return _table_entry(model)


def read_shape(folder: Path) -> ModelShape:
    """The shape that a folder's ``config.json`` states.

    Raises:
        ModelError: The file is not JSON, or lacks what a decoder of this kind has.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        quantised = _bytes_per_weight(config.get("quantization_config") or {})
        config = config.get("text_config", config)  # models that also see keep their language part apart
        heads, experts = config["num_attention_heads"], _experts(config)
        return ModelShape(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_size=config.get("head_dim") or config["hidden_size"] // heads,
            feed_forward=config.get("moe_intermediate_size") or config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=config.get("tie_word_embeddings", False),
            experts=experts,
            experts_per_token=config["num_experts_per_tok"] if experts > 1 else 1,
            bytes_per_weight=quantised,
        )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as cause:
        raise ModelError(
            f"{path} does not describe a decoder whose shape could be read ({type(cause).__name__}: {cause}). "
            "Check that it is the config.json of a language model."
        ) from cause


def _described(model: ModelConfig) -> Path | None:
    """The folder with the model's ``config.json``, if one is at hand."""
    return next((folder for folder in _folders(model) if (folder / "config.json").is_file()), None)


def _table_entry(model: ModelConfig) -> str | None:
    name = model.name.lower().rpartition("/")[2]
    fitting = [key for key in KNOWN_SHAPES if name == key or name.startswith(key + "-")]
    return max(fitting, key=len, default=None)


def _is_hub_id(model: ModelConfig) -> bool:
    return model.name.count("/") == 1 and not model.name.startswith((".", "/", "~"))


def _folders(model: ModelConfig) -> list[Path]:
    packaged = PACKAGED.get(model.name.lower())
    if packaged is not None:
        try:
            return [cache_folder() / "models" / f"{model.name.lower()}-{version(packaged.distribution)}"]
        except PackageNotFoundError:
            return []
    folder = Path(model.name).expanduser()
    if folder.is_dir() or model.name.count("/") != 1:
        return [folder]
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return []
    cached = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    return [Path(cached).parent] if isinstance(cached, str) else []


def _experts(config: dict[str, Any]) -> int:
    for key in ("num_experts", "num_local_experts", "n_routed_experts"):
        if config.get(key):
            return int(config[key])
    return 1


def _bytes_per_weight(quantisation: dict[str, Any]) -> float | None:
    method = quantisation.get("quant_method")
    if method is None:
        return None
    return 1.0 if "fp8" in method else float(quantisation.get("bits", 8)) / 8
