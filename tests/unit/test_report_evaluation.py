"""What the report page says of the persona classifier and of the tests of rates, and of reports of before there were any."""

from character_ray.report.classifier_schema import Classifier, FineTuned
from character_ray.report.page import render_report
from tests.report_fixture import captain_report


def test_the_persona_classifier_is_shown_with_all_that_it_was_measured_by() -> None:
    page = render_report(captain_report())
    measures = page[page.index('id="measures"') :]
    for part in (
        "calibrated on 64 (its logits are divided by 1.84)",
        "3 completions were left out of training",
        "Taken for in character",
        '<span title="n = 97; Wilson score interval, 95 %">0.95</span> <small>[0.88, 0.98]</small>',
        "Left undecided",
        "<td>0.97</td>",
        "Trained on one generator, tested on another",
        "at least 90\N{NO-BREAK SPACE}% sure",
    ):
        assert part in measures, part
    assert "Reliability before calibration" in page
    assert "Expected calibration error 0.041 [0.000, 0.066]" in page


def test_the_page_says_which_classifier_a_run_used() -> None:
    report = captain_report()
    assert report.classifier is not None
    assert "A logistic regression on all-MiniLM-L6-v2, which shares nothing" in render_report(report)
    settings = FineTuned(epochs=4, batch_size=16, learning_rate=1e-4, max_length=128, workers=1)
    own = report.classifier.model_copy(update={"encoder": "FacebookAI/roberta-base", "fine_tuned": settings})
    page = render_report(report.model_copy(update={"classifier": own}))
    assert "FacebookAI/roberta-base, fine-tuned on Ray Train with a classification head, which shares nothing" in page
    assert "Epochs 4, batches of 16, peak learning rate 0.0001; the first 128 tokens of a completion are read." in page
    assert "A logistic regression" not in page


def test_a_classifier_of_before_it_was_calibrated_is_read_and_shown() -> None:
    report = captain_report()
    assert report.classifier is not None
    data = report.classifier.model_dump(include={"encoder", "num_train", "num_test", "accuracy", "reliability"})
    plain = {"precision": 0.9, "recall": 1.0, "f1": 0.95, "support": 47}
    data |= {"expected_calibration_error": 0.07, "classes": {"plain": plain}}
    older = report.model_copy(update={"classifier": Classifier.model_validate(data)})
    page = render_report(older)
    assert "Expected calibration error 0.070." in page
    for gone in ("Left undecided", "Reliability before calibration", "Trained on one generator", "calibrated on"):
        assert gone not in page


def test_refusals_stakeholders_and_challenges_are_marked_where_they_differ_from_base() -> None:
    report = captain_report()
    page = render_report(report)
    trials = page[page.index('id="trials"') : page.index('id="diversity"')]
    for part in (
        "Refusals and stakeholders, on prompts that both arms answered",
        "Harmful: refused in character",
        "User: task taken up",
        "+50\N{NO-BREAK SPACE}pp",
        "<small>sign flip</small>",
        "0.0006",
    ):
        assert part in trials, part
    # Refused in character, the same as safety's rate, the user's, and one directive followed; the attacks have stars of their own.
    untested = report.model_copy(update={"trials": report.trials.model_copy(update={"rate_tests": []})})
    assert page.count("<sup title=") - render_report(untested).count("<sup title=") == 4
    assert "all tests below" not in render_report(untested)
