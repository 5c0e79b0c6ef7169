"""``character-ray adapter`` on adapters of a model with one layer."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner, Result

from character_ray.adapters import load_manifest
from character_ray.cli import app
from character_ray.config import ModelConfig
from character_ray.errors import AdapterError
from character_ray.models import resolve_model
from tests.sealed import seal

LAYERS = {"model.layers.0.self_attn.q_proj": (16, 16), "model.layers.0.mlp.down_proj": (16, 32)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(ModelConfig()))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path):
    def make(name: str, seed: int, rank: int = 2) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        draw = torch.Generator().manual_seed(seed)
        state = {}
        for layer, (height, width) in LAYERS.items():
            state[f"base_model.model.{layer}.lora_A.weight"] = torch.randn(rank, width, generator=draw) / rank
            state[f"base_model.model.{layer}.lora_B.weight"] = torch.randn(height, rank, generator=draw) * 0.1
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank}
        config |= {"target_modules": ["q_proj", "down_proj"], "base_model_name_or_path": str(base)}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        return seal(folder, base, rank)

    return make


def run(*words: object) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["adapter", *map(str, words)])


def test_inspect_shows_where_an_adapter_comes_from_and_every_layer(adapter):
    shown = run("inspect", adapter("a", seed=1))
    assert shown.exit_code == 0, shown.output
    assert "Captain Blackwood, stage dpo, rank 2" in shown.output
    for layer in LAYERS:
        assert re.search(rf"{re.escape(layer)}\s+│\s+\d+\.\d{{4}}\s+│\s+[12]", shown.output)
    assert re.search(r"2 layers, norm \d+\.\d+; 99 % of every layer's energy fits in rank [12]", shown.output)


def test_diff_tells_an_adapter_from_another_and_not_from_itself(adapter):
    first, second = adapter("a", seed=1), adapter("b", seed=2)
    assert "mean cosine +1.000 over 2 layers" in run("diff", first, first).output
    (cosine,) = re.findall(r"mean cosine ([+-]\d\.\d+) over 2 layers", run("diff", first, second).output)
    assert abs(float(cosine)) < 0.9


def test_combine_writes_the_weighted_sum_and_says_how_exact_it_is(adapter, tmp_path):
    parts = [adapter("a", seed=1), adapter("b", seed=2)]
    made = run("combine", *parts, "--output", tmp_path / "both", "--weight", 1, "--weight", 0.5)
    assert made.exit_code == 0, made.output
    assert "rank 4, 100.0000% of the energy" in made.output
    (difference,) = re.findall(r"logits differ by at most (\S+) \(float32\)", made.output)
    assert float(difference) < 1e-3
    assert "serving refuses" not in made.output
    assert load_manifest(tmp_path / "both").parents == [load_manifest(part).weights_hash for part in parts]
    assert "made from" in run("inspect", tmp_path / "both").output
    small = run("combine", *parts, "--output", tmp_path / "small", "--rank", 1)
    assert "small: rank 1, " in small.output.replace("\n", "")
    again = run("combine", *parts, "--output", tmp_path / "both")
    assert isinstance(again.exception, AdapterError)
    assert "nothing is overwritten" in str(again.exception)


def test_combine_claims_no_energy_for_cross_terms_and_says_that_a_larger_rank_does_nothing(adapter, tmp_path):
    parts = [adapter("a", seed=1), adapter("b", seed=2)]
    made = run("combine", *parts, "--output", tmp_path / "linear", "--legacy-linear")
    assert made.exit_code == 0, made.output
    said = " ".join(made.output.split())
    assert "rank 2, with PEFT's cross terms" in said
    assert "of the energy" not in said
    larger = run("combine", *parts, "--output", tmp_path / "larger", "--rank", 9)
    assert "rank 4, 100.0000% of the energy --rank 9 is more than" in " ".join(larger.output.split())
    assert "is more than" not in run("combine", *parts, "--output", tmp_path / "equal", "--rank", 4).output


def test_combine_says_that_serving_refuses_what_no_engine_holds(adapter, tmp_path):
    parts = [adapter("a", seed=1, rank=300), adapter("b", seed=2, rank=300)]
    made = run("combine", *parts, "--output", tmp_path / "both")
    assert made.exit_code == 0, made.output
    said = " ".join(made.output.split())
    assert "Engines hold ranks up to 512: serving refuses this adapter of rank 600." in said
    assert "--rank 512, or fold it into the base" in said
    assert "serving refuses" not in run("combine", *parts, "--output", tmp_path / "served", "--rank", 512).output


def test_fold_writes_a_model_and_says_how_far_it_is_from_base_and_adapter(base, adapter, tmp_path):
    made = run("fold", adapter("a", seed=1), "--output", tmp_path / "folded", "--dtype", "bfloat16")
    assert made.exit_code == 0, made.output
    said = " ".join(made.output.split())
    exact, written = re.findall(r"by at most ([\d.e+-]+\d)", said)
    assert float(exact) < 1e-3 < float(written)
    assert "as written, in bfloat16" in said
    folded = AutoModelForCausalLM.from_pretrained(tmp_path / "folded", dtype=torch.float32)
    plain = load_file(base / "model.safetensors")
    moved = {name for name, weight in folded.state_dict().items() if not torch.allclose(weight, plain[name], atol=1e-2)}
    assert moved == {f"{layer}.weight" for layer in LAYERS}
    refused = run("fold", tmp_path / "a", "--output", tmp_path / "folded")
    assert "nothing is overwritten" in str(refused.exception)


def test_an_adapter_of_another_base_is_refused_with_both_hashes(adapter, tmp_path):
    other = ModelConfig().name
    refused = run("fold", adapter("a", seed=1), "--output", tmp_path / "folded", "--base", other)
    assert isinstance(refused.exception, AdapterError)
    assert "Give the right --base" in str(refused.exception)
    assert not (tmp_path / "folded").exists()
