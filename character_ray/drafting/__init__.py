"""Drafts of constitutions, written by a language model and checked by the schema."""

from character_ray.drafting.draft import Draft, draft_constitution, draft_opposite
from character_ray.drafting.writers import EndpointWriter, LocalWriter, Writer, open_writer

__all__ = ["Draft", "EndpointWriter", "LocalWriter", "Writer", "draft_constitution", "draft_opposite", "open_writer"]
