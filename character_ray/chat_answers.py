"""What an OpenAI-compatible endpoint answered: a completion, a fault of one request, or nothing of that API at all.

The client checks no answer: a page of HTML arrives as a string, and a field that is missing arrives as ``None``.
"""

from typing import Any

__all__ = ["excerpt_of", "fault_in", "speaks_the_api", "tokens_used"]

EXCERPT = 120  # characters of an answer that are shown in an error


def speaks_the_api(answer: Any) -> bool:
    """Whether an answer is one of the chat API, if only one that says what went wrong."""
    told = set(getattr(answer, "model_fields_set", ())) | set(getattr(answer, "model_extra", None) or ())
    return not told.isdisjoint(("choices", "error"))


def fault_in(answer: Any) -> str:
    """Why an answer of the API holds no completion; empty where it holds one."""
    choices = getattr(answer, "choices", None)
    if isinstance(choices, list) and choices and getattr(choices[0], "message", None) is not None:
        return ""
    error = (getattr(answer, "model_extra", None) or {}).get("error")
    return f"no completion in the answer: {f'error={error!r}' if error else f'choices={choices!r}'}"


def excerpt_of(answer: Any) -> str:
    """How an answer begins, on one line."""
    text = " ".join(str(answer).split())
    return repr(text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…")


def tokens_used(answer: Any) -> tuple[int, int] | None:
    """Tokens of prompt and completion, or ``None`` where the endpoint does not say."""
    used = getattr(answer, "usage", None)
    prompt, completion = getattr(used, "prompt_tokens", None), getattr(used, "completion_tokens", None)
    return (prompt, completion) if isinstance(prompt, int) and isinstance(completion, int) else None
