"""What a run stores of its adapter, by which an engine is checked."""

import pytest

from character_ray.canary import check_canary, load_canary, store_canary


@pytest.mark.parametrize(("alpha", "stored"), [(4000, True), (0.001, False)])
def test_an_adapter_that_differs_from_its_base_is_stored_with_what_it_answers(
    tmp_path, tiny_base, random_adapter, alpha, stored
):
    folder = random_adapter(tmp_path / "adapter", 4, alpha, seed=1)
    assert store_canary(tiny_base, folder, "hash") is stored
    canary = load_canary(folder, "hash")
    assert (canary is not None) is stored
    assert load_canary(folder, "another") is None
    if canary is not None:
        check_canary(canary, canary.logprobs, "pirate")
