"""The terminal chat without a model: commands, memory, and two voices beside each other."""

import builtins
import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from character_ray.cli.chat import Talk
from character_ray.serving.chat import Conversation


class Echo:
    """Answers with the voice, the number of earlier turns and the seed, and keeps memory as the real model does."""

    def reply(self, conversation: Conversation, text: str, seed: int) -> Iterator[str]:
        answer = f"{conversation.voice} {len(conversation.turns)} {seed} {conversation.system}"
        conversation.turns.append({"role": "user", "content": text})
        yield answer[:3]
        yield answer[3:]
        conversation.turns.append({"role": "assistant", "content": answer})


def run(monkeypatch: pytest.MonkeyPatch, *lines: str, compare: bool = False) -> str:
    """What the terminal shows when these lines are typed; the last line is the end of input."""
    typed = iter(lines)

    def read(prompt: str = "") -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(builtins, "input", read)
    console = Console(file=io.StringIO(), width=100)
    Talk(Echo(), console, "Pirate", "Be brief.", compare, 100).listen()
    return console.file.getvalue()


def test_the_persona_answers_and_remembers(monkeypatch: pytest.MonkeyPatch):
    shown = run(monkeypatch, "hello", "again")
    assert "Pirate> persona 0 100 Be brief." in shown
    assert "Pirate> persona 2 102 Be brief." in shown
    assert "base" not in shown


def test_reset_forgets(monkeypatch: pytest.MonkeyPatch):
    assert run(monkeypatch, "hello", "/reset", "hello").count("persona 0 100") == 2


def test_compare_shows_both_and_leaves_the_persona_as_it_was(monkeypatch: pytest.MonkeyPatch):
    shown = run(monkeypatch, "hello", "/compare", "again", "/compare", "more")
    assert "base 0 102" in shown
    assert "persona 2 102" in shown
    assert "persona 4 104" in shown
    assert "base 2" not in shown


def test_what_follows_a_table_starts_on_a_line_of_its_own(monkeypatch: pytest.MonkeyPatch):
    shown = run(monkeypatch, "hello", "/reset", compare=True)
    assert "forgotten" in shown.splitlines()


def test_quit_leaves_before_the_next_line(monkeypatch: pytest.MonkeyPatch):
    assert "persona" not in run(monkeypatch, "/quit", "hello")


def test_an_unknown_command_is_not_sent_to_the_persona(monkeypatch: pytest.MonkeyPatch):
    shown = run(monkeypatch, "/exit", "", "hello")
    assert "/quit leaves" in shown
    assert "persona 0" in shown
