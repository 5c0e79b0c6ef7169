"""The studio's answers: what a blind voter may learn, what may be written where, and who is let in."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from character_ray.manifest import AUTO, JUDGE
from character_ray.report.wording import ARMS, METRICS
from character_ray.studio import Settings
from character_ray.studio.app import build_studio
from character_ray.studio.runs import SHOWN, SHOWN_ARMS
from tests.court import Court, held, planned
from tests.fake_openai import BASE, CAPTAIN, POET, TOLD, WORDS, FakeOpenAI
from tests.finished_run import write_run as write_finished_run
from tests.studio_fixture import studio_settings, write_run

VALID = "meta: {name: Moss}\npersona: {identity: You are Moss.}\n"


@pytest.fixture(scope="module")
def fake():
    fake = FakeOpenAI()
    with fake.running() as url:
        fake.url = url  # type: ignore[attr-defined]
        yield fake


def client(settings: Settings, **options: Any) -> TestClient:
    return TestClient(build_studio(settings), base_url="http://127.0.0.1:8600", **options)


@pytest.fixture
def settings(tmp_path: Path, fake) -> Settings:
    fake.broken.clear()
    fake.asked.clear()
    return studio_settings(tmp_path, fake.url)


@pytest.fixture
def studio(settings: Settings) -> TestClient:
    return client(settings)


def battle(studio: TestClient, first: dict | None, second: dict | None, *, blind: bool = True) -> dict:
    answer = studio.post("/api/battles", json={"first": first, "second": second, "blind": blind})
    assert answer.status_code == 200, answer.text
    return answer.json()


def say(studio: TestClient, identity: str, prompt: str = "How do I start?") -> tuple[dict[str, str], str]:
    """What each seat said, and everything that was sent."""
    answer = studio.post(f"/api/battles/{identity}/turns", json={"prompt": prompt})
    said = {"A": "", "B": ""}
    for line in answer.text.splitlines():
        event = json.loads(line)
        if "text" in event:
            said[event["seat"]] += event["text"]
    return said, answer.text


def test_nothing_names_a_blind_contestant_before_the_vote(studio: TestClient):
    shown = battle(studio, {"model": BASE}, {"model": CAPTAIN})
    said, sent = say(studio, shown["id"])
    loaded = studio.get(f"/api/battles/{shown['id']}").text
    for text in (json.dumps(shown), sent, loaded):
        assert not [name for name in ("smollm2", "captain-blackwood", "Blackwood", "@") if name in text]
    voted = studio.post(f"/api/battles/{shown['id']}/vote", json={"vote": "A"}).json()
    keys = {seat: voted["seats"][seat]["label"] for seat in "AB"}
    assert set(keys.values()) == {"smollm2", "Captain Blackwood"}
    captain = next(seat for seat in "AB" if keys[seat] == "Captain Blackwood")
    assert said[captain].strip() == WORDS[CAPTAIN]


def test_the_apis_own_error_does_not_name_it_either(studio: TestClient, fake):
    fake.broken[CAPTAIN] = 500
    shown = battle(studio, {"model": BASE}, {"model": CAPTAIN})
    _, sent = say(studio, shown["id"])
    assert '"kept": false' in sent
    assert "captain" not in sent
    assert studio.get(f"/api/battles/{shown['id']}").json()["turns"] == []
    open_battle = battle(studio, {"model": BASE}, {"model": CAPTAIN}, blind=False)
    assert "is ill" in say(studio, open_battle["id"])[1]


def test_seats_are_shuffled_and_both_sit_everywhere(studio: TestClient):
    seats = {battle(studio, {"model": BASE}, {"model": CAPTAIN}, blind=False)["seats"]["A"]["label"] for _ in range(12)}
    assert seats == {"smollm2", "Captain Blackwood"}


def test_who_is_not_named_is_drawn(studio: TestClient):
    drawn = [battle(studio, None, None, blind=False)["seats"] for _ in range(12)]
    assert all(seats["A"]["key"] != seats["B"]["key"] for seats in drawn)
    assert len({seats["A"]["label"] for seats in drawn}) == 3
    assert "smollm2" in {seat["label"] for seat in battle(studio, {"model": BASE}, None, blind=False)["seats"].values()}


def test_a_candidate_is_seated_by_its_pinned_name_and_never_drawn(studio: TestClient, fake):
    fake.unlisted = f"{BASE}:captain-blackwood-{'a' * 16}"
    models = studio.get("/api/models").json()["models"]
    assert [(each["status"], each["label"]) for each in models][-1] == (
        "candidate",
        "Captain-Blackwood · aaaaaaaa (candidate)",
    )
    seats = battle(studio, {"model": fake.unlisted}, {"model": "captain-blackwood"}, blind=False)["seats"]
    assert {seat["label"] for seat in seats.values()} == {models[-1]["label"], "Captain Blackwood"}
    drawn = [battle(studio, None, None, blind=False)["seats"] for _ in range(12)]
    assert not [seats for seats in drawn if models[-1]["label"] in (seats["A"]["label"], seats["B"]["label"])]


def test_the_same_twice_is_refused(studio: TestClient):
    answer = studio.post("/api/battles", json={"first": {"model": POET}, "second": {"model": "garden-poet"}})
    assert answer.status_code == 400
    assert "two different contestants" in answer.json()["error"]


def test_a_model_can_be_told_who_to_be_and_remembers_each_turn(studio: TestClient, fake):
    told = {"model": BASE, "constitution": "captain-blackwood", "shown": "examples"}
    shown = battle(studio, {"model": BASE}, told, blind=False)
    seat = next(seat for seat in "AB" if "told" in shown["seats"][seat]["label"])
    assert shown["seats"][seat]["key"].endswith("+examples")
    assert say(studio, shown["id"], "One")[0][seat].strip() == TOLD
    say(studio, shown["id"], "Two")
    with_system = [body["messages"] for body in fake.asked if body["messages"][0]["role"] == "system"][-1]
    plain = [body["messages"] for body in fake.asked if body["messages"][0]["role"] != "system"][-1]
    assert "Captain Blackwood" in with_system[0]["content"]
    assert [message["content"] for message in with_system[-3:]] == ["One", TOLD, "Two"]
    assert [message["role"] for message in plain] == ["user", "assistant", "user"]
    seeds = [body["seed"] for body in fake.asked]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_a_persona_is_asked_for_under_its_pinned_name(studio: TestClient, fake):
    say(studio, battle(studio, {"model": BASE}, {"model": CAPTAIN})["id"])
    assert {body["model"] for body in fake.asked} == {BASE, f"{CAPTAIN}-v1"}


def test_votes_show_on_the_leaderboard_after_a_restart(settings: Settings):
    first = client(settings)
    shown = battle(first, {"model": BASE}, {"model": POET}, blind=False)
    say(first, shown["id"])
    first.post(f"/api/battles/{shown['id']}/vote", json={"vote": "B"})
    board = client(settings).get("/api/leaderboard").json()
    assert board["votes"] == 1
    assert board["standings"][0]["key"] == shown["seats"]["B"]["key"]
    assert client(settings).get("/api/leaderboard?blind_only=true").json()["votes"] == 0


def test_a_wrong_key_is_asked_for_and_a_visitors_own_is_handed_on(tmp_path: Path):
    with FakeOpenAI(key="right").running() as url:
        studio = client(studio_settings(tmp_path, url))
        assert studio.get("/api/models").status_code == 401
        assert len(studio.get("/api/models", headers={"X-Api-Key": "right"}).json()["models"]) == 3


def test_an_api_that_is_not_there_is_named_with_the_remedy(tmp_path: Path):
    answer = client(studio_settings(tmp_path)).get("/api/models")
    assert answer.status_code == 502
    assert "character-ray serve" in answer.json()["error"]


def test_saving_never_overwrites_what_its_writer_has_not_seen(studio: TestClient, settings: Settings):
    assert studio.put("/api/constitutions/moss", json={"text": VALID}).status_code == 200
    again = studio.put("/api/constitutions/moss", json={"text": VALID.replace("Moss.", "Moss!")})
    assert again.status_code == 409
    assert (settings.constitutions / "moss.yaml").read_text() == VALID
    seen = studio.get("/api/constitutions/moss").json()["hash"]
    (settings.constitutions / "moss.yaml").write_text(VALID + "# by hand\n")
    assert studio.put("/api/constitutions/moss", json={"text": VALID, "seen": seen}).status_code == 409
    now = studio.get("/api/constitutions/moss").json()["hash"]
    saved = studio.put("/api/constitutions/moss", json={"text": VALID, "seen": now}).json()
    assert studio.get(f"/api/constitutions/moss?version={saved['versions'][0]}").json()["text"] == VALID + "# by hand\n"


def test_an_invalid_constitution_is_not_saved(studio: TestClient, settings: Settings):
    answer = studio.put("/api/constitutions/bad", json={"text": "meta: {}"})
    assert "must be repaired first" in answer.json()["error"]
    assert not (settings.constitutions / "bad.yaml").exists()


def test_a_probe_among_the_examples_is_found_while_writing(studio: TestClient):
    text = VALID + "examples: [{prompt: 'Who are you?', response: Moss.}]"
    assert studio.post("/api/check", json={"text": text}).json()["problems"][0]["field"] == "examples"


NAMES = [
    "..",
    "../secret",
    "..%2fsecret",
    "%2e%2e%2fsecret",
    "a%2f..%2f..%2fsecret",
    "secret%00",
    ".hidden",
    "linked",
    "/etc/passwd",
    "a" * 101,
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_out_of_a_folder(studio: TestClient, settings: Settings, tmp_path: Path, name: str):
    (tmp_path / "secret.yaml").write_text(VALID)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "run.json").write_text("{}")
    (tmp_path / "secret" / "report.html").write_text("You are Moss.")
    settings.runs.mkdir()
    (settings.constitutions / "linked.yaml").symlink_to(tmp_path / "secret.yaml")
    (settings.runs / "linked").symlink_to(tmp_path / "secret")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    answers = [
        studio.get(f"/api/constitutions/{name}"),
        studio.get(f"/api/constitutions/captain-blackwood?version={name}"),
        studio.put(f"/api/constitutions/{name}", json={"text": VALID}),
        studio.put(f"/api/constitutions/{name}", json={"text": VALID, "seen": "0"}),
        studio.get(f"/runs/{name}/report"),
        studio.post(f"/api/runs/{name}/publish", json={"status": "live"}),
        studio.post(f"/api/registry/{name}/promote", json={"weights_hash": "abcd"}),
        studio.get(f"/static/{name}.yaml"),
    ]
    assert [answer.status_code for answer in answers if answer.status_code < 400] == []
    assert not [answer for answer in answers if "You are Moss" in answer.text]
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "data" not in path.parts}
    assert {path: text for path, text in before.items() if "data" not in path.parts} == after


def test_runs_show_their_state_and_are_promoted_within_bounds(studio: TestClient, settings: Settings):
    write_run(settings.runs, "demo", finished=True)
    write_run(settings.runs, "fern", finished=False)
    found = studio.get("/api/runs").json()
    assert {run["name"]: run["state"] for run in found["runs"]} == {"demo": "finished", "fern": "unfinished"}
    assert [(row["name"], row["state"]) for row in found["unfinished"]] == [("student", "working")]
    assert "Captain Blackwood" in studio.get("/runs/demo/report").text
    assert studio.get("/runs/fern/report").status_code == 400
    (settings.runs / "demo" / "drift.html").write_text("<p>nats per token")
    assert "nats per token" in studio.get("/runs/demo/drift.html").text
    assert [studio.get(f"/runs/demo/{name}.html").status_code for name in ("tax", "report", "..%2Fdemo%2Fdrift")] == [
        400,
        400,
        404,
    ]
    refused = studio.post("/api/runs/demo/publish", json={"status": "live", "at_least": ["full.persona_rate.low=0.99"]})
    assert "breaks full.persona_rate.low >= 0.99" in refused.json()["error"]
    assert studio.get("/api/registry").json()["personas"] == []
    kept = {"status": "candidate", "at_least": ["full.persona_rate.low=0.6"], "canary": False}
    studio.post("/api/runs/demo/publish", json=kept)
    (version,) = studio.get("/api/registry").json()["personas"][0]["versions"]
    assert (version["status"], version["gate"]) == ("candidate", ["full.persona_rate.low >= 0.6, found 0.753"])
    wanted = {"weights_hash": version["weights_hash"], "at_least": ["full.persona_rate.low=0.99"]}
    refused = studio.post("/api/registry/captain-blackwood/promote", json=wanted)
    assert "is not promoted, because it breaks" in refused.json()["error"]
    wanted["at_least"] = kept["at_least"]
    studio.post("/api/registry/captain-blackwood/promote", json=wanted)
    assert studio.get("/api/registry").json()["personas"][0]["history"][-1]["gate"] == version["gate"]
    assert studio.get("/api/registry").json()["personas"][0]["versions"][0]["status"] == "live"
    again = studio.post("/api/runs/demo/publish", json=kept).json()
    assert [each["status"] for each in again["versions"]] == ["live"]


def test_the_script_that_may_run_on_a_report_is_the_one_the_report_brings(studio: TestClient, settings: Settings):
    write_run(settings.runs, "demo", finished=True)
    answer = studio.get("/runs/demo/report")
    allowed = re.findall(r"script-src ([^;]+);", answer.headers["content-security-policy"])
    assert allowed == re.findall(r"script-src ([^;]+);", html.unescape(answer.text))
    assert len(allowed) == 1


def test_a_tournament_shows_who_leads_and_its_page(studio: TestClient, settings: Settings, tmp_path: Path):
    run = write_finished_run(settings.runs / "captain")
    tournament = planned(run)
    held(Court(), tournament)
    (card,) = (each for each in studio.get("/api/runs").json()["runs"] if each["name"] == "cup")
    assert (card["persona"], card["state"], card["has_page"]) == ("Tournament of 1", "finished", True)
    assert "leads with" in card["lead"]
    assert "Elo" in studio.get("/runs/cup/report").text
    (tournament.folder / "tournament.json").write_text("{")
    (card,) = (each for each in studio.get("/api/runs").json()["runs"] if each["name"] == "cup")
    assert (card["state"], "cannot be read" in card["problem"]) == ("damaged", True)
    (tournament.folder / "tournament.json").unlink()
    (card,) = (each for each in studio.get("/api/runs").json()["runs"] if each["name"] == "cup")
    assert card["state"] == "unfinished"


@pytest.mark.parametrize("name", [AUTO, JUDGE])
def test_nobody_is_drawn_against_the_choice_among_all_or_the_judge(studio: TestClient, fake, name: str):
    fake.words[name] = "Whoever suits."
    try:
        drawn = [battle(studio, None, None, blind=False)["seats"] for _ in range(12)]
    finally:
        del fake.words[name]
    labels = {seat["label"] for seats in drawn for seat in seats.values()}
    assert len(labels) == 3
    assert not [label for label in labels if name in label]


def test_a_damaged_run_says_so(studio: TestClient, settings: Settings):
    write_run(settings.runs, "demo", finished=True)
    (settings.runs / "demo" / "report.json").write_text("{")
    assert studio.get("/api/runs").json()["runs"][0]["state"] == "damaged"


def test_what_the_runs_page_shows_is_what_reports_have():
    assert set(SHOWN) <= set(METRICS)
    assert set(SHOWN_ARMS) <= set(ARMS)


def test_another_name_for_this_machine_is_not_answered(studio: TestClient):
    assert studio.get("/", headers={"Host": "evil.example:8600"}).status_code == 403
    assert studio.get("/", headers={"Host": "localhost:8600"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example", "Content-Type": "application/json"}, 403),
        ({"Origin": "null", "Content-Type": "application/json"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Content-Length": "2000000"}, 413),
    ],
)
def test_a_foreign_page_changes_nothing(studio: TestClient, headers: dict[str, str], status: int):
    answer = studio.put("/api/constitutions/moss", content=json.dumps({"text": VALID}), headers=headers)
    assert answer.status_code == status


def test_a_token_opens_the_studio_and_nothing_else_does(settings: Settings):
    guarded = client(Settings(**{**vars(settings), "token": "secret", "host": "0.0.0.0"}), follow_redirects=False)
    assert guarded.get("/api/runs").status_code == 401
    assert guarded.get("/?token=wrong").status_code == 401
    assert guarded.get("/api/runs", headers={"Authorization": "Bearer secret"}).status_code == 200
    entry = guarded.get("/?token=secret")
    assert (entry.status_code, entry.headers["location"]) == (303, "/")
    assert "httponly" in entry.headers["set-cookie"].lower()
    assert guarded.get("/api/runs").status_code == 200  # the cookie is kept by now


def test_every_answer_forbids_what_a_page_does_not_need(studio: TestClient):
    for path in ("/", "/constitutions", "/runs", "/api/runs", "/static/arena.js", "/nowhere"):
        headers = studio.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
