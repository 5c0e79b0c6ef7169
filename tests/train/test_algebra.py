"""Two adapters become one without changing what the model says."""

import json
from pathlib import Path

import pytest

from character_ray.errors import AdapterError
from character_ray.training import folding
from character_ray.training.algebra import concatenate, fold, logit_differences
from character_ray.training.folding import fold_and_compare
from character_ray.training.logits import TOLERANCE

TEXT = "Arr, the tide turns for every sailor who waits."


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.25)])
@pytest.mark.parametrize("targets", [("q_proj", "down_proj"), ("v_proj",)])
def test_one_adapter_says_what_two_in_sequence_say(tmp_path, tiny_base, random_adapter, targets, weights):
    first = random_adapter(tmp_path / "a", 4, 8, seed=1)
    second = random_adapter(tmp_path / "b", 8, 4, seed=2, targets=targets)
    assert concatenate([first, second], tmp_path / "both", weights) == 12
    (difference,) = logit_differences(tiny_base, [first, second], weights, [tmp_path / "both"], TEXT)
    assert difference["float32"] < 1e-5
    assert difference["bfloat16"] < 0.1


def test_the_check_sees_a_wrong_concatenation_and_reads_the_base_once(tmp_path, tiny_base, random_adapter, monkeypatch):
    from transformers import AutoModelForCausalLM

    first, second = random_adapter(tmp_path / "a", 4, 8, seed=1), random_adapter(tmp_path / "b", 4, 8, seed=2)
    concatenate([first, second], tmp_path / "both")
    loaded, load = [], AutoModelForCausalLM.from_pretrained
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *a, **k: loaded.append(a) or load(*a, **k))
    wrong, right = logit_differences(tiny_base, [first, second], [1.0, 1.0], [first, tmp_path / "both"], TEXT)
    assert wrong["float32"] > 1e-3 > 1e-5 > right["float32"]
    assert len(loaded) == 1
    (unweighted,) = logit_differences(tiny_base, [first, second], [1.0, 0.5], [tmp_path / "both"], TEXT, ["float32"])
    assert unweighted["float32"] > 1e-3


def test_a_folded_model_says_what_base_and_adapter_say(tmp_path, tiny_base, random_adapter):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapter = random_adapter(tmp_path / "a", 4, 8, seed=1)
    fold(tiny_base, adapter, tmp_path / "folded", "float32")
    ids = AutoTokenizer.from_pretrained(tiny_base)(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), str(adapter))(ids).logits
        folded = AutoModelForCausalLM.from_pretrained(tmp_path / "folded")(ids).logits
        base = AutoModelForCausalLM.from_pretrained(tiny_base)(ids).logits
    assert torch.allclose(folded, expected, atol=1e-5)
    assert not torch.allclose(folded, base, atol=1e-3)


def test_a_folded_model_is_compared_before_and_after_it_is_rounded(tmp_path, tiny_base, random_adapter):
    adapter = random_adapter(tmp_path / "a", 4, 8, seed=1)
    exact, rounded = (
        fold_and_compare(tiny_base, adapter, tmp_path / dtype, dtype) for dtype in ("float32", "bfloat16")
    )
    assert exact.before_rounding == exact.written < TOLERANCE < exact.largest_logit
    assert rounded.before_rounding < TOLERANCE < rounded.written
    assert (tmp_path / "bfloat16" / "model.safetensors").is_file()


def test_a_fold_that_is_not_the_sum_is_not_written(tmp_path, tiny_base, random_adapter, monkeypatch):
    adapter, other = (random_adapter(tmp_path / str(seed), 4, 8, seed=seed) for seed in (1, 2))
    sum_of = folding.merged
    monkeypatch.setattr(folding, "merged", lambda base, _adapter: sum_of(base, other))
    with pytest.raises(AdapterError, match=r"would differ by .* before anything is rounded, so it was not written"):
        fold_and_compare(tiny_base, adapter, tmp_path / "folded", "bfloat16")
    with pytest.raises(AdapterError, match=r"'int8' is no number format .* float32, bfloat16, float16"):
        fold_and_compare(tiny_base, adapter, tmp_path / "folded", "int8")
    with pytest.raises(AdapterError, match="nothing is overwritten"):
        fold_and_compare(tiny_base, adapter, other, "bfloat16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_an_adapter_that_a_concatenation_would_not_reproduce_is_refused(tmp_path: Path, random_adapter):
    adapter = random_adapter(tmp_path / "a", 4, 8, seed=1)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}))
    with pytest.raises(AdapterError, match="use_rslora"):
        concatenate([adapter, adapter], tmp_path / "both")
