"""A matrix of runs as one job: cells and seeds of a study file, shared parts made once, claims tested at the end.

python jobs/study.py jobs/studies/contrast-cpu.yaml
python jobs/study.py jobs/studies/ablation.yaml --side-by-side 3
ray job submit --working-dir . -- python jobs/study.py jobs/studies/ablation.yaml
"""

import argparse
import sys

from character_ray.cli.job import exit_code
from character_ray.studies import load_study


def main(arguments: list[str]) -> int:
    """Run the study; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="YAML file of a study")
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="runs at once, each a process")
    asked = parser.parse_args(arguments)
    if asked.side_by_side < 1:
        parser.error(f"--side-by-side {asked.side_by_side}: at least one run must go on at a time")

    def work() -> None:
        study, cells = load_study(asked.study)
        print(f"{len(cells)} runs: cells {', '.join(study.cells)}; seeds {', '.join(map(str, study.seeds))}")
        from character_ray.studies.run import run_study

        run_study(study, cells, asked.side_by_side)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
