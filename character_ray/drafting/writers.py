"""Who writes a draft: any OpenAI-compatible endpoint, or a local model on vLLM.

Both decode under the draft's JSON Schema. An endpoint that cannot is shown the schema instead; what a draft says is checked in any case.
"""

import json
import logging
import os
from typing import TYPE_CHECKING, Any, Protocol

from character_ray.chat_answers import excerpt_of, fault_in, speaks_the_api
from character_ray.config import EngineConfig, ModelConfig
from character_ray.errors import GenerationError
from character_ray.models import resolve_model
from character_ray.rows import Message
from character_ray.vllm_options import engine_environment, engine_kwargs

if TYPE_CHECKING:
    from vllm import LLM

__all__ = ["EndpointWriter", "LocalWriter", "Writer", "open_writer"]

LONGEST = 3000  # tokens of a local model's answer; an endpoint stops at its own limit and at the schema's
TEMPERATURE = 0.7
# From what holds every answer to the schema to what every endpoint takes.
FORMATS = ("json_schema", "json_object", "text")

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """A model that answers a chat with JSON."""

    name: str

    def write(self, messages: list[Message], schema: dict[str, Any], attempt: int) -> str:
        """The answer to the chat; each attempt draws with another seed."""
        ...


class EndpointWriter:
    """A model behind an OpenAI-compatible API, such as ``make serve``, a hosted one, or llama.cpp's server.

    Args:
        url: Base URL, ending in ``/v1``.
        model: Name of the model there.
        seed: First attempt's seed.
    """

    def __init__(self, url: str, model: str, seed: int = 0) -> None:
        from openai import OpenAI

        self.name = f"{model} at {url}"
        self._model, self._seed = model, seed
        self._formats = list(FORMATS)
        # A server of one's own asks for no key, but the client wants one.
        self._client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=3)

    def write(self, messages: list[Message], schema: dict[str, Any], attempt: int) -> str:
        """See :class:`Writer`.

        Raises:
            GenerationError: The endpoint did not answer, or not with a completion.
        """
        from openai import OpenAIError

        try:
            answer = self._ask(messages, schema, attempt)
        except OpenAIError as cause:
            raise GenerationError(
                f"{self.name} did not answer: {cause}. Check --endpoint, --model and OPENAI_API_KEY."
            ) from cause
        except ValueError as cause:  # what is declared as JSON is none
            answer = getattr(cause, "doc", cause)
        if not speaks_the_api(answer):
            raise GenerationError(
                f"{self.name} answered with {excerpt_of(answer)}, which is no answer of the OpenAI API. Check --endpoint: a base URL "
                "mostly ends in /v1."
            )
        if fault := fault_in(answer):
            raise GenerationError(f"{self.name} answered, but there is {fault}. Ask again, or check --model.")
        return str(answer.choices[0].message.content or "")

    def _ask(self, messages: list[Message], schema: dict[str, Any], attempt: int) -> Any:
        """The answer under the strictest format that the endpoint takes; one that it refused is not tried again."""
        from openai import BadRequestError, UnprocessableEntityError

        while True:
            try:
                return self._client.chat.completions.create(
                    model=self._model,
                    temperature=TEMPERATURE,
                    seed=self._seed + attempt,
                    **_chat_under(self._formats[0], messages, schema),
                )
            except (BadRequestError, UnprocessableEntityError) as cause:
                if len(self._formats) == 1:
                    raise
                refused = self._formats.pop(0)
                logger.warning(
                    "%s takes no response_format %s (%s); asking for %s", self.name, refused, cause, self._formats[0]
                )


def _chat_under(kind: str, messages: list[Message], schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that hold its answer to a schema, or where the endpoint will not, ask the model to keep to it."""
    if kind == "json_schema":
        form = {"type": kind, "json_schema": {"name": "constitution", "schema": schema, "strict": True}}
        return {"messages": messages, "response_format": form}
    told = f"{messages[-1]['content']}\n\nThe JSON object must be valid under this JSON Schema:\n{json.dumps(schema)}"
    asked = [*messages[:-1], Message(role=messages[-1]["role"], content=told)]
    return {"messages": asked} | ({"response_format": {"type": kind}} if kind == "json_object" else {})


class LocalWriter:
    """A model by name on an engine of this process, loaded on the first call."""

    def __init__(self, model: ModelConfig, engine: EngineConfig, seed: int = 0) -> None:
        self.name = model.name
        self._folder = resolve_model(model)
        self._engine, self._seed = engine, seed
        self._llm: LLM | None = None

    def write(self, messages: list[Message], schema: dict[str, Any], attempt: int) -> str:
        """See :class:`Writer`."""
        os.environ.update(engine_environment(self._engine))
        from vllm import LLM, SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        if self._llm is None:
            self._llm = LLM(model=str(self._folder), disable_log_stats=True, **engine_kwargs(self._engine))
        sampling = SamplingParams(
            temperature=TEMPERATURE,
            max_tokens=LONGEST,
            seed=self._seed + attempt,
            structured_outputs=StructuredOutputsParams(json=schema, disable_any_whitespace=True),
        )
        outputs = self._llm.chat(messages, sampling, use_tqdm=False)  # type: ignore[arg-type]
        return outputs[0].outputs[0].text


def open_writer(model: str, endpoint: str | None, engine: EngineConfig, seed: int) -> Writer:
    """The model behind the endpoint, or where none is given a local one.

    Raises:
        ModelError: A local model cannot be found.
    """
    if endpoint is not None:
        return EndpointWriter(endpoint, model, seed)
    return LocalWriter(ModelConfig(name=model), engine, seed)
