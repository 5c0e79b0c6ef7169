"""The body of a request to an OpenAI-compatible endpoint."""

from typing import Any

from character_ray.config import EndpointConfig
from character_ray.rows import Request

__all__ = ["chat_body"]


def chat_body(request: Request, endpoint: EndpointConfig, further: dict[str, Any]) -> dict[str, Any]:
    """The request in OpenAI's terms; what only vLLM knows goes along where it is used.

    Args:
        request: What is asked.
        endpoint: What its server calls fields, and takes.
        further: Fields that only some servers know.
    """
    sampling = dict(request["sampling"])
    max_tokens = sampling.pop("max_tokens")
    extra = {
        name: value
        for name, value, unused in (
            ("top_k", sampling.pop("top_k"), 0),
            ("repetition_penalty", sampling.pop("repetition_penalty"), 1.0),
        )
        if value != unused
    }
    extra[endpoint.max_tokens_field] = max_tokens
    if request["messages"][-1]["role"] == "assistant":  # a turn that was begun for the model, which goes on with it
        extra |= {"add_generation_prompt": False, "continue_final_message": True}
    for name in endpoint.leave_out:
        sampling.pop(name, None)
        extra.pop(endpoint.max_tokens_field if name == "max_tokens" else name, None)
    return {"messages": request["messages"], **sampling, "extra_body": extra | further | endpoint.extra_body}
