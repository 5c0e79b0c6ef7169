"""Requests that kill the engines of a pass; the passes here are stand-ins that die on a word."""

from collections.abc import Iterator, Sequence

import pytest
from ray.exceptions import ActorDiedError, RayActorError

from character_ray.errors import GenerationError
from character_ray.inference.engine_deaths import outliving
from character_ray.rows import Completion, Request


def request(word: str) -> Request:
    return Request(row_id=word, prompt_id=word, sample=0, messages=[], sampling={})


def completion(row: Request, error: str = "") -> Completion:
    word = row["row_id"]
    return Completion(
        row_id=word, prompt_id=word, sample=0, completion=word, num_tokens=1, finish_reason="stop", error=error
    )


class Pass:
    """Completes two requests at a time until it comes to ``kill``, and then as many times again as it has lives."""

    def __init__(self, lives: int = 0, death: RayActorError | None = None) -> None:
        self.lives, self.death, self.asked = lives, death or ActorDiedError(), []

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Completion]]:
        self.asked.append([row["row_id"] for row in requests])
        for first in range(0, len(requests), 2):
            both = requests[first : first + 2]
            if any(row["row_id"] == "kill" for row in both) and len(self.asked) > self.lives:
                raise self.death
            if len(self.asked) <= self.lives and first:
                raise self.death
            yield [completion(row) for row in both]


def apart(requests: Sequence[Request]) -> Iterator[list[Completion]]:
    for row in requests:
        yield [completion(row, "the engine is dead" if row["row_id"] == "kill" else "")]


def test_what_is_left_when_engines_die_again_and_again_is_asked_apart_and_the_killer_alone_fails():
    together = Pass()
    rows = [
        row for rows in outliving([request(w) for w in ("a", "b", "c", "kill", "d")], together, apart) for row in rows
    ]
    assert [row["row_id"] for row in rows] == ["a", "b", "c", "kill", "d"]
    assert [row["row_id"] for row in rows if row["error"]] == ["kill"]
    assert together.asked == [["a", "b", "c", "kill", "d"]]


def test_without_engines_apart_a_pass_goes_on_while_it_finishes_some_and_then_ends_with_a_reason():
    together, found = Pass(lives=2), []
    with pytest.raises(GenerationError, match=r"died 3 times, and none of the 2 requests that are left was finished"):
        for rows in outliving([request(w) for w in ("a", "b", "c", "d", "kill", "e")], together, None):
            found += [row["row_id"] for row in rows]
    assert found == ["a", "b", "c", "d"]
    assert [len(asked) for asked in together.asked] == [6, 4, 2]


def test_an_engine_that_cannot_start_is_no_row_s_fault():
    never = ActorDiedError()
    never._actor_init_failed = True
    assert never.actor_init_failed
    with pytest.raises(ActorDiedError):
        list(outliving([request("kill")], Pass(death=never), apart))
