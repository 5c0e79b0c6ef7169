"""How long generation, judging and training take: what the hardware allows, plus what software adds, fitted on a measured run.

    decoding step  = max(weights read / bandwidth, multiplications / speed) + keys and values read / bandwidth + exchange between GPUs
    generation     = prefill + decoding steps + completions' tokens x engine cost per token
    training       = micro-batches x max(multiplications / (speed x efficiency), launches of kernels)

A model of a hundred million parameters never meets the roofline: Python and kernel launches decide, so that those are what was
fitted, on one run of the embedded model on one H100. For large models the roofline's terms decide; they were fitted on nothing here.
"""

from dataclasses import dataclass

from character_ray.config import GPUName
from character_ray.model_shape import ModelShape

__all__ = [
    "GPUS",
    "Costs",
    "Device",
    "Load",
    "cpu",
    "generation_s",
    "judging_s",
    "reading_s",
    "sampling_s",
    "training_s",
]


@dataclass(frozen=True)
class Device:
    """One GPU, or the cores of one CPU engine."""

    name: str
    memory_gib: float | None
    """``None`` where it is not known."""
    flops: float
    """Multiplications and additions per second, dense, in the format that models are run in: bfloat16 on GPUs, float32 on CPUs."""
    bandwidth: float
    """Bytes per second from memory."""
    usd_per_hour: float


# Speeds from the vendors' data sheets (SXM for A100, H100 and H200; for the RTX 4090 the appendix of NVIDIA's Ada GPU architecture
# whitepaper, where consumer cards have half the speed when sums are kept in float32, as here), dense; memory as torch sees it; prices
# are round figures on demand that vary by a factor of two between providers.
GPUS: dict[GPUName, Device] = {
    "a100": Device("A100 80 GB", 79.2, 312e12, 2.04e12, 1.8),
    "h100": Device("H100 80 GB", 79.2, 989e12, 3.35e12, 3.0),
    "h200": Device("H200 141 GB", 139.8, 989e12, 4.8e12, 3.8),
    "l40s": Device("L40S 48 GB", 44.4, 362e12, 0.864e12, 1.0),
    "rtx4090": Device("RTX 4090 24 GB", 23.6, 165.2e12, 1.008e12, 0.5),
}


def cpu(cores: int, usd_per_core_hour: float) -> Device:
    """A CPU engine: 100 GFLOP/s in float32 (AVX-512) and 10 GB/s for each core, which is a guess within a factor of three."""
    return Device(f"{cores} cores", None, cores * 100e9, cores * 10e9, cores * usd_per_core_hour)


@dataclass(frozen=True)
class Costs:
    """What software adds, in seconds, and what share of the hardware it reaches."""

    engine_start: float = 43.6
    """From asking Ray Data for a vLLM engine to its first step, and its end. Fitted."""
    engine_reload: float = 2.0
    """From asking a kept engine for other weights to its next step. A pass of 1,000 rows by a kept engine took about as long as that; one
    that started took an engine's start more."""
    engine_token: float = 50e-6
    """Scheduling, seeded sampling and detokenising, per token that is generated. Fitted."""
    weights_per_s: float = 5e9
    """Bytes of weights per second that an engine loads. Assumed."""
    exchange: float = 15e-6
    """One all-reduce of a decoding step; two in every layer. Assumed."""
    judge_start: float = 9.0
    """Fitted."""
    judge_row: float = 5.7e-3
    """Tokenising, packing and Ray Data, per completion. Fitted."""
    training_start: float = 38.0
    """Worker group, model, trainer, and the saving of the adapter. Fitted."""
    training_layer: float = 4.8e-3
    """Launches of one reading of one layer of a micro-batch; a backward pass counts as two readings. Fitted."""
    sampling_layer: float = 1e-3
    """Launches of one layer for one token that a training draws, without an engine's graphs. Assumed."""
    memory_share: float = 0.9
    """Of the bandwidth. 4.3 of 4.8 TB/s were measured on an H200."""
    multiply_share: float = 0.8
    """Of the speed, in large products. 790 of 989 TFLOP/s were measured on an H200."""
    training_share: float = 0.35
    """Of the speed, in a whole training step. Published: 0.31 to 0.43 for LoRA on one H100 and 7 to 8 billion parameters."""


