"""A matrix of runs as one job: cells and seeds of a study file, shared parts made once, claims tested at the end.

python jobs/study.py jobs/studies/contrast-cpu.yaml
python jobs/study.py jobs/studies/ablation.yaml --side-by-side 3
python jobs/study.py jobs/studies/ranks.yaml --cells small,large --seeds 0 --pack ranks-0.zip
python jobs/study.py jobs/studies/ranks.yaml --collect --pack ranks-0.zip
python jobs/study.py jobs/studies/ranks.yaml --from ranks-0.zip ranks-1.zip --output docs/studies/ranks
python jobs/study.py jobs/studies/ablation.yaml --set student_engine.keep=false student_engine.gpu_share=1 judge.keep=false
ray job submit --working-dir . -- python jobs/study.py jobs/studies/ablation.yaml --set output=/shared/runs
"""

import argparse
import sys
import tempfile
from pathlib import Path

from character_ray.cli.job import exit_code
from character_ray.studies import load_study, select_cells


def main(arguments: list[str]) -> int:
    """Run the study, or put together what ran before; returns the exit code."""
    asked = _parse(arguments)

    def work() -> None:
        study, every = load_study(asked.study, asked.overrides)
        cells = select_cells(study, every, asked.cells, asked.seeds)
        output = asked.output or cells[0].recipe.output / study.name
        from character_ray.studies.pack import read_packs
        from character_ray.studies.run import check_all_finished, collect, run_cells, write_results

        if asked.packs:
            with tempfile.TemporaryDirectory() as scratch:
                runs = read_packs(study, every, asked.packs, Path(scratch))
                write_results(study, runs, output, asked.pack)
            return
        if asked.collect:
            write_results(study, collect(cells), output, asked.pack)
            return
        print(f"{len(cells)} runs: {', '.join(f'{cell.name} seed {cell.seed}' for cell in cells)}")
        runs = run_cells(study, cells, asked.side_by_side)
        write_results(study, runs, output, asked.pack)
        check_all_finished(runs)

    return exit_code(work)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="YAML file of a study")
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="runs at once, each a process")
    parser.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="overrides of the recipe for every cell, which win over the study's own: output=/shared/runs",
    )
    parser.add_argument("--cells", type=_names, default=[], metavar="A,B", help="run only these cells")
    parser.add_argument("--seeds", type=_numbers, default=[], metavar="0,1", help="run only these seeds")
    parser.add_argument(
        "--collect", action="store_true", help="run nothing: write what has finished in the output folder"
    )
    parser.add_argument(
        "--pack", type=Path, metavar="PATH", help="write results to carry, a folder or a .zip, without weights"
    )
    parser.add_argument(
        "--from", dest="packs", type=Path, nargs="+", default=[], metavar="PACK", help="run nothing: read these packs"
    )
    parser.add_argument(
        "--output", type=Path, help="folder of study.json and study.md (default: output/name of the recipe)"
    )
    asked = parser.parse_args(arguments)
    if asked.side_by_side < 1:
        parser.error(f"--side-by-side {asked.side_by_side}: at least one run must go on at a time")
    if asked.packs and (asked.collect or asked.cells or asked.seeds):
        parser.error("--from reads whole packs and runs nothing; leave --collect, --cells and --seeds out")
    return asked


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in _names(text)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
