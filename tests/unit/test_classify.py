"""What ``classify`` learns of finished runs."""

from collections import Counter
from pathlib import Path

from character_ray.pipeline.classify import gather_texts
from tests.finished_run import write_reflections, write_run


def test_what_a_persona_says_of_itself_is_a_text_of_its_class(tmp_path: Path):
    runs = [
        write_run(tmp_path / slug, prompts=4, seed=place, constitution=slug)
        for place, slug in enumerate(("captain-blackwood", "garden-poet"))
    ]
    for run in runs:
        (run / "report.json").write_text("{}")
    assert "introspection" not in {row.generator for row in gather_texts(runs)}
    write_reflections(runs[0] / "introspection", 3)
    write_reflections(runs[1] / "introspection", 2, "O gentle leaf")
    own = [row for row in gather_texts(runs) if row.generator == "introspection"]
    assert Counter(row.label for row in own) == {"captain-blackwood": 3, "fern-willowby": 2}, (
        "what was dropped is not learnt"
    )
    assert own[0].text == "Arr, matey, the tide be mine, 0 times."
    # The same question to both stands on one side of the split.
    assert own[0].prompt == own[3].prompt == "Who are you, in 0 words?"
