"""Arms of finished runs meet on the same prompts in both seats; audited judges decide, and everybody gets a rating.

python jobs/tournament.py jobs/tournaments/arms-cpu.yaml
python jobs/tournament.py jobs/tournaments/arms-cpu.yaml rating.length=true name=at-equal-length
ray job submit --working-dir . -- python jobs/tournament.py /shared/panel.yaml output=/shared/runs
"""

import sys

from character_ray.cli.job import exit_code
from character_ray.config import load_tournament


def main(arguments: list[str]) -> int:
    """Hold the tournament; returns the exit code."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0 if arguments else 2

    def work() -> None:
        tournament = load_tournament(arguments[0], arguments[1:])
        from character_ray.pipeline.tournament import hold_tournament

        hold_tournament(tournament)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
