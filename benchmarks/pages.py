"""How soon a page is there in Chromium without a window: python -m benchmarks.pages report.html ...

Milliseconds from the navigation on, the least and the median of several new browsers: the first text on the
screen, the event load, slices that move, the grain in 3D (without a graphics card, unless --gpu); and the
longest time that the page did not answer. Below it what the console said.
    [--repeats 5]   [--width 1280]; below 500 a phone   [--gpu]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import table

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_WATCH = """
const times = { longest: 0 };
const mark = (name) => (times[name] ??= performance.now());
new PerformanceObserver((list) => {
  for (const { name, startTime } of list.getEntries()) {
    if (name === "first-contentful-paint") times.text = startTime;
  }
}).observe({ type: "paint", buffered: true });
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) times.longest = Math.max(times.longest, duration);
}).observe({ type: "longtask", buffered: true });
addEventListener("load", () => mark("load"));
new MutationObserver(() => {
  if (document.body?.classList.contains("live")) mark("slices");
  if (document.getElementById("scene")?.dataset.ready) mark("solid");
}).observe(document, { attributes: true, childList: true, subtree: true });
"""
_ALWAYS = ("--headless=new", "--no-sandbox", "--remote-debugging-pipe")
_NO_CARD = ("--disable-gpu", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
_CONSOLE = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
_PHONE = 500  # pixels
_PATIENCE_S = 60.0
_COLUMNS = ("text", "load", "slices", "solid", "longest")


class Browser:
    """Chromium, spoken to in its own words (Chrome DevTools Protocol) through pipes."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, os.fdopen(receive, "rb", buffering=0)
        self._rest, self._n, self.events = b"", 0, list[dict[str, Any]]()

    def ask(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The answer to a command; events on the way are kept."""
        self._n += 1
        words = {"id": self._n, "method": method, "params": params}
        os.write(self._send, json.dumps(words | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (said := self._hear()).get("id") != self._n:
            self.events.append(said)
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']}")
        answer: dict[str, Any] = said["result"]
        return answer

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            self._rest += self._receive.read(1 << 20)
        said, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(said)
        return found


@contextmanager
def chromium(*flags: str) -> Iterator[Browser]:
    """A new browser without anything remembered."""
    command = next(path for name in _NAMES if (path := shutil.which(name)))
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()

    def pipes() -> None:  # the browser reads 3 and writes 4
        read, write = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(read, 3)
        os.dup2(write, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = subprocess.Popen(
            [command, *_ALWAYS, f"--user-data-dir={profile}", *flags],
            preexec_fn=pipes,
            close_fds=False,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        browser = Browser(ours_out, ours_in)
        try:
            yield browser
            browser.ask("Browser.close")
        finally:
            started.wait(20)
            os.close(ours_out)


def visit(page: Path, width: int, *flags: str) -> tuple[dict[str, float], list[str]]:
    """Times in ms by what was reached, and what the console said; to listen to that earlier takes time."""
    with chromium(f"--window-size={width},900", *flags) as browser:
        target = browser.ask("Target.createTarget", url="about:blank")["targetId"]
        session = browser.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        browser.ask("Page.enable", session)
        if width < _PHONE:
            phone = {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": True}
            browser.ask("Emulation.setDeviceMetricsOverride", session, **phone)
        browser.ask("Page.addScriptToEvaluateOnNewDocument", session, source=_WATCH)
        browser.ask("Page.navigate", session, url=page.resolve().as_uri())
        times: dict[str, float] = {}
        end = time.monotonic() + _PATIENCE_S
        while "solid" not in times and time.monotonic() < end:
            time.sleep(0.2)
            said = browser.ask("Runtime.evaluate", session, expression="JSON.stringify(times)")
            times = json.loads(said["result"].get("value", "{}"))
        for domain in ("Runtime", "Log"):
            browser.ask(f"{domain}.enable", session)
    told = [event["params"] for event in browser.events if event.get("method") in _CONSOLE]
    return times, [json.dumps(words)[:300] for words in told]


def main() -> str:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--gpu", action="store_true")
    options = parser.parse_args()
    flags = () if options.gpu else _NO_CARD
    rows, said = [], dict[str, None]()
    for page in options.pages:
        runs = []
        for _ in range(options.repeats):
            times, told = visit(page, options.width, *flags)
            runs.append([times.get(name, math.nan) for name in _COLUMNS])
            said |= dict.fromkeys(told)
        each = [f"{min(column):.0f}, {statistics.median(column):.0f}" for column in zip(*runs, strict=True)]
        rows.append([str(page), f"{page.stat().st_size / 1e6:.1f}", *each])
    return "\n".join([table(["page", "MB", *_COLUMNS], rows), "", *said])


if __name__ == "__main__":
    print(main())
