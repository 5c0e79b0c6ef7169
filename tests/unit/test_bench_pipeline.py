"""The pipeline benchmark reads what nvidia-smi writes and answers a stage as an engine would be asked."""

from types import SimpleNamespace
from typing import Any

from benchmarks.apart import _complete, _talk
from benchmarks.bench_pipeline import idle_share


class Chat:
    """Answers each chat with its number of messages, and remembers how it was called."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, chats: list[Any], sampling: list[Any], **options: Any) -> list[Any]:
        self.calls.append(options)
        said = [SimpleNamespace(text=f" {len(chat)} ", token_ids=[1, 2], finish_reason="stop") for chat in chats]
        return [SimpleNamespace(outputs=[each]) for each in said]


def test_idle_is_the_share_of_samples_near_zero():
    assert idle_share([]) is None
    assert idle_share(["0", "100", "4", "50", "[N/A]"]) == 0.5


def test_requests_whose_answer_is_begun_are_continued():
    chat = Chat()
    user, begun = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}
    row = {"prompt_id": "p", "sample": 0, "sampling": {"max_tokens": 4}}
    rows: list[Any] = [{**row, "row_id": "a", "messages": [user]}, {**row, "row_id": "b", "messages": [user, begun]}]
    found = _complete(chat, rows)
    assert [(each["row_id"], each["completion"], each["num_tokens"]) for each in found] == [
        ("a", "1", 2),
        ("b", "2", 2),
    ]
    assert [call["continue_final_message"] for call in chat.calls] == [False, True]


def test_dialogues_are_held_turn_by_turn():
    chat = Chat()
    row: Any = {"row_id": "d", "system": "Be Moss.", "opening": "Hello", "turns": 4, "sampling": {"max_tokens": 4}}
    talk = _talk(chat, [row])[0]
    assert len(chat.calls) == 3
    assert talk["num_tokens"] == 6
    assert talk["messages"][-1]["role"] == "assistant"
