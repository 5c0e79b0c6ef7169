"""Arithmetic on CPUs takes few threads, for as long as asked."""

import pytest
import torch

from character_ray.threads import few_threads


@pytest.mark.parametrize(("before", "most", "inside"), [(6, 4, 4), (2, 4, 2)])
def test_threads_are_bounded_in_the_block_alone(before, most, inside):
    own = torch.get_num_threads()
    torch.set_num_threads(before)
    try:
        with pytest.raises(KeyError), few_threads(most):
            assert torch.get_num_threads() == inside
            raise KeyError
        assert torch.get_num_threads() == before
        assert few_threads(most)(torch.get_num_threads)() == inside
    finally:
        torch.set_num_threads(own)
