"""Who writes a draft: any OpenAI-compatible endpoint, or a local model on vLLM. Both decode under the draft's JSON Schema."""

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
        # A server of one's own asks for no key, but the client wants one.
        self._client = OpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=3)

    def write(self, messages: list[Message], schema: dict[str, Any], attempt: int) -> str:
        """See :class:`Writer`.

        Raises:
            GenerationError: The endpoint did not answer, or not with a completion.
        """
        from openai import OpenAIError

        try:
            answer: Any = self._client.chat.completions.create(  # type: ignore[call-overload]
                model=self._model,
                messages=messages,
                temperature=TEMPERATURE,
                seed=self._seed + attempt,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "constitution", "schema": schema, "strict": True},
                },
            )
        except OpenAIError as cause:
            raise GenerationError(
                f"{self.name} did not answer: {cause}. Check --endpoint, --model and OPENAI_API_KEY; the endpoint must take "
                "response_format json_schema."
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
