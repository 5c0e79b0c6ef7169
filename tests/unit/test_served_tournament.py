"""A tournament whose contestants and judge answer elsewhere: the ratings of the offline path, and what is refused before it starts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from character_ray.config import Tournament
from character_ray.errors import GenerationError, ReportError
from character_ray.parts import read_rows
from character_ray.pipeline.tournament import hold_tournament
from character_ray.report.tournament_schema import TournamentReport
from tests.finished_run import PIRATE, write_run
from tests.scoring_server import BASE, ScoringServer

PROMPTS = 8


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "demo", prompts=PROMPTS)


@pytest.fixture
def said(run: Path) -> dict[str, dict[str, str]]:
    """What the run's arms said, by prompt."""
    found: dict[str, dict[str, str]] = {}
    for row in read_rows(run / "answers.parquet"):
        found.setdefault(row["arm"], {})[row["prompt"]] = row["completion"]
    return found


@pytest.fixture
def server(said: dict[str, dict[str, str]]) -> ScoringServer:
    """Serves the run's arms as personas."""
    return ScoringServer({arm: lambda prompt, own=own: own.get(prompt, "Hello") for arm, own in said.items()})


@pytest.fixture
def url(server: ScoringServer) -> Iterator[str]:
    with server.running() as address:
        yield address


def planned(run: Path, url: str, **changes: Any) -> Tournament:
    served = [{"served": {"url": url, "model": arm, "retries": 0}} for arm in ("base", "prompted", "full")]
    judge = {
        "name": "likelihood",
        "kind": "likelihood",
        "model": {"name": BASE},
        "endpoint": {"url": url, "retries": 0},
    }
    plain = {"name": "cup", "output": run.parent, "contestants": served, "judges": [judge], "audit_run": run}
    return Tournament.model_validate(
        plain | {"audit": {"pairs": 8}, "rating": {"bootstrap": 100, "elo_shuffles": 5}} | changes
    )


def held(tournament: Tournament) -> TournamentReport:
    folder = hold_tournament(tournament)
    return TournamentReport.model_validate_json((folder / "tournament.json").read_text())


def ratings(report: TournamentReport) -> dict[str, Any]:
    return {label: part.rating for label, part in report.contestants.items()}


def test_served_contestants_get_the_ratings_of_the_arms_that_said_the_same(run: Path, url: str):
    report = held(planned(run, url))
    arms = planned(run, url, name="arms", contestants=[{"run": run, "arms": ["base", "prompted", "full"]}])
    assert ratings(report) == ratings(held(arms))
    assert report.battles == 3 * PROMPTS
    assert report.contestants["full"].arm == f"{BASE}:full-v1"
    assert report.contestants["full"].run == url


def test_a_judge_that_is_a_served_contestant_or_its_base_is_told(run: Path, url: str):
    among = [{"served": {"url": f"{url}/", "model": model}} for model in (BASE, "prompted", "full")]
    report = held(planned(run, url, contestants=among, audit_run=run))
    assert report.judges["likelihood"].shares_weights_with == [BASE, "prompted", "full"]
    told = f"The judge likelihood is the same weights as {BASE}, prompted, full, before any training of theirs (by the hash"
    assert any(note.startswith(told) for note in report.notes)
    # A judge that is one of the personas is that persona, and nobody else.
    there = {"kind": "likelihood", "endpoint": {"url": url, "retries": 0}}
    persona = planned(run, url, name="own", judges=[there | {"name": "full", "model": {"name": "full"}}])
    assert held(persona).judges["full"].shares_weights_with == ["full"]


def test_a_deployments_own_judge_is_named_by_its_model_and_shares_no_weights(
    run: Path, url: str, server: ScoringServer
):
    server.judge = "org/wise"
    there = {"kind": "likelihood", "model": {"name": "judge"}, "endpoint": {"url": url, "retries": 0}}
    report = held(planned(run, url, judges=[there | {"name": "likelihood"}]))
    judge = report.judges["likelihood"]
    assert judge.model == f"org/wise, served as judge at {url}"
    assert judge.shares_weights_with == []
    assert {body["model"] for body in server.asked if body.get("prompt_logprobs") is not None} == {"judge"}


def test_a_judge_whose_weights_nobody_tells_is_compared_by_name_and_address(run: Path, url: str, server: ScoringServer):
    server.hashes = False
    among = [{"served": {"url": url, "model": model}} for model in (BASE, "full")]
    report = held(planned(run, url, contestants=among))
    assert any(
        f"the same weights as {BASE}, full, before any training of theirs (by the name at the same address)" in note
        for note in report.notes
    )
    arms = held(planned(run, url, name="arms", contestants=[{"run": run, "arms": ["base", "full"]}]))
    assert any(
        f"judge likelihood is the same weights as a contestant is not known: {url}" in each for each in arms.notes
    )


