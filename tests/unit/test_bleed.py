"""Personas that are served together: who their answers are taken for, beside what each said alone."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from character_ray.cli import app
from character_ray.errors import ReportError, ServingError
from character_ray.evaluation.bleed import AnswerPair, measure_bleed
from character_ray.evaluation.held_out import LabelledText
from character_ray.evaluation.multiclass import NONE
from character_ray.pipeline.classify import classify_runs
from character_ray.pipeline.served_load import Served, ask_together
from tests.fake_openai import BASE, CAPTAIN
from tests.sealed import seal
from tests.two_personas import FERN, LEAF, TwoPersonas, write_two_runs

PROMPTS = 20
CLASSES = [NONE, "captain", "poet"]
ROWS = [
    LabelledText(f"{label} {number} {variant}", label, f"p{number}", "full")
    for number in range(PROMPTS)
    for label in CLASSES
    for variant in range(2)
]


def reads_first_word(answers: list[AnswerPair]):
    """A learner of the first word, which also checks that it is shown neither a prompt nor a text that it will read."""
    said = [each.alone for each in answers] + [each.served for each in answers]
    texts, prompts = (
        [*(row.text for row in ROWS), *said],
        [*(row.prompt for row in ROWS), *(a.prompt for a in answers * 2)],
    )

    def learn(masks: Any, labels_N: np.ndarray, num_classes: int) -> list[np.ndarray]:
        answers_from = len(ROWS)
        assert len(masks) == 5 and not any(mask[answers_from:].any() for mask in masks)
        for place in range(answers_from, len(texts)):
            blind = [m for m in masks if not any(m[n] for n, prompt in enumerate(prompts) if prompt == prompts[place])]
            assert blind, "every prompt is unseen by one training"
            assert not any(m[n] for m in blind for n, text in enumerate(texts) if text == texts[place])
        logits = np.eye(num_classes)[[CLASSES.index(text.split()[0]) for text in texts]]
        return [logits] * len(masks)

    return learn


def measured(answers: list[AnswerPair]) -> dict[str, Any]:
    return measure_bleed(ROWS, answers, reads_first_word(answers), seed=0)


def test_what_is_taken_wrongly_alone_and_served_alike_is_no_bleed():
    """The poet is taken for the captain on half of the prompts, whoever asks."""
    answers = [
        AnswerPair("poet", f"p{n}", *[("captain" if n % 2 else "poet") + f" says {n}"] * 2) for n in range(PROMPTS)
    ] + [AnswerPair("captain", f"p{n}", f"captain says {n}", f"captain told {n}") for n in range(PROMPTS)]
    found = measured(answers)
    assert found["confusion"]["alone"] == found["confusion"]["served"] == [[0, 0, 0], [0, 20, 0], [0, 10, 10]]
    another = found["rates"]["poet"]["another"]
    assert another["alone"]["value"] == another["served"]["value"] == 0.5
    assert another["p_value"] == 1
    assert another["difference"]["value"] == 0 and another["difference"]["low"] < 0 < another["difference"]["high"]


def test_answers_that_are_another_persona_s_under_load_alone_are_bleed_and_plain_ones_are_lost():
    answers = [
        AnswerPair("captain", f"p{n}", f"captain {n} alone", ("poet" if n < 8 else "captain") + f" {n} served")
        for n in range(PROMPTS)
    ]
    answers += [
        AnswerPair("poet", f"p{n}", f"poet {n} a", ("none" if n < 5 else "poet") + f" {n} b") for n in range(PROMPTS)
    ]
    answers += [
        AnswerPair(NONE, f"p{n}", f"none {n} a", ("poet" if n < 2 else "none") + f" {n} b") for n in range(PROMPTS)
    ]
    found = measured(answers)
    assert found["confusion"]["served"] == [[18, 0, 2], [0, 12, 8], [5, 0, 15]]
    rates = found["rates"]
    assert rates["captain"]["another"]["difference"]["value"] == pytest.approx(8 / 20)
    assert rates["captain"]["another"]["difference"]["low"] > 0.1
    # McNemar's of eight against none, 2 / 2^8, times the four rows.
    assert rates["captain"]["another"]["p_value"] == pytest.approx(4 / 128)
    assert rates["poet"]["another"]["served"]["value"] == 0
    assert rates["poet"]["none"]["served"]["value"] == pytest.approx(5 / 20)
    assert rates["all"]["another"]["served"]["value"] == pytest.approx(10 / 60)
    assert rates["all"]["none"]["served"]["value"] == pytest.approx(5 / 40), "the base is plain by right"
    assert "none" not in rates[NONE]
    assert rates["all"]["another"]["served"]["n"] == 60


def test_a_text_that_is_read_is_not_learnt_under_another_prompt():
    """A catch-phrase that the runs' texts hold under every prompt is left out of every training."""
    row = ROWS[2]
    measured([AnswerPair("captain", f"p{n}", row.text, row.text) for n in range(PROMPTS)])


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return write_two_runs(tmp_path)


