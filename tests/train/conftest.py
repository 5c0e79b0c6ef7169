"""A random two-layer model with the embedded model's tokenizer: trains in seconds, downloads nothing."""

from pathlib import Path

import pytest

from character_ray.config import ModelConfig
from character_ray.models import resolve_model


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
