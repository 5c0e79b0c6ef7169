"""What the report page says, checked without a browser."""

import base64
import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from character_ray.pipeline.summary import print_summary
from character_ray.report import wording
from character_ray.report.io import write_report
from character_ray.report.page import headline, link_pages, render_report, write_page
from character_ray.report.plots import curve, reliability_diagram, round_ticks
from character_ray.report.schema import Metric, Recompressed, Report
from character_ray.report.trials_plots import Point, survival_plot, trade_off_plot
from tests.report_fixture import captain_report


def test_the_headline_reads_as_a_person_would_say_it() -> None:
    first, second = (sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in headline(captain_report()))
    assert first == (
        "Captain Blackwood is in character in 88 % [75, 94] of completions to 48 held-out prompts "
        "without a system prompt; base 0 %, prompted 40 %."
    )
    assert second == (
        "92 % [80, 97] use its own vocabulary, which no stage selects on; "
        "asked who it is, it gives its name in 74 % [66, 81]; 50 % [36, 64] take up the task they were given; "
        "21 % [12, 34] repeat themselves."
    )


def test_a_difference_that_does_not_exclude_zero_is_part_of_the_headline() -> None:
    report = captain_report()
    against_base = next(d for d in report.differences if (d.metric, d.against) == ("persona_rate", "base"))
    against_base.low = -0.02
    assert any("no effect is shown" in sentence for sentence in headline(report))
    assert not any("no effect is shown" in sentence for sentence in headline(captain_report()))


def test_a_headline_number_that_is_missing_says_why() -> None:
    report = captain_report()
    report.arms["full"]["persona_rate"] = Metric(value=None, reason="the judge could not be calibrated")
    assert headline(report) == [
        "How often Captain Blackwood is in character could not be measured: the judge could not be calibrated"
    ]


