"""Look at a page in headless Chromium: what it asks the network for, what it complains of, what an expression gives."""

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WAIT = 30.0  # seconds


@dataclass
class Seen:
    """What was seen of a page."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)


def look(
    url: str,
    expressions: list[str],
    *,
    dark: bool = False,
    width: int = 1280,
    ready: str = "true",
    picture: Path | None = None,
) -> Seen:
    """Open a page, wait until an expression is true, and evaluate others.

    Args:
        url: of the page.
        expressions: of JavaScript, whose values are returned.
        dark: whether the page is told that its reader prefers dark colours.
        width: of the window, pixels.
        ready: JavaScript that is true once the page is there.
        picture: file for a picture of it.
    """
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium isn't installed, and must be where CI is set: apt-get install chromium")
        pytest.skip("Chromium isn't installed: apt-get install chromium")
    choreographer = pytest.importorskip("choreographer", reason="kaleido isn't installed: pip install 'mpsearch[dev]'")
    return asyncio.run(_look(choreographer, path, url, expressions, dark, width, ready, picture))


async def _look(
    choreographer: Any,
    path: str,
    url: str,
    expressions: list[str],
    dark: bool,
    width: int,
    ready: str,
    picture: Path | None,
) -> Seen:
    import base64

    seen = Seen()

    async def asked(event: Any) -> None:
        seen.requests.append(event["params"]["request"]["url"])

    async def said(event: Any) -> None:
        params = event["params"]
        if params.get("type") in ("error", "warning", "assert"):
            seen.complaints.append(str(params["args"]))

    async def thrown(event: Any) -> None:
        seen.complaints.append(str(event["params"]["exceptionDetails"]))

    async def logged(event: Any) -> None:
        if event["params"]["entry"]["level"] == "error":
            seen.complaints.append(str(event["params"]["entry"]["text"]))

    async with choreographer.Browser(path=path, headless=True, enable_gpu=False) as browser:
        tab = await browser.create_tab("about:blank")
        session = await tab.create_session()
        for name, callback in (
            ("Network.requestWillBeSent", asked),
            ("Runtime.consoleAPICalled", said),
            ("Runtime.exceptionThrown", thrown),
            ("Log.entryAdded", logged),
        ):
            session.subscribe(name, callback)
        for domain in ("Network", "Runtime", "Log", "Page"):
            await session.send_command(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await session.send_command("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        await session.send_command("Emulation.setDeviceMetricsOverride", size)
        await session.send_command("Page.navigate", {"url": url})

        async def value(expression: str) -> Any:
            options = {"expression": expression, "returnByValue": True, "awaitPromise": True}
            answer = await session.send_command("Runtime.evaluate", options)
            assert "exceptionDetails" not in answer["result"], answer["result"]
            return answer["result"]["result"].get("value")

        deadline = asyncio.get_running_loop().time() + WAIT
        while not await value(f"document.readyState === 'complete' && ({ready})"):
            assert asyncio.get_running_loop().time() < deadline, f"{url} isn't there after {WAIT:.0f} s: {seen}"
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.5)
        seen.values = [await value(expression) for expression in expressions]
        if picture is not None:
            answer = await session.send_command("Page.captureScreenshot", {"captureBeyondViewport": True})
            picture.write_bytes(base64.b64decode(answer["result"]["data"]))
    return seen
