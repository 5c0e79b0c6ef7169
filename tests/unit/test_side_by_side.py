"""Works side by side: each in a process of its own, with its own log, none stopped by another's failure."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from character_ray.errors import RecipeError
from character_ray.side_by_side import Work, do_all, error_of


def meet(own: Path, other: Path) -> None:
    """Returns once the other work has begun too."""
    own.touch()
    deadline = time.monotonic() + 60
    while not other.exists():
        assert time.monotonic() < deadline, "the other work was not begun"
        time.sleep(0.01)
    print("met", os.environ["PLACE"])


def end_without_a_word() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse() -> None:
    raise RecipeError("no such persona")


def test_as_many_as_asked_go_on_at_once_each_with_its_log_and_environment(tmp_path, capsys):
    ends = tmp_path / "a", tmp_path / "b"
    works = [
        Work("one", tmp_path / "one", partial(meet, *ends), {"PLACE": "here"}),
        Work("two", tmp_path / "two", partial(meet, *reversed(ends)), {"PLACE": "there"}),
    ]
    assert do_all(works, 2) == ["", ""]
    assert [(tmp_path / name / "log.txt").read_text() for name in ("one", "two")] == ["met here\n", "met there\n"]
    assert "PLACE" not in os.environ
    assert "2 of 2" in capsys.readouterr().out


def test_a_work_that_fails_is_named_and_stops_no_other(tmp_path, capsys):
    works = [
        Work("broken", tmp_path / "broken", partial(int, "x")),
        Work("refused", tmp_path / "refused", refuse),
        Work("fine", tmp_path / "fine", partial(int, "1")),
    ]
    errors = do_all(works, 1)
    assert errors[0].startswith("ValueError: invalid literal")
    assert errors[1:] == ["RecipeError: no such persona", ""]
    assert "Traceback" in (tmp_path / "broken" / "log.txt").read_text()
    assert "refused: RecipeError: no such persona" in capsys.readouterr().out


def interrupt() -> None:
    raise KeyboardInterrupt


def test_one_after_another_every_error_is_listed_and_an_unexpected_one_shows_its_stack(capsys):
    tasks = [partial(int, "x"), refuse, partial(int, "1")]
    assert [error_of(task).partition(":")[0] for task in tasks] == ["ValueError", "RecipeError", ""]
    assert capsys.readouterr().err.count("Traceback") == 1


@pytest.mark.parametrize("task", [interrupt, partial(exit, 3)])
def test_an_interruption_is_no_failure_of_one_work(task):
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        error_of(task)


def test_a_work_that_is_killed_ends_no_other(tmp_path):
    killed = Work("killed", tmp_path / "killed", end_without_a_word)
    works = [killed, *(Work(name, tmp_path / name, partial(time.sleep, 0.5)) for name in ("beside", "after"))]
    errors = do_all(works, 2)
    assert "was ended from outside" in errors[0]
    assert errors[1:] == ["", ""]