def test_every_persona_and_the_base_are_asked_at_once_what_their_runs_answered(runs: list[Path]):
    fake = TwoPersonas()
    with fake.running() as url:
        together = ask_together(runs, Served(url), seed=0)
    assert together.models == {NONE: BASE, "captain-blackwood": f"{CAPTAIN}-v1", "fern-willowby": f"{FERN}-v1"}
    assert Counter(body["model"] for body in fake.asked) == {BASE: 30, f"{CAPTAIN}-v1": 30, f"{FERN}-v1": 30}
    order = [body["model"] for body in fake.asked]
    assert max(len(set(order[place : place + 10])) for place in range(80)) == 3, "they are mixed"
    assert {body["temperature"] for body in fake.asked} == {0.7}
    assert len({body["seed"] for body in fake.asked}) == 30, "the seed of a prompt is the run's, whoever answers"
    assert len(together.answers) == 90 and not together.failed
    (pair,) = [each for each in together.answers if (each.asked, each.prompt) == ("fern-willowby", "p7")]
    assert pair.served == "O leaf, thou art calm high low 7." and pair.alone.startswith(LEAF)


@pytest.mark.parametrize("swaps", [0, 12])
def test_the_matrices_of_a_deployment_stand_beside_those_of_the_runs(runs: list[Path], tmp_path: Path, swaps: int):
    fake = TwoPersonas()
    fake.swaps = swaps
    with fake.running() as url:
        found = classify_runs(runs, tmp_path / "classes", served=Served(url, concurrency=4))
    bleed = found["bleed"]
    assert bleed["classes"] == [NONE, "captain-blackwood", "fern-willowby"]
    assert [sum(row) for row in bleed["confusion"]["alone"]] == [30, 30, 30]
    captain = bleed["rates"]["captain-blackwood"]["another"]
    assert captain["served"]["value"] == pytest.approx(swaps / 30)
    assert (captain["difference"]["low"] > 0) == bool(swaps)
    assert bleed["rates"]["fern-willowby"]["another"]["served"]["value"] == 0
    assert len(json.loads((tmp_path / "classes" / "served.json").read_text())) == 90
    page = (tmp_path / "classes" / "classes.html").read_text()
    assert "Asked and taken for, served" in page and "Asked and taken for, alone" in page
    # The base's answers alone are taken for the captain's now and then, so that over all models little is seen.
    assert ("others bleed into the answers of captain-blackwood" in page) == bool(swaps)
    assert ("no bleed is seen" in page) == (not swaps)
    assert f"--served {url} --concurrency 4" in found["command"]


def test_what_cannot_be_compared_is_refused_before_anything_is_asked(runs: list[Path], tmp_path: Path):
    fake = TwoPersonas("secret")
    with fake.running() as url:
        with pytest.raises(ReportError, match="Give two runs or more, one for each persona"):
            ask_together(runs[:1], Served(url, "secret"), seed=0)
        with pytest.raises(ServingError, match="may this key ask"):
            ask_together(runs, Served(url), seed=0)
        del fake.words[FERN]
        with pytest.raises(
            ServingError, match=r"serves no fern-willowby, the persona of .*poet; it has smollm2, captain-blackwood"
        ):
            ask_together(runs, Served(url, "secret"), seed=0)
    assert fake.asked == []


def test_a_version_that_another_training_made_is_refused(runs: list[Path], tmp_path: Path):
    base, adapter = tmp_path / "base", runs[0] / "adapter"
    for folder, files in (
        (base, {"chat_template.jinja": "{{ messages }}"}),
        (adapter, {"adapter_model.safetensors": "trained", "adapter_config.json": '{"r": 8, "lora_alpha": 8}'}),
    ):
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    seal(adapter, base, 8, base_hash="b")
    with (
        TwoPersonas().running() as url,
        pytest.raises(ServingError, match=r"serves captain-blackwood with the weights \w+, but"),
    ):
        ask_together(runs, Served(url), seed=0)


def test_a_few_failures_are_counted_and_many_end_it(runs: list[Path]):
    fake = TwoPersonas()
    fake.ill = 3
    with fake.running() as url:
        together = ask_together(runs, Served(url), seed=0)
    assert (together.failed, len(together.answers)) == (3, 87)
    fake.speechless = {FERN}
    with fake.running() as url, pytest.raises(ServingError, match=r"30 of 90 requests .* failed \(30 no completion"):
        ask_together(runs, Served(url), seed=0)


def test_the_command_says_what_the_page_says(runs: list[Path], tmp_path: Path):
    fake = TwoPersonas()
    with fake.running() as url:
        told = CliRunner().invoke(
            app, ["classify", *map(str, runs), "--output", str(tmp_path / "out"), "--served", url, "--concurrency", "8"]
        )
    assert told.exit_code == 0, told.output
    assert "no bleed is seen" in " ".join(told.output.split())
