"""Pages beside the API: an arena with votes, an editor of constitutions, and the runs."""

from character_ray.studio.settings import Settings

__all__ = ["Settings"]
