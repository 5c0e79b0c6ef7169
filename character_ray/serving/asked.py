"""What the body of a request asks for, in what limits count."""

from typing import Any

__all__ = ["num_choices", "scores"]


def num_choices(body: Any) -> int:
    """Answers that an engine would write: ``n`` for each prompt; a list of token ids is one prompt."""
    prompt: Any = getattr(body, "prompt", None)
    several = isinstance(prompt, list) and not any(isinstance(part, int) for part in prompt)
    prompts = len(prompt) if several else 1
    return max(1, body.n or 1) * max(1, prompts)


def scores(body: Any) -> bool:
    """Whether a request wants the probabilities of its own text; 0 asks for those of the text's tokens alone."""
    logprobs = body.logprobs
    return body.prompt_logprobs is not None or bool(body.echo and logprobs is not None and logprobs is not False)
