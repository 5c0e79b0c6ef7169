"""Sequences that begin alike are read as one, without seeing each other."""

import torch

from character_ray.prefix_packing import Tree, pack_trees

CPU = torch.device("cpu")


def test_leaves_see_the_prompt_and_themselves():
    packed = pack_trees([Tree([1, 2], [[3, 4], [5]]), Tree([6], [[7], [8, 9]])], CPU)
    assert packed.ids_RL.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert packed.positions_RL.tolist() == [[0, 1, 2, 3, 2], [0, 1, 1, 2, 0]]
    visible = [[j for j in range(5) if row[j]] for row in packed.mask_RLL[0].tolist()]
    assert visible == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4]]
    # The first token of a leaf is predicted at the prompt's last position.
    assert packed.scored == [[[1, 2], [1]], [[5], [5, 7]]]


def test_small_trees_share_a_row_and_do_not_see_each_other():
    large, small = Tree([1, 2], [[3] * 6, [4] * 6]), Tree([1, 2], [[3], [4]])
    packed = pack_trees([small, large, small], CPU)
    assert packed.ids_RL.shape == (2, 14)
    assert packed.ids_RL[1, :8].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    assert not packed.mask_RLL[1, 4:8, 0:4].any()
    assert packed.mask_RLL.any(-1).all()  # padding too, or its softmax would be NaN


def test_a_leaf_may_be_empty_and_a_prompt_may_stand_alone():
    packed = pack_trees([Tree([1, 2], [[], [3]]), Tree([4], [])], CPU)
    assert packed.scored == [[[], [1]], []]
