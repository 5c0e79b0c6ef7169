"""A contestant that answers while the tournament is held."""

from pydantic import Field

from character_ray.config.endpoint import EndpointConfig

__all__ = ["ServedConfig"]


class ServedConfig(EndpointConfig):
    """A persona, or a base model, of a running application; or any model behind an OpenAI-compatible API."""

    model: str = Field(min_length=1)
    """What it is called there, such as ``captain-blackwood``."""

    label: str = ""
    """What reports call it; its model's name by default."""
