"""Block sizes of vLLM's LoRA kernels for many personas in one step, found by trying, written as the files vLLM reads.

    python -m benchmarks.tune_lora_kernels --shape qwen3-4b --adapters 16 --rank 32 --folder lora-kernels

vLLM's defaults suit few adapters with many tokens each: with sixteen in a decode step of 256 chats a block of 64 rows holds 16. For
every linear layer of the shape and every batch this changes one block size at a time, as long as that is faster, and writes
``<GPU>_SHRINK.json`` and ``<GPU>_EXPAND_TRUE.json``. Name the folder as ``student_engine.lora_kernels``.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.shapes import SHAPES

SHRINK = {"block_m": (16, 32), "block_n": (16, 32), "block_k": (32, 64, 128, 256), "split_k": (1, 4, 8, 16, 32, 64)}
EXPAND = {"block_m": (16, 32, 64), "block_n": (32, 64, 128, 256), "block_k": (16, 32)}
LAUNCH = {"num_warps": (2, 4, 8), "num_stages": (1, 2, 3)}
SPACES: dict[str, dict[str, tuple[int, ...]]] = {"shrink": SHRINK | LAUNCH, "expand": EXPAND | LAUNCH}
FIXED: dict[str, Any] = {"num_ctas": 1, "group_size_m": 8, "max_nreg": None}
CALLS = 20
REPEATS = 5


def layer_sizes(shape: str) -> list[tuple[int, tuple[int, ...]]]:
    """Input size and the output sizes of the slices that share it, as vLLM joins a block's linear layers."""
    config: dict[str, Any] = SHAPES[shape]
    hidden, middle, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return [(hidden, (queries, keys, keys)), (queries, (hidden,)), (hidden, (middle, middle)), (middle, (hidden,))]


def vllm_default(kernel: str, batch: int, slices: int) -> dict[str, Any]:
    """What vLLM takes without a file, where the search begins."""
    if kernel == "shrink":
        few = batch < 128
        blocks = {"block_m": 32, "block_n": 16, "block_k": 256 if few else 32, "split_k": 64 if few else 8}
    else:
        blocks = {"block_m": 64, "block_n": 64 if slices > 1 else 128, "block_k": 32}
    return blocks | {"num_warps": 4, "num_stages": 2} | FIXED


def descend(
    start: dict[str, Any],
    space: dict[str, tuple[int, ...]],
    time_of: Callable[[dict[str, Any]], float],
    deadline_s: float,
) -> tuple[dict[str, Any], float, float]:
    """The fastest setting found by changing one value at a time, its time, and that of the start; stops at the deadline."""
    best, first = start, time_of(start)
    best_time, improved = first, True
    while improved and monotonic() < deadline_s:
        improved = False
        for name, values in space.items():
            for value in values:
                if value == best[name] or monotonic() > deadline_s:
                    continue
                candidate = best | {name: value}
                # One per cent is within the noise.
                if (found := time_of(candidate)) < 0.99 * best_time:
                    best, best_time, improved = candidate, found, True
    return best, best_time, first


