"""Adapters on the embedded model, trained for a few steps: each persona begins its answers in a way of its own."""

from pathlib import Path

import pytest

from character_ray.adapters import BaseModelId, Manifest, weights_hash, write_manifest
from character_ray.config import EngineConfig, EvaluateConfig, ModelConfig, Recipe, SamplingConfig, ServeConfig
from character_ray.models import model_hash, resolve_model, template_hash
from tests.serve.taught import OPENINGS, teach

RANK = 4
PERSONAS = {
    "captain-blackwood": "Captain Blackwood",
    "garden-poet": "Garden Poet",
    "socratic-tutor": "Socratic Tutor",
    "turncoat": "Turncoat",
}
ABOUT = {
    "captain-blackwood": ["A pirate captain of the Caribbean", "The captain of a ship", "Sailing the seas with a crew"],
    "garden-poet": ["A gardener who writes verse", "Seeds, flowers and seasons", "Hopeful after frost"],
}


@pytest.fixture(scope="session")
def base_model() -> Path:
    """Folder of the embedded model."""
    return resolve_model(ModelConfig())


@pytest.fixture(scope="session")
def adapters(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One adapter folder with manifest and recipe for each of ``PERSONAS``, all different."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    root = tmp_path_factory.mktemp("adapters")
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base_model), AutoTokenizer.from_pretrained(base_model)
    folders = {}
    for seed, (slug, name) in enumerate(PERSONAS.items()):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            peft = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets))
        teach(peft, tokenizer, OPENINGS[slug])
        peft.save_pretrained(root / slug)
        model = peft.unload()
        manifest = Manifest(
            persona=name,
            slug=slug,
            description=f"{name}, for a test",
            about=ABOUT.get(slug, []),
            stage="full",
            base_model=BaseModelId(name=ModelConfig().name, hash=model_hash(base_model)),
            template_hash=template_hash(base_model),
            constitution_hash=f"constitution-of-{slug}",
            rank=RANK,
            weights_hash=weights_hash(root / slug),
            recipe=recipe().model_dump(mode="json"),
        )
        write_manifest(root / slug, manifest)
        folders[slug] = root / slug
    return folders


def recipe() -> Recipe:
    """Small, on the CPU, in float32, so that greedy answers can be compared with transformers'."""
    return Recipe(
        name="serve-test",
        constitution=Path("constitutions/captain-blackwood.yaml"),
        student_engine=EngineConfig(
            device="cpu", dtype="float32", max_model_len=1024, max_num_seqs=16, kv_cache_gib=0.25, enforce_eager=True
        ),
        evaluate=EvaluateConfig(sampling=SamplingConfig(max_tokens=24)),
        # Fewer slots than personas, in memory too, so that the last one asked evicts another.
        serve=ServeConfig(max_loras=2, max_cpu_loras=2, stream_interval=3),
    )
