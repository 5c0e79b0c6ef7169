"""A constitution in, a measured and servable persona out.

python jobs/full_pipeline.py jobs/recipes/demo-cpu.yaml
python jobs/full_pipeline.py jobs/recipes/demo-cpu.yaml dpo.lora.rank=16 seed=1
ray job submit --working-dir . -- python jobs/full_pipeline.py jobs/recipes/cluster-235b.yaml output=/shared/runs
"""

import sys

from character_ray.cli.job import exit_code
from character_ray.config import load_recipe


def main(arguments: list[str]) -> int:
    """Run the pipeline; returns the exit code."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0 if arguments else 2

    def work() -> None:
        recipe = load_recipe(arguments[0], arguments[1:])
        from character_ray.pipeline import run_pipeline

        run_pipeline(recipe)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
