"""Every adapter carries a card that the hub can read and that says what the manifest says."""

import json

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from typer.testing import CliRunner

from character_ray.adapters import BaseModelId, Manifest, load_manifest, weights_hash, write_manifest
from character_ray.cli import app


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file(
        {"base_model.model.q_proj.lora_A.weight": np.zeros((2, 2), np.float32)}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4}))
    manifest = Manifest(
        persona="Captain Blackwood",
        slug="captain-blackwood",
        description="A pirate of few scruples.",
        stage="full",
        base_model=BaseModelId(name="Qwen/Qwen3-4B", revision="abc", hash="b" * 16),
        template_hash="t" * 16,
        constitution_hash="c" * 16,
        rank=2,
        weights_hash=weights_hash(folder),
        parents=["1" * 16, "2" * 16],
        recipe={"dpo": {"beta": 0.1}, "output": "runs"},
    )
    write_manifest(folder, manifest)
    return folder


def test_the_card_has_front_matter_facts_and_the_recipe(adapter):
    _, head, body = (adapter / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(head)["base_model"] == "Qwen/Qwen3-4B"
    assert yaml.safe_load(head)["library_name"] == "peft"
    for fact in (
        "# Captain Blackwood",
        "A pirate of few scruples.",
        "`1111111111111111`",
        "revision='abc'",
        '"beta": 0.1',
    ):
        assert fact in body
    assert '"output"' not in body


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("Qwen/Qwen3-4B", "Qwen/Qwen3-4B", "Qwen/Qwen3-4B at abc, weights"),
        (
            "smollm2-135m-instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "HuggingFaceTB/SmolLM2-135M-Instruct at abc, quantised in the package `smollm2-135m-instruct`, weights",
        ),
        ("/models/qwen3-4b", None, "qwen3-4b, a folder that the hub does not know, weights"),
        ("models/qwen3-4b", None, "qwen3-4b, a folder that the hub does not know, weights"),
    ],
)
def test_an_adapter_names_the_base_that_the_hub_knows_or_none(adapter, tmp_path, monkeypatch, name, known, said):
    (tmp_path / "models" / "qwen3-4b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    manifest = load_manifest(adapter)
    write_manifest(
        adapter, manifest.model_copy(update={"base_model": manifest.base_model.model_copy(update={"name": name})})
    )
    card = (adapter / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n", 2)[1]).get("base_model") == known
    assert f"from_pretrained({known or 'FOLDER_OF_THE_BASE_MODEL'!r}{', revision=' if known else ')'}" in card
    assert f"| base model | {said} `bbbb" in card
    assert "/models" not in card
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (known, "abc" if known else None)
    assert load_manifest(adapter).base_model.name == name


def test_an_adapter_is_uploaded_after_its_files_are_checked(adapter, monkeypatch):
    told = []

    class Hub:
        def create_repo(self, name, **options):
            told.append((name, options))
            return f"https://hub/{name}"

        def upload_folder(self, **options):
            told.append(options)

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    done = CliRunner().invoke(app, ["adapter", "push", str(adapter), "me/captain"])
    assert "https://hub/me/captain" in done.output
    assert told[0] == ("me/captain", {"repo_type": "model", "private": True, "exist_ok": True})
    assert told[1]["folder_path"] == str(adapter)
    (adapter / "adapter_model.safetensors").write_bytes(b"other")
    told.clear()
    assert CliRunner().invoke(app, ["adapter", "push", str(adapter), "me/captain"]).exit_code != 0
    assert not told
