"""Sets of files that are whole or known to be broken: ``TAG_manifest.json`` says which bytes belong together.

A set is replaced file by file, its manifest last, so a process that is killed on the way leaves files that do not fit
their manifest. The set before it is then still whole, under another tag: it is replaced only while the newer one is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .files import flush, sha256, temporary_in

MANIFEST = "manifest.json"


def member(folder: Path, tag: str, name: str) -> Path:
    """The file ``name`` of the set ``tag``: ``folder/latest_state.pth``."""
    return folder / f"{tag}_{name}"


@contextmanager
def replacing_set(folder: Path, tag: str, names: Sequence[str], keep: str | None = None) -> Iterator[dict[str, Path]]:
    """Yield a temporary path for each name; all take their places, in that order, when the block ends without an error.

    Everything is on the disk before the first file takes its place.

    Args:
        folder: where the set is; it is made where it is missing.
        tag: the beginning of its files' names.
        names: the rest of them.
        keep: the tag under which the set that is replaced stays, if it is whole.

    Raises:
        OSError: something cannot be written or renamed. Before the first rename nothing has changed, and after it
            the set under ``keep`` is whole.
    """
    with ExitStack() as stack:
        temporary = {name: stack.enter_context(temporary_in(folder)) for name in (*names, MANIFEST)}
        yield {name: temporary[name] for name in names}
        entries = {name: {"bytes": temporary[name].stat().st_size, "sha256": sha256(temporary[name])} for name in names}
        temporary[MANIFEST].write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
        for path in temporary.values():
            flush(path)
        if keep and fault(folder, tag) is None:
            link_set(folder, tag, keep, names)
        for name, path in temporary.items():
            path.replace(member(folder, tag, name))
        flush(folder)


def link_set(folder: Path, tag: str, target: str, names: Sequence[str]) -> None:
    """Give the set ``tag`` a second tag, without a second copy where the file system can do that.

    Raises:
        OSError: something cannot be written or renamed.
    """
    for name in (*names, MANIFEST):
        source, place = member(folder, tag, name), member(folder, target, name)
        if not source.exists():
            place.unlink(missing_ok=True)
            continue
        with temporary_in(folder) as temporary:
            try:
                os.link(source, temporary)
            except OSError:  # some file systems know no links; what else is wrong stops the copy too
                shutil.copyfile(source, temporary)
                flush(temporary)
            temporary.replace(place)
    flush(folder)


def fault(folder: Path, tag: str) -> str | None:
    """What is wrong with a set, beginning with the file's path; None for one that is whole or has no manifest."""
    path = manifest = member(folder, tag, MANIFEST)
    if not manifest.exists():
        return None
    try:
        for name, entry in json.loads(manifest.read_text(encoding="utf-8")).items():
            path = member(folder, tag, name)
            if difference := _difference(path, entry["bytes"], entry["sha256"]):
                return f"{path} {difference}"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"{manifest} is broken: it is no manifest"
    return None


def _difference(path: Path, size: int, digest: str) -> str | None:
    if not path.is_file():
        return "is missing"
    if (found := path.stat().st_size) != size:
        return f"is broken: it has {found} bytes, {size} were saved"
    return "is broken: it is not what was saved, as its SHA-256 tells" if sha256(path) != digest else None


def tags(folder: Path, name: str) -> list[str]:
    """Tags of the sets that have a file ``name``, the oldest first."""
    found = sorted(folder.glob(f"*_{name}"), key=lambda path: path.stat().st_mtime_ns)
    return [path.name.removesuffix(f"_{name}") for path in found]


def remove_older(folder: Path, pattern: str, keep: int, names: Sequence[str]) -> None:
    """Remove the sets whose tags match the regular expression, but for the ``keep`` newest.

    The first name's file goes last: a set is listed by it until all is gone.

    Raises:
        OSError: a file cannot be removed.
    """
    numbered = [tag for tag in tags(folder, names[0]) if re.fullmatch(pattern, tag)]
    for tag in numbered[:-keep]:
        for name in (*reversed(names[1:]), MANIFEST, names[0]):
            member(folder, tag, name).unlink(missing_ok=True)
