"""Votes survive a restart, count once, and become the ratings that a tournament of the same battles gets."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from character_ray.errors import StudioError
from character_ray.studio.battles import BattleStore, Contestant, Turn, VotedBattle
from character_ray.studio.database import Postgres, Sqlite, open_database
from character_ray.studio.leaderboard import standings
from character_ray.studio.seating import draw_pair, is_swapped

BASE, CAPTAIN = Contestant("base@1", "base", "base"), Contestant("captain@2", "Captain", "base:captain-2")
POSTGRES_BIN = shutil.which("pg_ctl") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server of our own, which listens on a socket file only."""
    pytest.importorskip("psycopg", reason="needs pip install 'psycopg[binary]'")
    if POSTGRES_BIN is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    folder, bin_ = tmp_path_factory.mktemp("pg"), Path(POSTGRES_BIN).resolve().parent
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        for path in (folder, *list(folder.parents)[:2]):
            path.chmod(0o777)
        as_user = ["setpriv", "--reuid=65534", "--clear-groups"]
    data, options = folder / "data", f"-k {folder} -c listen_addresses=''"
    subprocess.run(
        [*as_user, bin_ / "initdb", "-D", data, "-U", "studio", "-A", "trust"], check=True, capture_output=True
    )
    control = [*as_user, bin_ / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL)
    try:
        yield f"postgresql://studio@/postgres?host={folder}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/arena.db" if request.param == "sqlite" else request.getfixturevalue("postgres")


def store(url: str) -> BattleStore:
    return BattleStore(open_database(url, Path("unused")))


def fought(battles: BattleStore, vote: str, prompt: str = "Who are you?") -> str:
    battle = battles.create(lambda number: (BASE, CAPTAIN), blind=True, seed=7)
    battles.add_turn(battle.id, 0, Turn(prompt, "A model.", "Arr!"))
    battles.cast(battle.id, vote)  # type: ignore[arg-type]
    return battle.id


def test_a_vote_survives_a_restart(url: str):
    before = store(url)
    count = before.num_votes()
    identity = fought(before, "B", "Größe \U0001f3f4‍☠️ 'quoted'; DROP TABLE battles")
    after = store(url)
    assert after.num_votes() == count + 1
    assert after.load(identity) == before.load(identity)
    assert after.voted()[-1].vote == "B"
    assert after.voted()[-1].prompt.endswith("DROP TABLE battles")


def test_a_battle_has_one_vote_and_none_without_an_answer(url: str):
    battles = store(url)
    empty = battles.create(lambda number: (BASE, CAPTAIN), blind=False, seed=7)
    with pytest.raises(StudioError, match="nothing to vote on"):
        battles.cast(empty.id, "A")
    identity = fought(battles, "tie")
    with pytest.raises(StudioError, match="has its vote already: tie"):
        battles.cast(identity, "A")
    with pytest.raises(StudioError, match="voted on while"):
        battles.add_turn(identity, 1, Turn("And?", "a", "b"))
    with pytest.raises(StudioError, match="no battle"):
        battles.load("nobody' OR '1'='1")


def test_a_conversation_that_went_on_elsewhere_is_not_mixed(url: str):
    battles = store(url)
    battle = battles.create(lambda number: (BASE, CAPTAIN), blind=True, seed=7)
    battles.add_turn(battle.id, 0, Turn("One", "a", "b"))
    with pytest.raises(StudioError, match="went on elsewhere"):
        battles.add_turn(battle.id, 0, Turn("Two", "a", "b"))
    loaded = battles.load(battle.id)
    assert [message["content"] for message in loaded.messages("B", "Three")] == ["One", "b", "Three"]


