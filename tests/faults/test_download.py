"""Downloads from a server that breaks off, refuses and lies, and archives that write out of their folder."""

from __future__ import annotations

import errno
import hashlib
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from file_server import Server, serving

from util.download import download, part_of, unpack
from util.errors import UserError

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving(monkeypatch, CONTENT) as running:
        yield running


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.zip"
    for _ in range(2):
        assert download(server.url, path, DIGEST) == path
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1
    assert [file.name for file in path.parent.iterdir()] == ["file.zip"]


@pytest.mark.parametrize(("sha256", "fault"), [
    (DIGEST, "breaks"), (None, "breaks"), (DIGEST, "no ranges"), (DIGEST, "no length"), (DIGEST, "overloaded")])
def test_a_broken_connection_resumes(server: Server, tmp_path: Path, sha256: str | None, fault: str) -> None:
    server.breaks = 2 if fault in ("breaks", "no ranges") else 0
    server.ranges, server.length = fault != "no ranges", fault != "no length"
    server.codes = (503, 429) if fault == "overloaded" else ()
    download(server.url, tmp_path / "file", sha256)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert server.asked == {
        "breaks": ["", "bytes=150000-", "bytes=225000-"], "no ranges": ["", "bytes=150000-", "bytes=150000-"],
        "no length": [""], "overloaded": ["", "", ""]}[fault]


def test_a_download_that_ended_in_an_error_resumes_next_time(server: Server, tmp_path: Path) -> None:
    server.breaks = 5
    with pytest.raises(UserError, match="run the command again to resume"):
        download(server.url, tmp_path / "file", DIGEST)
    assert not (tmp_path / "file").exists()
    download(server.url, tmp_path / "file", DIGEST)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert int(server.asked[-1][6:-1]) > 280_000


@pytest.mark.parametrize("code", [403, 404])
def test_a_wrong_address_is_one_sentence(server: Server, tmp_path: Path, code: int) -> None:
    server.codes = (code,) * 9
    with pytest.raises(UserError, match=rf"file\.zip cannot be downloaded \({code} .*\); check it"):
        download(server.url, tmp_path / "file", DIGEST)
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "/etc/passwd", ""])
def test_only_the_network_is_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match="an address begins with https://"):
        download(url, tmp_path / "file", DIGEST)


def test_no_answer_is_one_sentence(server: Server, tmp_path: Path) -> None:
    server.server_close()
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*refused.*\); run the command again"):
        download(server.url, tmp_path / "file", DIGEST)


@pytest.mark.parametrize("begun", [True, False])
def test_another_content_is_refused_and_removed(server: Server, tmp_path: Path, begun: bool) -> None:
    part = part_of(tmp_path / "file", server.url)
    (part if begun else tmp_path / "file").write_bytes(b"what was there before")
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(UserError, match=f"is not the expected file: its SHA-256 is .* instead of {DIGEST}"):
        download(server.url, tmp_path / "file", DIGEST)
    assert not part.exists()


@pytest.mark.parametrize("left", [CONTENT, CONTENT + b"more"])
def test_a_part_that_cannot_be_resumed_is_downloaded_again(server: Server, tmp_path: Path, left: bytes) -> None:
    part_of(tmp_path / "file", server.url).write_bytes(left)
    download(server.url, tmp_path / "file", None)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_the_part_of_another_address_is_not_resumed(server: Server, tmp_path: Path) -> None:
    part_of(tmp_path / "file", f"{server.url}?mirror=2").write_bytes(b"of another server")
    download(server.url, tmp_path / "file", None)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [True, False])
