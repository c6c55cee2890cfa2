"""Exceptions that mean 'the user can fix this', and how programs end."""

import errno
import io
import os
import select
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from .streams import open_standard_streams, outlive_stderr, outlive_stdout

REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)  # of the disk, whatever file it was

ENLARGE = "enlarge it (docker run --shm-size 2g, or --ipc host), or use --num_threads 0"
SHARED_MEMORY = f"shared memory (/dev/shm) is too small for the batches of the processes that load images; {ENLARGE}"


class UserError(Exception):
    """A mistake in the command line, the data or a file: one sentence saying what, where and what to do."""


class JobError(UserError):
    """An error that ends a training in several processes.

    Args:
        sentence: the message for the user.
        said: whether another process of the job prints the message; this one then ends silently.
    """

    def __init__(self, sentence: str, said: bool) -> None:
        super().__init__(sentence)
        self.said = said


def run_program(name: str, main: Callable[[], None], *, outlives_output: bool = False) -> NoReturn:
    """Run ``main`` and end the process: 0 on success, 2 after a `UserError`, 130 after Ctrl-C.

    A user's mistake is printed as one line on standard error, and so is what the system refuses (a file, space,
    memory); every other exception keeps its traceback. Of the processes of a job one speaks for all.

    Args:
        name: the program's, for messages.
        main: the program.
        outlives_output: go on when standard output cannot be written (the terminal is closed, ``tee`` has ended, its
            disk is full), with one warning on standard error. Otherwise that ends the program. Standard error may fail
            in either case.
    """
    open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may hold anything, and a terminal may know no accent
    outlive_stderr()
    if outlives_output:
        outlive_stdout(name)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        if outlives_output or not reader_is_gone():
            raise
        sys.exit(1)
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        if (reason := explain(error)) is None:
            raise
        if not isinstance(error, JobError) and os.environ.get("RANK", "0") != "0":
            time.sleep(5)  # torchrun ends this process meanwhile if the first one has said the same
        if not (isinstance(error, JobError) and error.said):
            sys.stderr.write(f"{name}: error: {reason}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write(f"\n{name}: interrupted\n")
        sys.exit(130)
    sys.exit(0)


def reader_is_gone() -> bool:
    """Check whether the reader of standard output has ended, as ``head`` does; if so, discard all further output."""
    if not hasattr(select, "poll"):  # Windows
        return False
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    gone = any(event & select.POLLERR for _, event in watch.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


def explain(error: Exception) -> str | None:
    """Return one line about an error that the user can fix; None for all other errors."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())  # what the user typed may hold line breaks
    text = str(error).lower()
    if "too many open files" in text or "items of ancdata" in text:  # the latter where a socket has lost one
        return "too many open files; raise the limit (ulimit -n 4096), or lower --num_threads"
    if isinstance(error, RuntimeError) and "shared memory" in text:
        return SHARED_MEMORY
    if isinstance(error, OSError) and error.strerror and (error.filename or error.errno in REFUSALS):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; check the path, its permissions and the space left"
    # torch has no exception of its own for a CPU's memory.
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return "out of memory; lower --batch_size, the images' size or the networks' channels"
    return None
