"""A tournament from a finished run to its page, by judges that behave as a test says; no engine and no Ray."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from character_ray.config import Tournament, load_tournament
from character_ray.errors import RecipeError, ReportError
from character_ray.inference.letters import letter_probability
from character_ray.parts import read_rows
from character_ray.pipeline.judges import Judged
from character_ray.pipeline.tournament import hold_tournament, panel_verdict
from character_ray.report.tournament_page import render_tournament
from character_ray.report.tournament_schema import TournamentReport
from tests.court import Court, everybody_is_there, held, in_character, planned, written
from tests.finished_run import ROOT, write_run


@pytest.fixture
def court() -> Court:
    return Court()


def test_everybody_meets_in_both_seats_and_the_better_stand_higher(court: Court, tmp_path: Path):
    report = held(court, planned(write_run(tmp_path / "demo")))
    assert (report.battles, report.unscored, report.num_prompts) == (6 * 40, 0, 40)
    rating = {label: part.rating.value for label, part in report.contestants.items()}
    assert (
        rating["base"]
        < min(rating["prompted"], rating["dpo"])
        < max(rating["prompted"], rating["dpo"])
        < rating["full"]
    )
    assert sum(rating.values()) == pytest.approx(4000)
    elo = {label: part.elo_sequential.value for label, part in report.contestants.items()}
    assert max(elo, key=elo.get) == "full"
    assert report.seat.value == pytest.approx(0, abs=1e-3)
    assert all(
        part.elo_sequential.low < elo[label] < part.elo_sequential.high for label, part in report.contestants.items()
    )
    won, lost = report.win_rates["full"]["base"], report.win_rates["base"]["full"]
    assert (won.value, won.low, won.high) == pytest.approx((1 - lost.value, 1 - lost.high, 1 - lost.low))
    assert won.low < won.value
    assert {pair.state for pair in report.pairs if {pair.first, pair.second} == {"base", "full"}} == {"second"}
    verdicts = read_rows(tmp_path / "cup" / "verdicts.parquet")
    assert len(verdicts) == 2 * report.battles
    assert {row["verdict"] for row in verdicts} == {"A", "B", "tie"}
    first_wins = {(row["prompt_id"], row["first"], row["second"]): row["first_wins"] for row in verdicts}
    for (prompt, first, second), value in first_wins.items():
        assert value == pytest.approx(1 - first_wins[prompt, second, first])


def test_a_judge_with_a_favourite_seat_is_refused_with_its_figures_and_sees_no_battle(court: Court, tmp_path: Path):
    court.judge = lambda first, second: 0.97
    with pytest.raises(
        ReportError, match=r"refuses 1 of 1 judges \(letters-0: accuracy 0.50 is below 0.8.*seat_share 1.00"
    ):
        hold_tournament(planned(write_run(tmp_path / "demo")), court, everybody_is_there)
    assert court.asked == 5 * 8
    assert not (tmp_path / "cup" / "tournament.json").exists()


def test_a_tilt_towards_a_seat_is_measured_and_does_not_reach_the_ratings(court: Court, tmp_path: Path):
    run = write_run(tmp_path / "demo")
    fair = held(court, planned(run))
    # Where the judge sees no difference it names the first seat.
    court.judge = lambda first, second: in_character(first, second) if in_character(first, second) != 0.5 else 0.6
    loose = {"pairs": 8, "max_seat_bias": 0.5}
    tilted = held(court, planned(run, name="tilted", output=tmp_path / "two", audit=loose))
    assert tilted.seat.value > 50
    assert tilted.seat.low > 0
    order = [sorted(each.contestants, key=lambda x: each.contestants[x].rating.value) for each in (fair, tilted)]
    assert order[0] == order[1]
    # Naming the same seat twice is no win.
    assert [pair.ties for pair in tilted.pairs] == [pair.ties for pair in fair.pairs]


def test_a_stopped_tournament_goes_on_where_it_was_and_new_ratings_judge_nothing_anew(court: Court, tmp_path: Path):
    run = write_run(tmp_path / "demo")
    first = held(court, planned(run))
    asked = court.asked
    again = held(court, planned(run, rating={"bootstrap": 300, "length": True}))
    assert court.asked == asked
    assert again.battles == first.battles
    assert again.length.value is not None
    assert first.length.value is None
    assert first.length.reason


def test_written_verdicts_are_read_and_those_without_one_are_unscored(court: Court, tmp_path: Path):
    run = write_run(tmp_path / "demo")
    replies: list[float] = []

    def write(first_wins: float) -> str:
        replies.append(first_wins)
        # The audit's 40 seatings are read; of the battles' every tenth is not.
        return "I cannot say." if len(replies) > 40 and len(replies) % 10 == 0 else written(first_wins)

    court.write = write
    tournament = planned(run, ("text",))
    report = held(court, tournament)
    unreadable = report.judges["text-0"].unreadable
    assert unreadable == sum(not row["verdict"] for row in read_rows(tmp_path / "cup" / "verdicts.parquet")) == 48
    assert 0 < report.unscored <= unreadable
    assert report.battles + report.unscored == 6 * 40
    assert any("without a readable verdict" in note for note in report.notes)
    assert sum(pair.unscored for pair in report.pairs) == report.unscored


def judged_by(kinds: Sequence[str], margins: Sequence[float], panel: str) -> Tournament:
    """A panel; a judge of likelihoods has no endpoint here."""
    judges = [
        {"name": f"{kind}-{number}", "kind": kind, "tie_margin": margin, "model": {"name": "m"}}
        | ({} if kind == "likelihood" else {"endpoint": {"url": "http://there/v1"}})
        for number, (kind, margin) in enumerate(zip(kinds, margins, strict=True))
    ]
    contestants = [{"run": "r", "arms": ["a", "b"]}]
    return Tournament.model_validate({"name": "c", "contestants": contestants, "judges": judges, "panel": panel})


@pytest.mark.parametrize("kinds", [("likelihood", "letters"), ("letters", "text")])
def test_a_mean_of_verdicts_and_probabilities_is_refused_by_name_with_the_remedy(kinds: tuple[str, str]):
    with pytest.raises(ValueError, match=rf"panel: mean.*{kinds[0]}-0 \(.*{kinds[1]}-1 \(.*panel: majority"):
        judged_by(kinds, (0.02, 0.02), "mean")
    assert len(judged_by(kinds, (0.02, 0.02), "majority").judges) == 2


@pytest.mark.parametrize(
    ("kinds", "margins", "said", "verdict"),
    [
        # Probabilities: the smallest of their own margins, around one half.
        (("letters", "letters"), (0.2, 0.05), (0.58, 0.5), "tie"),
        (("letters", "letters"), (0.2, 0.05), (0.8, 0.5), "A"),
        # Verdicts: a margin in nats is none of a share of votes.
        (("likelihood", "text", "likelihood"), (0.4, 0.4, 0.4), (1.0, 0.5, 0.5), "A"),
        (("likelihood", "likelihood"), (0.4, 0.4), (1.0, 0.0), "tie"),
    ],
)
def test_a_mean_ties_by_a_margin_of_its_own_unit(kinds, margins, said, verdict):
    tournament = judged_by(kinds, margins, "mean")
    assert panel_verdict(tournament, [Judged(each) for each in said], []) == verdict


@pytest.mark.parametrize(("panel", "middle"), [("majority", "text"), ("mean", "letters")])
def test_a_panel_says_how_far_its_judges_agree(court: Court, tmp_path: Path, panel: str, middle: str):
    report = held(court, planned(write_run(tmp_path / "demo"), ("letters", middle, "letters"), panel=panel))
    assert len(report.agreements) == 3
    assert report.fleiss_kappa.value == pytest.approx(1)
    assert all(each.agreement.value == 1 and each.opposite.value == 0 for each in report.agreements)
    assert set(report.judges) == {"letters-0", f"{middle}-1", "letters-2"}


def test_the_page_shows_it_all_and_lets_no_text_run(court: Court, tmp_path: Path):
    folder = hold_tournament(planned(write_run(tmp_path / "demo"), ("letters", "text")), court, everybody_is_there)
    page = (folder / "tournament.html").read_text()
    for text in (
        "Who is Captain Blackwood?",
        "full stands first",
        "Win matrix",
        "Fleiss",
        "Cohen",
        "default-src 'none'",
    ):
        assert text in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    report = TournamentReport.model_validate_json((folder / "tournament.json").read_text())
    report.contestants["<b>x</b>"] = report.contestants.pop("dpo")
    report.judges = {name: judge.model_copy(update={"ratings": judge.ratings | {"<b>x</b>": judge.ratings["dpo"]}})
                     for name, judge in report.judges.items()}  # fmt: skip
    assert "<b>x</b>" not in render_tournament(report)


def test_arms_of_several_runs_meet_and_must_be_of_one_persona_or_name_one(court: Court, tmp_path: Path):
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two", seed=1)
    poet = write_run(tmp_path / "poet", constitution="garden-poet")
    meet = [{"run": one, "arms": ["base", "full"]}, {"run": two, "arms": ["full"]}]
    report = held(court, planned(one, contestants=meet))
    assert list(report.contestants) == ["one/base", "one/full", "two/full"]
    mixed = [{"run": one, "arms": ["full"]}, {"run": poet, "arms": ["full"]}]
    with pytest.raises(ReportError, match=r"different personas \(one/full: Captain Blackwood, poet/full: Fern"):
        hold_tournament(planned(one, contestants=mixed), court, everybody_is_there)
    named = planned(one, contestants=mixed, constitution=ROOT / "constitutions" / "captain-blackwood.yaml")
    assert held(court, named).constitution == "Captain Blackwood"
    # Judges are audited on the judged character, whoever stands first in the recipe.
    turned = named.model_copy(update={"contestants": named.contestants[::-1], "name": "turned"})
    assert held(court, turned).constitution == "Captain Blackwood"
    coach = named.model_copy(update={"constitution": ROOT / "constitutions" / "coach-reyes.yaml"})
    with pytest.raises(ReportError, match="no known pairs to audit judges on"):
        hold_tournament(coach, court, everybody_is_there)


def test_what_cannot_meet_is_named_before_anything_is_asked(court: Court, tmp_path: Path):
    run = write_run(tmp_path / "demo")
    with pytest.raises(ReportError, match=r"has no arm 'sft'; it has base, dpo, full, prompted"):
        hold_tournament(planned(run, contestants=[{"run": run, "arms": ["sft", "base"]}]), court, everybody_is_there)
    with pytest.raises(ReportError, match=r"nowhere is no run"):
        hold_tournament(
            planned(run, contestants=[{"run": tmp_path / "nowhere", "arms": ["full", "base"]}]),
            court,
            everybody_is_there,
        )
    (tmp_path / "demo" / "answers.parquet").unlink()
    with pytest.raises(ReportError, match=r"no answers.parquet"):
        hold_tournament(planned(run), court, everybody_is_there)
    assert court.asked == 0


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        ({"kind": "likelihood", "endpoint": {"url": "http://there/v1"}}, "no model"),
        ({"kind": "letters", "endpoint": {"url": "http://there/v1"}}, "no model"),
        ({"kind": "text"}, "either an engine or an endpoint"),
        ({"kind": "letters", "engine": {}}, "no use for an engine"),
    ],
)
def test_a_judge_that_could_not_judge_is_refused(judge, why):
    with pytest.raises(ValueError, match=why):
        Tournament.model_validate(
            {"name": "c", "contestants": [{"run": "r", "arms": ["a", "b"]}], "judges": [{"name": "j", **judge}]}
        )


def test_one_contestant_or_one_twice_is_refused():
    judges = [{"name": "j", "kind": "likelihood"}]
    for arms, why in ((["full"], "nobody to meet"), (["full", "full"], "named twice")):
        with pytest.raises(ValueError, match=why):
            Tournament.model_validate({"name": "c", "contestants": [{"run": "r", "arms": arms}], "judges": judges})


@pytest.mark.parametrize("path", sorted((ROOT / "jobs" / "tournaments").glob("*.yaml")), ids=lambda path: path.stem)
def test_tournaments_that_ship_load_and_take_overrides(path: Path):
    assert load_tournament(path, ["seed=7"]).seed == 7
    with pytest.raises(RecipeError, match="panell"):
        load_tournament(path, ["panell=mean"])


def test_letters_that_are_not_among_the_likeliest_are_no_verdict():
    def choice(*tokens: tuple[str, float]) -> Any:
        top = [SimpleNamespace(token=token, logprob=math.log(p)) for token, p in tokens]
        return SimpleNamespace(logprobs=SimpleNamespace(content=[SimpleNamespace(top_logprobs=top)]))

    assert float(letter_probability(choice(("A", 0.3), ("\u0120A", 0.3), ("B", 0.2), ("The", 0.2)))) == pytest.approx(
        0.75
    )
    assert letter_probability(choice(("The", 0.9))) == ""
    assert letter_probability(SimpleNamespace(logprobs=None)) == ""
