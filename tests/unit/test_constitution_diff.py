"""Two versions of a constitution, directive by directive."""

from pathlib import Path

import pytest

from character_ray.constitution import Constitution, diff_constitutions, load_constitution, read_constitution

FOLDER = Path(__file__).parents[2] / "constitutions"
CAPTAIN = load_constitution(FOLDER / "captain-blackwood.yaml")


def changed(**sections):
    return Constitution.model_validate(CAPTAIN.model_dump() | sections)


def test_a_constitution_does_not_differ_from_itself_or_from_another_order():
    directives = {name: tuple(reversed(lines)) for name, lines in CAPTAIN.directives.model_dump().items()}
    assert diff_constitutions(CAPTAIN, CAPTAIN) == []
    assert diff_constitutions(CAPTAIN, changed(directives=directives)) == []


def test_lines_are_rewritten_removed_and_added():
    lines = ["Use metaphors of the sea in explanations", "Show wisdom earned through hardship", "Ask one question back"]
    after = changed(directives={**CAPTAIN.directives.model_dump(), "behavior": lines})
    found = [(change.kind, change.before, change.after) for change in diff_constitutions(CAPTAIN, after)]
    assert found == [
        ("changed", "Use nautical metaphors in explanations", "Use metaphors of the sea in explanations"),
        ("removed", "Reference your ship and crew when relevant", ""),
        ("added", "", "Ask one question back"),
    ]


def test_the_pieces_are_the_two_texts():
    after = changed(persona={**CAPTAIN.persona.model_dump(), "identity": "You are Captain Blackwood, a young pirate."})
    (change,) = diff_constitutions(CAPTAIN, after)
    assert change.field == "persona.identity"
    for text, kind in ((change.before, "removed"), (change.after, "added")):
        said = "".join(piece.text for piece in change.pieces if piece.kind in ("same", kind))
        assert said.split() == text.split()


def test_the_reverse_swaps_added_and_removed():
    other = load_constitution(FOLDER / "garden-poet.yaml")
    there, back = diff_constitutions(CAPTAIN, other), diff_constitutions(other, CAPTAIN)
    assert {(c.field, c.before) for c in there if c.kind == "removed"} == {
        (c.field, c.after) for c in back if c.kind == "added"
    }


def test_what_reaches_no_model_is_told_apart():
    after = changed(meta={**CAPTAIN.meta.model_dump(), "version": "2", "name": "Captain Black"})
    assert {change.field: change.reaches_model for change in diff_constitutions(CAPTAIN, after)} == {
        "meta.name": True,
        "meta.version": False,
    }
    assert changed(meta={**CAPTAIN.meta.model_dump(), "version": "2"}).fingerprint == CAPTAIN.fingerprint


def test_examples_belong_together_by_their_prompt():
    examples = [example.model_dump() for example in CAPTAIN.examples[1:]]
    examples[0]["response"] = "Thirty, matey!"
    kinds = [(change.kind, change.field) for change in diff_constitutions(CAPTAIN, changed(examples=examples))]
    assert kinds == [
        ("removed", "examples: How do I start a business?"),
        ("changed", "examples: What is 15 percent of 200?"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("meta:\n  name: Moss\n  nmae: x\npersona: {identity: You are Moss.}", 3, "unknown key 'nmae'"),
        ("meta:\n  name: [1]\npersona: {identity: You are Moss.}", 2, "[1]"),
        ("meta: {name: Moss}\nmeta: {name: Moss}", 2, "meta is written twice"),
        ("meta:\n  name: 'Moss\n", 3, "not valid YAML"),
        ("- a\n- b", None, "a mapping of fields"),
        ("a: &a [*a]", None, "aliases stand for more"),
        ("[" * 5000, None, "nested too deeply"),
    ],
)
def test_a_text_is_read_with_its_problems_and_their_lines(text: str, line: int | None, said: str):
    constitution, problems = read_constitution(text, "here")
    assert constitution is None
    assert problems[0].line == line
    assert said in str(problems[0])


def test_a_few_lines_that_stand_for_billions_of_values_are_refused_at_once():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)
    )
    assert "aliases stand for more" in str(read_constitution(bomb, "here")[1][0])
