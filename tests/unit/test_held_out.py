"""Held-out pairs share no prompt with the pairs trained on."""

from character_ray.training.held_out import split_pairs

ROWS = [{"prompt_id": f"p{number // 3}", "row_id": str(number)} for number in range(60)]


def test_a_prompt_is_on_one_side_and_the_seed_decides_which():
    trained, held_out = split_pairs(ROWS, 0.2, seed=0)
    assert len(held_out) == 4 * 3
    assert not {row["prompt_id"] for row in trained} & {row["prompt_id"] for row in held_out}
    assert sorted([*trained, *held_out], key=lambda row: int(row["row_id"])) == ROWS
    assert split_pairs(ROWS, 0.2, seed=0) == (trained, held_out)
    assert split_pairs(ROWS, 0.2, seed=1)[1] != held_out


def test_no_share_holds_out_nothing_and_any_share_at_least_one_prompt():
    assert split_pairs(ROWS, 0.0, seed=0) == (ROWS, [])
    assert len(split_pairs(ROWS, 0.001, seed=0)[1]) == 3
