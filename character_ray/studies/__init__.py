"""Studies: one recipe, many cells and seeds, shared parts made once, and what came of the claims."""

from character_ray.studies.schema import Cell, Claim, Study, load_study, select_cells

__all__ = ["Cell", "Claim", "Study", "load_study", "select_cells"]
