"""Public sets are downloaded, checked, and unpacked to the folders that training reads."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import Outcome, make_images, run
from file_server import Server, serving

from datasets.sources import SOURCES

NOTE = "grumpifycat.sha256"


def zip_of(root: Path, top: str = "grumpifycat/", **more: bytes) -> bytes:
    """Archive the images of a folder below ``top``, with files that file managers add, and ``more``."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(root.rglob("*.png")):
            archive.write(path, f"{top}{path.relative_to(root).as_posix()}")
        archive.writestr("__MACOSX/grumpifycat/._trainA", b"")
        archive.writestr(f"{top}.DS_Store", b"")
        for name, content in more.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("set"), "trainA", "trainB", "testA", "testB", size=8)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, images: Path) -> Iterator[Server]:
    with serving(monkeypatch, zip_of(images)) as running:
        yield running


def fetch(server: Server, out: Path, *flags: object, name: str = "grumpifycat") -> Outcome:
    return run("datasets.download", name, "--out", out, "--url", server.url, *flags)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_set_becomes_folders_that_training_reads(server: Server, tmp_path: Path) -> None:
    outcome = fetch(server, tmp_path / "sets")
    assert (outcome.code, outcome.err) == (0, "")
    assert "trainA: 2 images\ntrainB: 2 images\n" in outcome.out
    assert names(tmp_path / "sets") == ["grumpifycat", NOTE]
    assert names(tmp_path / "sets" / "grumpifycat") == ["testA", "testB", "trainA", "trainB"]


def test_a_set_that_is_there_is_left_alone(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    (tmp_path / "grumpifycat" / "mine.txt").touch()
    outcome = fetch(server, tmp_path)
    assert outcome.code == 0
    assert "is there already; remove it to download it again" in outcome.out
    assert (tmp_path / "grumpifycat" / "mine.txt").exists()
    assert len(server.asked) == 1


def test_no_network_is_one_sentence_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    outcome = run("datasets.download", "horse2zebra", "--out", tmp_path, "--url", "http://127.0.0.1:9/a.zip")
    assert outcome.code == 2
    assert "http://127.0.0.1:9/a.zip cannot be downloaded ([Errno" in outcome.err
    assert "Without a network, download the archive elsewhere and pass it with --archive" in outcome.err
    assert outcome.err.count("\n") == 1


def test_another_file_is_not_kept(server: Server, tmp_path: Path) -> None:
    whole, server.content = server.content, b"<html>Please log in</html>"
    outcome = fetch(server, tmp_path)
    assert outcome.code == 2
    assert "cannot be unpacked" in outcome.err
    assert names(tmp_path) == []
    server.content = whole
    assert fetch(server, tmp_path).code == 0


def test_later_downloads_must_have_the_checksum_of_the_first(server: Server, tmp_path: Path, images: Path) -> None:
    fetch(server, tmp_path)
    digest = hashlib.sha256(server.content).hexdigest()
    assert (tmp_path / NOTE).read_text() == f"{digest}  grumpifycat\n"
    (tmp_path / "grumpifycat").rename(tmp_path / "first")
    server.content = zip_of(images, more=b"other")
    outcome = fetch(server, tmp_path)
    assert outcome.code == 2
    other = hashlib.sha256(server.content).hexdigest()
    assert f"is not the expected file: its SHA-256 is {other} instead of {digest}" in outcome.err
    assert not (tmp_path / "grumpifycat").exists()
    assert fetch(server, tmp_path, "--sha256", other.upper()).code == 0
    assert (tmp_path / NOTE).read_text() == f"{other}  grumpifycat\n"


def test_the_first_download_must_have_the_published_checksum(server: Server, tmp_path: Path) -> None:
    outcome = fetch(server, tmp_path, name="horse2zebra")
    assert outcome.code == 2
    assert f"instead of {SOURCES['horse2zebra'].sha256}" in outcome.err
    assert names(tmp_path) == []


def test_an_archive_from_elsewhere_is_checked_unpacked_and_kept(tmp_path: Path, images: Path) -> None:
    archive = tmp_path / "by_browser.zip"
    archive.write_bytes(zip_of(images, top=""))
    flags = ("--archive", archive, "--out", tmp_path)
    outcome = run("datasets.download", "horse2zebra", *flags)
    assert outcome.code == 2
    assert "by_browser.zip is not the expected file" in outcome.err
    assert run("datasets.download", "grumpifycat", *flags).code == 0
    assert names(tmp_path) == ["by_browser.zip", "grumpifycat", NOTE]
    assert names(tmp_path / "grumpifycat") == ["testA", "testB", "trainA", "trainB"]


def test_one_folder_of_a_larger_archive_is_taken(server: Server, tmp_path: Path, images: Path) -> None:
    inside = "contrastive-unpaired-translation-a138/datasets/single_image_monet_etretat/"
    server.content = zip_of(images, top=inside, **{"contrastive-unpaired-translation-a138/README.md": b"text"})
    assert fetch(server, tmp_path, name="single_image_monet_etretat").code == 0
    assert names(tmp_path / "single_image_monet_etretat") == ["testA", "testB", "trainA", "trainB"]
    server.content = zip_of(images)
    outcome = fetch(server, tmp_path / "other", name="single_image_monet_etretat")
    assert "holds no images in datasets/single_image_monet_etretat; it is another archive" in outcome.err


def test_pairs_come_as_tar(server: Server, tmp_path: Path) -> None:
    root = make_images(tmp_path / "pairs", "train", size=8)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(root, "edges2shoes")
    server.content = packed.getvalue()
    outcome = fetch(server, tmp_path, name="edges2shoes")
    assert outcome.code == 0, outcome.err
    assert names(tmp_path / "edges2shoes") == ["train"]
    assert "--dataset_mode aligned trains on it" in outcome.out


def test_cityscapes_names_its_site() -> None:
    outcome = run("datasets.download", "cityscapes")
    assert outcome.code == 2
    assert "register at https://www.cityscapes-dataset.com" in outcome.err
    assert "prepare_cityscapes.py" in outcome.err


@pytest.mark.parametrize("arguments", [[], ["zebra2horse"]])
def test_an_unknown_name_is_answered_by_the_known_ones(arguments: list[str]) -> None:
    outcome = run("datasets.download", *arguments)
    assert outcome.code == 2
    assert "name one of horse2zebra, apple2orange" in outcome.err


@pytest.mark.parametrize(("content", "code"), [(b"", 0), (b"\xff\xfe?", 2), (b"no checksum", 2)])
def test_a_damaged_note_of_a_checksum_is_one_sentence_or_as_none(
    server: Server, tmp_path: Path, content: bytes, code: int
) -> None:
    (tmp_path / NOTE).write_bytes(content)
    outcome = fetch(server, tmp_path)
    assert outcome.code == code, outcome.err
    assert (f"{NOTE} is damaged: it holds no SHA-256; remove it" in outcome.err) == (code == 2)
