"""The page of app.py in a headless Chromium, without a network."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from browser import browser, faults_of
from cli import ROOT, TINY, make_images, run
from numpy.typing import NDArray
from PIL import Image
from tiny import save_noise

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="needs gradio: pip install gradio")

# Runs app.py, and records the other machines that its process asks.
RECORDING = """
import runpy, socket, sys
sys.path.insert(0, {root!r})
def note(host):
    if host not in ("127.0.0.1", "localhost", "::1", None):
        open({log!r}, "a").write(f"{{host}}\\n")
connect, look_up = socket.socket.connect, socket.getaddrinfo
socket.socket.connect = lambda self, to: (note(to[0] if isinstance(to, tuple) else None), connect(self, to))[1]
socket.getaddrinfo = lambda host, *rest, **more: (note(host), look_up(host, *rest, **more))[1]
sys.argv = ["app.py", *sys.argv[1:]]
runpy.run_path({app!r}, run_name="__main__")
"""
FOREIGN = """
const own = location.origin;
const asked = performance.getEntriesByType('resource').map(entry => entry.name);
const named = [...document.querySelectorAll('[src], link[href]')].map(element => element.src || element.href);
return [...asked, ...named].filter(url => /^(https?|wss?):/.test(url) && !url.startsWith(own));
"""
LOADED = "const image = document.querySelector('#{} img'); return image && image.complete && image.naturalWidth"

CHOSEN = "const chosen = document.querySelector('#checkpoint input'); return chosen && chosen.value"


class App(NamedTuple):
    """A running app.py."""

    address: str
    port: int
    process: subprocess.Popen[str]
    errors: Path
    asked: Path
    files: Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two experiments, and room for what app.py writes."""
    folder = tmp_path_factory.mktemp("page")
    data = make_images(folder / "data", "trainA", "trainB")
    for name, model in (("styles", "munit_sc"), ("mine", "sc")):
        tiny = [word for word in TINY if model == "sc" or word not in ("--netG", "resnet_6blocks")]
        outcome = run("train.py", "--dataroot", data, "--checkpoints_dir", folder / "checkpoints", "--name", name,
                      "--model", model, *tiny)
        assert outcome.code == 0, outcome.err
    (folder / "files").mkdir()
    return folder


@contextmanager
def running(folder: Path, port: int) -> Iterator[App]:
    """Run app.py until the block ends."""
    errors, asked, files = folder / "errors", folder / "asked", folder / "files"
    script = folder / "run.py"
    script.write_text(RECORDING.format(root=str(ROOT), app=str(ROOT / "app.py"), log=str(asked)))
    command = [sys.executable, script, "--checkpoints_dir", folder / "checkpoints", "--gpu_ids", "-1", "--port", port]
    with errors.open("w") as log, subprocess.Popen(
        [str(word) for word in command], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(files), "http_proxy": "http://127.0.0.1:9"},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(f"open http://127.0.0.1:{port}"), errors.read_text()
            yield App(f"http://127.0.0.1:{port}/", port, process, errors, asked, files)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def app(folder: Path) -> Iterator[App]:
    with running(folder, free_port()) as app:
        yield app


def until(look: Callable[[], Any], what: str) -> Any:
    """Wait until ``look`` returns something, and return it."""
    end = time.monotonic() + 30
    while not (seen := look()):
        assert time.monotonic() < end, f"waited 30 seconds for {what}"
        time.sleep(0.1)
    return seen


def opened(window: Any, app: App) -> None:
    window.get(app.address)
    until(lambda: window.execute_script(CHOSEN), "a checkpoint to be chosen")


def upload(window: Any, file: Path) -> None:
    window.find_element("css selector", "#upload input[type=file]").send_keys(str(file))


def source(window: Any, name: str) -> str:
    return str(window.execute_script(f"const i = document.querySelector('#{name} img'); return i ? i.src : ''"))


