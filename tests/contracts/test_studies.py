"""The page of the seed's claims names claims that exist and says what the results beside it say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from character_ray.studies import load_study
from scripts.claims import STUDIES, claims_page

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = yaml.safe_load((STUDIES / "claims.yaml").read_text(encoding="utf-8"))
DECIDED = [each for claim in CLAIMS for each in claim.get("decided_by", ())]


@pytest.mark.parametrize("asked", DECIDED, ids=lambda each: f"{each['study']}: {each['claim']}")
def test_what_decides_a_claim_is_a_claim_of_a_study_that_ships(asked: dict[str, str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    study, _ = load_study(ROOT / "jobs" / "studies" / f"{asked['study']}.yaml")
    assert (asked["claim"], asked["metric"]) in [(claim.text, claim.metric) for claim in study.claims]


def test_the_page_is_up_to_date():
    assert (STUDIES / "README.md").read_text(encoding="utf-8") == claims_page(STUDIES), (
        "docs/studies/README.md is stale: run python -m scripts.claims"
    )


def result(outcome: str) -> dict[str, Any]:
    gap = {"value": 0.1, "low": 0.05, "high": 0.15}
    claim = {"text": "More is more", "metric": "persona_rate", "outcome": outcome, "seeds": 3, "difference": gap}
    return {"study": {"name": "s"}, "claims": [claim]}


@pytest.mark.parametrize(
    ("negated", "outcome", "shown"),
    [(False, "holds", "holds"), (True, "holds", "fails"), (True, "undecided", "undecided"), (False, "fails", "fails")],
)
def test_a_claim_takes_the_outcome_of_its_study(tmp_path: Path, negated: bool, outcome: str, shown: str):
    decided = [{"study": "s", "claim": "More is more", "metric": "persona_rate"}]
    claims = [{"section": "1", "text": "It does", "negated": negated, "decided_by": decided}]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claims))
    assert "| **not run** |" in claims_page(tmp_path)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "study.json").write_text(json.dumps(result(outcome)))
    page = claims_page(tmp_path)
    assert f"| It does | **{shown}** |" in page
    assert "over 3 seeds" in page
    assert "[s](s/study.md)" in page


def test_a_claim_whose_study_has_not_run_is_decided_in_small_and_says_so(tmp_path: Path):
    decided = [{"study": "s", "claim": "More is more", "metric": "persona_rate"}]
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([{"section": "1", "text": "It does", "decided_by": decided}]))
    small, whole = result("holds"), result("fails")
    small["study"]["name"] = "s-cpu"
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "study.json").write_text(json.dumps(small))
    page = claims_page(tmp_path)
    assert "| It does | **holds** in small |" in page
    assert "1 claims: 1 holds, 0 fails, 0 undecided, 0 not run; 1 of them in small." in page
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "study.json").write_text(json.dumps(whole))
    assert "| It does | **fails** |" in claims_page(tmp_path)
