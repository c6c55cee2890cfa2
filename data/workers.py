"""Waiting for a batch of worker processes, until one has died or hangs, or a signal arrives."""

import errno
import multiprocessing
import os
import shutil
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeVar

from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from util.errors import SHARED_MEMORY, UserError, explain

SHARED = Path("/dev/shm")
LOOK_EVERY = 1.0  # seconds, as those below
WARN_AFTER = 60.0
GIVE_UP_AFTER = 600.0
DEATH_TAKES = 5.0  # at most, from a broken connection to the end of its process

T = TypeVar("T")


class LoadingError(UserError):
    """The next batch cannot be loaded. It is raised between steps: the training can still be saved."""


class Workers:
    """The worker processes of a `DataLoader`. Without workers, only signals end the wait for a batch.

    torch raises the death of a worker wherever the main process is, also in the middle of a save. Here it is raised
    only during the wait for a batch.

    Args:
        batches: keeps its workers for all epochs.
        reading: returns the files that a worker, by its number, has read last.
    """

    def __init__(self, batches: DataLoader[Any], reading: Callable[[int], Sequence[Path]]) -> None:
        self._batches, self._reading = batches, reading

    @property
    def _processes(self) -> Sequence[BaseProcess]:
        return getattr(self._batches._iterator, "_workers", ())

    def epoch(self, warn: Callable[[str], None], stopped: Callable[[], bool]) -> Iterator[Any]:
        """Iterate over the batches once.

        Args:
            warn: called with a sentence about a long wait.
            stopped: whether a signal asks to end the wait.

        Raises:
            LoadingError: a worker has died, none has delivered for `GIVE_UP_AFTER` seconds, or ``stopped``.
        """
        batches = self._wait(self._start, warn, stopped)

        def step() -> Any:
            batch = next(batches, None)
            return ForkingPickler.loads(batch) if isinstance(batch, bytes) else batch

        while (batch := self._wait(step, warn, stopped)) is not None:
            yield batch

    def end(self) -> None:
        """End the workers; those that hang are killed, since they ignore SIGTERM."""
        iterator: Any = self._batches._iterator
        if processes := self._processes:
            iterator._shutdown_workers()
            for process in processes:
                if process.is_alive():
                    process.kill()

    def _start(self) -> Iterator[Any]:
        before = multiprocessing.active_children()
        handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None  # none on Windows
        try:
            refuse_few_files(self._batches.num_workers)
            with without_torchs_advice():
                return iter(self._batches)
        except OSError as error:
            for process in multiprocessing.active_children():
                if process not in before:
                    process.kill()
            for frame, _ in traceback.walk_tb(error.__traceback__):
                if isinstance(half := frame.f_locals.get("self"), _MultiProcessingDataLoaderIter):
                    half._shutdown = True  # or its end prints a traceback about attributes it lacks
            if error.errno == errno.ENOSPC:  # semaphores are there, too
                raise LoadingError(SHARED_MEMORY) from error
            if error.errno in (errno.EAGAIN, errno.ENOMEM):
                raise LoadingError(f"the processes that load images cannot be started ({error.strerror}); lower "
                                   "--num_threads, 0 does without them") from error
            raise
        finally:
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGCHLD, handler)  # torch has just replaced it by its own, which raises

    def _wait(self, step: Callable[[], T], warn: Callable[[str], None], stopped: Callable[[], bool]) -> T:
        """Take a step of the `DataLoader`'s iterator; end the wait if no batch can come."""
        begin, warned = time.monotonic(), False

        def look() -> None:
            nonlocal warned
            waited = time.monotonic() - begin
            if stopped():
                raise LoadingError("a signal has ended the wait for a batch")
            if self._dead(0):
                raise LoadingError("a process that loads images has ended")
            if waited > GIVE_UP_AFTER:
                raise LoadingError(f"no batch has come for {waited:.0f} seconds{self._while_reading()}; see "
                                   "whether the files can be read, or use --num_threads 0")
            if waited > WARN_AFTER and not warned:
                warned = True
                warn(f"no batch has come for {waited:.0f} seconds{self._while_reading()}; the training waits")

        try:
            with looking(look):
                return step()
        except BaseException as error:
            # A broken connection, an exception of any type, may be the first sign of a death.
            dead = self._dead(DEATH_TAKES if isinstance(error, Exception) and not isinstance(error, UserError) else 0)
            for process in self._processes:  # a worker that hangs ends in no other way
                process.kill()
            if dead and isinstance(error, Exception):
                raise LoadingError(
                    f"a process that loads images has ended ({how_it_ended(dead[0])}){self._while_reading(dead)}; if "
                    "memory has run out, lower --num_threads or --batch_size, otherwise look at the file with "
                    "--num_threads 0") from error
            if isinstance(error, OSError | RuntimeError) and (sentence := explain(error)):
                raise LoadingError(sentence) from error
            raise

    def _dead(self, patience: float) -> list[BaseProcess]:
        """Return the processes that have ended, or end within ``patience`` seconds."""
        if patience and self._processes:
            ended = connection.wait([process.sentinel for process in self._processes], patience)
            for process in self._processes:
                if process.sentinel in ended:
                    process.join()  # its files close a moment before it has ended
        return [process for process in self._processes if not process.is_alive()]

    def _while_reading(self, ended: Sequence[BaseProcess] = ()) -> str:
        """Name the files that the ``ended`` processes, by default all, have read last."""
        numbers = [number for number, process in enumerate(self._processes) if process in (ended or self._processes)]
        files = dict.fromkeys(str(file) for number in numbers for file in self._reading(number))
        return f" while it read {', '.join(files)}" if files else ""


def pack(batch: Mapping[str, Any]) -> Any:
    """Serialise a batch in a worker, its tensors in shared memory; elsewhere, return it as it is.

    torch would do so in a thread of its queue, whose errors are lost together with the batch.
    """
    return bytes(ForkingPickler.dumps(batch)) if get_worker_info() else batch


def shared_room() -> int | None:
    """Return the free bytes of `SHARED`; None where the system has none. Containers make it small."""
    return shutil.disk_usage(SHARED).free if SHARED.is_dir() else None


def refuse_few_files(workers: int) -> None:
    """Raise `OSError` if this process cannot open the files that so many workers need, and some more."""
    with ExitStack() as files:
        for _ in range(6 * workers + 20 if workers else 0):
            files.enter_context(Path(os.devnull).open("rb"))


@contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Call ``look`` every `LOOK_EVERY` seconds during the block; an error that it raises ends the block.

    Only on systems with such a timer (not Windows), and in the main thread, since no other one gets signals.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def alarm(*_: object) -> None:
        look()
        signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY)  # not if it has raised

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, LOOK_EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def without_torchs_advice() -> Iterator[None]:
    """Suppress torch's warning about more workers than CPU cores."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


def how_it_ended(process: BaseProcess) -> str:
    """Describe the end of a process: ``SIGKILL``, or ``exit code 1``."""
    code = process.exitcode or 0
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
