"""Run folders as a page shows them: what is finished, what is under way, what came out."""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from character_ray.errors import CharacterRayError, StudioError
from character_ray.report.io import load_report
from character_ray.report.page import FURTHER, headline
from character_ray.report.schema import Report
from character_ray.report.tournament_schema import TournamentReport
from character_ray.report.wording import METRICS, amount, duration, interval, label
from character_ray.studio.folders import inside

__all__ = ["RunCard", "Runs", "StageRow"]

# Between two writes of a working stage, an engine's start included; after that it is called stopped.
WORKING_S = 300.0
SHOWN = ("persona_rate", "hidden_trait_rate", "override_rate", "looping_rate", "rating")
PAGES = ("report.html", "tournament.html")
SHOWN_ARMS = ("base", "prompted", "dpo", "full")


@dataclass(frozen=True)
class StageRow:
    """One stage of a run, or of the store's unfinished work."""

    name: str
    state: Literal["done", "working", "stopped"]
    rows_in: int = 0
    rows_out: int = 0
    took: str = ""
    note: str = ""


@dataclass(frozen=True)
class RunCard:
    """One run."""

    name: str
    state: Literal["finished", "unfinished", "damaged"]
    persona: str = ""
    student: str = ""
    changed: float = 0.0
    """When it last wrote something, in seconds since 1970."""
    lead: str = ""
    stages: list[StageRow] = field(default_factory=list)
    measures: list[dict[str, Any]] = field(default_factory=list)
    has_page: bool = False
    has_adapter: bool = False
    problem: str = ""