def test_an_endless_file_is_cut_off(
    server: Server, tmp_path: Path, length: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("util.download.MOST", 1000)
    server.length = length
    with pytest.raises(UserError, match="has more than 1000 bytes"):
        download(server.url, tmp_path / "file", DIGEST)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_not_taken_for_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("util.download._append", full)
    with pytest.raises(OSError, match="No space left"):
        download(server.url, tmp_path / "file", None)


# --- archives


FILES = {"set/trainA/1.png": b"one", "set/trainB/2.png": b"two" * 100}


def make_zip(path: Path, files: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, files: dict[str, bytes], kinds: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.type = (kinds or {}).get(name, tarfile.REGTYPE)
            if member.isreg():
                member.size = len(content)
            else:
                member.linkname = content.decode()
            archive.addfile(member, io.BytesIO(content))
    return path


MAKERS: dict[str, Callable[..., Path]] = {"zip": make_zip, "tar": make_tar}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@makers
def test_archives_are_unpacked(tmp_path: Path, make: Callable[..., Path]) -> None:
    folder = unpack(make(tmp_path / "a", FILES), tmp_path / "deep" / "out")
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


@makers
@pytest.mark.parametrize("name", [
    "../evil", "a/../../evil", "/tmp/evil", "C:\\evil", "C:evil", "..\\evil", "\\\\host\\evil", "a/b\x00c", "a\nb", ".",
    "file:stream"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    archive = make(tmp_path / "a", {**FILES, name: b"evil"})
    before = set(tmp_path.rglob("*"))
    if name == "a/b\x00c":  # the writers and readers of both formats end a name there
        unpack(archive, tmp_path / "out")
        assert (tmp_path / "out/a/b").read_bytes() == b"evil"
        return
    with pytest.raises(UserError, match=r"holds '.*', which leads out of the folder; it was not unpacked"):
        unpack(archive, tmp_path / "out")
    assert set(tmp_path.rglob("*")) == before, "nothing was written"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = make_tar(tmp_path / "a", {"link": b"/etc/passwd", "link/file": b"x"}, {"link": kind})
    with pytest.raises(UserError, match="holds 'link', which is a link or a device"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_zip_are_refused(tmp_path: Path, kind: int) -> None:
    archive = make_zip(tmp_path / "a", {"link": b"/etc/passwd"}, {"link": kind | 0o777})
    with pytest.raises(UserError, match="holds 'link', which is a link or a device"):
        unpack(archive, tmp_path / "out")


@makers
def test_decompression_bombs_are_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    archive = make(tmp_path / "a", {"zeros": bytes(10**7)})
    assert archive.stat().st_size < 50_000
    with pytest.raises(UserError, match=f"unpacks to more than {20 * archive.stat().st_size} bytes"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@makers
def test_damaged_archives_are_one_sentence(tmp_path: Path, make: Callable[..., Path]) -> None:
    whole = make(tmp_path / "a", {name: np.random.default_rng(1).bytes(5000) for name in FILES}).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(30):
        content = bytearray(whole[:random.integers(1, len(whole))] if random.random() < 0.5 else whole)
        content[random.integers(len(content))] ^= 255
        (tmp_path / "b").write_bytes(content)
        said = ""
        try:
            unpack(tmp_path / "b", tmp_path / "out")
        except UserError as error:
            said = str(error)
        assert "\n" not in said
        assert bool(said) != (tmp_path / "out").exists(), "either a sentence or a folder"
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


def test_a_changed_byte_of_a_compressed_tar_is_found(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a", {"noise": np.random.default_rng(2).bytes(50_000)})
    content = bytearray(archive.read_bytes())
    content[25_000] ^= 1  # noise is stored as it is, which decodes all the same
    archive.write_bytes(content)
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "out")


@makers
def test_two_files_of_one_name_are_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(make(tmp_path / "a", {"x": b"1", "./x": b"2"}), tmp_path / "out")


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a", FILES)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="exists already"):
        unpack(archive, tmp_path / "out")


def test_unpacked_files_get_no_permissions_from_the_archive(tmp_path: Path) -> None:
    folder = unpack(make_zip(tmp_path / "a", {"x": b"1"}, {"x": stat.S_IFREG | stat.S_ISUID | 0o777}), tmp_path / "out")
    assert not (folder / "x").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)
