"""Which pairs are asked which prompts, round after round, and when a tournament stops."""

import json
from pathlib import Path

import pytest

from character_ray.parts import read_rows
from character_ray.pipeline.tournament import hold_tournament
from character_ray.report.tournament_page import render_tournament
from character_ray.stages.tournament import meetings, next_prompts, round_prompts
from tests.court import Court, everybody_is_there, held, in_character, planned
from tests.finished_run import write_run


@pytest.fixture
def court() -> Court:
    return Court()


def summary_rows(output: Path) -> list[int]:
    """Rows of every pass that was finished."""
    return [json.loads(path.read_text())["summary"]["rows_in"] for path in (output / "store").glob("*/done.json")]


def test_stopping_and_the_active_schedule_ask_less_and_find_the_same(court: Court, tmp_path: Path):
    run = write_run(tmp_path / "demo", prompts=120)
    rules = {"round": 10, "stop": {"alpha": 0.05, "close": 0.25}}
    stopped = held(court, planned(run, **rules))
    assert 0 < stopped.battles < 0.7 * stopped.battles_without_stopping
    active = held(court, planned(run, name="active", schedule="active", pairs_per_round=2, **rules))
    assert active.battles < stopped.battles_without_stopping / 2
    for report in (stopped, active):
        ratings = {label: part.rating.value for label, part in report.contestants.items()}
        assert (min(ratings, key=ratings.get), max(ratings, key=ratings.get)) == ("base", "full")
        assert any("depended on earlier verdicts" in note for note in report.notes)
    assert {pair.state for pair in stopped.pairs if pair.first == "base"} == {"second"}


def test_a_tournament_can_go_on_until_every_rating_is_known_within_so_many_points(court: Court, tmp_path: Path):
    run = write_run(tmp_path / "demo", prompts=120)
    rough, fine = (
        held(court, planned(run, name=f"within-{points}", round=10, stop={"points": points})) for points in (150, 90)
    )
    for report, points in ((rough, 150), (fine, 90)):
        widest = max((part.rating.high - part.rating.low) / 2 for part in report.contestants.values())
        assert widest <= points
        # Every pair is asked as often, decided or not.
        assert len({pair.prompts for pair in report.pairs}) == 1
    assert rough.battles < fine.battles < fine.battles_without_stopping


def asked_by_pair(folder: Path) -> dict[tuple[str, str], list[str]]:
    """By pair, the prompts of its verdicts in their order, the first judge's seating with the first contestant in front."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in read_rows(folder / "verdicts.parquet"):
        if int(row["row_id"].split("/")[1]) < int(row["row_id"].split("/")[2]):
            found.setdefault((row["first"], row["second"]), []).append(row["prompt_id"])
    return found


def test_a_pair_that_sat_out_rounds_can_still_be_asked_every_prompt(court: Court, tmp_path: Path):
    """Six pairs, two of them a round, and no verdict that could decide anything: every pair goes through all prompts in one order."""
    run = write_run(tmp_path / "demo")
    court.judge = lambda first, second: in_character(first, second) if court.asked <= 5 * 8 else 0.5
    rules = {"round": 8, "schedule": "active", "pairs_per_round": 2, "stop": {"alpha": 0.05, "close": 0}}
    report = held(court, planned(run, **rules))
    assert [(pair.prompts, pair.state) for pair in report.pairs] == [(40, "open")] * 6
    assert report.battles == report.battles_without_stopping == 6 * 40
    orders = list(asked_by_pair(tmp_path / "cup").values())
    assert len(orders) == 6 and all(order == orders[0] for order in orders)
    assert len(set(orders[0])) == 40
    assert any(note.startswith("Not decided on 40 prompts: base and prompted, base and dpo,") for note in report.notes)


def test_pairs_at_different_places_are_asked_a_beginning_of_the_same_order(court: Court, tmp_path: Path):
    run = write_run(tmp_path / "demo", prompts=120)
    rules = {"round": 10, "schedule": "active", "pairs_per_round": 2, "stop": {"alpha": 0.05, "close": 0.1}}
    report = held(court, planned(run, **rules))
    asked = asked_by_pair(tmp_path / "cup")
    longest = max(asked.values(), key=len)
    assert len({len(prompts) for prompts in asked.values()}) > 1
    assert all(prompts == longest[: len(prompts)] for prompts in asked.values())
    # What is not decided has no prompt left.
    assert all(len(asked[pair.first, pair.second]) == 120 for pair in report.pairs if pair.state == "open")
    assert f"on up to {len(longest)} prompts" in render_tournament(report)


def test_an_active_tournament_that_broke_off_repeats_no_battle_and_loses_none(tmp_path: Path):
    rules = {"round": 10, "schedule": "active", "pairs_per_round": 2, "stop": {"alpha": 0.05, "close": 0.1}}
    whole = Court()
    run = write_run(tmp_path / "demo", prompts=60)
    held(whole, planned(run, output=tmp_path / "whole", **rules))
    broken = Court()

    def break_off(first: str, second: str) -> float:
        if broken.asked > whole.asked / 2:
            raise KeyboardInterrupt
        return in_character(first, second)

    broken.judge = break_off
    with pytest.raises(KeyboardInterrupt):
        hold_tournament(planned(run, output=tmp_path / "broken", **rules), broken, everybody_is_there)
    # The round that broke off was counted and is asked again, no other is.
    kept, again = sum(summary_rows(tmp_path / "broken")), Court()
    held(again, planned(run, output=tmp_path / "broken", **rules))
    assert 0 < kept < whole.asked
    assert kept + again.asked == whole.asked
    one, other = (read_rows(tmp_path / each / "cup" / "verdicts.parquet") for each in ("whole", "broken"))
    assert one == other
    assert len({row["row_id"] for row in other}) == len(other)


def test_rounds_grow_and_cover_every_prompt_once():
    assert round_prompts(40, 16, 1.0) == [range(16), range(16, 32), range(32, 40)]
    assert round_prompts(100, 8, 2.0) == [range(8), range(8, 24), range(24, 56), range(56, 100)]
    assert round_prompts(5, 16, 2.0) == [range(5)]


def test_a_pair_that_waited_goes_on_with_its_own_next_round():
    rounds = round_prompts(100, 8, 2.0)
    asked = next_prompts([(0, 1), (0, 2)], {(0, 1): 8, (0, 2): 56, (1, 2): 8}, rounds)
    assert asked == {(0, 1): range(8, 24), (0, 2): range(56, 100)}
    played = meetings(asked)
    assert [(each.first, each.second) for each in played[:2]] == [(0, 1), (1, 0)]
    assert [each.prompt for each in played[::2]] == [*range(8, 24), *range(56, 100)]