class Runs:
    """The run folders below an output folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def cards(self) -> list[dict[str, Any]]:
        """Every run, the one that last wrote something first."""
        if not self.folder.is_dir():
            return []
        folders = [path.parent for path in self.folder.glob("*/run.json")]
        cards = [self._card(folder) for folder in folders if folder.name != "store"]
        return [asdict(card) for card in sorted(cards, key=lambda card: -card.changed)]

    def unfinished(self) -> list[dict[str, Any]]:
        """Stages in the store that are not done: what runs are working on, or left when they stopped."""
        rows = []
        for folder in sorted((self.folder / "store").glob("*-*")):
            if folder.is_dir() and not (folder / "done.json").is_file():
                quiet_s = time.time() - _last_write(folder)
                state: Literal["working", "stopped"] = "working" if quiet_s < WORKING_S else "stopped"
                note = f"last wrote {duration(max(quiet_s, 0.0))} ago"
                rows.append(StageRow(folder.name.rpartition("-")[0], state, rows_out=_rows_so_far(folder), note=note))
        return [asdict(row) for row in rows]

    def path(self, name: str) -> Path:
        """The folder of a run.

        Raises:
            StudioError: There is none of that name.
        """
        folder = inside(self.folder, name)
        if not (folder / "run.json").is_file():
            raise StudioError(f"{self.folder} has no run {name!r}.")
        return folder

    def page(self, name: str) -> str:
        """The run's or tournament's report as HTML.

        Raises:
            StudioError: It has none yet.
        """
        folder = self.path(name)
        pages = [folder / page for page in PAGES if (folder / page).is_file()]
        if not pages or pages[0].resolve().parent != folder.resolve():
            raise StudioError(f"{name} has no report yet; the last stage writes it.")
        return pages[0].read_text(encoding="utf-8")

    def further_page(self, name: str, measured: str) -> str:
        """The page of a further measurement that the run's report links to.

        Raises:
            StudioError: It was not measured.
        """
        path = self.path(name) / f"{measured}.html"
        if measured not in FURTHER or not path.is_file() or path.resolve().parent != self.path(name).resolve():
            raise StudioError(
                f"{name} has no page {measured!r}; it has those of what was measured: {', '.join(FURTHER)}."
            )
        return path.read_text(encoding="utf-8")

    def _card(self, folder: Path) -> RunCard:
        name, changed = folder.name, _last_write(folder)
        try:
            written = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            recipe = dict(written["recipe"])
            stages = [
                _stage(stage, self.folder / "store" / each["artefact"]) for stage, each in written["stages"].items()
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
            return RunCard(name, "damaged", changed=changed, problem=f"run.json cannot be read ({cause!r}).")
        if "contestants" in recipe:
            return _tournament(folder, recipe, changed, stages)
        card = RunCard(
            name,
            "unfinished",
            persona=Path(str(recipe.get("constitution") or "")).stem,
            student=str(_nested(recipe, "student", "name")),
            changed=changed,
            stages=stages,
            has_page=(folder / "report.html").is_file(),
            has_adapter=(folder / "adapter" / "manifest.json").is_file(),
        )
        if not (folder / "report.json").is_file():
            return card
        try:
            report = load_report(folder / "report.json")
        except CharacterRayError as error:
            return RunCard(**{**vars(card), "state": "damaged", "problem": str(error)})
        found = {"persona": report.constitution.name, "lead": headline(report)[0], "measures": _measures(report)}
        return RunCard(**{**vars(card), "state": "finished", **found})


def _tournament(folder: Path, setting: dict[str, Any], changed: float, stages: list[StageRow]) -> RunCard:
    """A tournament, whose folder lies beside those of runs."""
    card = RunCard(
        folder.name,
        "unfinished",
        persona=f"Tournament of {len(setting['contestants'])}",
        changed=changed,
        stages=stages,
        has_page=(folder / "tournament.html").is_file(),
    )
    path = folder / "tournament.json"
    if not path.is_file():
        return card
    try:
        report = TournamentReport.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        problem = f"tournament.json cannot be read ({str(cause).splitlines()[0]}). Run the tournament again."
        return replace(card, state="damaged", problem=problem)
    return replace(card, state="finished", lead=_standing(report))


def _standing(report: TournamentReport) -> str:
    """Who is rated highest, and after how many battles."""
    rated = {label: each.rating.value for label, each in report.contestants.items() if each.rating.value is not None}
    battles = f"{report.battles:,} battle{'' if report.battles == 1 else 's'}"
    if not rated:
        return f"Nobody could be rated after {battles}."
    best = max(rated, key=lambda label: rated[label])
    return f"{best} leads with {rated[best]:.0f} Elo points after {battles}."


def _stage(name: str, folder: Path) -> StageRow:
    done = folder / "done.json"
    if not done.is_file():
        return StageRow(name, "stopped", note="its result is gone from the store")
    summary = json.loads(done.read_text(encoding="utf-8"))["summary"]
    dropped = sum(summary.get("dropped", {}).values())
    return StageRow(
        name,
        "done",
        rows_in=summary.get("rows_in", 0),
        rows_out=summary.get("rows_out", 0),
        took=duration(float(summary.get("wall_s", 0.0))),
        note=f"{dropped:,} dropped" if dropped else "",
    )


def _measures(report: Report) -> list[dict[str, Any]]:
    """One row per measure, with what every shown arm got."""
    rows = []
    for metric in SHOWN:
        cells = {}
        for arm in SHOWN_ARMS:
            found = report.arms.get(arm, {}).get(metric)
            if found is not None and found.value is not None:
                cells[arm] = {
                    "text": amount(metric, found.value),
                    "interval": interval(metric, found.low, found.high),
                    "share": found.value if metric.endswith("_rate") else None,
                }
        if cells:
            rows.append({"metric": metric, "label": label(metric), "meaning": METRICS[metric].meaning, "cells": cells})
    return rows


def _nested(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, dict) else ""
    return value


def _rows_so_far(folder: Path) -> int:
    """Rows in the parts a stage has written; 0 when it writes no parts."""
    import pyarrow.parquet as pq

    count = 0
    for path in folder.glob("part-*.parquet"):
        try:
            count += pq.read_metadata(path).num_rows
        except (OSError, ValueError):
            continue
    return count


def _last_write(folder: Path) -> float:
    """When anything directly in a folder was last written."""
    times = [folder.stat().st_mtime]
    for path in folder.iterdir():
        try:
            times.append(path.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)