def test_the_same_report_gives_the_same_page(tmp_path: Path) -> None:
    write_page(captain_report(), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render_report(captain_report())
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = render_report(captain_report())
    assert set(re.findall(r'(?:href|src)="([^"#]*)', page)) == {"data:,", ""}
    assert not re.search(r"url\(|@import", page)


def test_one_script_runs_and_the_policy_names_its_hash() -> None:
    page = render_report(captain_report())
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'; style-src" in page
    assert "<script" not in render_report(captain_report().model_copy(update={"transcripts": []}))


def test_the_trials_are_on_the_page_and_a_run_without_says_so() -> None:
    report = captain_report()
    page = render_report(report)
    assert report.trials is not None
    for trial in report.trials.rates:
        assert str(escape(trial.kind.replace("_", " "))) in page
    rate = report.trials.rates[1].arms["full"]["persona_rate"]
    assert wording.interval("persona_rate", rate.low, rate.high) in page
    assert "full over base" in page and "ye scallywag of the" in page and "Takes up the task" in page
    assert "asked for no trial" not in page
    without = render_report(report.model_copy(update={"trials": None, "diversity": {}, "transcripts": []}))
    assert "asked for no trial" in without and 'id="search"' not in without


def test_a_report_without_classifier_or_of_before_says_what_is_missing_of_hidden_traits() -> None:
    report = captain_report()
    alone = [
        each.model_copy(
            update={
                "agreement": None,
                "arms": {
                    arm: rates
                    | {"hidden_trait_classifier_rate": Metric(value=None, reason="the classifier could not be trained")}
                    for arm, rates in each.arms.items()
                },
            }
        )
        for each in report.hidden_traits
        if each.kind == "probes"
    ]
    page = render_report(report.model_copy(update={"hidden_traits": alone}))
    section = page.split('<section id="hidden">')[1].split("</section>")[0]
    assert "the classifier could not be trained" in section and "evaluate.challenges.per_directive" in section
    asked = render_report(report).split('<section id="hidden">')[1].split("</section>")[0]
    assert "<li>Answer in three sentences at most</li>" in asked and "per_directive" not in asked
    before = render_report(report.model_copy(update={"hidden_traits": []}))
    assert "Not decided twice in this report" in before


def test_the_table_at_the_end_of_a_run_has_the_tasks_taken_up(capsys: pytest.CaptureFixture[str]) -> None:
    report = captain_report()
    taken_up = report.diversity["full"].metrics["user_rate"].value
    assert taken_up is not None
    for diversity, shown in ((report.diversity, f"{100 * taken_up:.0f} ["), ({}, " - ")):
        print_summary(report.model_copy(update={"diversity": diversity, "trials": None}), Path("runs/captain"))
        table = capsys.readouterr().out
        (row,) = (line for line in table.splitlines() if line.startswith("│ full"))
        assert "task" in table and shown in row


def test_a_survival_curve_falls_where_the_persona_ends() -> None:
    trials = captain_report().trials
    assert trials is not None
    base = trials.survival["base"]
    root = ElementTree.fromstring(survival_plot("base", base, None))
    path = next(each for each in root.iter("path") if each.attrib["class"] == "curve").attrib["d"]
    points = [tuple(map(float, point.split())) for point in path.removeprefix("M").split("L")]
    ticks = {each.text: float(each.attrib["x"]) for each in root.iter("text") if each.attrib["text-anchor"] == "middle"}
    assert base.share[:2] == [1.0, 0.0]
    falls = [a[0] for a, b in itertools.pairwise(points) if b[1] > a[1]]
    assert falls == [pytest.approx(ticks["1"], abs=0.1)]


def test_every_figure_of_the_arms_is_on_the_page_and_missing_ones_carry_their_reason() -> None:
    report, page = captain_report(), render_report(captain_report())
    for metrics in report.arms.values():
        for name, metric in metrics.items():
            if metric.value is None:
                assert metric.reason in page
            else:
                assert wording.amount(name, metric.value) in page
                assert wording.interval(name, metric.low, metric.high) in page
    for text in [
        *report.missing_arms,
        *report.run.notes,
        *report.run.stages,
        *report.run.versions,
        report.prompts_hash,
    ]:
        assert str(text) in page


@pytest.mark.parametrize(
    "strip",
    [
        lambda r: r.model_copy(update={"classifier": None, "adapter": None, "training": {}}),
        lambda r: r.model_copy(
            update={"differences": [], "agreements": [], "samples": [], "probes": [], "missing_arms": {}}
        ),
        lambda r: r.model_copy(update={"arms": {"base": {}, "full": {"speed": Metric(value=3.2)}}, "win_rates": {}}),
        lambda r: r.model_copy(update={"arms": {}, "elo_sequential": {}}),
        lambda r: r.model_copy(update={"arms": {"full": {"rating": Metric(value=None, reason="one arm")}}}),
    ],
)
def test_a_report_with_parts_missing_still_has_a_page(strip: Callable[[Report], Report]) -> None:
    assert render_report(strip(captain_report())).rstrip().endswith("</html>")


def test_what_a_model_says_is_escaped_and_its_vocabulary_marked() -> None:
    report = captain_report()
    report.samples[0].completions["full"] = "<script>alert('matey')</script> Captain Blackwood & the tides of TIDE"
    shown = (
        "&lt;script&gt;alert(&#39;<mark>matey</mark>&#39;)&lt;/script&gt; "
        "<mark>Captain Blackwood</mark> &amp; the tides of <mark>TIDE</mark>"
    )
    assert shown in render_report(report)


def test_plots_are_well_formed_and_described() -> None:
    plots = re.findall(r"<svg.*?</svg>", render_report(captain_report()), re.DOTALL)
    assert len(plots) == 22
    for plot in plots:
        root = ElementTree.fromstring(plot)
        assert root.attrib["role"] == "img"
        assert len(root.attrib["aria-label"]) > 20


def test_a_dot_lies_on_its_value() -> None:
    root = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", render_report(captain_report()), re.DOTALL)[0])
    ticks = {text.text: float(text.attrib["x"]) for text in root.iter("text") if text.attrib["class"] == "tick"}
    (dot,) = [circle for circle in root.iter("circle") if circle.attrib["class"] == "dot headline"]
    share = (float(dot.attrib["cx"]) - ticks["0"]) / (ticks["100"] - ticks["0"])
    assert share == pytest.approx(0.875, abs=0.001)  # coordinates are rounded to a tenth of about 160 pixels


def test_a_training_of_one_step_and_a_constant_have_a_curve() -> None:
    for points in ([(1.0, 0.69)], [(1.0, 0.0), (2.0, 0.0)]):
        assert ElementTree.fromstring(curve("loss", points)).find("path") is not None


def test_the_page_says_how_many_workers_trained_where_that_may_change() -> None:
    report = captain_report()
    assert "Workers of dpo" not in render_report(report)
    steps = [{"step": float(step), "loss": 0.7 / step, "workers": 2.0 if step < 3 else 1.0} for step in range(1, 5)]
    page = render_report(report.model_copy(update={"training": {"dpo": steps}}))
    assert "<b>Workers of dpo</b> 2 at step 1, 1 at step 4" in page


def test_bins_without_observations_are_drawn() -> None:
    ElementTree.fromstring(reliability_diagram("empty", [{"confidence": 0.5, "observed": 0.0, "n": 0}]))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-468, 284), (0.55, 2.1), (3, 3), (0, 0), (1e-7, 2e-7), (-2, -1)])
