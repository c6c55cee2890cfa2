"""A real headless Chromium that looks at pages as a person would."""

from __future__ import annotations

import atexit
import functools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROKEN_IMAGES = """
const done = arguments[arguments.length - 1], images = [...document.images];
for (const image of images) image.loading = "eager";  // those further down, too
// An image that the page replaces meanwhile is not decoded either.
const missing = image => image.decode().then(() => false, () =>
    image.isConnected && (image.complete ? !image.naturalWidth : missing(image)));
Promise.all(images.map(missing)).then(found => done(images.filter((_, place) => found[place]).map(image => image.src)));
"""
SHIFTS = """
window.shifts = 0;
new PerformanceObserver(list => { for (const entry of list.getEntries()) window.shifts += entry.value; })
    .observe({type: "layout-shift", buffered: true});
"""
"""Sums up the layout shifts of a page; to be run before its own scripts."""
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


@functools.cache
def chromium() -> Any:
    """Open a selenium driver, the only one of this process; skip the test where there is no Chromium."""
    selenium = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    atexit.register(window.quit)
    return window


@contextmanager
def browser(*, width: int = 1200, height: int = 900, downloads: Path | None = None) -> Iterator[Any]:
    """Open a tab of this size; at the end, show the page of the tab before again."""
    window = chromium()
    before = window.current_window_handle
    window.switch_to.new_window("tab")
    try:
        window.get_log("browser")  # what other pages said
        # A window cannot be narrower than 500 pixels; what a page sees can.
        window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})
        if downloads is not None:
            window.execute_cdp_cmd("Browser.setDownloadBehavior", {
                "behavior": "allow", "downloadPath": str(downloads)})
        yield window
    finally:
        window.close()
        window.switch_to.window(before)


def faults_of(window: Any) -> dict[str, Any]:
    """Return the faults of the open page; empty if there are none."""
    log = window.get_log("browser")
    found = {
        "errors in the console": [entry["message"] for entry in log if entry["level"] == "SEVERE"],
        "images that are missing": window.execute_async_script(BROKEN_IMAGES),
        "pixels beyond the window's right edge": max(0, window.execute_script(OVERFLOW)),
    }
    return {name: value for name, value in found.items() if value}


def look(page: Path, *, width: int = 1200) -> dict[str, Any]:
    """Return `faults_of` a page in a window of this width."""
    with browser(width=width) as window:
        window.get(page.absolute().as_uri())
        return faults_of(window)