def test_votes_of_many_at_once_are_all_kept(url: str):
    battles = store(url)
    count = battles.num_votes()
    threads = [threading.Thread(target=fought, args=(battles, "A")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert battles.num_votes() == count + 8


def test_a_draw_that_fails_leaves_no_battle(tmp_path: Path):
    database = Sqlite(tmp_path / "arena.db")
    battles = BattleStore(database)
    with pytest.raises(StudioError):
        battles.create(lambda number: (_ for _ in ()).throw(StudioError("no")), blind=True, seed=7)
    with database.transaction() as transaction:
        assert transaction.execute("SELECT COUNT(*) FROM battles").fetchone() == (0,)


def test_other_databases_are_refused_by_name(tmp_path: Path):
    assert isinstance(open_database("postgresql://u@h/d", tmp_path), Postgres)
    with pytest.raises(StudioError, match="mysql: is not known"):
        open_database("mysql://u:secret@h/d", tmp_path)


def test_seats_are_drawn_evenly_and_can_be_drawn_again():
    swaps = [is_swapped(7, number) for number in range(2000)]
    assert swaps == [is_swapped(7, number) for number in range(2000)]
    assert abs(np.mean(swaps) - 0.5) < 0.045  # 4 standard errors of 2,000 fair draws
    assert swaps != [is_swapped(8, number) for number in range(2000)]
    pairs = [draw_pair(["a", "b", "c"], 7, number) for number in range(300)]
    assert len(set(pairs)) == 6
    assert all(first != second for first, second in pairs)


def votes(outcomes: list[tuple[str, str, str]]) -> list[VotedBattle]:
    return [
        VotedBattle(a, a.title(), b, b.title(), vote, True, f"prompt {n % 9}", "2026-01-01")  # type: ignore[arg-type]
        for n, (a, b, vote) in enumerate(outcomes)
    ]


def test_ratings_are_the_maximum_of_the_likelihood():
    draw, strength = np.random.default_rng(3), {"x": 0.8, "y": 0.0, "z": -0.8}
    outcomes = []
    for _ in range(90):
        a, b = draw.choice(list(strength), 2, replace=False)
        wins = draw.random() < 1 / (1 + np.exp(strength[b] - strength[a]))
        outcomes.append((str(a), str(b), "tie" if draw.random() < 0.2 else "A" if wins else "B"))
    table = standings(votes(outcomes), seed=7)
    keys, place = ["x", "y", "z"], {"A": 0, "tie": 1, "B": 2}

    def loss(w: np.ndarray) -> float:
        """Davidson's, of three strengths, the advantage of the first seat and the log of the weight of a tie."""
        gaps = np.array([w[keys.index(a)] - w[keys.index(b)] + w[3] for a, b, _ in outcomes])
        terms = np.stack([gaps / 2, np.full_like(gaps, w[4]), -gaps / 2], axis=1)
        chosen = terms[np.arange(len(gaps)), [place[vote] for _, _, vote in outcomes]]
        prior = np.logaddexp(0, -w).sum() / 2 + np.logaddexp(0, w).sum() / 2
        return float(np.log(np.exp(terms).sum(1)).sum() - chosen.sum() + prior)

    best = minimize(loss, np.zeros(5), tol=1e-10).x[:3]
    expected = 1000 + 400 / np.log(10) * (best - best.mean())
    assert {each.key: each.rating for each in table} == pytest.approx(dict(zip(keys, expected, strict=True)), abs=0.05)
    assert [each.key for each in table] == ["x", "y", "z"]
    assert all(each.low is not None and each.low < each.rating < (each.high or 0) for each in table)
    assert sum(each.wins for each in table) == sum(each.losses for each in table)


def test_no_interval_is_shown_where_the_votes_allow_none():
    few = standings(votes([("x", "y", "A"), ("x", "y", "B")]), seed=7)
    assert {each.low for each in few} == {None}
    assert "2 so far" in few[0].reason
    one_way = standings(votes([("x", "y", "A")] * 9), seed=7)
    assert {each.low for each in one_way} == {None}
    assert "same way" in one_way[0].reason
    assert standings([], seed=7) == []


def test_seats_do_not_matter_to_a_rating():
    outcomes = [("x", "y", "A"), ("y", "x", "A"), ("x", "y", "tie"), ("x", "y", "A")]
    turned = [(b, a, {"A": "B", "B": "A", "tie": "tie"}[vote]) for a, b, vote in outcomes]
    straight, swapped = (standings(votes(each), seed=7) for each in (outcomes, turned))
    assert [vars(each) for each in straight] == [vars(each) for each in swapped]
