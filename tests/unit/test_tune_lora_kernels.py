"""The search for block sizes, on a made-up kernel; the real ones need a GPU."""

from benchmarks.tune_lora_kernels import SPACES, descend, layer_sizes, vllm_default

FOREVER = float("inf")


def test_the_fastest_setting_of_a_separable_kernel_is_found():
    best = {"block_m": 16, "block_n": 128, "block_k": 32, "num_warps": 8, "num_stages": 3}

    def time_of(setting: dict[str, int]) -> float:
        return 1.0 + sum(abs(setting[name] - value) for name, value in best.items())

    found, seconds, before = descend(vllm_default("expand", 256, 2), SPACES["expand"], time_of, FOREVER)
    assert {name: found[name] for name in best} == best
    assert seconds == 1.0 < before


def test_what_the_gpu_cannot_run_and_what_is_only_noise_changes_nothing():
    start = vllm_default("shrink", 256, 1)
    found, seconds, before = descend(
        start,
        SPACES["shrink"],
        lambda setting: 1.0 if setting == start else 0.995 if setting["block_m"] == 16 else FOREVER,
        FOREVER,
    )
    assert found == start
    assert seconds == before == 1.0


def test_no_time_left_means_vllms_own_setting():
    start = vllm_default("shrink", 64, 1)
    assert descend(start, SPACES["shrink"], lambda setting: float(setting["block_m"]), 0.0)[0] == start


def test_the_layers_are_those_that_vllm_joins():
    assert layer_sizes("qwen3-4b") == [
        (2560, (4096, 1024, 1024)),
        (4096, (2560,)),
        (2560, (9728, 9728)),
        (9728, (2560,)),
    ]
