"""The command of the evaluation harness, and what is read of its results."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

from character_ray.errors import RecipeError
from character_ray.evaluation.harness import check_harness, harness_command, read_harness, run_harness

SETTINGS = {"device": "cpu", "dtype": "float32", "seed": 7}


def test_an_adapter_a_constitution_and_a_limit_are_passed_on(tmp_path: Path):
    words = harness_command(
        Path("base"),
        Path("full/adapter"),
        ["ifeval", "arc_easy"],
        tmp_path,
        system_prompt="Be Ann.",
        limit=5,
        **SETTINGS,
    )
    options = dict(zip(words[4::2], words[5::2], strict=False))
    assert words[1:4] == ["-m", "lm_eval", "run"]
    assert options["--model_args"] == "pretrained=base,dtype=float32,peft=full/adapter"
    assert options["--tasks"] == "ifeval,arc_easy"
    assert words[words.index("--system_instruction") + 1] == "Be Ann."
    assert words[words.index("--limit") + 1] == "5"
    assert words[words.index("--seed") + 1] == "7"
    assert "--apply_chat_template" in words


def test_the_untrained_weights_have_no_adapter_no_constitution_and_no_limit(tmp_path: Path):
    words = harness_command(Path("base"), None, ["ifeval"], tmp_path, **SETTINGS)
    assert "pretrained=base,dtype=float32" in words
    assert not {"--system_instruction", "--limit"} & set(words)


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="the harness is installed")
def test_a_missing_harness_is_an_error_before_anything_starts():
    with pytest.raises(RecipeError, match=r"lm_eval_tasks=ifeval needs .*pip install lm-eval"):
        check_harness(["ifeval"])
    check_harness([])


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: pip install lm-eval")
def test_the_harness_knows_every_option_of_the_command(tmp_path: Path):
    from lm_eval._cli.harness import HarnessCLI

    words = harness_command(Path("b"), Path("a"), ["ifeval"], tmp_path, system_prompt="Be Ann.", limit=5, **SETTINGS)
    HarnessCLI()._parser.parse_args(words[3:])


def test_the_newest_result_is_read(tmp_path: Path):
    for number, value in enumerate((0.25, 0.5)):
        path = tmp_path / "model" / f"results_{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            json.dumps({"results": {"ifeval": {"alias": "ifeval", "acc,none": value, "acc_stderr,none": 0.1}}})
        )
        os.utime(path, (number, number))
    assert read_harness(tmp_path) == {"ifeval": {"acc,none": 0.5, "acc_stderr,none": 0.1}}


def test_no_result_and_a_failed_command_say_so(tmp_path: Path):
    with pytest.raises(RecipeError, match="wrote no results"):
        read_harness(tmp_path)
    with pytest.raises(RecipeError, match="status 3: no such task"):
        run_harness(["sh", "-c", "echo no such task >&2; exit 3"], tmp_path)
