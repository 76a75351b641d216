"""The report of rates in a real browser: headless Chromium, driven over a pipe.

The pipe speaks the DevTools protocol: JSON messages, each ended by a zero byte. So clicks, taps
and widths are the browser's own, and what the page fetches or gets wrong is heard.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import select
import shutil
import subprocess
import time

import pytest
from test_rate_report import document

from ufd.analysis.rate_report import write_rate_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on the path: apt-get install chromium"
    ),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-pipe"
).split()


class Browser:
    """One page of a Chromium; remembers errors and requests of the page."""

    def __init__(self, profile):
        theirs, self.out = os.pipe()
        self.into, answers = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        script = f'exec "$0" "$@" 3<&{theirs} 4>&{answers}'
        self.process = subprocess.Popen(
            ["/bin/bash", "-c", script, CHROMIUM, *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(answers)
        self.numbers = itertools.count(1)
        self.buffer = b""
        self.session = None
        self.events: list[dict] = []
        try:
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
            self.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.send(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def close(self):
        self.session = None
        try:
            self.send("Browser.close")
            self.process.wait(timeout=20)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.into)

    def _message(self, deadline: float) -> dict:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.into], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            part = os.read(self.into, 1 << 20)
            assert part, "the browser has gone"
            self.buffer += part
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def send(self, method: str, **parameters) -> dict:
        number, deadline = next(self.numbers), time.monotonic() + 60
        message = {"id": number, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data) :]
        while True:
            answer = self._message(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def run(self, script: str):
        """The value of an expression in the page."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str):
        """Wait until the expression is true."""
        deadline = time.monotonic() + 20
        while not self.run(script):
            assert time.monotonic() < deadline, f"never: {script}"
            time.sleep(0.05)

    def show(self, url: str, width: int = 1200, height: int = 900, mobile: bool = False):
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        # Another page first: an address that differs in its fragment only would load nothing.
        self.send("Page.navigate", url="about:blank")
        self.events.clear()
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        self.run("document.documentElement.style.scrollBehavior = 'auto'")

    def click(self, x: float, y: float):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def middle(self, script: str) -> tuple[float, float]:
        """Scroll an element into view and return its middle in the window."""
        x, y = self.run(
            f"(() => {{ const e = {script}; e.scrollIntoView({{block: 'center'}});"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return x, y

    def errors(self) -> list[dict]:
        """Exceptions of scripts and complaints of the browser."""
        self.run("0")
        return [
            event
            for event in self.events
            if event["method"] == "Runtime.exceptionThrown"
            or (
                event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error"
            )
        ]

    def requests(self) -> list[str]:
        self.run("0")
        sent = [e for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_rate_report(document(), tmp_path_factory.mktemp("page"))


def column(browser: Browser, number: int) -> list[str]:
    return browser.run(
        "Array.from(document.querySelectorAll('#part-summary tbody tr'),"
        f"row => row.cells[{number}].textContent.trim())"
    )


def head(number: int) -> str:
    return f"document.querySelectorAll('#part-summary thead th')[{number}]"


def is_open(name: str) -> str:
    return f"document.getElementById('{name}').open"


# A point of the middle of a curve, in the window.
ON_CURVE = """(() => {
  const path = document.querySelector('#curve-%s path:not(.reach)');
  path.scrollIntoView({block: 'center'});
  const p = path.getPointAtLength(%s * path.getTotalLength());
  const q = p.matrixTransform(path.getScreenCTM());
  return [q.x, q.y];
})()"""


def test_content(browser, page):
    """No error, nothing fetched, and as many figures, tables, rows and cards as there should be."""
    browser.show(page.as_uri())
    assert browser.errors() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    wanted = document()
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    boxes = browser.run(
        "Array.from(document.querySelectorAll('svg.plot'),"
        "s => { const b = s.getBoundingClientRect(); return [b.width, b.height]; })"
    )
    assert len(boxes) == len(wanted["claims"]) + 2 + 1
    assert all(width > 250 and height > 150 for width, height in boxes)
    assert browser.run("document.querySelectorAll('details.card').length") == len(wanted["claims"])
    rows = browser.run(
        "Array.from(document.querySelectorAll('table'), t => t.tBodies[0].rows.length)"
    )
    tables = [len(table["rows"]) for table in wanted["tables"]]
    assert rows == [len(wanted["claims"]), *tables, len(wanted["settings"]), 2]


def test_errors_are_heard(browser, page, tmp_path):
    """The two checks above can fail."""
    bad = tmp_path / "bad.html"
    image = (tmp_path / "absent.png").as_uri()
    extra = f"<img src='{image}'><script>nowhere()</script></body>"
    bad.write_text(page.read_text().replace("</body>", extra))
    browser.show(bad.as_uri())
    assert any("nowhere" in json.dumps(event) for event in browser.errors())
    assert image in browser.requests()


def test_sorting(browser, page):
    """By number with a click and with the keyboard; what has no number stays last."""
    browser.show(page.as_uri())
    assert column(browser, 0) == ["1", "2", "3", "4", "5"]
    assert browser.run(head(4) + ".getAttribute('aria-sort')") == "none"
    browser.click(*browser.middle(head(4) + ".querySelector('button')"))
    assert column(browser, 4) == ["4", "4", "4", "10", "–"]  # as texts, 10 would come first
    assert browser.run(head(4) + ".getAttribute('aria-sort')") == "ascending"
    browser.click(*browser.middle(head(4) + ".querySelector('button')"))
    assert column(browser, 4) == ["10", "4", "4", "4", "–"]
    browser.run(head(8) + ".querySelector('button').focus()")
    for kind in ("keyDown", "keyUp"):
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        browser.send("Input.dispatchKeyEvent", type=kind, **enter)
    assert column(browser, 8) == ["-3.1 %", "+0.02 %", "+0.02 %", "+20 %", "–"]
    assert browser.run(head(4) + ".getAttribute('aria-sort')") == "none"
    browser.click(*browser.middle("document.querySelector('#table-modes th:nth-child(2) button')"))
    numbers = (
        "Array.from(document.querySelectorAll('#table-modes tbody tr'),"
        "row => row.cells[1].textContent)"
    )
    assert browser.run(numbers) == ["0.25", "9.5", "10"]
    assert browser.errors() == []


def test_curve_opens_card(browser, page):
    """A click near a curve, and on a point, opens the card and scrolls to it."""
    browser.show(page.as_uri())
    assert not browser.run(is_open("ten"))
    x, y = browser.run(ON_CURVE % ("ten", 0.7))
    browser.click(x + 3, y)
    browser.until(is_open("ten"))
    visible = (
        "(b => b.top >= -1 && b.top < innerHeight)"
        "(document.getElementById('%s').getBoundingClientRect())"
    )
    browser.until(visible % "ten")
    assert browser.run("location.hash") == "#ten"
    assert not browser.run(is_open("bad"))
    browser.click(*browser.middle("document.querySelector('#point-bad a path')"))
    browser.until(is_open("bad"))
    browser.until(visible % "bad")
    assert browser.errors() == []


def test_row_lights_curve_and_point(browser, page):
    """While the mouse is over the row; for good after a tap, until the next one."""
    browser.show(page.as_uri())
    lit = "Array.from(document.querySelectorAll('.on'), e => e.id || e.dataset.claim).sort()"
    row = "document.querySelector('tr[data-claim=bad]').cells[4]"
    x, y = browser.middle(row)
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    everything = ["bad", "bad", "curve-bad", "point-bad"]
    assert browser.run(lit) == everything
    assert browser.run("document.querySelectorAll('svg.dim').length") == 2
    browser.send("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    assert browser.run(lit) == []
    browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        for expected in (everything, []):
            x, y = browser.middle(row)
            browser.send(
                "Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}]
            )
            browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
            browser.until(
                f"JSON.stringify({lit}) === '{json.dumps(expected, separators=(',', ':'))}'"
            )
    finally:
        browser.send("Emulation.setTouchEmulationEnabled", enabled=False)
    assert browser.errors() == []


def test_address_opens_card(browser, page):
    browser.show(page.as_uri() + "#close")
    browser.until(is_open("close"))
    assert not browser.run(is_open("good"))


@pytest.mark.parametrize("opened", [False, True])
def test_phone(browser, page, tmp_path, opened):
    """At 360 pixels the page does not scroll sideways; a table does, in its own box."""
    browser.show(page.as_uri(), width=360, height=740, mobile=True)
    if opened:
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.run("document.documentElement.clientWidth") == 360
    assert browser.run("document.documentElement.scrollWidth") <= 360
    assert browser.run("document.querySelector('.wide').scrollWidth") > 360
    # It would be seen: without the boxes the table is wider than the page.
    browser.run(
        "document.querySelectorAll('.wide').forEach(b => { b.style.overflow = 'visible'; })"
    )
    assert browser.run("document.documentElement.scrollWidth") > 360


def test_without_script(browser, page):
    """All is there, and the cards can be opened, if scripts are off."""
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.show(page.as_uri())
        assert column(browser, 0) == ["1", "2", "3", "4", "5"]
        assert browser.run("document.querySelectorAll('button').length") == 0
        x, y = browser.middle("document.querySelector('#good summary .name')")
        browser.click(x, y)
        browser.until(is_open("good"))
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("scripts", [True, False])
def test_print(browser, page, scripts):
    """Several pages, every card open on them, and closed again afterwards."""
    browser.send("Emulation.setScriptExecutionDisabled", value=not scripts)
    try:
        browser.show(page.as_uri())
        short = pages_of(browser, "details { display: none; }")
        assert pages_of(browser, "") >= short + 3
        assert not browser.run(is_open("good"))
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_fits_on_paper(browser, page):
    """Between the margins of A4 no table is cut off, with nothing scrolled on paper."""
    browser.send("Emulation.setEmulatedMedia", media="print")
    try:
        browser.show(page.as_uri(), width=688)
        assert browser.run("getComputedStyle(document.querySelector('.wide')).overflowX") == (
            "visible"
        )
        assert browser.run("document.documentElement.scrollWidth") <= 688
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")


def pages_of(browser: Browser, style: str) -> int:
    browser.run(
        "(document.getElementById('extra') || document.head.appendChild(Object.assign("
        f"document.createElement('style'), {{id: 'extra'}}))).textContent = {json.dumps(style)}"
    )
    pdf = base64.b64decode(browser.send("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 10_000
    return len(re.findall(rb"/Type\s*/Page\b", pdf))