def test_a_score_is_the_mean_over_the_answers_tokens_alone(run: Path, url: str, said: dict[str, dict[str, str]]):
    folder = hold_tournament(planned(run, url))
    pirate = {(arm, prompt): text.startswith(PIRATE) for arm, own in said.items() for prompt, text in own.items()}
    texts = {row["prompt_id"]: row["prompt"] for row in read_rows(run / "answers.parquet")}
    for row in read_rows(folder / "verdicts.parquet"):
        first, second = (pirate[row[seat], texts[row["prompt_id"]]] for seat in ("first", "second"))
        assert row["first_wins"] == 0.5 + (first - second) / 2


def test_arms_of_a_run_meet_what_is_served(run: Path, url: str):
    mixed = [{"run": run, "arms": ["base"]}, {"served": {"url": url, "model": "full", "label": "live"}}]
    report = held(planned(run, url, contestants=mixed, audit_run=None))
    assert list(report.contestants) == ["base", "live"]
    assert report.contestants["live"].rating.value > report.contestants["base"].rating.value


def test_the_same_is_never_asked_twice_and_another_version_is(run: Path, url: str, server: ScoringServer):
    first = held(planned(run, url))
    chats = [body["messages"] for body in server.asked]
    again = held(planned(run, url, rating={"bootstrap": 200}))
    assert len(server.asked) == len(chats) + 1, "only the right to score was tried again"
    assert again.battles == first.battles
    server.versions["full"] = "v2"
    del server.asked[:]
    assert held(planned(run, url)).contestants["full"].arm == f"{BASE}:full-v2"
    assert {body["model"] for body in server.asked} == {f"{BASE}:full-v2", BASE}


def test_a_tournament_that_broke_off_goes_on_where_it_was(run: Path, url: str, server: ScoringServer):
    server.break_after = PROMPTS + 5
    with pytest.raises(GenerationError, match="broken"):
        hold_tournament(planned(run, url))
    before = [body for body in server.asked if body["model"] == f"{BASE}:base-v1"]
    server.break_after = None
    held(planned(run, url))
    assert len([body for body in server.asked if body["model"] == f"{BASE}:base-v1"]) == len(before) == PROMPTS


def test_the_key_comes_from_the_variable_that_is_named(
    run: Path, server: ScoringServer, monkeypatch: pytest.MonkeyPatch
):
    server.key = "cr-cup"
    with server.running() as url:
        with pytest.raises(GenerationError, match=r"judges\.0\.endpoint\.key_variable"):
            hold_tournament(planned(run, url))
        monkeypatch.setenv("CUP_KEY", "cr-cup")
        tournament = planned(run, url).model_dump()
        for each in [*(each["served"] for each in tournament["contestants"]), tournament["judges"][0]["endpoint"]]:
            each["key_variable"] = "CUP_KEY"
        for each in tournament["contestants"]:
            del each["arms"]
        assert held(Tournament.model_validate(tournament)).battles == 3 * PROMPTS


def test_nothing_is_asked_of_anybody_where_something_is_missing(run: Path, url: str, server: ScoringServer):
    away = [{"served": {"url": "http://127.0.0.1:9/v1", "model": "full", "retries": 0}}, {"run": run, "arms": ["base"]}]
    with pytest.raises(GenerationError, match=r"127\.0\.0\.1:9/v1 does not answer.*contestants\.0\.served\.url"):
        hold_tournament(planned(run, url, contestants=away))
    nobody = [{"served": {"url": url, "model": "nobody"}}, {"run": run, "arms": ["base"]}]
    with pytest.raises(GenerationError, match=r"no model 'nobody'; it has tiny, base, .*contestants\.0\.served\.model"):
        hold_tournament(planned(run, url, contestants=nobody))
    assert all(body.get("prompt_logprobs") == 0 for body in server.asked), "but for the right to score"
    server.scores = False
    with pytest.raises(GenerationError, match=r"does not score for this key.*character-ray key NAME --scores"):
        hold_tournament(planned(run, url))
    server.scores = None
    with pytest.raises(GenerationError, match=r"no prompt_logprobs.*kind: letters"):
        hold_tournament(planned(run, url))
    assert not (run.parent / "cup").exists()


def test_two_servers_with_a_model_of_one_name_need_labels(run: Path, url: str):
    twice = [{"served": {"url": url, "model": "full"}}, {"served": {"url": f"{url}/", "model": "full"}}]
    with pytest.raises(ReportError, match=r"served\.label"):
        hold_tournament(planned(run, url, contestants=twice))


@pytest.mark.parametrize(
    ("contestants", "why"),
    [
        ([{"arms": ["base"]}], "Give one of them"),
        ([{"run": "r", "served": {"url": "http://there/v1", "model": "m"}}], "Give one of them"),
        ([{"arms": ["full"], "served": {"url": "http://there/v1", "model": "m"}}], "Remove arms"),
        ([{"served": {"url": "http://there/v1", "model": "m"}}] * 2, "named twice"),
        ([{"served": {"url": "http://there/v1", "model": "m"}}], "nobody to meet"),
        ([{"served": {"url": "http://there/v1", "model": name}} for name in "ab"], "Set audit_run"),
    ],
)
def test_contestants_that_make_no_sense_are_refused(run: Path, contestants: list[dict[str, Any]], why: str):
    with pytest.raises(ValidationError, match=why):
        planned(run, "http://there/v1", contestants=contestants, audit_run=None)
