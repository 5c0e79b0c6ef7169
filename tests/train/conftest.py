"""A random two-layer model with the embedded model's tokenizer: trains in seconds, downloads nothing."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray

from character_ray.config import ModelConfig
from character_ray.models import resolve_model
from character_ray.training.job import TrainJob
from character_ray.training.launch import read_metrics

WATCH_S = 240.0


def after_step(job: TrainJob, step: int, act: Callable[[], object]) -> threading.Thread:
    """Acts on a training from outside as soon as it has logged the step, and holds a checkpoint if one was due by then."""

    def watch() -> None:
        deadline = time.monotonic() + WATCH_S
        while time.monotonic() < deadline:
            steps = read_metrics(job.folder / "metrics.jsonl")
            held = step < job.cluster.checkpoint_steps or any(job.checkpoints.glob("checkpoint-*/trainer_state.json"))
            if steps and steps[-1]["step"] >= step and held:
                act()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def kill_workers() -> list[int]:
    """Ends the training processes of this process's own Ray without warning; returns their ids."""
    own = {child.pid for child in psutil.Process().children(recursive=True)}
    found = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid in own and "RayTrainWorker" in " ".join(process.info["cmdline"] or [])
    ]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return found


def assert_nothing_changed(undisturbed: TrainJob, disturbed: TrainJob) -> None:
    """Weights and losses are equal to the last bit, and the disturbance did cost a step, but not all of them."""
    from safetensors.torch import load_file

    weights = [load_file(each.adapter / "adapter_model.safetensors") for each in (undisturbed, disturbed)]
    assert weights[0].keys() == weights[1].keys()
    assert all(bool((weights[0][name] == weights[1][name]).all()) for name in weights[0])
    losses = [[s["loss"] for s in read_metrics(each.folder / "metrics.jsonl")] for each in (undisturbed, disturbed)]
    assert losses[0] == losses[1]
    logged = [json.loads(line)["step"] for line in (disturbed.folder / "metrics.jsonl").read_text().splitlines()]
    assert logged.count(1) == 1, "the training began anew instead of going on"
    assert len(logged) > len(set(logged)), "it was disturbed too late to lose a step"


def pair_row(number: int, chosen: str, rejected: str) -> dict[str, object]:
    """A row of preference pairs as the pipeline writes it."""

    def turn(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    return {
        "row_id": str(number),
        "prompt_id": str(number),
        "hint": "",
        "kind": "contrast",
        "directive": "",
        "prompt": turn("user", f"Question {number}?"),
        "chosen": turn("assistant", chosen),
        "rejected": turn("assistant", rejected),
        "chosen_score": 1.0,
        "rejected_score": 0.0,
        "drop_reason": "",
    }


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(resolve_model(ModelConfig()))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    folder = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_mixture(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of four experts, two of them for each token."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    same = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    small = {key: getattr(AutoConfig.from_pretrained(tiny_base), key) for key in same}
    config = Qwen3MoeConfig(
        **small,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        eos_token_id=2,
        pad_token_id=2,
    )
    folder = tmp_path_factory.mktemp("mixture")
    Qwen3MoeForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder)
    return folder


@pytest.fixture
def random_adapter(tiny_base: Path):
    """Makes a PEFT folder whose update is not zero."""

    def make(
        folder: Path, rank: int, alpha: int, seed: int, targets: tuple[str, ...] = ("q_proj", "down_proj")
    ) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        torch.manual_seed(seed)
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(tiny_base),
            LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM"),
        )
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A Ray of the module's own; ``pytest.mark.usefixtures`` starts it before its other fixtures."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
