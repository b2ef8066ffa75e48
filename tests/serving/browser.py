"""A headless Chromium, driven over its DevTools protocol: what a reader of the page sees.

Needs the ``chromium`` of the system (Debian, Ubuntu: ``apt install chromium``), or the
program that HYDRA_PERS_CHROMIUM names. ``Browser.open`` gives a tab of a context of its own.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
_KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowDown": 40}
_PATIENCE = 30.0


def program() -> str | None:
    """The browser's path, or None where there is none."""
    named = os.environ.get("HYDRA_PERS_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One Chromium process. Closed by ``close``."""

    def __init__(self, path: str, profile: Path) -> None:
        self._process = subprocess.Popen(
            [path, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        try:
            self.await_(self._connect(_address(profile, self._process)))
        except BaseException:
            self.close()
            raise

    def await_(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _connect(self, address: str) -> None:
        self._session = aiohttp.ClientSession(trust_env=False)
        self._socket = await self._session.ws_connect(address, max_msg_size=0)
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if waiting := self._answers.pop(said.get("id", 0), None):
                waiting.set_result(said)
            elif tab := self._tabs.get(said.get("sessionId", "")):
                tab.heard(said["method"], said["params"])

    async def _send(self, method: str, session: str | None, params: dict[str, Any]) -> Any:
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        said = {"id": number, "method": method, "params": params}
        await self._socket.send_json({**said, "sessionId": session} if session else said)
        answer = await self._answers[number]
        if "error" in answer:
            raise AssertionError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        return self.await_(self._send(method, session, params))

    def open(self, address: str, **media: Any) -> Tab:
        """A tab without cookies and storage; ``media`` as for ``Tab.emulate``."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        tab = Tab(self, attached["sessionId"], context)
        self._tabs[attached["sessionId"]] = tab
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.send(f"{domain}.enable")
        tab.emulate(**media)
        tab.go(address)
        return tab

    def close(self) -> None:
        async def leave() -> None:
            with contextlib.suppress(AttributeError):  # it never got that far
                self._reader.cancel()
                await self._socket.close()
                await self._session.close()

        self.await_(leave())
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._loop.call_soon_threadsafe(self._loop.stop)


class Tab:
    """A page: what was asked of the network, what went wrong, and hands on the keyboard."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self._browser, self._session, self._context = browser, session, context
        self.requests: list[str] = []
        self.problems: list[str] = []

    def heard(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.problems.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.problems.append(params["entry"]["text"])

    def send(self, method: str, **params: Any) -> Any:
        return self._browser.send(method, self._session, **params)

    def emulate(self, *, dark: bool = False, still: bool = True, width: int = 1200) -> None:
        """The reader's colours, whether things may move, and the window's width in pixels."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.send("Emulation.setEmulatedMedia", features=features)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def go(self, address: str) -> None:
        self.run("window.left = true")
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && !window.left")

    def run(self, script: str) -> Any:
        """The value of an expression; a promise's is awaited."""
        found = self.send(
            "Runtime.evaluate",
            **{"expression": script, "awaitPromise": True, "returnByValue": True},
        )
        if "exceptionDetails" in found:
            raise AssertionError(f"{script}: {json.dumps(found['exceptionDetails'])[:800]}")
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until a condition holds."""
        end = time.monotonic() + _PATIENCE
        # Between two pages, there is nothing to ask of.
        while not self.run(f"(() => {{ try {{ return Boolean({condition}) }} catch {{}} }})()"):
            assert time.monotonic() < end, f"never came true: {condition}; {self.text('body')}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """What is visible of an element's text."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def press(self, key: str, *, shift: bool = False) -> None:
        code = _KEYS[key]
        typed = {"Enter": "\r", " ": " "}.get(key)
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        down = (
            {**event, "type": "keyDown", "text": typed}
            if typed
            else {**event, "type": "rawKeyDown"}
        )
        self.send("Input.dispatchKeyEvent", **down)
        self.send("Input.dispatchKeyEvent", **{**event, "type": "keyUp"})

    def type(self, text: str) -> None:
        """Into whatever has the focus."""
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """In its middle, by the mouse."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            event = {"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", **event)

    def picture(self, path: Path, *, height: int) -> None:
        """The page from its top as PNG."""
        clip = {"x": 0, "y": 0, "width": self.run("innerWidth"), "height": height, "scale": 1}
        shot = self.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._browser.send("Target.disposeBrowserContext", browserContextId=self._context)


def _address(profile: Path, process: subprocess.Popen[bytes]) -> str:
    """Where the browser listens, which it writes into its profile."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            port, path = Path(profile, "DevToolsActivePort").read_text().split()
            return f"ws://127.0.0.1:{port}{path}"
        time.sleep(0.05)
    raise RuntimeError(f"the browser didn't start (status {process.poll()})")