@dataclass(frozen=True)
class Load:
    """Rows that one engine completes, by their mean lengths in tokens."""

    rows: float
    prompt: float
    """Tokens of the prompt that must be read."""
    cached: float
    """Tokens before it that lie in the prefix cache: the constitution."""
    completion: float


def generation_s(
    load: Load,
    shape: ModelShape,
    device: Device,
    costs: Costs,
    *,
    sequences: float,
    gpus: int = 1,
    tensor_parallel: int = 1,
) -> float:
    """Seconds one engine works on a load, without its start.

    Args:
        load: What is asked of this engine.
        shape: The model.
        device: One of the engine's GPUs, or its CPU cores.
        costs: What software adds.
        sequences: Most sequences decoded at once.
        gpus: GPUs of the engine.
        tensor_parallel: GPUs that every layer is split over.
    """
    if load.rows <= 0:
        return 0.0
    speed, bandwidth = device.flops * costs.multiply_share, device.bandwidth * costs.memory_share
    bytes_each = 2 if device.memory_gib else 4
    batch = min(sequences, load.rows)
    context = load.cached + load.prompt + load.completion / 2
    attention = 4 * shape.layers * shape.heads * shape.head_size
    read = 2 * shape.blocks_at_work + attention * (load.cached + load.prompt / 2)
    prefill = load.rows * load.prompt * read / (speed * gpus)
    weights = shape.parameters_read(batch) * (shape.bytes_per_weight or bytes_each) / (bandwidth * gpus)
    products = batch * 2 * (shape.blocks_at_work + shape.embedding) / (speed * gpus)
    history = batch * context * shape.kv_bytes(tensor_parallel, bytes_each) * tensor_parallel / gpus / bandwidth
    exchange = 2 * shape.layers * costs.exchange if tensor_parallel > 1 else 0.0
    steps = load.rows * load.completion / batch
    decode = steps * (max(weights, products) + history + exchange)
    return prefill + decode + load.rows * load.completion * costs.engine_token


def judging_s(rows: float, tokens: float, shape: ModelShape, device: Device, costs: Costs, share: float = 1) -> float:
    """Seconds one judge scores completions, without its start; each is read with the constitution before it and without.

    Args:
        rows: Completions.
        tokens: Tokens of a completion and its share of the prompt.
        shape: The model.
        device: Where the judge runs.
        costs: What software adds.
        share: Of the device, that this judge has.
    """
    products = 2 * tokens * 2 * (shape.blocks_at_work + shape.embedding)
    return rows * (products / (share * device.flops * costs.multiply_share) + costs.judge_row)


def training_s(
    micro_batches: float, tokens: float, readings: float, lora: float, shape: ModelShape, device: Device, costs: Costs
) -> float:
    """Seconds one worker trains, without its start.

    Args:
        micro_batches: Micro-batches of this worker, over all epochs.
        tokens: Tokens of one of them.
        readings: Times a layer is passed in each: once forward, twice backward, once more for a reference or a recomputation.
        lora: Parameters of the adapters.
        shape: The model.
        device: The worker's GPU or cores.
        costs: What software adds.
    """
    # The backward pass forms no gradient of frozen weights, so that it costs one product with them where an adapter's costs two.
    products = tokens * 2 * ((readings - 1) * (shape.blocks_at_work + shape.embedding) + 3 * lora)
    launches = readings * shape.layers * costs.training_layer
    return micro_batches * max(products / (device.flops * costs.training_share), launches)


def sampling_s(steps: float, sequences: float, shape: ModelShape, device: Device, costs: Costs) -> float:
    """Seconds in which one training worker draws samples of the model that it trains; nothing was fitted on it.

    Args:
        steps: Tokens drawn for each sequence, over all batches.
        sequences: Drawn at once.
        shape: The model.
        device: The worker's GPU or cores.
        costs: What software adds.
    """
    read = shape.parameters_read(sequences) * 2 / (device.bandwidth * costs.memory_share)
    products = sequences * 2 * (shape.blocks_at_work + shape.embedding) / (device.flops * costs.training_share)
    return steps * max(read, products, shape.layers * costs.sampling_layer)


def reading_s(micro_batches: float, tokens: float, shape: ModelShape, device: Device, costs: Costs) -> float:
    """Seconds in which one training worker reads micro-batches of so many tokens with a model that is not trained."""
    products = tokens * 2 * (shape.blocks_at_work + shape.embedding)
    return micro_batches * max(products / (device.flops * costs.training_share), shape.layers * costs.training_layer)
