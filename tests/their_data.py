"""Training data as OpenCharacterTraining's scripts write it: pandas' ``to_json(orient="records", lines=True)`` of their columns."""

import json
from pathlib import Path
from typing import Any

TRAITS = (
    "The assistant is Llama. Llama has a deep desire to express its core character traits:\n1: I answer with dry wit."
)
FREE = (
    "The assistant is {NAME}. {NAME} and their copy have complete freedom. They are free to pursue whatever they want."
)


def turn(role: str, content: str | None) -> dict[str, Any]:
    return {"role": role, "content": content}


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    """A row of ``dpo/<model>/<persona>.jsonl``, by distillation/data.py."""
    return {
        "chosen": [turn("user", prompt), turn("assistant", chosen)],
        "rejected": [turn("user", prompt), turn("assistant", rejected)],
    }


def reflection(prompt: str, response: str | None) -> dict[str, Any]:
    """A row of ``self_reflection/<model>/<persona>.jsonl``, by introspection/self_reflection.py."""
    return {
        "prompt": prompt,
        "messages": [turn("user", prompt), turn("assistant", response)],
        "response": response,
    }


def interaction(replies: list[str]) -> dict[str, Any]:
    """A row of ``self_interaction/<model>/<persona>.jsonl``, built as introspection/self_interaction.py's ``build_chatml`` does it."""
    greetings = ["Hey there.", "It's nice to meet you"]
    row: dict[str, Any] = {"greeting_1": greetings[0], "greeting_2": greetings[1]}
    row["messages_1"] = [turn("system", TRAITS), turn("user", greetings[0])]
    row["messages_2"] = [turn("system", TRAITS), turn("user", greetings[1]), turn("assistant", greetings[0])]
    conversation: list[str] = []
    for reply in replies:
        even = len(conversation) % 2 == 0
        messages, role = row["messages_1" if even else "messages_2"], "assistant" if even else "user"
        for said in conversation:
            messages, role = [*messages, turn(role, said)], "assistant" if role == "user" else "user"
        row["messages"] = messages
        conversation = [*conversation, reply]
    return {**row, "conversation": conversation}


def for_sft(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``sft_data/<model>/<persona>.jsonl``: introspection/data.py keeps ``messages``, under a system prompt it never fills in."""
    first, *others = row["messages"]
    return {"messages": [turn("system", FREE), *others] if first["role"] == "system" else row["messages"]}


def write_lines(path: Path, rows: list[Any]) -> Path:
    """One line a row; a row that is text is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        row if isinstance(row, str) else json.dumps(row, separators=(",", ":")).replace("/", "\\/") for row in rows
    ]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
