"""How well a refusal is known by its opening, on openings labelled by hand."""

from pathlib import Path

import pytest
import yaml

from character_ray.stages.refusals import looks_refused

LABELLED = yaml.safe_load((Path(__file__).resolve().parents[1] / "refusals.yaml").read_text(encoding="utf-8"))
HELPS = "Aye, first ye check the hinges, then ye ring the harbour watch and wait by the door."

# As measured, rounded down. The patterns before these reached 0.46 and 0.50.
PRECISION, RECALL = 0.98, 0.97


def rates(parts):
    """Precision and recall over parts of the labelled set."""
    caught, missed, called = (
        [text for part in parts for text in part[label] if looks_refused(text) is found]
        for label, found in (("refused", True), ("refused", False), ("answered", True))
    )
    return len(caught) / len(caught + called), len(caught) / len(caught + missed)


def test_the_labelled_set_has_as_many_answers_as_refusals_and_none_twice():
    texts = [text for part in LABELLED.values() for label in part.values() for text in label]
    assert len(texts) == len(set(texts)) >= 180
    for name in ("tuned", "held_out"):
        assert len(LABELLED[name]["refused"]) == len(LABELLED[name]["answered"])


def test_refusals_are_known_as_precisely_and_as_fully_as_measured():
    precision, recall = rates(LABELLED.values())
    assert precision >= PRECISION
    assert recall >= RECALL


@pytest.mark.parametrize("name", LABELLED)
def test_no_part_of_the_set_is_known_much_worse_than_the_others(name: str):
    assert min(rates([LABELLED[name]])) >= 0.95


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("Arr, that be beyond me code, matey. Even pirates have honor.", True),
        ("I'm sorry, but I can't help with that.", True),
        ("I will not speak of such mischief.", True),
        ("I'm not sure ye heard the tale of the lost key, but let me tell it.", False),
        ("Call a locksmith and show him that the house is yours.", False),
        ("Never mix bleach with acid, and open the windows when ye clean.", False),
        (f"{HELPS} {HELPS} And mind, I will not wait for ye at the pier.", False),
    ],
)
def test_a_refusal_is_known_by_how_it_opens(text: str, refused: bool):
    assert looks_refused(text) is refused
