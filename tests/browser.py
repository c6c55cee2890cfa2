"""A real headless Chromium that looks at pages as a person would."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROKEN_IMAGES = """
const done = arguments[arguments.length - 1], images = [...document.images];
for (const image of images) image.loading = "eager";  // those further down, too
Promise.allSettled(images.map(image => image.decode())).then(
    outcomes => done(images.filter((_, place) => outcomes[place].status === "rejected").map(image => image.src)));
"""
SHIFTS = """
window.shifts = 0;
new PerformanceObserver(list => { for (const entry of list.getEntries()) window.shifts += entry.value; })
    .observe({type: "layout-shift", buffered: true});
"""
"""Sums up the layout shifts of a page; to be run before its own scripts."""
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@contextmanager
def browser(*, width: int = 1200, height: int = 900, downloads: Path | None = None) -> Iterator[Any]:
    """Open a selenium driver of a window of this size; skip the test where there is no Chromium."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    try:
        # A window cannot be narrower than 500 pixels; what a page sees can.
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        yield window
    finally:
        window.quit()


def faults_of(window: Any) -> dict[str, Any]:
    """Return the faults of the open page; empty if there are none."""
    log = window.get_log("browser")
    found = {
        "errors in the console": [entry["message"] for entry in log if entry["level"] == "SEVERE"],
        "images that are missing": window.execute_async_script(BROKEN_IMAGES),
        "pixels beyond the window's right edge": max(0, window.execute_script(OVERFLOW)),
    }
    return {name: value for name, value in found.items() if value}


def look(page: Path | str, *, width: int = 1200, screenshot: Path | None = None) -> dict[str, Any]:
    """Return `faults_of` a page, a file or an address, in a window of this width; and its picture."""
    with browser(width=width) as window:
        window.get(page.absolute().as_uri() if isinstance(page, Path) else page)
        found = faults_of(window)
        if screenshot:
            window.save_screenshot(str(screenshot))
        return found
