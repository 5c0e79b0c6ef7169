"""What each GPU of a stage holds, and whether it fits.

engine:   weights + live adapter + working memory + key-value cache <= gpu_memory_utilization x memory
trainer:  weights + adapters, their gradients and optimizer states + activations and logits of the longest micro-batch <= memory
judge:    weights + one batch
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from character_ray.config import (
    JUDGED_POSITIONS,
    ClusterTrainConfig,
    DPOConfig,
    EngineConfig,
    JudgeConfig,
    Recipe,
    SFTConfig,
)
from character_ray.model_shape import BYTES, ModelShape
from character_ray.roofline import Device
from character_ray.vllm_options import LORA_TARGETS, lora_size

__all__ = ["Memory", "as_loaded", "driver_memory", "engine_memory", "judge_memory", "training_memory"]

GIB = 2**30
# CUDA context, graphs and the workspace of one step, as vLLM's profiling run finds them on small models.
ENGINE_WORKSPACE = 1.5
# Bytes of one logit in a training step: bfloat16 logits, their float32 copy, log-probabilities and gradient.
LOGIT_BYTES = 12
CONTEXT = 0.75


@dataclass(frozen=True)
class Memory:
    """The memory of one rank."""

    parts: Mapping[str, float]
    """GiB by purpose."""
    limit_gib: float | None
    """What it may take; ``None`` where it is not known."""
    shortage: str = ""
    """Why it does not fit, and what to do."""

    @property
    def total_gib(self) -> float:
        """All parts together."""
        return sum(self.parts.values())


def engine_memory(section: str, engine: EngineConfig, shape: ModelShape, device: Device, lora_rank: int = 0) -> Memory:
    """Memory of one GPU of a vLLM engine, or of a CPU engine.

    Args:
        section: Name of the engine's section, for the remedy.
        engine: The engine.
        shape: Its model.
        device: One of its GPUs.
        lora_rank: Rank of an adapter applied live; 0 for none.
    """
    gpus = engine.tensor_parallel * engine.pipeline_parallel
    weights = as_loaded(engine, shape).weight_bytes(engine.dtype) / gpus / GIB
    stated = engine.vllm.get("kv_cache_memory_bytes")
    if engine.device == "cpu":
        return Memory({"weights": weights, "KV cache": stated / GIB if stated else engine.kv_cache_gib}, None)
    lora = shape.lora(lora_size(lora_rank), tuple(LORA_TARGETS)) * 2 / gpus / GIB if lora_rank else 0.0
    working = ENGINE_WORKSPACE + 3 * 4 * engine.max_num_seqs * shape.vocabulary / engine.tensor_parallel / GIB
    assert device.memory_gib is not None
    limit = engine.gpu_memory_utilization * device.memory_gib
    fixed = {"weights": weights, "adapter": lora, "working": working}
    token = kv_gib(engine, shape)
    # Where the cache's size is stated, vLLM does not look at the share of the card.
    limit = device.memory_gib if stated else limit
    cache = stated / GIB if stated else max(limit - sum(fixed.values()), 0.0)
    parts = {name: size for name, size in {**fixed, "KV cache": cache}.items() if size}
    longest = engine.max_model_len * token
    shortage = ""
    if sum(parts.values()) > limit * 1.0001:
        shortage = f"{sum(parts.values()):.1f} GiB where {limit:.1f} GiB may be taken of each {device.name}"
    elif cache < longest:
        shortage = (
            f"one sequence of {section}.max_model_len={engine.max_model_len} needs {longest:.2f} GiB of keys and values, and "
            f"{cache:.2f} GiB are left of {limit:.1f}"
        )
    remedy = (
        f". Raise {section}.tensor_parallel={engine.tensor_parallel} or pipeline_parallel={engine.pipeline_parallel}, take a GPU with "
        "more memory (plan.gpu), or a smaller or quantised model."
    )
    return Memory(parts, limit, shortage and shortage + remedy)


def as_loaded(engine: EngineConfig, shape: ModelShape) -> ModelShape:
    """The model as the engine holds it: vLLM turns the weights of the layers into FP8 where asked to, not those of the embeddings."""
    if shape.bytes_per_weight is not None or engine.vllm.get("quantization") != "fp8":
        return shape
    whole = (shape.parameters - shape.blocks) / shape.parameters
    return replace(shape, bytes_per_weight=1 + (BYTES[engine.dtype] - 1) * whole)


def kv_gib(engine: EngineConfig, shape: ModelShape) -> float:
    """Keys and values of one token on one GPU of an engine, in GiB."""
    each = 1 if str(engine.vllm.get("kv_cache_dtype", "")).startswith("fp8") else BYTES[engine.dtype]
    return shape.kv_bytes(engine.tensor_parallel, each) / engine.pipeline_parallel / GIB


def training_memory(
    stage: str,
    config: DPOConfig | SFTConfig,
    cluster: ClusterTrainConfig,
    shape: ModelShape,
    device: Device,
    longest: int,
    frozen_rank: int = 0,
    beside: Mapping[str, float] | None = None,
    teacher: ModelShape | None = None,
) -> Memory:
    """Memory of one training worker at its largest micro-batch.

    Args:
        stage: ``dpo`` or ``sft``, for the remedy.
        config: The stage.
        cluster: What it runs on.
        shape: The base model.
        device: The worker's GPU.
        longest: Tokens of the longest example; a pair has two of them.
        frozen_rank: Rank of an adapter below the trained one.
        beside: What else stays on the worker's GPU meanwhile, GiB by purpose.
        teacher: Another model that corrects the samples of on-policy distillation; whole on every worker.
    """
    each = BYTES[cluster.precision]
    shared = cluster.workers if cluster.zero_stage == 3 else 1
    lora = shape.lora(config.lora.rank, config.lora.target_modules)
    frozen = shape.lora(frozen_rank, config.lora.target_modules)
    on_policy = isinstance(config, DPOConfig) and config.algorithm == "on_policy"
    tokens = config.micro_batch_size * longest * (2 if isinstance(config, DPOConfig) and not on_policy else 1)
    query, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    # Inputs of norms, of every linear layer and of the gate, and the adapter's inner products: what the backward pass asks for.
    layer = (
        4 * shape.hidden
        + 2 * query
        + 2 * keys
        + shape.experts_per_token * 4 * shape.feed_forward
        + 7 * config.lora.rank
    )
    kept = shape.layers * shape.hidden + layer if config.gradient_checkpointing else shape.layers * layer
    parts = {
        "weights": shape.parameters * each / shared / GIB,
        "adapters": (lora + frozen) * 4 / shared / GIB,
        "gradients": lora * 4 / (cluster.workers if cluster.zero_stage >= 2 else 1) / GIB,
        "optimizer": lora * 8 / (cluster.workers if cluster.zero_stage >= 1 else 1) / GIB,
        "activations": tokens * kept * each / GIB,
        "logits": tokens * shape.vocabulary * (LOGIT_BYTES if each == 2 else 16) / GIB,
    }
    if on_policy:
        # The teacher's distribution beside the student's, and all samples of a step while they are drawn.
        parts["logits"] *= 2
        drawn = config.batch_size / cluster.workers * longest
        parts["samples"] = drawn * shape.kv_bytes(1, each) / GIB
    if teacher is not None:
        parts["teacher"] = teacher.parameters * each / GIB
    if cluster.device == "cpu":
        return Memory(parts, None)
    parts |= {"CUDA": CONTEXT, **(beside or {})}
    limit, total = device.memory_gib, sum(parts.values())
    assert limit is not None
    shortage = ""
    if total > limit:
        ways = [
            f"lower {stage}.micro_batch_size={config.micro_batch_size}" if config.micro_batch_size > 1 else "",
            "" if config.gradient_checkpointing else f"set {stage}.gradient_checkpointing=true",
            f"lower {stage}.max_length={config.max_length}",
            ""
            if cluster.zero_stage == 3 or cluster.workers == 1
            else "set train.zero_stage=3, which divides the weights among workers",
        ]
        largest = max(parts, key=lambda name: parts[name])
        shortage = f"{total:.1f} GiB of the {limit:.1f} of a {device.name}, most of it {largest}. Try: {'; '.join(filter(None, ways))}."
    return Memory(parts, limit, shortage)


def judge_memory(judge: JudgeConfig, shape: ModelShape, device: Device, longest: int) -> Memory:
    """Memory of one likelihood judge.

    Args:
        judge: The judge.
        shape: The student's base model.
        device: The judge's GPU.
        longest: Tokens of the longest completion with its prompt.
    """
    # On GPUs ``auto`` is float32.
    each = BYTES["float32" if judge.dtype == "auto" and judge.device == "gpu" else judge.dtype]
    tokens = judge.batch_size * longest
    # The batch's keys and values, and some ten vectors a token; logits, their float32 copy and log-probabilities come in pieces.
    batch = tokens * (shape.kv_bytes(1, each) + each * (6 * shape.hidden + 2 * shape.feed_forward))
    parts = {
        "weights": shape.parameters * each / GIB,
        "batch": batch / GIB,
        "logits": min(tokens, JUDGED_POSITIONS) * shape.vocabulary * (each + 8) / GIB,
    }
    if judge.device == "cpu":
        return Memory(parts, None)
    parts["CUDA"] = CONTEXT
    assert device.memory_gib is not None
    limit, total = judge.gpu_share * device.memory_gib, sum(parts.values())
    shortage = ""
    if total > limit:
        shared = f" that judge.gpu_share={judge.gpu_share:g} leaves" if judge.gpu_share < 1 else ""
        shortage = (
            f"{total:.1f} GiB of the {limit:.1f}{shared} of a {device.name}. Lower judge.batch_size={judge.batch_size}, or set "
            f"judge.dtype=bfloat16 (it is {judge.dtype})."
        )
    return Memory(parts, limit, shortage)


def driver_memory(recipe: Recipe, shape: ModelShape) -> dict[str, float]:
    """Main memory, in GiB by purpose, of the process that drives a run while it joins the adapters and checks them.

    On a cluster this is the head's, beside Ray's own processes.
    """
    lora = shape.lora(recipe.dpo.lora.rank, recipe.dpo.lora.target_modules)
    lora += shape.lora(recipe.sft.lora.rank, recipe.sft.lora.target_modules)
    # Both parts, or the joined one of their ranks together; while they are read from their files they are there twice.
    return {"student in float32": shape.parameters * 4 / GIB, "adapters": 2 * lora * 4 / GIB}
