"""Stand-ins that a tournament is held with: judges that behave as a test says, and endpoints where everybody is there."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from character_ray.config import EndpointConfig, Tournament
from character_ray.inference.find_model import FoundModel
from character_ray.inference.remote import Sections
from character_ray.judging.audit import SeatedPair
from character_ray.judging.verdict import parse_verdict, to_points
from character_ray.pipeline.judges import Judged, Panelist
from character_ray.pipeline.tournament import hold_tournament
from character_ray.report.tournament_schema import TournamentReport
from character_ray.runs import Artefact
from tests.finished_run import PIRATE

__all__ = ["Court", "everybody_is_there", "held", "in_character", "planned", "written"]


def in_character(first: str, second: str) -> float:
    """Probability of the first seat by a judge that sees the character."""
    own = [text.startswith(PIRATE) for text in (first, second)]
    return 0.5 if own[0] == own[1] else 0.9 if own[0] else 0.1


def written(first_wins: float) -> str:
    """What such a judge writes."""
    return "I begin with [[A]].\n\n" + ("[[tie]]" if first_wins == 0.5 else "[[A]]" if first_wins > 0.5 else "[[B]]")


class Court:
    """Stands where :func:`~character_ray.pipeline.judges.ask_judge` stands."""

    def __init__(self) -> None:
        self.judge: Callable[[str, str], float] = in_character
        self.write: Callable[[float], str] = written
        self.asked = 0

    def __call__(
        self, label: str, artefact: Artefact, rows: Sequence[SeatedPair], judge: Panelist
    ) -> dict[str, Judged]:
        self.asked += 0 if artefact.is_done else len(rows)
        found = {}
        for row in rows:
            first_wins = self.judge(row["first"], row["second"])
            reply = self.write(first_wins) if judge.spec.kind == "text" else ""
            read = to_points(parse_verdict(reply)) if reply else first_wins
            found[row["row_id"]] = Judged(read, reply)
        if not artefact.is_done:
            artefact.finish({"wall_s": 1.0, "rows_in": len(rows)})
        return found


def everybody_is_there(model: str, endpoint: EndpointConfig, sections: Sections, *, scores: bool = False) -> FoundModel:
    """Stands where :func:`~character_ray.inference.find_model.find_model` stands."""
    return FoundModel(model)


def planned(run: Path, kinds: tuple[str, ...] = ("letters",), **changes: Any) -> Tournament:
    judges = [
        {"name": f"{kind}-{number}", "kind": kind, "model": {"name": "m"}, "endpoint": {"url": "http://there/v1"}}
        for number, kind in enumerate(kinds)
    ]
    arms = ("base", "prompted", "dpo", "full")
    plain = {"name": "cup", "output": run.parent, "contestants": [{"run": run, "arms": arms}], "judges": judges}
    return Tournament.model_validate(plain | {"audit": {"pairs": 8}, "rating": {"bootstrap": 200}} | changes)


def held(court: Court, tournament: Tournament) -> TournamentReport:
    folder = hold_tournament(tournament, court, everybody_is_there)
    return TournamentReport.model_validate_json((folder / "tournament.json").read_text())
