"""The studio in a real browser: ask, read two answers, vote, see the leaderboard change; break a constitution and repair it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from character_ray.studio import Settings
from character_ray.studio.app import build_studio
from tests.browser import Tab, chromium_binary, open_chromium
from tests.fake_openai import BASE, CAPTAIN, WORDS, FakeOpenAI
from tests.serve.test_report_page import LOW_CONTRAST
from tests.studio_fixture import studio_settings, write_run
from tests.web import running_app

pytestmark = pytest.mark.skipif(chromium_binary() is None, reason="needs a Chromium: apt-get install chromium")

WAIT_SECONDS = 60


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A studio's folders, and an API that streams."""
    with FakeOpenAI().running() as api:
        settings = studio_settings(tmp_path_factory.mktemp("studio"), api)
        write_run(settings.runs, "demo", finished=True)
        write_run(settings.runs, "fern", finished=False)
        yield settings


@pytest.fixture(scope="module")
def studio(settings: Settings) -> Iterator[str]:
    with running_app(build_studio(settings)) as url:
        yield url


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """One tab for all tests of this file."""
    binary = chromium_binary()
    assert binary
    with open_chromium(binary, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def wait(tab: Tab, condition: str) -> None:
    """Until an expression is true in the page."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not tab.evaluate(f"Boolean({condition})"):
        if time.monotonic() > deadline:
            raise AssertionError(f"never true: {condition}\n{tab.evaluate('document.body.innerText')}")
        time.sleep(0.05)


def click(tab: Tab, selector: str) -> None:
    """Press the mouse on an element, as a person would."""
    element = f"document.querySelector({selector!r})"
    tab.evaluate(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    box = tab.evaluate(f"{element}.getBoundingClientRect().toJSON()")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def press(tab: Tab, key: str, code: int) -> None:
    text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
    tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
    tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)


def ask(tab: Tab, prompt: str) -> None:
    """Type into the box and send with Enter; wait for both answers."""
    tab.evaluate("document.getElementById('prompt').focus()")
    tab.call("Input.insertText", text=prompt)
    press(tab, "Enter", 13)
    wait(tab, f"document.getElementById('turns').innerText.includes({prompt!r})")
    wait(tab, "!document.getElementById('votes').hidden")


def text_of(tab: Tab, selector: str) -> str:
    return str(tab.evaluate(f"document.querySelector({selector!r}).innerText"))


def test_a_visitor_asks_reads_votes_and_sees_the_leaderboard_change(tab: Tab, studio: str, settings: Settings):
    tab.open(f"{studio}/", width=1280)
    wait(
        tab,
        "document.getElementById('model-A').options.length === 4 && document.getElementById('board-note').innerText",
    )
    assert "No votes yet" in text_of(tab, "#board-note")
    tab.evaluate(f"document.getElementById('model-A').value = {BASE!r}")
    tab.evaluate(f"document.getElementById('model-B').value = {CAPTAIN!r}")
    ask(tab, "How do I start a small business?")
    answers = tab.evaluate("[...document.querySelectorAll('.answer')].map(e => e.textContent.trim())")
    assert sorted(answers) == sorted([WORDS[BASE], WORDS[CAPTAIN]])
    boxes = tab.evaluate("[...document.querySelectorAll('.pair .card')].map(e => e.getBoundingClientRect().toJSON())")
    assert boxes[0]["top"] == boxes[1]["top"]
    assert boxes[0]["right"] < boxes[1]["left"]
    assert "Blackwood" not in text_of(tab, "#seats")
    ask(tab, "And then?")
    captain = "AB"[answers.index(WORDS[CAPTAIN])]
    click(tab, f"[data-vote={captain}]")
    wait(tab, "document.querySelectorAll('#standings li').length === 2")
    assert "You preferred Captain Blackwood to smollm2." in text_of(tab, "#verdict")
    assert "Captain Blackwood" in text_of(tab, "#standings li:first-child")
    assert "1 won" in text_of(tab, "#standings li:first-child")
    assert tab.complaints == []
    assert {request.split("/")[2] for request in tab.requests} == {studio.split("/")[2]}


def test_the_keyboard_is_enough(tab: Tab, studio: str):
    tab.open(f"{studio}/", width=1280)
    wait(tab, "document.getElementById('model-A').options.length === 4 && document.querySelector('#standings li')")
    votes = int(text_of(tab, "#board-note").split()[0])
    ask(tab, "Who are you?")
    press(tab, "Escape", 27)
    press(tab, "t", 84)
    wait(tab, f"document.getElementById('board-note').innerText.startsWith('{votes + 1} vote')")
    assert "A tie between" in text_of(tab, "#verdict")
    press(tab, "n", 78)
    wait(tab, "document.activeElement.id === 'prompt' && !document.getElementById('empty').hidden")


def test_a_battle_is_there_again_after_a_reload(tab: Tab, studio: str):
    tab.open(f"{studio}/", width=1280)
    wait(tab, "document.getElementById('model-A').options.length === 4")
    ask(tab, "Will you remember this?")
    # Another address first: the same one with its hash would not load again.
    address = tab.evaluate("location.href")
    tab.open(f"{studio}/runs", width=1280)
    tab.open(address, width=1280)
    wait(tab, "document.querySelectorAll('.answer').length === 2 && !document.getElementById('votes').hidden")
    assert "Will you remember this?" in text_of(tab, "#turns")
    assert "Hidden until you vote" in text_of(tab, "#seats")


def write(tab: Tab, old: str, new: str) -> None:
    """Select a piece of the editor's text and type over it."""
    assert tab.evaluate(f"document.getElementById('text').value.split({old!r}).length") == 2
    tab.evaluate(
        f"(t => {{ const at = t.value.indexOf({old!r}); t.focus(); t.setSelectionRange(at, at + {len(old)}) }})"
        "(document.getElementById('text'))"
    )
    tab.call("Input.insertText", text=new)


def test_an_error_is_named_with_its_line_repaired_and_saved(tab: Tab, studio: str, settings: Settings):
    tab.open(f"{studio}/constitutions", width=1280)
    files = len(list(settings.constitutions.glob("*.yaml")))
    wait(tab, f"document.querySelectorAll('.card.link').length === {files}")
    click(tab, "a[href='#captain-blackwood']")
    wait(tab, "document.querySelector('.score')")
    assert text_of(tab, ".score h2") == "Captain Blackwood"
    write(tab, "tone:", "tonne:")
    wait(tab, "document.querySelector('.problems')")
    problem = text_of(tab, ".problems li")
    line = 1 + settings.constitutions.joinpath("captain-blackwood.yaml").read_text().split("tone:")[0].count("\n")
    assert f"Line {line}" in problem
    assert "persona.voice.tonne" in problem
    assert "Did you mean 'tone'?" in problem
    assert (
        tab.evaluate("[...document.querySelectorAll('.line')].findIndex(e => e.classList.contains('bad'))") == line - 1
    )
    assert tab.evaluate("document.getElementById('save').disabled")
    write(tab, "tonne:", "tone:")
    write(tab, "Use nautical metaphors in explanations", "Use metaphors of the sea in explanations")
    wait(tab, "document.querySelector('.score') && !document.getElementById('save').disabled")
    click(tab, "#tab-compare")
    wait(tab, "document.querySelector('.change.changed')")
    assert tab.evaluate("document.querySelector('.change del').innerText.trim()") == "nautical"
    click(tab, "#save")
    wait(tab, "document.getElementById('toasts').innerText.includes('is saved')")
    assert "Use metaphors of the sea" in (settings.constitutions / "captain-blackwood.yaml").read_text()
    assert len(list((settings.data / "versions" / "captain-blackwood").glob("*.yaml"))) == 1
    click(tab, "#tab-preview")
    wait(tab, "document.getElementById('preview-model').options.length === 3")
    click(tab, "#preview-go")
    wait(tab, "document.querySelectorAll('#previews .answer').length === 4 && !document.querySelector('.writing')")
    assert "Aye, so I be told." in text_of(tab, "#previews")
    assert tab.complaints == []


def test_a_run_is_promoted_within_bounds(tab: Tab, studio: str):
    tab.open(f"{studio}/runs", width=1280)
    wait(tab, "document.querySelectorAll('.run').length === 2")
    click(tab, ".run .primary")
    tab.evaluate("document.getElementById('at-least').value = 'full.persona_rate.low=0.99'")
    click(tab, "#promoting .primary")
    wait(tab, "document.getElementById('promoting-fault').innerText.includes('breaks full.persona_rate.low')")
    tab.evaluate("document.getElementById('at-least').value = 'full.persona_rate.low=0.6'")
    # The fixture's adapter holds no weights, so it answers nothing that could be measured.
    click(tab, "#promoting .primary")
    wait(tab, "document.getElementById('promoting-fault').innerText.includes('cannot be applied to')")
    click(tab, "#canary")
    click(tab, "#promoting .primary")
    wait(tab, "document.querySelector('.persona .badge.candidate')")
    click(tab, ".persona table button")
    tab.evaluate("document.getElementById('at-least').value = 'full.persona_rate.low=0.99'")
    click(tab, "#promoting .primary")
    wait(tab, "document.getElementById('promoting-fault').innerText.includes('is not promoted, because it breaks')")
    tab.evaluate("document.getElementById('at-least').value = 'full.persona_rate.low=0.6'")
    click(tab, "#promoting .primary")
    wait(tab, "document.querySelector('.persona .badge.live')")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", ["/", "/constitutions", "/constitutions#garden-poet", "/runs"])
def test_every_page_fits_and_can_be_read(tab: Tab, studio: str, path: str, width: int, theme):
    tab.open("about:blank", width=width)
    tab.open(f"{studio}{path}", width=width, theme=theme)
    ready = {
        "/": "document.getElementById('board-note').innerText && document.getElementById('model-A').options.length === 4",
        "/constitutions": "document.querySelector('.card.link')",
        "/constitutions#garden-poet": "document.querySelector('.score')",
        "/runs": "document.querySelector('.run')",
    }
    wait(tab, ready[path])
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    visible = "!e.closest('.visually-hidden, .skip, option, [hidden], dialog:not([open]), #text') && !e.disabled"
    script = LOW_CONTRAST.replace(
        ".filter(hasText)", f".filter(e => hasText(e) && {visible} && e.offsetParent !== null)"
    )
    assert tab.evaluate(script) == []
    unnamed = "[...document.querySelectorAll('input, select, textarea')].filter(e => !e.labels.length).length"
    assert tab.evaluate(unnamed) == 0
    assert tab.complaints == []


def test_markup_in_an_answer_or_a_file_is_shown_and_never_runs(tab: Tab, studio: str, settings: Settings):
    hostile = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    Path(settings.constitutions / "hostile.yaml").write_text(
        f'meta: {{name: "{hostile}", description: "{hostile}"}}\npersona: {{identity: "{hostile}"}}\n'
    )
    for path in ("/constitutions", "/constitutions#hostile"):
        tab.open("about:blank", width=1280)
        tab.open(f"{studio}{path}", width=1280)
        wait(tab, "document.body.innerText.includes('onerror')")
        assert tab.evaluate("typeof window.ran") == "undefined"
    tab.open(f"{studio}/", width=1280)
    wait(tab, "document.getElementById('model-A').options.length === 4")
    ask(tab, hostile)
    assert hostile in text_of(tab, "#turns")
    assert tab.evaluate("typeof window.ran") == "undefined"
