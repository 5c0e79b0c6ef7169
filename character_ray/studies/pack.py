"""A study's results to carry: everything verdicts are made of, and no weights.

PACK/study-file.json           the study
PACK/runs/<cell>-s<seed>/      report.json without transcripts · decisions.parquet · answers.parquet · trials.parquet, or error.txt

A pack is a folder, or one file when its name ends in ``.zip``. Packs of the same study can be read together: a run that finished in one of
them counts, whatever became of it in another.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from character_ray.errors import ReportError
from character_ray.report.io import write_report
from character_ray.runs import write_json
from character_ray.studies.definition import check_definition
from character_ray.studies.finished import DECISIONS, Finished, read_finished
from character_ray.studies.schema import Cell, Study

__all__ = ["read_packs", "write_pack"]

STUDY = "study-file.json"
TABLES = (DECISIONS, "answers.parquet", "trials.parquet")


def write_pack(path: Path, study: Study, runs: Sequence[Finished], pages: Sequence[Path] = ()) -> None:
    """Write the pack, in place of one that is there.

    Args:
        path: Folder, or file ending in ``.zip``.
        study: The study.
        runs: Its runs, finished or failed; each that finished has a folder.
        pages: Further files to put beside them, such as ``study.md``.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pack"
        folder.mkdir()
        write_json(folder / STUDY, study.model_dump(mode="json"))
        for page in pages:
            shutil.copy(page, folder)
        for run in runs:
            own = folder / "runs" / f"{run.cell}-s{run.seed}"
            own.mkdir(parents=True)
            write_json(own / "run.json", {"cell": run.cell, "seed": run.seed, "error": run.error})
            if run.report is None or run.folder is None:
                continue
            write_report(run.report.model_copy(update={"transcripts": []}), own / "report.json")
            for name in TABLES:
                if (run.folder / name).is_file():
                    shutil.copy(run.folder / name, own)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".zip":
            made = shutil.make_archive(str(Path(scratch) / "made"), "zip", folder)
            shutil.move(made, path)
        else:
            shutil.rmtree(path, ignore_errors=True)
            shutil.move(folder, path)


def read_packs(study: Study, cells: Sequence[Cell], paths: Sequence[Path], into: Path) -> list[Finished]:
    """The runs of all packs, each once, in the order of the study; finished ones go before failed ones.

    Args:
        study: The study.
        cells: All its runs; one of a cell that it no longer has is left out.
        paths: Packs.
        into: Folder that zipped packs are unpacked in; the runs' files lie there.

    Raises:
        ReportError: A pack is missing or is of another study, or a run in it was made by an older definition of its cell.
    """
    asked = {(cell.name, cell.seed): cell.recipe for cell in cells}
    found: dict[tuple[str, int], Finished] = {}
    for number, path in enumerate(paths):
        folder = _opened(path, into / str(number))
        _check_same(study, path, folder)
        for own in sorted((folder / "runs").iterdir()) if (folder / "runs").is_dir() else ():
            record = json.loads((own / "run.json").read_text(encoding="utf-8"))
            key = (record["cell"], record["seed"])
            if key not in asked:
                continue
            run = read_finished(*key, own, record["error"])
            if run.report is not None:
                check_definition(f"{path}: the run {own.name}", run.report, asked[key])
            known = found.get(key)
            if known is None or (known.error and not run.error):
                found[key] = run
    return [found[key] for key in asked if key in found]


def _opened(path: Path, into: Path) -> Path:
    if path.suffix == ".zip" and path.is_file():
        shutil.unpack_archive(path, into)
        path = into
    if not (path / STUDY).is_file():
        raise ReportError(
            f"{path} is no pack of a study: it has no {STUDY}. Write one with jobs/study.py STUDY --pack {path}."
        )
    return path


def _check_same(study: Study, path: Path, folder: Path) -> None:
    name = json.loads((folder / STUDY).read_text(encoding="utf-8"))["name"]
    if name != study.name:
        raise ReportError(f"{path} is a pack of study {name!r}, not of {study.name!r}. Give packs of one study.")
