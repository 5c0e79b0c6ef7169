"""A model somewhere else, behind an OpenAI-compatible API."""

from typing import Any, Literal

from pydantic import Field, model_validator

from character_ray.config.base import Config

__all__ = ["EndpointConfig"]


class EndpointConfig(Config):
    """Where a teacher answers that this cluster does not run, how fast it may be asked, and what it may cost."""

    url: str = Field(pattern=r"^https?://")
    """Base URL, ending in ``/v1``."""

    key_variable: str = Field("OPENAI_API_KEY", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key, which is stored nowhere; a server that asks for none needs none."""

    max_concurrent: int = Field(16, ge=1)
    """Requests under way at once."""

    requests_per_minute: float | None = Field(None, gt=0)
    """Rate limit of the provider; ``None`` for none."""

    retries: int = Field(5, ge=0)
    """How often a request is tried again after a rate limit, a timeout or a server's fault; waits grow exponentially, and each try keeps
    to the rate limit."""

    timeout_s: float = Field(120.0, gt=0)
    """Seconds to wait for one answer."""

    usd_per_million_input: float = Field(0.0, ge=0)
    """Price of a million prompt tokens."""

    usd_per_million_output: float = Field(0.0, ge=0)
    """Price of a million completion tokens."""

    budget_usd: float | None = Field(None, gt=0)
    """The run never spends more on what it knows of: a request that could exceed it is not sent. Each try whose answer may have been
    written without arriving (a timeout, a broken connection, a run that was stopped) counts as if it had been answered in full.
    All runs of ``character-ray many`` spend from one budget. ``None`` for no limit."""

    max_failed_share: float = Field(0.05, ge=0, le=1)
    """Share of a stage's rows that may fail before the run ends with the reasons by count."""

    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of every request, such as ``{chat_template_kwargs: {enable_thinking: false}}``."""

    max_tokens_field: str = Field("max_tokens", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Field that carries the length limit of an answer; OpenAI's reasoning models want ``max_completion_tokens``."""

    leave_out: tuple[Literal["temperature", "top_p", "top_k", "repetition_penalty", "max_tokens", "seed"], ...] = ()
    """Fields that are not sent, for servers that refuse them; there the server's own default holds, whatever the recipe says."""

    @property
    def asked_beside(self) -> dict[str, Any]:
        """What decides the answers beside model and request, as inputs of a stage."""
        left_out: dict[str, Any] = {"leave_out": sorted(self.leave_out)} if self.leave_out else {}
        return self.extra_body | left_out

    @model_validator(mode="after")
    def _check_prices(self) -> "EndpointConfig":
        if self.budget_usd is not None and self.usd_per_million_input + self.usd_per_million_output == 0:
            raise ValueError(
                f"budget_usd={self.budget_usd} cannot be kept without prices: both usd_per_million_input and usd_per_million_output "
                "are 0. Set them from the provider's list, or leave budget_usd out."
            )
        if self.budget_usd is not None and "max_tokens" in self.leave_out:
            raise ValueError(
                f"budget_usd={self.budget_usd} cannot be kept where leave_out names max_tokens: without it an answer may be of any length. "
                "Set max_tokens_field to what the server calls it, or leave budget_usd out."
            )
        return self
