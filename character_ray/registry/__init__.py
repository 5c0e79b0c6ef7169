"""A folder of published adapters: which version of every persona is live, and which came before."""

from character_ray.registry.entries import Entry, PersonaRecord, Status
from character_ray.registry.registry import Registry

__all__ = ["Entry", "PersonaRecord", "Registry", "Status"]