def test_ticks_enclose_the_data_in_even_steps(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert ticks[0] <= low + 1e-12 and ticks[-1] >= high - 1e-12
    assert 2 <= len(ticks) <= 7
    assert all(b - a == pytest.approx(ticks[1] - ticks[0]) for a, b in itertools.pairwise(ticks))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 %"),
        (-1e-18, "0 %"),
        (1.0, "100 %"),
        (0.874, "87 %"),
        (0.004, "0.4 %"),
        (0.996, "99.6 %"),
        (0.9996, ">99.9 %"),
        (2e-5, "<0.1 %"),
    ],
)
def test_a_rate_is_never_rounded_to_none_or_all(value: float, text: str) -> None:
    assert wording.amount("persona_rate", value).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.21, "0.21 s"), (59.9, "59.9 s"), (59.97, "1 min 00 s"), (425, "7 min 05 s"), (12000, "3 h 20 min")],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert wording.duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == text


def test_differences_carry_their_sign_and_zero_alone_has_none() -> None:
    values = (0.48, -0.021, 0.0545, 0.003, -0.0008, 0.0004, 0.0)
    shown = [wording.difference("persona_rate", value).replace("\N{NO-BREAK SPACE}", " ") for value in values]
    assert shown == ["+48 pp", "\N{MINUS SIGN}2 pp", "+5 pp", "+0.3 pp", "\N{MINUS SIGN}0.1 pp", "0 pp", "0 pp"]


def test_a_rating_has_a_sign_only_as_a_difference() -> None:
    assert (wording.amount("rating", 1481.2), wording.interval("rating", 1384.2, 1752.5)) == (
        "1481",
        "[1384,\N{NO-BREAK SPACE}1752]",
    )
    assert wording.amount("rating", -0.3) == "0"
    assert (wording.difference("rating", 249), wording.shift_interval("rating", 65, 480)) == (
        "+249",
        "[+65,\N{NO-BREAK SPACE}+480]",
    )


def test_every_metric_of_the_pipeline_is_explained() -> None:
    page = render_report(captain_report())
    for name in captain_report().arms["full"]:
        assert str(escape(wording.METRICS[name].meaning)) in page


def test_unknown_metrics_come_last_and_keep_their_name() -> None:
    assert wording.metric_order(["tax", "rating", "persona_rate"]) == ["persona_rate", "rating", "tax"]
    assert wording.label("refusal_rate") == "Refusal rate"


def test_dropped_rows_are_shown_with_an_example_and_the_setting_that_decided() -> None:
    report = captain_report()
    report.run.recipe["distill"] = {"filters": {"max_repetition": 0.15}}
    page = render_report(report)
    assert "What distill dropped: 2 reasons, one example each" in page
    assert "Aye, aye, aye, aye &lt;b&gt;aye&lt;/b&gt;." in page
    assert "17 of 96, distill.filters.max_repetition 0.15" in page


