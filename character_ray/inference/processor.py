"""From an engine's config to a ``ray.data.llm`` processor: ``Dataset -> Dataset`` through vLLM."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_ray.chat_safety import neutralize
from character_ray.config import EngineConfig
from character_ray.inference.engine_deaths import RESTARTS
from character_ray.rows import Completion, Request
from character_ray.vllm_options import engine_environment, engine_kwargs

if TYPE_CHECKING:
    from ray.llm._internal.batch.processor import Processor

__all__ = ["build_processor", "to_columns", "to_completion", "to_engine_row"]


def build_processor(
    model: Path, engine: EngineConfig, special_tokens: list[str], adapter: Path | None = None, adapter_rank: int = 0
) -> "Processor":
    """A processor that adds the columns of :class:`~character_ray.rows.Completion` to rows made by :func:`to_engine_row`.

    Args:
        model: Folder of the model.
        engine: What it runs on.
        special_tokens: Control tokens of the chat template, made harmless in the text of every turn.
        adapter: PEFT folder applied live to every row.
        adapter_rank: ``max_lora_rank`` the engine is built for; at least the adapter's own rank.
    """
    from ray.data.llm import build_processor as build
    from ray.data.llm import vLLMEngineProcessorConfig
    from ray.llm._internal.batch.stages.vllm_engine_stage import vLLMEngineStageUDF

    def preprocess(row: dict[str, Any]) -> dict[str, Any]:
        messages = [
            {"role": turn["role"], "content": neutralize(turn["content"], special_tokens)}
            for turn in json.loads(row["messages_json"])
        ]
        sampling = json.loads(row["sampling_json"])
        return {**row, "messages": messages, "sampling_params": sampling} | ({"model": str(adapter)} if adapter else {})

    config = vLLMEngineProcessorConfig(
        model_source=str(model),
        engine_kwargs=engine_kwargs(engine, adapter_rank if adapter else 0),
        batch_size=engine.batch_size,
        # Twice what fills the engine: a batch ends with its slowest row, and its free places go to the next one's.
        max_concurrent_batches=-(-2 * engine.max_num_seqs // engine.batch_size),
        concurrency=engine.pool,
        should_continue_on_error=True,
        log_engine_metrics=False,
        runtime_env={"env_vars": engine_environment(engine)},
        placement_group_config={"bundles": [{"CPU": 1}]}
        if engine.device == "cpu"
        else {"bundle_per_worker": {"CPU": 1, "GPU": 1}},
        chat_template_stage={"enabled": True, "num_cpus": 0.25},
        tokenize_stage={"enabled": False},
        detokenize_stage={"enabled": False},
    )
    processor = build(
        config, preprocess=preprocess, postprocess=partial(to_columns, max_model_len=engine.max_model_len)
    )
    for stage in processor.stages.values():
        if issubclass(stage.fn, vLLMEngineStageUDF):
            stage.map_batches_kwargs["max_restarts"] = RESTARTS
    return processor


def to_engine_row(request: Request) -> dict[str, Any]:
    """A request as flat columns; nested ones are JSON, so that every Arrow block has one type."""
    return {
        "row_id": request["row_id"],
        "prompt_id": request["prompt_id"],
        "sample": request["sample"],
        "messages_json": json.dumps(request["messages"]),
        "sampling_json": json.dumps(request["sampling"]),
    }


def to_completion(row: dict[str, Any]) -> Completion:
    """The result row of a processor, whether it succeeded or failed."""
    error = row.get("__inference_error__") or ""
    return Completion(
        row_id=row["row_id"],
        prompt_id=row["prompt_id"],
        sample=int(row["sample"]),
        completion="" if error else str(row["completion"]).strip(),
        num_tokens=0 if error else int(row["num_tokens"]),
        finish_reason="error" if error else str(row["finish_reason"]),
        error=error,
    )


def to_columns(row: dict[str, Any], max_model_len: int) -> dict[str, Any]:
    """What the next stage reads of an engine's row, which also carries its prompt, token ids and metrics.

    ray.data.llm does not pass vLLM's finish reason on: a completion was cut off where it has all the tokens it may have, or where it
    fills the context together with its prompt.

    Args:
        row: Of the engine.
        max_model_len: Longest prompt and completion together, in tokens.
    """
    allowed = min(json.loads(row["sampling_json"])["max_tokens"], max_model_len - row["num_input_tokens"])
    return {
        "row_id": row["row_id"],
        "prompt_id": row["prompt_id"],
        "sample": row["sample"],
        "completion": row["generated_text"],
        "num_tokens": row["num_generated_tokens"],
        "finish_reason": "length" if row["num_generated_tokens"] >= allowed else "stop",
    }
