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
from hydra_cli.store.api_keys import ApiKeys
from hydra_cli.store.folder import StoreFolder
from tests.serving import page_site
from tests.serving.browser import Browser, Tab, program
from tests.serving.page_site import HOSTILE, PLAIN, REPLIES, Site

QUESTION = "Is the mug safe in a dishwasher? Ann Webb"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    path = program()
    if path is None:
        pytest.skip("no Chromium here; docs/contributing.md says how to get one")
    opened = Browser(path, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def llm() -> Iterator[str]:
    with page_site.provider() as url:
        yield url


@pytest.fixture(autouse=True)
def environment(llm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the server's process, which is this one."""
    monkeypatch.setenv("OPENAI_API_BASE", llm)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with page_site.site(tmp_path_factory.mktemp("store")) as found:
        yield found


class Tabs:
    """Opens tabs, which are closed in the end."""

    def __init__(self, browser: Browser, stack: ExitStack) -> None:
        self._browser, self._stack = browser, stack

    def open(self, url: str, **media: object) -> Tab:
        tab = self._browser.open(f"{url}/", **media)
        self._stack.callback(tab.close)
        return tab


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Tabs]:
    with ExitStack() as stack:
        yield Tabs(browser, stack)


@pytest.fixture
def tab(tabs: Tabs, site: Site) -> Tab:
    """A page that has shown a history."""
    opened = tabs.open(site.url)
    opened.wait("document.querySelector('#history-list').children.length")
    return opened


@pytest.fixture(scope="module")
def asked(browser: Browser, site: Site, llm: str) -> Iterator[Tab]:
    """A page with an answer, for tests that only look at it; ``busy`` tells how it came."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("OPENAI_API_BASE", llm)
        patch.setenv("OPENAI_API_KEY", "sk-test")
        opened = Tabs(browser, stack).open(site.url)
        opened.wait("document.querySelector('#history-list').children.length")
        opened.run(
            f"window.busy = []; new MutationObserver(() => "
            f"busy.push([{LIVE}.ariaBusy, {LIVE}.innerText])).observe("
            f"{LIVE}, {{childList: true, attributes: true}})"
        )
        ask(opened)
        yield opened


LIVE = "document.querySelector('#answer-text')"


def ask(tab: Tab, question: str = QUESTION) -> None:
    """Ask and wait for the answer, or for what went wrong."""
    tab.run("document.querySelector('#query').focus()")
    tab.type(question)
    tab.press("Enter")
    tab.wait(
        "!document.querySelector('#send').disabled && document.querySelector('#answer-title')"
        " && document.querySelector('#how').hidden"
    )


def test_asking_shows_the_answer_and_why(asked: Tab, site: Site) -> None:
    people = "[...document.querySelector('#user').options].map(o => o.value)"
    assert asked.run(people) == ["mia", "ole"]
    assert asked.text("#answer-text") in REPLIES
    assert asked.text("#answer-title") == "As mia would write it"
    told = asked.text("#told")
    assert "nothing was fitted yet" in told
    assert "Adapter\non" in told
    assert asked.text("#stages code") == "hydra-pers fit"
    first, *others = asked.text("#candidate-list").split("score ")
    assert first.startswith(asked.text("#answer-text"))
    assert "Chosen" in first
    assert len(others) == len(REPLIES)
    widths = asked.run(
        "[...document.querySelectorAll('#candidate-list i')].map(i => i.offsetWidth)"
    )
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > widths[-1] > 0
    assert asked.text("#shown-hint") == "4 records of mia went into the prompt."
    assert "score " in asked.text("#shown-list")
    assert "1,204 tokens read" in asked.text("#facts")
    assert QUESTION in asked.run("document.querySelector('#messages').textContent")
    assert asked.problems == []
    assert {url.startswith((f"{site.url}/", "data:")) for url in asked.requests} == {True}


def test_the_answer_is_told_to_those_who_listen(asked: Tab) -> None:
    busy = asked.run("busy")
    assert ["true", asked.text("#answer-text")] in busy
    assert busy[-1][0] == "false"
    assert asked.run(f"{LIVE}.ariaLive") == "polite"


def test_plain_model_answers_word_by_word_without_anything_personal(tab: Tab) -> None:
    tab.run(
        f"window.grown = new Set(); new MutationObserver(() => grown.add({LIVE}.innerText))"
        f".observe({LIVE}, {{childList: true}})"
    )
    tab.run("document.querySelector('#model').value = 'openai/stub'")
    ask(tab)
    assert tab.text("#answer-text") == PLAIN
    assert tab.run("grown.size") > 2, "it came in one piece"
    for part in ("told", "shown", "candidates", "feedback"):
        assert tab.run(f"document.getElementById('{part}').hidden")


def test_history_is_searched_and_paged(tab: Tab) -> None:
    assert tab.text("#history-count") == "20 records of 34, newest first"
    assert "Question 29" in tab.text("#history-list li")
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


def test_records_that_hold_markup_stay_text(asked: Tab) -> None:
    asked.run("document.querySelector('#search-text').value = 'window.hit'")
    asked.run("document.querySelector('#search').requestSubmit()")
    asked.wait("document.querySelector('#history-list').children.length === 1")
    for place in ("#shown-list", "#history-list"):
        assert HOSTILE in asked.text(place)
    assert asked.run("document.querySelector('main img, main script')") is None
    assert asked.run("window.hit === undefined")
    before = len(asked.problems)
    asked.run(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'window.hit = 2'}))"
    )
    assert asked.run("window.hit === undefined"), "the policy lets scripts in the page run"
    assert "Content Security Policy" in "".join(asked.problems[before:])


def test_a_key_is_asked_for_and_goes_with_the_tab(tabs: Tabs, home: Path) -> None:
    with page_site.site(home) as own:
        _, key = ApiKeys(StoreFolder(home)).add(user="ole")
        tab = tabs.open(own.url)
        tab.wait("!document.querySelector('#key-form').hidden")
        assert tab.run("document.activeElement.id") == "key"
        tab.type("hp_wrong")
        tab.press("Enter")
        tab.wait("!document.querySelector('#trouble').hidden")
        assert tab.text("#trouble") == "The server doesn't know this key."
        tab.type(key)
        tab.press("Enter")
        tab.wait("document.querySelector('#history-list').innerText.includes('9 EUR')")
        assert tab.run("[...document.querySelector('#user').options].map(o => o.value)") == ["ole"]
        assert tab.run("document.querySelector('#trouble').hidden && localStorage.length === 0")
        tab.go(f"{own.url}/")
        tab.wait("!document.querySelector('#desk').hidden")
        tab.click("#forget-key")
        tab.wait("!document.querySelector('#key-form').hidden")
        assert tab.run("sessionStorage.length") == 0


def test_what_goes_wrong_is_told_in_words(tab: Tab, site: Site) -> None:
    ask(tab, "nobody answers")
    assert tab.text("#trouble").startswith("The LLM didn't answer: ")
    assert tab.run("document.querySelector('#trouble').role") == "alert"
    assert tab.run("document.querySelector('#answer').hidden")
    tab.run("document.querySelector('#user').append(new Option('nemo', 'nemo', true, true))")
    tab.run("document.querySelector('#user').dispatchEvent(new Event('change'))")
    tab.wait("document.querySelector('#trouble').innerText.includes('nemo')")


NAMED = "(e => e === document.body ? 'BODY' : e.id || e.innerText)"


def test_everything_is_reached_by_keyboard_and_shows_where_it_is(asked: Tab) -> None:
    tab = asked
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


def test_the_skip_link_leads_to_the_question(tab: Tab) -> None:
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


def test_words_stand_out_in_light_and_dark(asked: Tab, tab: Tab) -> None:
    grounds = set()
    for dark in (True, False):
        for one in (asked, tab):
            one.emulate(dark=dark)
            assert one.run(CONTRAST) == []
        grounds.add(asked.run("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    tab.run("document.querySelectorAll('.hint').forEach(e => e.style.color = 'rgb(128, 128, 128)')")
    assert tab.run(CONTRAST), "the check itself"


def test_a_narrow_window_needs_no_sideways_scrolling(asked: Tab) -> None:
    asked.emulate(width=320)
    assert asked.run("[innerWidth, document.documentElement.scrollWidth]") == [320, 320]
    asked.emulate()


def test_nothing_moves_for_those_who_want_it_still(tab: Tab) -> None:
    moving = "getComputedStyle(document.querySelector('.progress'), '::before').animationName"
    assert tab.run(moving) == "none"
    tab.emulate(still=False)
    assert tab.run(moving) == "breathe"


def test_feedback_is_sent_where_the_server_takes_it(tab: Tab, site: Site) -> None:
    ask(tab)
    tab.click("#accept")
    tab.wait("document.querySelector('#thanks').innerText")
    tab.click("#candidate-list li:nth-child(2) button")
    tab.wait("document.querySelector('#thanks').innerText.includes('candidate 2')")
    tab.click("#undo")
    tab.wait("document.querySelector('#thanks').innerText === 'Taken back.'")
    tab.click("#edit")
    tab.wait("document.activeElement.id === 'edited'")
    tab.run("document.activeElement.select()")
    tab.type("My own words")
    tab.click("#edit-form button")
    tab.wait("document.querySelector('#edit-form').hidden")
    [given] = site.hydra.feedbacks("mia")  # type: ignore[attr-defined]
    assert (given.kind, given.text) == ("edit", "My own words")
    tab.wait("document.querySelector('#fared-summary').innerText.includes('0 % were accepted')")
    [week] = site.hydra.stats("mia")
    told = tab.run("document.querySelector('#fared-plot svg').ariaLabel")
    assert f"week of {week.name}: 0 % accepted as shown" in told
    assert tab.run("document.querySelectorAll('#fared-plot circle, #fared-plot rect').length") == 2
    tab.run("document.querySelector('#fared-weeks summary').focus()")
    tab.press("Enter")
    assert tab.text("#fared-rows th") == week.name
    assert tab.text("#fared-rows td:nth-of-type(4)") == str(week.edited)
    for dark in (True, False):
        tab.emulate(dark=dark)
        assert tab.run(CONTRAST) == []
    tab.emulate(width=320)
    assert tab.run("document.documentElement.scrollWidth") == 320


def test_no_feedback_is_offered_where_the_server_takes_none(tabs: Tabs, home: Path) -> None:
    with page_site.site(home, feedback=False) as own:
        tab = tabs.open(own.url)
        tab.wait("document.querySelector('#history-list').children.length")
        ask(tab)
        assert tab.run("document.querySelector('#feedback').hidden")
        assert tab.run("document.querySelector('#candidate-list button')") is None


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
