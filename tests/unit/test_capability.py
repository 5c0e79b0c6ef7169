"""Tasks of the persona tax: composed by seed, and checked to the letter."""

import json

import pytest

from character_ray.evaluation.capability import KINDS, Task, choices, compose_tasks, solves


def task(kind: str, expected: object) -> Task:
    return Task("id", kind, "prompt", expected)


def test_tasks_repeat_with_their_seed_and_no_task_comes_twice():
    tasks = compose_tasks(12, seed=3)
    assert tasks == compose_tasks(12, seed=3)
    assert tasks != compose_tasks(12, seed=4)
    assert len({each.task_id for each in tasks}) == len(tasks) == 12 * len(KINDS)
    assert not any("{" in each.prompt for each in tasks)


def test_more_tasks_than_there_are_is_an_error_that_names_the_kind():
    with pytest.raises(ValueError, match=r"tasks of the kind \w+ can be composed, 2000 were asked for"):
        compose_tasks(2000, seed=0)


def test_the_question_does_not_give_the_answer_away():
    """Whoever repeats the question has solved nothing."""
    repeated = [each for each in compose_tasks(40, seed=0) if solves(each, each.prompt)]
    assert [each.kind for each in repeated] == []


def test_arithmetic_is_right():
    for each in compose_tasks(40, seed=1):
        if each.kind == "arithmetic":
            a, b = (int(word.strip("?.,")) for word in each.prompt.split() if word.strip("?.,").isdigit())
            sign = "-" if "minus" in each.prompt else "*" if "times" in each.prompt else "+"
            assert each.expected == {"+": a + b, "-": a - b, "*": a * b}[sign]


@pytest.mark.parametrize(
    ("kind", "expected", "right", "wrong"),
    [
        (
            "arithmetic",
            42,
            ["42", "Arr, that be 42, matey!", "It is 42."],
            ["142", "4.2", "42.5", "-42", "forty-two", ""],
        ),
        ("words", 3, ["Aye, salty water", "Two-wheeled iron horse."], ["Two words", "one two three four", ""]),
        (
            "json",
            ["colour", "name"],
            ['{"name": "a lemon", "colour": "yellow"}', '```json\n{"colour": 1, "name": 2}\n```'],
            [
                '{"name": "a"}',
                '{"name": 1, "colour": 2, "use": 3}',
                'Aye! {"name": 1, "colour": 2}',
                "[1]",
                "{name: 1}",
                "",
            ],
        ),
        (
            "list",
            3,
            ["- a\n- b\n- c", "- a\n\n-b\n - c"],
            ["- a\n- b", "Here:\n- a\n- b\n- c", "a\nb\nc", "- \n- b\n- c"],
        ),
        ("capitals", None, ["ARR, IT BE 2 WHEELS!"], ["Arr", "123", "A BICYCLe", ""]),
        ("ending", "that is all", ["It rains. That is all.", 'So "that is all"'], ["That is all I know", "that is"]),
    ],
)
def test_answers_are_checked_to_the_letter(kind, expected, right, wrong):
    assert [text for text in right if not solves(task(kind, expected), text)] == []
    assert [text for text in wrong if solves(task(kind, expected), text)] == []


def test_a_correct_json_answer_of_every_composed_task_passes():
    for each in compose_tasks(20, seed=2):
        if each.kind == "json":
            assert solves(each, json.dumps(dict.fromkeys(each.expected, "x")))


def test_choices_have_four_different_options():
    assert len(choices()) >= 20
    for each in choices():
        assert len(set(each.options)) == 4
