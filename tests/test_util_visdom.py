"""Windows of a real visdom server on this machine."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import save_folders, train_options

from train import train
from util.loggers.registry import open_loggers
from util.loggers.sink import LoggedRun
from util.loggers.visdom_windows import VisdomSink, connect

ENV = "test env"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(folder):
    """Start a real visdom server, which downloads nothing, and wait until it answers."""
    port = free_port()
    arguments = ["-port", str(port), "-env_path", str(folder), "-bind_local", "-logging_level", "ERROR"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from visdom.server.run_server import main; main()", *arguments],
        env=os.environ | {"HOME": str(folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        time.sleep(0.05)
    process.kill()
    raise RuntimeError("the visdom server did not start")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("visdom", reason="visdom is not installed")
    process, port = start_server(tmp_path_factory.mktemp("visdom"))
    yield port
    process.kill()
    process.wait()


def sink_of(port, *, display_id=1, ncols=4, resume_step=0, server="http://127.0.0.1"):
    flags = {"display_server": server, "display_port": port, "display_env": ENV, "display_id": display_id,
             "display_ncols": ncols, "display_winsize": 64}
    return VisdomSink(LoggedRun(Path(), "horse2zebra", 10, resume_step, flags))


def window(port, number):
    """Read the content of a window from the server."""
    import requests

    with requests.Session() as session:
        session.trust_env = False
        message = json.dumps({"win": str(number), "eid": ENV})
        answer = session.post(f"http://127.0.0.1:{port}/win_data", data=message, timeout=10)
    answer.raise_for_status()
    return answer.json()


def curves(port, number):
    data = window(port, number)["content"]["data"]
    return {curve["name"]: list(zip(curve["x"], curve["y"], strict=True)) for curve in data}


def picture(port, number):
    data = window(port, number)["content"]["src"].split(",")[1]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_losses_become_one_curve_each_in_one_window(server):
    sink = sink_of(server, display_id=10)
    sink.scalars(100, {"G": 0.5, "D": 1.5})
    sink.scalars(200, {"G": 0.25, "D": math.inf, "late": 3.0, "hole": math.nan})
    sink.scalars(300, {"G": 0.125, "D": math.nan, "late": 4.0, "hole": 4.0})
    assert curves(server, 10) == {
        "G": [(100, 0.5), (200, 0.25), (300, 0.125)],
        "D": [(100, 1.5), (200, None), (300, None)],
        "late": [(200, 3.0), (300, 4.0)],
        "hole": [(200, None), (300, 4.0)],
    }
    assert window(server, 10)["title"] == "horse2zebra: losses"


def test_a_resumed_run_cuts_its_curves_at_the_checkpoint_and_goes_on(server):
    sink = sink_of(server, display_id=20)
    sink.scalars(100, {"G": 1.0})
    for step in (200, 300):
        sink.scalars(step, {"G": math.nan if step == 200 else step, "late": step})
    sink.close()
    sink = sink_of(server, display_id=20, resume_step=200)
    sink.scalars(300, {"G": 3.0, "late": 3.0})
    assert curves(server, 20) == {
        "G": [(100, 1.0), (200, None), (300, 3.0)], "late": [(200, 200.0), (300, 3.0)]
    }
    sink = sink_of(server, display_id=20, resume_step=150)
    sink.scalars(200, {"late": 2.0})
    assert curves(server, 20) == {"G": [(100, 1.0)], "late": [(200, 2.0)]}


@pytest.mark.parametrize("resume_step", [0, 50])
def test_a_run_without_earlier_points_starts_its_curves_afresh(server, resume_step):
    sink_of(server, display_id=30).scalars(100, {"old": 1.0})
    sink = sink_of(server, display_id=30, resume_step=resume_step)
    sink.scalars(60, {"new": 2.0})
    assert curves(server, 30) == {"new": [(60, 2.0)]}


def test_a_window_that_holds_something_else_is_taken_over(server):
    sink_of(server, display_id=34).images(100, {"fake_B": torch.zeros(1, 2, 2)})
    sink = sink_of(server, display_id=35, resume_step=100)  # the image's window
    sink.scalars(200, {"G": 2.0})
    assert curves(server, 35) == {"G": [(200, 2.0)]}


def test_other_values_have_windows_of_their_own_that_are_cut_as_the_losses_are(server):
    sink = sink_of(server, display_id=36)
    for step in (100, 200):
        sink.scalars(step, {"G": 1.0, "lr/G": 0.1, "lr/D": 0.2, "data_wait": 0.3, "metrics/FID": 40.0})
    sink.close()
    sink = sink_of(server, display_id=36, resume_step=100)
    sink.scalars(300, {"G": 2.0, "lr/G": 0.05, "data_wait": 0.5})
    assert curves(server, 36) == {"G": [(100, 1.0), (300, 2.0)]}
    assert curves(server, "36 lr") == {"G": [(100, 0.1), (300, 0.05)], "D": [(100, 0.2)]}
    assert curves(server, "36 data_wait") == {"data_wait": [(100, 0.3), (300, 0.5)]}
    assert curves(server, "36 metrics/FID") == {"FID": [(100, 40.0), (200, 40.0)]}  # not asked for yet
    assert window(server, "36 lr")["title"] == "horse2zebra: lr"


def test_a_training_shows_its_curves_and_samples_where_its_flags_say(server, tmp_path, capsys):
    root = save_folders(tmp_path)
    flags = (f"--name zebras --display_id 80 --display_server http://127.0.0.1 --display_port {server} --display_ncols "
             f"2 --display_winsize 32 --display_freq 2 --print_freq 1 --no_html --sample_images 1 --seed 3 "
             "--max_iters")
    train(train_options(root, f"{flags} 2 --display_env '{ENV}'"))
    train(train_options(root, f"{flags} 4 --display_env '{ENV}' --continue_train"))
    assert "warning" not in capsys.readouterr().out
    log = [json.loads(line) for line in (root / "checkpoints/zebras/loss_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4]
    for number, tag, name in ((80, "G", "G"), ("80 gradient", "D", "gradient/D"), ("80 lr", "G", "lr/G")):
        assert curves(server, number)[tag] == [(line["step"], line[name]) for line in log]
    assert window(server, 81)["title"] == (
        "zebras: samples/1: input, output, input_similarity, output_similarity; training: real_A, fake_B, real_B")
    assert picture(server, 81).shape == (16 * 4 + 3 * 4, 16 * 2 + 4, 3)
    assert window(server, 81)["width"] == 64


def test_images_become_one_grid(server):
    sink = sink_of(server, display_id=40, ncols=2)
    red = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1).expand(2, 3, 8, 8)
    sink.images(100, {
        "training/real_A": red, "training/fake_B": torch.zeros(1, 8, 8), "training/real_B": torch.ones(3, 4, 6)})
    grid = picture(server, 41)
    assert grid.shape == (20, 20, 3)
    assert (grid[:8, :8] == (255, 0, 0)).all()
    assert (grid[:8, 12:] == 128).all()
    assert window(server, 41)["title"] == "horse2zebra: training: real_A, fake_B, real_B"
    assert window(server, 41)["width"] == 128


def test_without_columns_each_image_has_its_window(server):
    sink = sink_of(server, display_id=50, ncols=0)
    for value in (0.0, -1.0):  # the second replaces the first
        sink.images(100, {"training/real_A": torch.ones(3, 8, 8), "training/fake_B": torch.full((3, 8, 4), value)})
    assert (picture(server, 51) == 255).all()
    assert picture(server, 52).shape == (8, 4, 3)
    assert not picture(server, 52).any()


def test_an_address_needs_no_scheme_and_a_proxy_does_not_hide_the_local_server(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    sink = sink_of(server, display_id=60, server="localhost")
    sink.scalars(1, {"G": 1.0})
    assert curves(server, 60) == {"G": [(1, 1.0)]}


@pytest.mark.parametrize("address", ["http://127.0.0.1", "http://no-such-host.invalid", "http://a:b:c", ""])
def test_without_a_server_there_is_one_sentence(address, capfd):
    pytest.importorskip("visdom")
    port = free_port()
    with pytest.raises(ConnectionError) as refused:
        connect(address, port, ENV)
    assert str(refused.value) == f"no visdom server answers at {address}:{port}; to start one: visdom -port {port}"
    assert capfd.readouterr() == ("", "")


class Welcome(BaseHTTPRequestHandler):
    """A web server that is not visdom."""

    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>welcome</h1>")

    def log_message(self, *_):
        pass


def test_a_server_that_is_silent_or_another_one_is_not_taken_for_visdom(capfd, monkeypatch):
    pytest.importorskip("visdom")
    monkeypatch.setattr("util.loggers.visdom_windows.TIMEOUT", (0.3, 0.3))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(ConnectionError, match="no visdom server answers"):
            connect("http://127.0.0.1", silent.getsockname()[1], ENV)
    with HTTPServer(("127.0.0.1", 0), Welcome) as other:
        Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(ConnectionError, match="no visdom server answers"):
            connect("http://127.0.0.1", other.server_address[1], ENV)
        other.shutdown()
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_server_that_dies_during_the_training_costs_one_warning(tmp_path, capfd):
    pytest.importorskip("visdom")
    process, port = start_server(tmp_path)
    flags = train_options(tmp_path, f"--display_server http://127.0.0.1 --display_port {port}").as_dict()
    _, sink = open_loggers(["visdom"], LoggedRun(tmp_path, "t", 10, 0, flags), [])
    sink.scalars(1, {"G": 1.0})
    process.kill()
    process.wait()
    for step in (2, 3):
        sink.scalars(step, {"G": 1.0, "D": 1.0})
        sink.images(step, {"fake_B": torch.zeros(3, 4, 4)})
    sink.close()
    out, err = capfd.readouterr()
    assert (out.count("warning: the logger visdom has failed ("), out.count("\n"), err) == (1, 1, "")
