"""Serve trained personas on the cluster this is submitted to, until the job is stopped.

python jobs/serve.py runs/demo
ray job submit --working-dir . -- python jobs/serve.py /runs/captain /runs/tutor --host 0.0.0.0 --keys /runs/keys.yaml
python jobs/serve.py runs/demo --judge Qwen/Qwen3-4B-Instruct-2507        # with a second model that judges tournaments
"""

import sys

import typer

from character_ray.cli.serve import serve
from character_ray.errors import CharacterRayError

if __name__ == "__main__":
    try:
        typer.run(serve)
    except CharacterRayError as error:
        sys.exit(f"error: {error}")
