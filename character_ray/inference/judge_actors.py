"""Rows through judges that each hold a model, on Ray Data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.config import JudgeConfig
from character_ray.gpu_attention import without_plans
from character_ray.inference.arrivals import arriving
from character_ray.inference.engine_room import needed_by_judges, needed_by_kept_judges
from character_ray.inference.kept_judges import KeptJudges

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["judge_dtype", "judged_rows", "load_early", "load_judge_model", "prepare_torch", "share_models"]

# The model of a process that holds judges alone; of others, where it would outlive its use, none is kept.
_shared: "dict[tuple[Path, JudgeConfig], PreTrainedModel] | None" = None


def judged_rows(
    actor: Callable[..., Any],
    arguments: tuple[Any, ...],
    rows: Sequence[Mapping[str, Any]],
    judge: JudgeConfig,
    kept: KeptJudges | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """What the judges make of the rows, batch by batch as they finish.

    Args:
        actor: Class whose instances map a batch of columns to another.
        arguments: What it is built with, once per replica.
        rows: In the order they are judged; rows of similar length side by side spare padding.
        judge: Replicas, device and batch size.
        kept: Judges of scorings before, used and left up where the judge's section keeps them; without, they start and end here.

    Raises:
        ClusterError: No node that is alive can hold a judge, and none joined in time.
    """
    import ray.data

    environment = _environment(judge)
    need = needed_by_judges("the judge", judge)
    if kept is not None and judge.is_kept:
        need = needed_by_kept_judges("the judge", judge)
        dataset = kept.through(actor, arguments, rows, judge, environment)
    else:
        dataset = ray.data.from_items(
            [dict(row) for row in rows], override_num_blocks=-(-len(rows) // judge.batch_size)
        ).map_batches(
            actor,
            fn_constructor_args=arguments,
            batch_size=judge.batch_size,
            concurrency=judge.replicas,
            num_cpus=need.resources["CPU"],
            num_gpus=need.resources["GPU"],
            runtime_env={"env_vars": environment},
        )
    yield from arriving(dataset, need, judge.wait_for_nodes_s)


def load_early(model: Path, judge: JudgeConfig, kept: KeptJudges) -> None:
    """Let judges that are kept load their model while something else is under way; of others nothing happens.

    Args:
        model: Folder of the model that the first rows are read with.
        judge: The recipe's section.
        kept: The judges of the run.
    """
    if judge.is_kept:
        kept.load(model, judge, _environment(judge))


def _environment(judge: JudgeConfig) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(judge.cpus)}


def share_models() -> None:
    """From now on judges of this process that read with the same model load it once."""
    global _shared
    _shared = {}


def load_judge_model(folder: Path, judge: JudgeConfig) -> "PreTrainedModel":
    """A judge's model, ready on the device and in the number format that the recipe names."""
    if _shared is None:
        return _load(folder, judge)
    if (folder, judge) not in _shared:
        _shared.clear()
        _shared[folder, judge] = _load(folder, judge)
    return _shared[folder, judge]


def _load(folder: Path, judge: JudgeConfig) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    prepare_torch(judge)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=judge_dtype(judge)).eval()
    if judge.device == "gpu":
        model.cuda()  # type: ignore[call-arg]  # transformers wraps it for its documentation
    return model


def prepare_torch(judge: JudgeConfig) -> None:
    """Threads and kernels of a judge's process, before its model is loaded."""
    import torch

    if judge.device == "cpu":
        torch.set_num_threads(judge.cpus)
    else:
        # TensorFloat-32: an H100 multiplies float32 at a tenth of its rate.
        torch.set_float32_matmul_precision("high")
        without_plans()


def judge_dtype(judge: JudgeConfig) -> "torch.dtype":
    """Number format of a judge's forward passes on this machine."""
    import torch

    if judge.dtype != "auto":
        dtype: torch.dtype = getattr(torch, judge.dtype)
        return dtype
    # Older releases of torch do not say what the CPU can do; float32 is right on all.
    able: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)() if judge.device == "cpu" else {}
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32