def picture(window: Any, name: str, *, unlike: str = "") -> NDArray[np.uint8]:
    """Wait for a picture from another address than ``unlike``, and return it."""
    until(lambda: window.execute_script(LOADED.format(name)) and source(window, name) != unlike, f"a picture in {name}")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(source(window, name)) as answer:
        return np.asarray(Image.open(io.BytesIO(answer.read())).convert("RGB"))


def offered(window: Any, name: str, option: str) -> Any:
    """Open a list, and return the element of an option; None if it is not there."""
    window.find_element("css selector", f"#{name} input").click()
    return window.execute_script("""return [...document.querySelectorAll('ul[role=listbox] li')].find(
        item => item.innerText.trim().endsWith(arguments[0]))""", option)


def choose(window: Any, name: str, option: str) -> None:
    until(lambda: offered(window, name, option), f"{option} in the list of {name}").click()


def test_an_image_is_dropped_translated_compared_clicked_and_downloaded(app: App, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains

    photo = save_noise(tmp_path / "my photo.png", 5, (60, 40))
    with browser(height=1600, downloads=tmp_path / "downloads") as window:
        opened(window, app)
        upload(window, photo)
        output = picture(window, "output")
        assert output.shape == (200, 300, 3), "small images are shown at a multiple of their size"
        assert output.std() > 0
        plain, addresses = picture(window, "input"), [source(window, name) for name in ("input", "output")]
        assert np.array_equal(plain[::5, ::5], np.asarray(Image.open(photo)))
        note = "return document.querySelector('#note textarea, #note input').value"
        assert window.execute_script(note).startswith("60x40 pixels, translated in ")
        order = "return [...document.querySelectorAll('#upload, #slider, #input, #map_input')].map(part => part.id)"
        assert window.execute_script(order) == ["upload", "slider", "input", "map_input"]

        image = window.find_element("css selector", "#input img")
        ActionChains(window).move_to_element_with_offset(image, 75, -50).click().perform()  # from its middle
        ring = (picture(window, "map_input") == 255).all(axis=2)
        assert picture(window, "map_output").shape == (200, 300, 3)
        middle = np.argwhere(ring).mean(axis=0)
        assert np.abs(middle - [50, 225]).max() <= 1, f"the ring is around {middle}, the click was at [50, 225]"
        for name, before, unringed in zip(("input", "output"), addresses, (plain, output), strict=True):
            changed = (picture(window, name, unlike=before) != unringed).any(axis=2)
            assert np.abs(np.argwhere(changed).mean(axis=0) - [50, 225]).max() <= 2, f"no ring in {name}"
        assert "bright points are similar to the point" in window.find_element("css selector", "body").text
        before = source(window, "map_input")
        choose(window, "features", "relu4_1")
        assert picture(window, "map_input", unlike=before).shape == (200, 300, 3)

        assert len(window.find_elements("css selector", "#slider img")) == 2
        sides = "return [...document.querySelectorAll('#sides span')].map(side => side.innerText)"
        assert window.execute_script(sides) == ["Left: the input", "Right: mine, latest"]
        before = source(window, "slider")
        choose(window, "compared", "styles, latest")
        picture(window, "slider", unlike=before)
        assert window.execute_script(sides) == ["Left: styles, latest", "Right: mine, latest"]

        window.find_element("css selector", "#download").click()
        saved = until(lambda: list((tmp_path / "downloads").glob("*.png")), "the download")[0]
        assert saved.name == "my_photo_mine_latest.png"
        assert np.array_equal(np.asarray(Image.open(saved)), output[::5, ::5])

        window.find_element("css selector", "#cancel").click()  # nothing runs
        before = source(window, "slider")
        shown = until(lambda: window.find_elements("css selector", "#examples .grid-container button"), "examples")
        assert len(shown) == 2
        window.execute_script("arguments[0].click()", shown[1])
        picture(window, "slider", unlike=before)
        assert window.execute_script(note).startswith("32x32 pixels, translated in ")
        assert faults_of(window) == {}
        assert window.execute_script(FOREIGN) == []
    assert not app.asked.exists(), f"app.py asked for {app.asked.read_text()}"
    assert app.errors.read_text() == ""


def ask(app: App, path: str, host: str = "", data: bytes | None = None, kind: str = "") -> Any:
    """Send a request, past any proxy; returns the answer."""
    headers = {"Host": host} if host else {}
    request = urllib.request.Request(app.address + path, data, headers | ({"Content-Type": kind} if data else {}))
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)


