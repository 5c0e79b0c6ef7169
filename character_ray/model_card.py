"""The model card of an adapter: what the hub and a reader see first. Everything in it is in the manifest."""

import json
from pathlib import Path
from typing import Any

import yaml

from character_ray.manifest import BaseModelId, Manifest
from character_ray.models import hub_id

__all__ = ["model_card"]

_STAGES = {
    "dpo": "distillation (LoRA, by DPO or on the student's own samples: see `dpo.algorithm` below)",
    "sft": "introspection (LoRA SFT) on top of a distilled adapter, or alone",
    "full": "distillation and introspection, joined into one adapter",
    "combined": "several adapters, combined by hand",
}

_UNKNOWN = "FOLDER_OF_THE_BASE_MODEL"


def model_card(manifest: Manifest) -> str:
    """Markdown with the front matter the hub reads."""
    base, known = manifest.base_model, hub_id(manifest.base_model.name)
    head = {
        **({"base_model": known} if known else {}),
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["character-ray", "lora", "persona"],
    }
    revision = f", revision={base.revision!r}" if known and base.revision else ""
    facts = {
        "made by": _STAGES.get(manifest.stage, manifest.stage),
        "base model": f"{_named(base, known)}, weights `{base.hash}`",
        "rank": str(manifest.rank),
        "weights": f"`{manifest.weights_hash}`",
        "made from": ", ".join(f"`{parent}`" for parent in manifest.parents) or "the base model",
        "constitution": f"`{manifest.constitution_hash}`",
        "chat template": f"`{manifest.template_hash}`; under another the persona is another",
        "seed": str(manifest.seed),
    }
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n",
            f"# {manifest.persona}\n",
            f"{manifest.description}\n" if manifest.description else "",
            "A character in a model's weights: it needs no system prompt. Trained with Character-Ray.\n",
            "| | |\n| --- | --- |",
            *(f"| {name} | {fact} |" for name, fact in facts.items()),
            "",
            "```python",
            "from peft import PeftModel",
            "from transformers import AutoModelForCausalLM",
            "",
            f"base = AutoModelForCausalLM.from_pretrained({known or _UNKNOWN!r}{revision})",
            'model = PeftModel.from_pretrained(base, "PATH_OF_THIS_FOLDER")',
            "```\n",
            *_training(manifest.recipe),
            "What the persona does under attack, on harmful requests and to the model's other abilities is in its run's report, not here.",
            "",
        ]
    )


def _named(base: BaseModelId, known: str | None) -> str:
    if known is None:
        return f"{Path(base.name).name}, a folder that the hub does not know"
    packaged = "" if known == base.name else f", quantised in the package `{base.name}`"
    return f"{known}{f' at {base.revision}' if base.revision else ''}{packaged}"


def _training(recipe: dict[str, Any]) -> list[str]:
    sections = {
        name: recipe[name] for name in ("teacher", "prompts", "distill", "dpo", "introspect", "sft") if name in recipe
    }
    if not sections:
        return []
    return ["<details><summary>Recipe</summary>\n", f"```json\n{json.dumps(sections, indent=1)}\n```\n", "</details>\n"]
