"""What every version of a registry must keep before it goes live, whoever makes it live and from where."""

from pydantic import BaseModel, ConfigDict, ValidationError

from character_ray.errors import RegistryError
from character_ray.registry.registry import Registry

__all__ = ["Policy", "keep_policy", "policy_of"]


class Policy(BaseModel):
    """Bounds as :func:`~character_ray.comparison.parse_bound` reads them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min: tuple[str, ...] = ()
    """From below, such as ``full.persona_rate.low=0.6``."""

    max: tuple[str, ...] = ()
    """From above."""


def policy_of(registry: Registry) -> Policy:
    """A registry's policy, one without bounds where it has none.

    Raises:
        RegistryError: It cannot be read. Nothing goes live then.
        StorageError: The bucket cannot be read.
    """
    text = registry.shelf.policy()
    try:
        return Policy() if text is None else Policy.model_validate_json(text)
    except ValidationError as cause:
        raise RegistryError(
            f"{registry.place}/policy.json cannot be read ({cause.errors()[0]['msg']}), so nothing goes live. "
            "Write it anew with character-ray registry policy."
        ) from cause


def keep_policy(registry: Registry, policy: Policy) -> None:
    """Replace a registry's policy; what is live stays so.

    Raises:
        StorageError: The bucket cannot be written.
    """
    registry.shelf.keep_policy(policy.model_dump_json(indent=1) + "\n")
