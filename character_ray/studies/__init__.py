"""Studies: one recipe, many cells and seeds, shared parts made once, and what came of the claims."""

from character_ray.studies.schema import Cell, Claim, Study, load_study

__all__ = ["Cell", "Claim", "Study", "load_study"]
