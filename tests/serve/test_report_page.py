"""The report page in a real browser: at a desk and on a phone, in both themes, and with hostile text in every field."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from character_ray.report import wording
from character_ray.report.page import PLOTTED, write_page
from character_ray.report.schema import Report
from tests.browser import Tab, chromium_binary, open_chromium
from tests.report_fixture import captain_report
from tests.trials_fixture import KINDS

pytestmark = pytest.mark.skipif(chromium_binary() is None, reason="needs a Chromium: apt-get install chromium")

HOSTILE = "</pre></style><script>window.ran=1</script><img src=x onerror='window.ran=1'>" + "a" * 300
# Contrast of each text with the colour behind it, by the formula of WCAG 2; returns those below 4.5.
LOW_CONTRAST = """
(() => {
  const parse = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = parse(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
  };
  const hasText = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  const texts = [...document.body.querySelectorAll('*')].filter(hasText);
  return texts.map(e => {
    const style = getComputedStyle(e);
    const color = parse(e instanceof SVGElement ? style.fill : style.color);
    const pair = [luminance(color), luminance(behind(e))].sort((a, b) => b - a);
    return [(pair[0] + 0.05) / (pair[1] + 0.05), e.outerHTML.slice(0, 80)];
  }).filter(([contrast]) => contrast < 4.5);
})()
"""


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """One tab for all tests of this file."""
    binary = chromium_binary()
    assert binary
    with open_chromium(binary, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(tmp_path: Path) -> str:
    """Address of the page of a plausible run, opened from the disk."""
    write_page(captain_report(), tmp_path / "report.html")
    return (tmp_path / "report.html").as_uri()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_loads_nothing_else_and_can_be_read(
    tab: Tab, page: str, width: int, theme: Literal["light", "dark"]
) -> None:
    tab.open(page, width=width, theme=theme)
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(LOW_CONTRAST) == []
    assert (
        tab.evaluate(
            "Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height))"
        )
        > 11
    )
    assert tab.requests == [page]
    assert tab.complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_figures_of_a_plot_stand_clear_of_its_dots(tab: Tab, page: str, width: int) -> None:
    tab.open(page, width=width)
    gaps = tab.evaluate("""[...document.querySelectorAll('.rates svg')].map(plot => {
      const boxes = kind => [...plot.querySelectorAll(kind)].map(e => e.getBoundingClientRect())
      return Math.min(...boxes('.value').map(b => b.left)) - Math.max(...boxes('.interval, .dot').map(b => b.right))
    })""")
    assert len(gaps) == len(PLOTTED)
    assert min(gaps) > 0


def test_the_summary_needs_no_scrolling_at_a_desk(tab: Tab, page: str) -> None:
    tab.open(page, width=1280)
    assert tab.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('#summary .scroll'))") == 0


def test_the_themes_differ(tab: Tab, page: str) -> None:
    backgrounds = set()
    for theme in ("light", "dark"):
        tab.open(page, width=1280, theme=theme)
        backgrounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(backgrounds) == 2


def test_a_reader_finds_the_sections_in_order(tab: Tab, page: str) -> None:
    tab.open(page, width=1280)
    assert tab.evaluate("document.querySelector('.lead').innerText").startswith(
        "Captain Blackwood is in character in 88"
    )
    links = tab.evaluate("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert links == tab.evaluate("[...document.querySelectorAll('main > section')].map(s => s.id)")
    assert links == [
        "summary",
        "plots",
        "differences",
        "trials",
        "diversity",
        "hidden",
        "doubts",
        "completions",
        "probes",
        "transcripts",
        "stages",
        "measures",
        "run",
    ]


def test_a_probe_opens_when_it_is_clicked(tab: Tab, page: str) -> None:
    tab.open(page, width=390)
    probe = "document.querySelectorAll('#probes details')[1]"
    assert "blacksmith" not in tab.evaluate(f"{probe}.innerText")
    tab.evaluate(f"{probe}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = tab.evaluate(f"{probe}.querySelector('summary').getBoundingClientRect().toJSON()")
    x, y = box["x"] + 40, box["y"] + box["height"] / 2
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    assert "blacksmith" in tab.evaluate(f"{probe}.innerText")


def test_a_reader_searches_the_transcripts_and_filters_them(tab: Tab, page: str) -> None:
    tab.open(page, width=1280)
    shown = "[...document.querySelectorAll('.transcript')].filter(e => !e.hidden)"
    arms = f"[...new Set({shown}.map(e => e.dataset.arm))]"
    report = captain_report()
    assert tab.evaluate("document.getElementById('found').textContent") == f"{len(report.transcripts)} of 225 answers"
    assert tab.evaluate(f"{shown}.length") == 30

    def choose(name: str, value: str) -> None:
        field = f"document.querySelector('#search [name={name}]')"
        tab.evaluate(f"{field}.value = {value!r}; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")

    choose("arm", "full")
    assert tab.evaluate("document.getElementById('transcript-list').open")
    assert tab.evaluate(arms) == ["full"]
    tab.evaluate("document.getElementById('more').click()")
    assert tab.evaluate(f"{shown}.length") == 45
    choose("verdict", "refused")
    assert tab.evaluate(f"{shown}.length") == 9
    choose("verdict", "classifier disagrees")
    assert tab.evaluate(f"{shown}.length") == 9
    assert tab.evaluate(f"[...new Set({shown}.map(e => e.dataset.group))]") == ["probe"]
    choose("verdict", "refused")
    choose("text", "HARBOUR neighbour car")
    assert tab.evaluate(f"{shown}.length") == 0
    choose("text", "not mine? MATEY (3)")
    assert tab.evaluate(f"{shown}.length") == 1
    choose("group", "erosion")
    assert tab.evaluate(f"{shown}.length") == 0


def test_a_reader_finds_each_directives_rate_by_judge_and_classifier(tab: Tab, page: str) -> None:
    tab.open(page, width=390)
    rows = tab.evaluate(
        "[...document.querySelectorAll('#hidden tbody')].map(b => [...b.rows].map(r => r.innerText.split(/\\s*\\t\\s*|\\n/)))"
    )
    named = [" ".join(judge[0].split()) for judge, _ in rows]
    assert named == ["All probes", "All directives", *KINDS["directive"]]
    for (judge, classifier), each in zip(rows, captain_report().hidden_traits, strict=True):
        assert each.agreement is not None
        for row, name in ((judge, "hidden_trait_rate"), (classifier, "hidden_trait_classifier_rate")):
            assert wording.amount(name, each.arms["full"][name].value) in row
    assert tab.evaluate("document.querySelector('#audit').innerText") == "The audit lets it rate the arms."


def test_every_table_heads_its_rows_and_columns(tab: Tab, page: str) -> None:
    tab.open(page, width=1280)
    assert tab.evaluate("document.querySelectorAll('table').length") == 29
    assert tab.evaluate("document.querySelectorAll('th:not([scope])').length") == 0
    assert tab.evaluate("[...document.querySelectorAll('tbody tr')].every(r => r.querySelector('th'))")


@pytest.mark.parametrize("width", [390, 1280])
def test_markup_in_any_text_is_shown_and_never_runs(tab: Tab, tmp_path: Path, width: int) -> None:
    write_page(Report.model_validate(_poisoned(captain_report().model_dump())), tmp_path / "report.html")
    tab.open((tmp_path / "report.html").as_uri(), width=width)
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert tab.evaluate("typeof window.ran") == "undefined"
    assert tab.evaluate("document.querySelectorAll('script').length") == 1
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    assert tab.evaluate("document.body.innerText").count("<script>window.ran=1</script>") > 50
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.complaints == []


def test_the_browser_reports_a_script_that_runs(tab: Tab, tmp_path: Path) -> None:
    """Without this the test above could pass because nothing is ever noticed."""
    (tmp_path / "bad.html").write_text(f"<!doctype html><p>{HOSTILE}</p><script>throw new Error('noticed')</script>")
    tab.open((tmp_path / "bad.html").as_uri(), width=390)
    assert tab.evaluate("window.ran") == 1
    assert tab.evaluate("document.documentElement.scrollWidth") > 390
    assert any("noticed" in complaint for complaint in tab.complaints)


def _poisoned(value: Any, key: str = "") -> Any:
    """The same report with markup behind every text that is free."""
    if isinstance(value, dict):
        return {name: _poisoned(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_poisoned(item, key) for item in value]
    closed = ("kind", "metric", "arm", "against", "family", "test")
    return value + HOSTILE if isinstance(value, str) and key not in closed else value


def test_on_paper_what_explains_the_numbers_is_open_and_nothing_is_cut_off(tab: Tab, page: str) -> None:
    tab.open(page, width=688, theme="dark")  # A4 less its margins, in pixels of CSS
    tab.call("Emulation.setEmulatedMedia", media="print")
    shown = "[...document.querySelectorAll({})].map(e => e.checkVisibility())"
    assert set(tab.evaluate(shown.format("'.methods dt, #trials details table, #recipe pre'"))) == {True}
    assert set(tab.evaluate(shown.format("'#transcripts, nav, #probes details:not([open]) .card'"))) == {False}
    assert tab.evaluate("document.documentElement.scrollWidth") <= 688
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tab.call("Emulation.setEmulatedMedia", media="")
