"""``docs/studies/README.md``: one line for each claim of the design document, with the figures of the studies that decide it.

python -m scripts.claims
python -m scripts.claims --check
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
STUDIES = ROOT / "docs" / "studies"
RANK = ("fails", "undecided", "not run", "holds")
# The same claims at the demo's sizes.
SMALL = "-cpu"
IN_SMALL = "in small"
HEAD = """\
# Studies

What the [design document](../differences.md#the-design-document) claims, and what came of it on the embedded model
(SmolLM2-135M-Instruct). Sections are those of that document.

- A claim *holds* when the whole 95 % interval of the difference is on its side, *fails* when it is on the other, else it is *undecided*,
  which is a result too. A claim that several comparisons decide holds when all do. Negative results stay.
- A positive difference means that the claim's better cell is better, for looping that it loops less, unless the claim says more.
- *In small*: the study at the design document's sizes has not run, and the same comparison at the demo's sizes on two CPU cores (the study
  of that name with `-cpu`) is shown meanwhile.
- Every study with packs can be decided again from them, for example
  `python jobs/study.py jobs/studies/ranks.yaml --from docs/studies/ranks/*.zip --output /tmp/ranks`.

`python -m scripts.claims` writes this page from `claims.yaml` and the results below this folder; nothing in it is typed by hand.

"""


def main(arguments: Sequence[str]) -> int:
    """Write the page, or say whether it is up to date; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the page is stale")
    asked = parser.parse_args(arguments)
    page, text = STUDIES / "README.md", claims_page(STUDIES)
    if asked.check:
        return int(not page.is_file() or page.read_text(encoding="utf-8") != text)
    page.write_text(text, encoding="utf-8")
    return 0


def claims_page(folder: Path) -> str:
    """The page for a folder with ``claims.yaml`` and results."""
    claims = yaml.safe_load((folder / "claims.yaml").read_text(encoding="utf-8"))
    results = study_results(folder)
    lines = ["| section | claim | outcome | figures |", "| --- | --- | --- | --- |"]
    lines += [_line(claim, results) for claim in claims]
    counts = {
        each: sum(f"| **{each}**" in line for line in lines) for each in ("holds", "fails", "undecided", "not run")
    }
    told = ", ".join(f"{count} {each}" for each, count in counts.items())
    if small := sum(f"** {IN_SMALL} |" in line for line in lines):
        told += f"; {small} of them {IN_SMALL}"
    pages = [f"- [{name}]({path.parent.relative_to(folder)}/study.md)" for name, (path, _) in results.items()]
    return HEAD + f"{len(claims)} claims: {told}.\n\n" + "\n".join(lines) + "\n" + _listed(pages, folder)


def study_results(folder: Path) -> dict[str, tuple[Path, Mapping[str, Any]]]:
    """By the name of the study, every ``study.json`` below the folder."""
    found = {}
    for path in sorted(folder.rglob("study.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        found[data["study"]["name"]] = (path, data)
    return found


def _listed(pages: Sequence[str], folder: Path) -> str:
    scaling = (
        ["- [Scaling: what more GPUs and more personas cost](scaling.md)"] if (folder / "scaling.md").is_file() else []
    )
    every = [*pages, *scaling]
    return "\n" + "\n".join(["The studies:", "", *every]) + "\n" if every else ""


def _line(claim: Mapping[str, Any], results: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> str:
    note = f" {claim['note']}" if "note" in claim else ""
    if "decided_by" not in claim:
        return f"| {claim['section']} | {claim['text']} | **not run** | {claim['why']} |"
    found = [_find(each, results) for each in claim["decided_by"]]
    outcomes = [each["outcome"] if each else "not run" for each in found]
    if claim.get("negated"):
        # What is tested is the opposite: a gain that is seen speaks against the claim.
        outcomes = [{"holds": "fails", "fails": "holds"}.get(outcome, outcome) for outcome in outcomes]
    outcome = f"**{next(each for each in RANK if each in outcomes)}**"
    if any(each and each["study"].endswith(SMALL) for each in found):
        outcome += f" {IN_SMALL}"
    figures = "; ".join(_figure(asked, each) for asked, each in zip(claim["decided_by"], found, strict=True))
    return f"| {claim['section']} | {claim['text']} | {outcome} | {figures}.{note} |"


def _find(asked: Mapping[str, str], results: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> Mapping[str, Any] | None:
    """The tested claim with the name of its study; one at the demo's sizes only where there is no other."""
    for study in (asked["study"], asked["study"] + SMALL):
        for claim in results[study][1]["claims"] if study in results else ():
            if (claim["text"], claim["metric"]) == (asked["claim"], asked["metric"]):
                return {**claim, "study": study}
    return None


def _figure(asked: Mapping[str, str], found: Mapping[str, Any] | None) -> str:
    from character_ray.report import wording

    study = found["study"] if found else asked["study"]
    text = f"{asked['claim']} ({asked['metric'].removesuffix('_rate').replace('_', ' ')}, `{study}`)"
    if found is None or found["difference"] is None:
        return f"{text}: not run"
    gap, metric = found["difference"], asked["metric"]
    shown = f"{wording.difference(metric, gap['value'])} {wording.shift_interval(metric, gap['low'], gap['high'])}"
    return f"{text}: {found['outcome']}, {shown} over {found['seeds']} seed{'s' * (found['seeds'] != 1)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
