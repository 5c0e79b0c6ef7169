"""Scoring the pairs of many personas at once: one that fails does not stop the others."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from character_ray.errors import GenerationError
from character_ray.inference.score_sheets import Sheet
from character_ray.pipeline import many
from character_ray.pipeline.base_pass import Sides
from character_ray.pipeline.context import Held


def asked(name: str, **changes: Any) -> Any:
    """What one run asks of untrained weights."""
    context = SimpleNamespace(
        student=SimpleNamespace(folder=Path("base")), recipe=SimpleNamespace(judge="judge"), held=Held()
    )
    persona = SimpleNamespace(prefix="", name=name)
    sides = {"teachers": {"": "t"}, "opposites": {}, "lessons": {}, "on_policy": None, "student": "s", "arms": {}}
    return many._Asked(context, [persona], [], Sides(**sides | changes))


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Folders of the sheets of every pass."""
    passes: list[list[str]] = []

    def pair_sheets(_context: Any, persona: Any, *_: Any) -> list[Sheet]:
        if persona.name == "thoughtless":
            raise GenerationError("the teacher did not think")
        return [Sheet(SimpleNamespace(folder=Path(persona.name)), [], "")]

    monkeypatch.setattr(many, "to_generation", lambda wanted: wanted)
    monkeypatch.setattr(many, "pair_sheets", pair_sheets)
    monkeypatch.setattr(
        many, "score_sheets", lambda _label, sheets, *_: passes.append([str(each.artefact.folder) for each in sheets])
    )
    return passes


def test_all_that_can_be_scored_is_scored_once_in_one_pass(scored):
    many._score_together([asked(name) for name in ("captain", "thoughtless", "coach", "coach")])
    assert scored == [["captain", "coach"]]


def test_one_persona_alone_and_pairs_of_a_parent_are_left_to_their_story(scored):
    many._score_together([asked("captain"), asked("coach", on_policy="p")])
    assert scored == []


def test_judges_that_die_leave_every_run_to_its_own_story(scored, monkeypatch, capsys):
    def die(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(many, "score_sheets", die)
    many._score_together([asked("captain"), asked("coach")])
    assert "out of memory. Every run scores what is left of its own." in capsys.readouterr().out


class KeptOnes(Held):
    """Counts how often what is kept was ended."""

    ended = 0

    def end(self) -> None:
        type(self).ended += 1
        raise RuntimeError("its actors are dead")


def test_a_run_that_breaks_unexpectedly_stops_no_other_and_leaves_nothing_kept_behind(capsys):
    told: list[str] = []

    def break_down() -> None:
        raise ZeroDivisionError("a fault [/of] the program")

    runs = [SimpleNamespace(run=SimpleNamespace(folder=Path("runs") / name)) for name in ("one", "two")]
    errors = many._one_by_one([break_down, lambda: told.append("two")], runs, KeptOnes())
    assert errors == ["ZeroDivisionError: a fault [/of] the program", ""]
    assert told == ["two"]
    assert KeptOnes.ended == 1
    shown = capsys.readouterr()
    assert "Traceback" in shown.err
    assert "a fault [/of] the program" in shown.out
