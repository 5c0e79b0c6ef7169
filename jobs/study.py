"""A matrix of runs as one job: cells and seeds of a study file, shared parts made once, claims tested at the end.

python jobs/study.py jobs/studies/contrast-cpu.yaml
ray job submit --working-dir . -- python jobs/study.py jobs/studies/ablation.yaml
"""

import sys

from character_ray.cli.job import exit_code
from character_ray.studies import load_study


def main(arguments: list[str]) -> int:
    """Run the study; returns the exit code."""
    if len(arguments) != 1:
        print(__doc__)
        return 2

    def work() -> None:
        study, cells = load_study(arguments[0])
        print(f"{len(cells)} runs: cells {', '.join(study.cells)}; seeds {', '.join(map(str, study.seeds))}")
        from character_ray.studies.run import run_study

        run_study(study, cells)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
