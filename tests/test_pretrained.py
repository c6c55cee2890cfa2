"""Published generators are downloaded to the place where test.py finds them."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli import ROOT, TINY_TEST, Outcome, make_images, run
from file_server import Server, serving

from models.networks import create_generator
from models.pretrained import CUT, PATHS


def weights() -> bytes:
    """Return a file as CycleGAN publishes them."""
    state = create_generator("resnet_9blocks", ngf=2, antialias=False, antialias_up=False).state_dict()
    packed = io.BytesIO()
    torch.save(state, packed)
    return packed.getvalue()


def archive(*names: str) -> bytes:
    """Return an archive as CUT publishes it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in names:
            entry = tarfile.TarInfo(f"checkpoints/{name}_pretrained/latest_net_G.pth")
            entry.size = len(content := weights())
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch, weights()) as running:
        monkeypatch.setenv("PRETRAINED_URL", running.url.rpartition("/")[0])
        yield running


def fetch(root: Path, *arguments: str) -> Outcome:
    return run("models.pretrained", *arguments, "--checkpoints_dir", root / "checkpoints")


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_downloaded_generator_translates(server: Server, tmp_path: Path) -> None:
    outcome = fetch(tmp_path, "horse2zebra")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{server.url.rpartition('/')[0]}/cyclegan/pretrained_models/horse2zebra.pth" in outcome.out
    assert "--netG resnet_9blocks --ngf 2" in outcome.out
    assert names(tmp_path) == ["checkpoints/horse2zebra_pretrained/latest_net_G.pth"]
    command = outcome.out.splitlines()[-1].split()
    assert command[:4] == ["python", "test.py", "--dataroot", "IMAGES"]
    images = make_images(tmp_path, "images")
    translated = run("test.py", "--dataroot", images / "images", *command[4:], *TINY_TEST, "--results_dir", tmp_path)
    assert translated.code == 0, translated.err


def test_generators_of_cut_come_together(server: Server, tmp_path: Path) -> None:
    server.content = archive(*CUT)
    outcome = fetch(tmp_path, "cat2dog_fastcut")
    assert (outcome.code, outcome.err) == (0, "")
    assert names(tmp_path) == [f"checkpoints/{name}_pretrained/latest_net_G.pth" for name in sorted(CUT)]


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("horse2zebra", b"<html>moved</html>", "cannot be read as a checkpoint"),
    ("horse2zebra_cut", b"<html>moved</html>", "cannot be unpacked"),
    ("horse2zebra_cut", archive("cat2dog_cut"), "holds no horse2zebra_cut_pretrained"),
])
def test_another_file_is_not_kept(
    server: Server, tmp_path: Path, name: str, content: bytes, reason: str,
) -> None:
    server.content = content
    outcome = fetch(tmp_path, name)
    assert outcome.code == 2
    assert reason in outcome.err
    assert names(tmp_path) == []


def test_without_network_it_says_where_the_file_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRETRAINED_URL", "http://127.0.0.1:9")
    outcome = fetch(tmp_path, "monet2photo")
    assert outcome.code == 2
    assert "cannot be downloaded" in outcome.err
    assert "monet2photo_pretrained/latest_net_G.pth" in outcome.err


def test_unknown_names_list_the_known_ones_and_what_must_be_done_by_hand(tmp_path: Path) -> None:
    outcome = fetch(tmp_path, "flsesim")
    assert outcome.code == 2
    assert "Google Drive" in outcome.err
    assert "https://github.com/lyndonzheng/F-LSeSim" in outcome.err
    listed = fetch(tmp_path, "--list")
    assert listed.code == 0
    assert listed.out.splitlines()[:-1] == list(PATHS)


@pytest.mark.slow
def test_the_script_passes_its_arguments_on() -> None:
    done = subprocess.run(["bash", ROOT / "scripts" / "download_pretrained.sh", "--list"], capture_output=True,
                          text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("apple2orange\n")
