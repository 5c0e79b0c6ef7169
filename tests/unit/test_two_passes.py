"""Teacher and student at the same time: where there is room, and what becomes of the one when the other fails."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from character_ray.config import EndpointConfig, EngineConfig, ModelConfig, Recipe, SamplingConfig
from character_ray.errors import GenerationError
from character_ray.inference.passes import Deliver, Generation, run_pass
from character_ray.inference.two_passes import Pass, one_after_the_other, together
from character_ray.log import StageProgress, console, stage_progress
from character_ray.parts import read_parts
from character_ray.pipeline.overlap import has_room_for_both
from character_ray.rows import Completion, Message, Request
from character_ray.runs import Store
from character_ray.stages.requests import build_request

LIMIT_S = 30.0
ROWS = 6


def wanted(folder: Path, stage: str) -> Generation:
    requests = [
        build_request(stage, str(n), [Message(role="user", content=f"word {n}")], SamplingConfig(), seed=0)
        for n in range(ROWS)
    ]
    return Generation(Store(folder).artefact(stage, {}), requests)


def answer_to(request: Request) -> Completion:
    return Completion(
        row_id=request["row_id"],
        prompt_id=request["prompt_id"],
        completion=f"Aye, {request['row_id']}",
        finish_reason="stop",
        num_tokens=3,
        error="",
    )


def passing(generation: Generation, before_row: Callable[[int], object] = lambda number: None) -> Pass:
    """A pass that answers its rows one by one."""

    def complete(requests: Sequence[Request], deliver: Deliver, progress: StageProgress) -> None:
        for number, request in enumerate(requests):
            before_row(number)
            deliver([answer_to(request)])

    return Pass([generation], lambda asked: run_pass("pass", asked, 0.0, complete))


def kept(generation: Generation) -> int:
    return len(read_parts(generation.artefact.folder))


def test_each_pass_answers_while_the_other_does(tmp_path: Path):
    # Either waits at every row until the other is there, too.
    meeting = threading.Barrier(2)
    teacher, student = wanted(tmp_path, "teacher"), wanted(tmp_path, "student")
    together(
        passing(teacher, lambda _: meeting.wait(LIMIT_S)),
        passing(student, lambda _: meeting.wait(LIMIT_S)),
    )
    for generation in (teacher, student):
        assert generation.artefact.is_done
        assert [row["row_id"] for row in generation.completions()] == [row["row_id"] for row in generation.requests]


@pytest.mark.parametrize("failing", ["teacher", "student"])
def test_where_one_fails_the_other_ends_with_its_next_rows_and_goes_on_from_there_later(tmp_path: Path, failing: str):
    sides = {name: wanted(tmp_path, name) for name in ("teacher", "student")}
    failed, begun = threading.Event(), threading.Event()

    def fail(number: int) -> None:
        if number == 2:
            assert begun.wait(LIMIT_S)
            failed.set()
            raise GenerationError("the endpoint is gone")

    def wait(number: int) -> None:
        begun.set()
        if number == 1:
            assert failed.wait(LIMIT_S)
        if number > 1:
            time.sleep(1.0)  # the failure reaches the other in a moment

    passes = {name: passing(side, fail if name == failing else wait) for name, side in sides.items()}
    with pytest.raises(GenerationError, match="the endpoint is gone"):
        together(passes["teacher"], passes["student"])
    (other,) = sides.keys() - {failing}
    assert kept(sides[failing]) == 2
    assert 1 <= kept(sides[other]) < ROWS
    assert not sides[other].artefact.is_done
    one_after_the_other(*(passing(side) for side in sides.values()))
    for side in sides.values():
        assert side.artefact.is_done
        assert kept(side) == ROWS  # none was asked twice


def test_what_watches_a_generation_goes_on_watching(tmp_path: Path):
    seen: list[int] = []
    watched = replace(wanted(tmp_path, "teacher"), watch=lambda so_far: seen.append(len(so_far)))
    together(passing(watched), passing(wanted(tmp_path, "student")))
    assert seen == list(range(1, ROWS + 1))


def test_a_user_who_interrupts_does_not_wait_for_the_other(tmp_path: Path):
    released = threading.Event()

    def interrupt(number: int) -> None:
        raise KeyboardInterrupt

    beside = passing(wanted(tmp_path, "teacher"), lambda _: released.wait(LIMIT_S))
    with pytest.raises(KeyboardInterrupt):
        together(beside, passing(wanted(tmp_path, "student"), interrupt))
    waiting = [thread for thread in threading.enumerate() if thread.name == "pass beside another"]
    assert len(waiting) == 1
    released.set()
    waiting[0].join(LIMIT_S)
    assert not waiting[0].is_alive()


def recipe(teacher: EngineConfig | EndpointConfig, **student: object) -> Recipe:
    section = "teacher_endpoint" if isinstance(teacher, EndpointConfig) else "teacher_engine"
    return Recipe(
        name="pair",
        constitution=Path("constitutions/captain-blackwood.yaml"),
        teacher=ModelConfig(name="large"),
        student_engine=EngineConfig(**student),
        **{section: teacher},
    )


@pytest.mark.parametrize(
    ("teacher", "student", "gpus", "both"),
    [
        (EngineConfig(tensor_parallel=2), {}, [2, 1], True),
        (EngineConfig(tensor_parallel=2), {}, [2], False),
        (EngineConfig(tensor_parallel=2), {"replicas": 2}, [2, 1], False),
        (EngineConfig(tensor_parallel=2), {"keep": True}, [8], False),
        (EngineConfig(device="cpu"), {}, [8], False),
        (EngineConfig(), {"device": "cpu"}, [8], False),
        (EndpointConfig(url="http://127.0.0.1:1/v1"), {"device": "cpu"}, [0], True),
        (EndpointConfig(url="http://127.0.0.1:1/v1"), {"keep": True}, [1], True),
    ],
)
def test_there_is_room_where_both_find_their_gpus_and_neither_can_take_the_other_s(teacher, student, gpus, both):
    nodes = [{"CPU": 8.0, "GPU": float(number)} for number in gpus]
    assert has_room_for_both(recipe(teacher, **student), nodes) is both


def test_two_stages_share_the_one_display_of_a_terminal_whichever_ends_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with console.capture():
        first, second = stage_progress("teacher", 4), stage_progress("student", 2, "pairs")
        teacher, student = first.__enter__(), second.__enter__()
        display = teacher._progress
        assert display is student._progress is not None
        teacher.advance(4)
        first.__exit__(None, None, None)
        assert display.live.is_started
        assert [task.description for task in display.tasks] == ["student"]
        student.advance(2)
        second.__exit__(None, None, None)
        assert not display.live.is_started
        with stage_progress("dpo", 1) as dpo:
            assert dpo._progress is not display
