"""All stages in order, resumable; what jobs and the command line call."""

from character_ray.pipeline.run import run_pipeline

__all__ = ["run_pipeline"]
