"""The page at ``/`` in a real headless browser: asking, searching, by keyboard, safely."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason='the server needs: pip install "hydra-pers[serve]"')

from starlette.testclient import TestClient

from hydra_cli.serving import page
from tests.serving import page_stand_in
from tests.serving.browser import Browser, Tab, program
from tests.serving.listening import listening

QUESTION = "Is the mug safe in a dishwasher? Ann Webb"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = program()
    if path is None:
        pytest.skip("no Chromium here; docs/contributing.md says how to get one")
    opened = Browser(path, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    with ExitStack() as stack:
        yield Tabs(browser, stack)


class Tabs:
    """Opens tabs on servers of its own, and closes both."""

    def __init__(self, browser: Browser, stack: ExitStack) -> None:
        self._browser, self._stack = browser, stack

    def open(self, *, key: str = "", feedback: bool = True, **media: object) -> Tab:
        self.app = page_stand_in.build(key=key, feedback_there=feedback)
        self.url = self._stack.enter_context(listening(self.app))
        tab = self._browser.open(f"{self.url}/", **media)
        self._stack.callback(tab.close)
        if not key:
            tab.wait("document.querySelector('#history-list').children.length")
        return tab


def ask(tab: Tab, question: str = QUESTION) -> None:
    tab.run("document.querySelector('#query').focus()")
    tab.type(question)
    tab.press("Enter")


def asked(tab: Tab) -> None:
    ask(tab)
    tab.wait("!document.querySelector('#told').hidden")


def test_asking_shows_the_answer_and_why(tabs: Tabs) -> None:
    tab = tabs.open()
    assert tab.run("[...document.querySelector('#user').options].map(o => o.value)") == [
        "mia",
        "ole",
    ]
    asked(tab)
    assert tab.text("#answer-text") == page_stand_in.ANSWER
    assert tab.text("#answer-title") == "As mia would write it"
    told = tab.text("#stages")
    assert "2.1 times as close to what they really wrote" in told
    assert "no clear gain" in told
    first, *others = tab.text("#candidate-list").split("score ")
    assert "Chosen" in first
    assert len(others) == 4
    widths = tab.run("[...document.querySelectorAll('#candidate-list i')].map(i => i.offsetWidth)")
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1] > 0
    assert "4 records of mia" in tab.text("#shown-hint")
    assert "similarity 0.83" in tab.text("#shown-list")
    assert "1,204 tokens read" in tab.text("#facts")
    assert " s" in tab.text("#facts")
    assert "Reply to the customer" in tab.run("document.querySelector('#messages').textContent")
    assert tab.problems == []
    assert {url.startswith((f"{tabs.url}/", "data:")) for url in tab.requests} == {True}


def test_the_answer_is_told_to_those_who_listen(tabs: Tabs) -> None:
    tab = tabs.open()
    live = "document.querySelector('#answer-text')"
    tab.run(
        "window.busy = []; new MutationObserver(() => "
        f"busy.push([{live}.ariaBusy, {live}.innerText.length]))"
        f".observe({live}, {{childList: true, attributes: true}})"
    )
    asked(tab)
    busy = tab.run("busy")
    assert ["true", len(page_stand_in.ANSWER)] in busy
    assert busy[-1][0] == "false"
    assert len({length for _, length in busy}) > 3, "the answer came in one piece"
    assert tab.run(f"{live}.ariaLive") == "polite"


def test_plain_model_answers_without_anything_personal(tabs: Tabs) -> None:
    tab = tabs.open()
    tab.run("document.querySelector('#model').value = 'openai/stub'")
    ask(tab)
    tab.wait("document.querySelector('#facts').innerText")
    assert tab.text("#answer-text") == "It is dishwasher safe."
    assert tab.run(
        "['told', 'shown', 'candidates', 'feedback'].every(i => document.getElementById(i).hidden)"
    )


def test_history_is_searched_and_paged(tabs: Tabs) -> None:
    tab = tabs.open()
    assert tab.text("#history-count") == "20 records of 34, newest first"
    tab.click("#more")
    tab.wait("document.querySelector('#history-list').children.length === 34")
    assert tab.run("document.querySelector('#more').hidden")
    tab.run("document.querySelector('#search-text').focus()")
    tab.type("norway")
    tab.wait("document.querySelector('#history-list').children.length === 1")
    assert "It takes five days" in tab.text("#history-list")
    tab.type("zzz")
    tab.wait("document.querySelector('#history-count').innerText === 'No record has these words.'")
    tab.run("document.querySelector('#user').value = 'ole'")
    tab.run("document.querySelector('#user').dispatchEvent(new Event('change'))")
    tab.wait("document.querySelector('#history-list').innerText.includes('9 EUR')")


def test_records_that_hold_markup_stay_text(tabs: Tabs) -> None:
    tab = tabs.open()
    asked(tab)
    tab.click("#more")
    tab.wait("document.querySelector('#history-list').children.length === 34")
    for place in ("#shown-list", "#history-list"):
        assert page_stand_in.HOSTILE in tab.text(place)
    assert tab.run(
        "window.hit === undefined && document.querySelector('main img, main script') === null"
    )
    tab.run(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.hit = 2'}))"
    )
    assert tab.run("window.hit === undefined"), "the policy lets scripts in the page run"


def test_a_key_is_asked_for_and_goes_with_the_tab(tabs: Tabs) -> None:
    tab = tabs.open(key="hp-right")
    tab.wait("!document.querySelector('#key-form').hidden")
    assert tab.run("document.activeElement.id") == "key"
    tab.type("hp-wrong")
    tab.press("Enter")
    tab.wait("!document.querySelector('#trouble').hidden")
    assert tab.text("#trouble") == "The server doesn't know this key."
    tab.type("hp-right")
    tab.press("Enter")
    tab.wait("!document.querySelector('#desk').hidden")
    assert tab.run("document.querySelector('#trouble').hidden && localStorage.length === 0")
    tab.go(f"{tabs.url}/")
    tab.wait("!document.querySelector('#desk').hidden")
    tab.click("#forget-key")
    tab.wait("!document.querySelector('#key-form').hidden")
    assert tab.run("sessionStorage.length") == 0


def test_what_goes_wrong_is_told_in_words(tabs: Tabs) -> None:
    tab = tabs.open()
    ask(tab, "nobody answers")
    tab.wait("!document.querySelector('#trouble').hidden")
    assert tab.text("#trouble") == "The LLM didn't answer: the provider hung up"
    assert tab.run("document.querySelector('#trouble').role") == "alert"
    assert tab.run(
        "document.querySelector('#answer').hidden && !document.querySelector('#send').disabled"
    )


def test_feedback_is_sent_where_the_server_takes_it(tabs: Tabs) -> None:
    tab = tabs.open()
    asked(tab)
    tab.click("#accept")
    tab.wait("document.querySelector('#thanks').innerText")
    tab.click("#candidate-list li:nth-child(2) button")
    tab.wait("document.querySelector('#thanks').innerText.includes('candidate 2')")
    tab.click("#edit")
    tab.wait("document.activeElement.id === 'edited'")
    tab.type("My own words")
    tab.click("#edit-form button")
    tab.wait("document.querySelector('#edit-form').hidden")
    accepted, chosen, edited = tabs.app.state.given
    assert accepted == {"answer_id": "ans_1", "accept": True}
    assert chosen == {"answer_id": "ans_1", "choose": 2}
    assert "My own words" in edited["edit"]


def test_no_feedback_is_offered_where_the_server_takes_none(tabs: Tabs) -> None:
    tab = tabs.open(feedback=False)
    asked(tab)
    assert tab.run("document.querySelector('#feedback').hidden")
    assert tab.run("document.querySelector('#candidate-list button') === null")


NAMED = "(e => e === document.body ? 'BODY' : e.id || e.innerText)"


def test_everything_is_reached_by_keyboard_and_shows_where_it_is(tabs: Tabs) -> None:
    tab = tabs.open()
    asked(tab)
    wanted = tab.run(
        "[...document.querySelectorAll('a, button, select, input, textarea, summary')]"
        f".filter(e => e.checkVisibility() && !e.disabled).map({NAMED})"
    )
    tab.run("document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)")
    met = []
    for _ in range(3 * len(wanted)):
        tab.press("Tab")
        at = tab.run(f"{NAMED}(document.activeElement)")
        style = "getComputedStyle(document.activeElement)"
        if at != "BODY":
            assert tab.run(
                f"{style}.outlineStyle !== 'none' && parseFloat({style}.outlineWidth) >= 2"
            ), at
        met.append(at)
    assert set(wanted) <= set(met)
    names = tab.run(
        "[...document.querySelectorAll('select, input, textarea')].filter(e => e.checkVisibility())"
        ".every(e => e.labels.length || e.ariaLabel)"
    )
    assert names, "a field without a label"


def test_the_skip_link_leads_to_the_question(tabs: Tabs) -> None:
    tab = tabs.open()
    tab.run("document.querySelector('.skip').focus()")
    tab.press("Enter")
    tab.wait("document.activeElement.id === 'query'")


CONTRAST = """
(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const found = rgb(getComputedStyle(e).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const poor = [];
  for (const e of document.querySelectorAll('body *')) {
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.value;
    if (!words || !e.checkVisibility() || e.closest('svg, option, datalist')) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) poor.push([e.tagName, e.className, e.innerText?.slice(0, 30), ratio]);
  }
  return poor;
})()
"""


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_in_light_and_dark(tabs: Tabs, dark: bool) -> None:
    tab = tabs.open(dark=dark)
    assert tab.run(CONTRAST) == []
    asked(tab)
    assert tab.run(CONTRAST) == []
    ground = tab.run("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(247, 246, 241)") is not dark
    tab.run("document.querySelector('.facts').style.color = 'rgb(128, 128, 128)'")
    assert tab.run(CONTRAST), "the check itself"


def test_a_narrow_window_needs_no_sideways_scrolling(tabs: Tabs) -> None:
    tab = tabs.open(width=320)
    asked(tab)
    assert tab.run("document.documentElement.scrollWidth") == 320


def test_nothing_moves_for_those_who_want_it_still(tabs: Tabs) -> None:
    moving = "getComputedStyle(document.querySelector('.progress'), '::before').animationName"
    assert tabs.open(still=False).run(moving) == "breathe"
    assert tabs.open(still=True).run(moving) == "none"


def test_headers_keep_the_page_to_its_own_server(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'none'", "script-src 'self'", "connect-src 'self'"):
        assert part in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", answer.text)
    again = client.get("/", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert not again.content


def test_every_file_of_the_page_is_served_and_nothing_else(client: TestClient) -> None:
    folder = Path(page.__file__).with_name("page")
    names = {path.name for path in folder.iterdir()} - {"index.html"}
    types = {name: client.get(f"/page/{name}").headers["content-type"] for name in names}
    assert {kind.split(";")[0] for kind in types.values()} == {"text/css", "text/javascript"}
    for path in ("/page/service.py", "/page/..%2fservice.py", "/page/"):
        assert client.get(path).status_code == 404
