"""All stages in order, resumable; what jobs and the command line call."""

from character_ray.pipeline.many import run_personas
from character_ray.pipeline.run import run_pipeline

__all__ = ["run_personas", "run_pipeline"]