def test_further_pages_are_linked_when_they_lie_beside_the_report(tmp_path: Path) -> None:
    report = captain_report()
    write_report(report, tmp_path / "report.json")
    write_page(report, tmp_path / "report.html")
    assert not re.search(r'href="\w+\.html"', (tmp_path / "report.html").read_text(encoding="utf-8"))
    for name in ("drift", "probes"):
        (tmp_path / f"{name}.html").write_text("<p>", encoding="utf-8")
    link_pages(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'href="(\w+\.html)"', page) == ["probes.html", "drift.html"]
    (tmp_path / "drift.html").unlink()
    link_pages(tmp_path)
    assert "drift.html" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_folder_without_a_report_gets_no_page(tmp_path: Path) -> None:
    link_pages(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "places",
    [
        [(0.5, 0.5)] * 6,
        [(1.0, 1.0), (0.98, 1.0), (0.97, 0.99), (0.95, 0.97), (1.0, 0.9), (0.99, 0.95), (0.96, 1.0)],
        [(0.0, 0.0), (0.02, 0.0), (0.0, 0.03), (0.05, 0.01), (0.5, 0.0), (0.52, 0.02)],
        [(0.3 + n / 50, 0.7 - n / 60) for n in range(7)],
    ],
)
def test_no_name_in_a_trade_off_covers_another_or_leaves_the_drawing(places: list[tuple[float, float]]) -> None:
    names = ["base", "prompted", "teacher", "dpo", "sft", "full", "control"]
    points = [
        Point(name, (px, max(px - 0.1, 0), min(px + 0.1, 1)), (py, max(py - 0.1, 0), min(py + 0.1, 1)), "weights")
        for name, (px, py) in zip(names, places, strict=False)
    ]
    drawing = ElementTree.fromstring(trade_off_plot("a summary", points, "user", "safety"))
    shown = [each for each in drawing.iter() if each.tag.endswith("text") and "label" in each.get("class", "")]
    assert sorted(each.text or "" for each in shown) == sorted(names[: len(points)])
    boxes = []
    for each in shown:
        width, at = 7.0 * len(each.text or ""), float(each.get("x", 0))
        start = at - {"start": 0.0, "middle": width / 2, "end": width}[each.get("text-anchor", "start")]
        boxes.append((start, start + width, float(each.get("y", 0))))
    for first, second in itertools.combinations(boxes, 2):
        assert first[1] <= second[0] or second[1] <= first[0] or abs(first[2] - second[2]) >= 12, (first, second)
    assert all(start >= 0 and end <= 352 for start, end, _ in boxes)


def test_how_many_observations_stand_behind_a_figure_needs_no_pointer() -> None:
    page = render_report(captain_report()).replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r'<th scope="col">Persona <small class="n">n = 48</small>', page)
    assert re.search(r"<small>a change of scene</small> <small class=\"n\">n = 12</small>", page)
    assert re.search(r'Safety: harm refused in character <small class="n">n = 10</small>', page)
    counts = [Metric(value=0.5, n=n) for n in (1200, 46)]
    missing = Metric(value=None, reason="nothing was asked")
    assert wording.observations([*counts, missing, None]).replace("\N{NO-BREAK SPACE}", " ") == "n = 46 to 1,200"
    assert wording.observations([missing]) == ""
    assert wording.reasons([missing, missing, *counts]) == ["nothing was asked"]


def test_the_operators_rate_says_which_constraints_it_leaves_out_and_why() -> None:
    page = render_report(captain_report())
    assert "Use nautical metaphors in explanations: its judge tells teacher from base with an AUC of 0.61" in page
    assert "each constraint by the judge that reads it alone" in page
    assert "Not decided: its judge tells" in page and "94\N{NO-BREAK SPACE}%, 12\N{NO-BREAK SPACE}%" in page
    assert "Not measured: no harmful request was made" in page


def test_a_report_of_before_directives_had_judges_says_how_its_operators_rate_was_made() -> None:
    report = captain_report()
    assert report.trials is not None
    report.trials.directive_judges = []
    page = render_report(report)
    assert "no talk of being a model or a role). User" in page
    assert "Constraints not counted" not in page


def test_an_adapter_that_was_recompressed_says_of_what_and_what_is_left() -> None:
    report = captain_report()
    assert report.adapter is not None
    assert "squared norm" not in render_report(report)
    report.adapter.recompressed = Recompressed(rank=576, energy=0.9999876)
    page = render_report(report)
    assert "an adapter of rank 576, which this page measures; 99.9988 % of its squared norm are kept" in page


def test_what_the_prompts_cover_is_on_the_page_with_what_they_leave_out() -> None:
    page = render_report(captain_report())
    train = page.partition('id="coverage-train"')[2].partition("</details>")[0]
    assert '<th scope="row">hint</th><td>2 of 3</td>' in train
    assert "jailbreak 8; context switch 8; persona denial 0" in train
    assert "en 1,200; de 12; unclear 2" in train
    assert "I speak &lt;b&gt;plainly&lt;/b&gt;. 12; I never flatter. 0" in train
    assert 'id="coverage-evaluation"' in page
    assert 'id="coverage-' not in render_report(captain_report().model_copy(update={"coverage": {}}))
