"""Published adapters, in a folder or a bucket: which version of every persona is live, and which came before."""

from character_ray.registry.entries import Change, Entry, PersonaRecord, Status
from character_ray.registry.policy import Policy, keep_policy, policy_of
from character_ray.registry.ratings import ratings_of, run_ratings
from character_ray.registry.registry import Registry, absolute_place

__all__ = [
    "Change",
    "Entry",
    "PersonaRecord",
    "Policy",
    "Registry",
    "Status",
    "absolute_place",
    "keep_policy",
    "policy_of",
    "ratings_of",
    "run_ratings",
]
