"""The picture of the page in docs/serving.md: the demo's histories, answers of a stub LLM.

python -m tests.serving.page_picture [docs/serving-page.png] [--dark] [--width N]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

from PIL import Image

from hydra_cli import Hydra
from tests.serving.browser import Browser, program
from tests.serving.page_site import provider, serving

STORY = (
    "A lorry has shed its load of nine thousand rubber ducks on the ring road of Exeter. Police "
    "closed both lanes for three hours while volunteers gathered them in fishing nets."
)
HEADLINES = [
    "Rubber Duck Spill Shuts Exeter Ring Road!",
    "exeter's ring road closed by nine thousand rubber ducks",
    "9,000 Ducks Delay Exeter Traffic, Police Say",
    "volunteers net nine thousand ducks on exeter's ring road",
    "Quack! Chaos as ducks take over the ring road",
    "Ring road closed",
]
_SHOWN = 1390


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", type=Path, nargs="?", default=Path("docs/serving-page.png"))
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1200)
    options = parser.parse_args()
    path = program()
    if path is None:
        parser.error("no Chromium here; docs/contributing.md says how to get one")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        llm = stack.enter_context(provider(HEADLINES))
        os.environ |= {"OPENAI_API_BASE": llm, "OPENAI_API_KEY": "none"}
        hydra = stack.enter_context(
            Hydra.open(folder / "store", model="openai/stub", n=len(HEADLINES), k=4)
        )
        hydra.ingest(Path(str(files("hydra_cli.demo") / "histories.jsonl")))
        hydra.fit(task="headlines")
        site = stack.enter_context(serving(hydra))
        browser = Browser(path, folder / "profile")
        stack.callback(browser.close)
        tab = browser.open(f"{site.url}/", dark=options.dark, width=options.width)
        tab.wait("document.querySelector('#history-list').children.length")
        tab.run("document.querySelector('#task').value = 'headlines'")
        tab.run("document.querySelector('#task').dispatchEvent(new Event('change'))")
        tab.run("document.querySelector('#query').focus()")
        tab.type(STORY)
        tab.press("Enter")
        tab.wait("!document.querySelector('#told').hidden")
        tab.wait("document.querySelector('#history-list').innerText.includes('cheddar')")
        tab.run("document.activeElement.blur()")
        tab.picture(options.target, height=_SHOWN)
    # Few colours: a page has few, and the file is a third of the size.
    with Image.open(options.target) as picture:
        picture.convert("RGB").quantize(96).save(options.target, optimize=True)


if __name__ == "__main__":
    main()