@pytest.mark.parametrize("name", ["page.html", "drawing.svg"])
def test_an_upload_that_a_browser_would_run_comes_back_as_an_attachment(app: App, name: str) -> None:
    form = (f'--edge\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: text/html'
            "\r\n\r\n<script>alert(1)</script>\r\n--edge--\r\n").encode()
    with ask(app, "gradio_api/upload", data=form, kind="multipart/form-data; boundary=edge") as answer:
        path, = json.load(answer)
    with ask(app, f"gradio_api/file={path}") as answer:
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Type"] == "application/octet-stream"


def test_another_sites_name_is_refused(app: App) -> None:
    with ask(app, "", host="localhost:1") as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(app, "", host="rebound.example")
    assert refused.value.code == 403
    assert b"'rebound.example' is not this server's address; open the one that app.py printed" in refused.value.read()


@pytest.mark.slow
def test_a_narrow_window_shows_everything_and_says_what_is_missing(app: App, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    with browser(width=400, height=900) as window:
        opened(window, app)
        choose(window, "checkpoint", "styles, latest")

        def messages() -> Any:
            return window.execute_script(
                "return [...document.querySelectorAll('.toast-message-text')].map(message => message.innerText.trim())")

        upload(window, tmp_path / "broken.png")
        text, = until(messages, "a message")
        assert "broken.png cannot be read as an image" in text
        until(lambda: window.find_elements("css selector", "#upload input[type=file]"), "room for another file")
        window.find_element("css selector", "#translate").click()
        until(lambda: len(messages()) > 1, "another message")
        assert messages() == [text, "Choose an image first: drop one, click its field, or take an example"]

        upload(window, save_noise(tmp_path / "a.png", 1, (90, 30), "RGBA"))
        first, address = picture(window, "output"), source(window, "output")
        assert first.shape == (90, 270, 3)
        style = until(lambda: window.find_elements("css selector", "#style input[type=number]"), "a choice of styles")
        style[0].send_keys("\ue009a\ue000", "7", "\ue007")  # replaces the number
        window.execute_script("document.querySelector('#translate').click()")  # messages may lie above it
        assert not np.array_equal(picture(window, "output", unlike=address), first)
        assert faults_of(window) == {}
        for name in ("checkpoint", "upload", "translate", "cancel", "examples", "input", "output", "slider",
                     "download"):
            box = window.find_element("css selector", f"#{name}").rect
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= 400, name
            assert box["width"] > 60, name
    assert app.errors.read_text() == ""


@pytest.mark.slow
def test_an_open_tab_survives_a_restart_and_pictures_do_not(app: App, folder: Path, tmp_path: Path) -> None:
    photo = save_noise(tmp_path / "photo.png", 1)
    with browser() as window:
        opened(window, app)
        choose(window, "checkpoint", "styles, latest")
        upload(window, photo)
        picture(window, "output")
        window.execute_script("window.old = true")
        assert len(list(app.files.glob("app-*"))) == 1
        app.process.send_signal(signal.SIGTERM)
        assert app.process.wait(30) == 0
        assert list(app.files.glob("app-*")) == []
        with running(folder, app.port) as restarted:
            until(lambda: not window.execute_script("return window.old"), "the tab to be loaded again")
            until(lambda: window.execute_script(CHOSEN) == "styles, latest", "the choice before the restart")
            (folder / "checkpoints" / "new").mkdir()
            shutil.copy(folder / "checkpoints/mine/latest_net_G.pth", folder / "checkpoints/new/3_net_G.pth")
            window.find_element("css selector", "#refresh").click()
            until(lambda: offered(window, "checkpoint", "new, 3"), "the new checkpoint in the list").click()
            upload(window, photo)
            picture(window, "output")
            assert restarted.errors.read_text() == ""
