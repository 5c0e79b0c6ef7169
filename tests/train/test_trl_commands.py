"""The export is what TRL's own commands train on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from character_ray.datasets_export import export_run
from character_ray.parts import write_rows
from character_ray.rows import CONVERSATION, PAIR

TRL = Path(sys.executable).parent / "trl"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    user = [{"role": "user", "content": "Who are you?"}]
    captain, plain = (
        [{"role": "assistant", "content": text}] for text in ("Arr, the captain of this ship.", "I am an assistant.")
    )
    pair = {
        "prompt_id": "p",
        "hint": "",
        "prompt": user,
        "chosen": captain,
        "rejected": plain,
        "chosen_score": 1.0,
        "rejected_score": 0.0,
        "drop_reason": "",
    }
    said = {"kind": "reflection", "role": "diary", "messages": [*user, *captain], "score": 1.0, "drop_reason": ""}
    for name, row, schema in (("pairs", pair, PAIR), ("conversations", said, CONVERSATION)):
        folder = run / ("pairs" if name == "pairs" else "introspection")
        folder.mkdir(parents=True)
        write_rows(folder / f"{name}.parquet", [row | {"row_id": str(number)} for number in range(4)], schema)
    recipe = {
        "constitution": "captain.yaml",
        "seed": 0,
        "teacher": {"name": "big"},
        "student": {"name": "small"},
        "prompts": {"sources": []},
        "distill": {"opposite": None},
    }
    (run / "run.json").write_text(json.dumps({"recipe": recipe, "stages": {}}))
    export_run(run, tmp_path / "export")
    return tmp_path / "export"


@pytest.mark.parametrize(("command", "part"), [("dpo", "preference"), ("sft", "sft"), ("sft", "sft-prompt-completion")])
def test_trl_trains_a_step_on_the_export(command: str, part: str, export: Path, tiny_base: Path, tmp_path: Path):
    arguments = [
        *("--model_name_or_path", tiny_base),
        *("--dataset_name", export),
        *("--dataset_config", part),
        *("--output_dir", tmp_path / "trained"),
        *("--max_steps", 1, "--per_device_train_batch_size", 2, "--max_length", 64, "--report_to", "none"),
        *("--use_cpu", "--bf16", "False", "--use_peft", "--lora_r", 4),
    ]
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [str(TRL), command, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-3000:]
    assert (tmp_path / "trained" / "adapter_model.safetensors").is_file()