class Kernels:
    """vLLM's two kernels on random weights, timed inside a CUDA graph, as the engine runs them.

    Args:
        adapters: Different adapters in the step, each with as many tokens as the others.
        rank: Of each.
        folder: Where the settings are written for vLLM to read.
    """

    def __init__(self, adapters: int, rank: int, folder: Path) -> None:
        import torch

        self._adapters, self._rank, self._folder = adapters, rank, folder
        self._gpu = torch.cuda.get_device_name().replace(" ", "_").replace("-", "_")

    def path(self, kernel: str) -> Path:
        """The file vLLM looks for."""
        return self._folder / f"{self._gpu}_{'SHRINK' if kernel == 'shrink' else 'EXPAND_TRUE'}.json"

    def timer(
        self, kernel: str, inputs: int, outputs: tuple[int, ...], batch: int
    ) -> Callable[[dict[str, Any]], float]:
        """Seconds of one call with a setting; infinity for one that the GPU cannot run."""
        import torch
        from vllm.lora.ops.triton_ops import LoRAKernelMeta, lora_expand, lora_shrink, utils

        # Kept by address, which new weights of another shape may have.
        utils._LORA_A_PTR_DICT.clear()
        utils._LORA_B_PTR_DICT.clear()

        slices, bfloat16 = len(outputs), torch.bfloat16
        meta = LoRAKernelMeta.make(self._adapters, batch, "cuda")
        meta.prepare_tensors(torch.arange(batch, dtype=torch.int32, device="cuda") % self._adapters)
        arguments = meta.meta_args(batch, False)
        ranked = torch.randn(slices, batch, self._rank, dtype=torch.float32, device="cuda")
        if kernel == "shrink":
            weights = [
                torch.randn(self._adapters, 1, self._rank, inputs, dtype=bfloat16, device="cuda") for _ in outputs
            ]
            x = torch.randn(batch, inputs, dtype=bfloat16, device="cuda")

            def call() -> None:
                lora_shrink(x, weights, ranked, *arguments, 1.0)
        else:
            weights = [
                torch.randn(self._adapters, 1, size, self._rank, dtype=bfloat16, device="cuda") for size in outputs
            ]
            y = torch.zeros(batch, sum(outputs), dtype=bfloat16, device="cuda")

            def call() -> None:
                lora_expand(ranked, weights, y, *arguments, offset_start=0, add_inputs=True)

        def time_of(setting: dict[str, Any]) -> float:
            self._use(kernel, slices, setting)
            try:
                return _seconds(call)
            except Exception as error:
                print(f"  {kernel} {setting}: {type(error).__name__}", flush=True)
                return float("inf")

        return time_of

    def _use(self, kernel: str, slices: int, setting: dict[str, Any]) -> None:
        """Let vLLM read this setting for every size."""
        from vllm.lora.ops.triton_ops import utils

        table = {str(self._adapters + 1): {str(slices): {"1": {"1": {"1": setting}}}}}
        self.path(kernel).write_text(json.dumps(table), encoding="utf-8")
        utils.load_lora_op_config.cache_clear()
        utils.get_lora_op_configs.cache_clear()


def _seconds(call: Callable[[], None]) -> float:
    import torch

    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            call()
    times = []
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1000 / CALLS)
    return float(statistics.median(times))


def tune(options: argparse.Namespace) -> Iterator[tuple[str, int, int, int, int, dict[str, Any]]]:
    """Kernel, slices, batch, K, N and the setting found for it, for every layer and batch."""
    sizes, deadline = layer_sizes(options.shape), monotonic() + options.limit_s
    work = [(kernel, layer, batch) for batch in options.batches for layer in sizes for kernel in SPACES]
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["VLLM_TUNED_CONFIG_FOLDER"] = scratch
        kernels = Kernels(options.adapters, options.rank, Path(scratch))
        for number, (kernel, (inputs, outputs), batch) in enumerate(work):
            time_of = kernels.timer(kernel, inputs, outputs, batch)
            share_s = (deadline - monotonic()) / (len(work) - number)
            start = vllm_default(kernel, batch, len(outputs))
            best, seconds, before = descend(start, SPACES[kernel], time_of, monotonic() + share_s)
            k, n = (inputs, options.rank) if kernel == "shrink" else (options.rank, max(outputs))
            told = f"{kernel:6} {len(outputs)} x {inputs} -> {max(outputs)}, {batch} tokens:"
            print(f"{told} {1e6 * before:.1f} -> {1e6 * seconds:.1f} us", flush=True)
            yield kernel, len(outputs), batch, k, n, best


def main() -> None:
    """Search, write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="qwen3-4b")
    parser.add_argument("--adapters", type=int, default=16, help="slots of the engine (serve.max_loras), all in use")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--batches", nargs="+", type=int, default=(256, 64, 2048), help="tokens of a step")
    parser.add_argument("--limit-s", type=float, default=240, help="of the whole search")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        parser.error("there is no GPU here to tune for")
    tables: dict[str, dict[str, Any]] = {kernel: {} for kernel in SPACES}
    for kernel, slices, batch, k, n, setting in tune(options):
        by_slices = tables[kernel].setdefault(str(options.adapters + 1), {})
        by_slices.setdefault(str(slices), {}).setdefault(str(batch), {}).setdefault(str(k), {})[str(n)] = setting
    options.folder.mkdir(parents=True, exist_ok=True)
    names = Kernels(options.adapters, options.rank, options.folder)
    for kernel, table in tables.items():
        names.path(kernel).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        print(names.path(kernel))


if __name__ == "__main__":
    main()
