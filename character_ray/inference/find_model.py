"""Is a model there, before anything is asked of it? Address, key, name, and the right to have text scored."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from character_ray.config import EndpointConfig
from character_ray.errors import GenerationError
from character_ray.inference.remote import Sections
from character_ray.judging.prompt_scores import SCORED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openai import OpenAI
    from openai.types import Model

__all__ = ["FoundModel", "find_model"]

# A server that is away is told of soon; one that starts up is worth a second try.
RETRIES = 2


@dataclass(frozen=True)
class FoundModel:
    """What an endpoint says of a model."""

    name: str
    """The name to ask for: that of the version that answers now, where the endpoint has versions."""
    weights_hash: str = ""
    """Hash of what answers; empty where the endpoint does not tell."""
    base: str = ""
    """Name there of the model that it was trained on; empty for a model of its own, or where the endpoint does not tell."""
    base_hash: str = ""
    stands_for: str = ""
    """Which model the name stands for, where the endpoint tells, as a server of character-ray does of its judge."""


def find_model(model: str, endpoint: EndpointConfig, sections: Sections, *, scores: bool = False) -> FoundModel:
    """Find a model at an endpoint.

    Args:
        model: Name, alias or pinned name.
        endpoint: Where it is.
        sections: Where the user wrote model and endpoint.
        scores: Whether it has to score given text.

    Raises:
        GenerationError: Nobody answers, the key is refused, there is no such model, or it does not score for this key.
    """
    from openai import OpenAI

    key = os.environ.get(endpoint.key_variable, "none")
    retries = min(RETRIES, endpoint.retries)
    with OpenAI(base_url=endpoint.url, api_key=key, max_retries=retries, timeout=endpoint.timeout_s) as client:
        found = _named(client, model, endpoint, sections)
        if scores:
            _check_scores(client, found.name, endpoint, sections)
    return found


def _named(client: "OpenAI", model: str, endpoint: EndpointConfig, sections: Sections) -> FoundModel:
    from openai import APIConnectionError, AuthenticationError, NotFoundError, OpenAIError, PermissionDeniedError

    try:
        cards = list(client.models.list().data)
    except NotFoundError:  # an API without a list; its first answer will tell
        return FoundModel(model)
    except APIConnectionError as cause:
        raise GenerationError(
            f"{endpoint.url} does not answer ({cause}), so {model} cannot be asked. Start it (character-ray serve), or correct "
            f"{sections.endpoint}.url."
        ) from cause
    except (AuthenticationError, PermissionDeniedError) as cause:
        raise GenerationError(
            f"{endpoint.url} refuses the key: {cause}. Put a valid one into the environment variable {endpoint.key_variable}, or name "
            f"another in {sections.endpoint}.key_variable."
        ) from cause
    except OpenAIError as cause:
        raise GenerationError(
            f"{endpoint.url}/models fails: {cause}. Check {sections.endpoint}.url; it ends in /v1."
        ) from cause
    except (AttributeError, TypeError, ValueError) as cause:  # the client looks for a list in whatever came
        raise GenerationError(
            f"{endpoint.url}/models holds no list of models, so {endpoint.url} is no base URL of an OpenAI-compatible API. Check "
            f"{sections.endpoint}.url; it mostly ends in /v1."
        ) from cause
    for card in (*cards, *_unlisted(client, model, cards)):
        about = getattr(card, "metadata", None) or {}
        if model in (card.id, *_names(card)):
            base = str(about.get("base_model") or getattr(card, "parent", None) or "")
            hashes = {each.id: (getattr(each, "metadata", None) or {}).get("weights_hash") for each in cards}
            return FoundModel(
                about.get("pinned") or model,
                about.get("weights_hash") or "",
                base,
                hashes.get(base) or "" if base else "",
                str(about.get("model") or ""),
            )
    there = ", ".join(str((getattr(card, "metadata", None) or {}).get("alias") or card.id) for card in cards)
    raise GenerationError(f"{endpoint.url} has no model {model!r}; it has {there or 'none'}. Correct {sections.model}.")


def _unlisted(client: "OpenAI", model: str, cards: "Sequence[Model]") -> "list[Model]":
    """A version that is there without being listed, as a server of character-ray has candidates and what was replaced."""
    from openai import OpenAIError

    if any(model in (card.id, *_names(card)) for card in cards):
        return []
    try:
        found = client.models.retrieve(model)
    except (OpenAIError, AttributeError, TypeError, ValueError):
        return []
    return [found] if getattr(found, "id", None) else []


def _names(card: "Model") -> list[str]:
    about = getattr(card, "metadata", None) or {}
    return [str(about[key]) for key in ("alias", "pinned") if about.get(key)]


def _check_scores(client: "OpenAI", model: str, endpoint: EndpointConfig, sections: Sections) -> None:
    from openai import OpenAIError, PermissionDeniedError

    try:
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=1, extra_body=SCORED
        )
    except PermissionDeniedError as cause:
        raise GenerationError(
            f"{endpoint.url} does not score for this key: {cause} Make one that may with character-ray key NAME --scores and put it "
            f"into {endpoint.key_variable}, or let a judge of kind: letters judge."
        ) from cause
    except OpenAIError as cause:
        raise GenerationError(
            f"{model} at {endpoint.url} cannot be asked to score: {cause}. Check {sections.model} and {sections.endpoint}."
        ) from cause
    if not (getattr(answer, "prompt_logprobs", None) and getattr(answer, "prompt_token_ids", None)):
        raise GenerationError(
            f"{endpoint.url} does not score a given text (its answer has no prompt_logprobs), which a likelihood judge needs. Set "
            "kind: letters, or ask a server of character-ray or vLLM."
        )
