"""Run many independent jobs in worker processes; a job that crashes its process costs only itself."""

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, cast

Work = Callable[[Any], Any]


@dataclass(frozen=True)
class JobFailed:
    """A job that did not end well."""

    job: Any
    """The job as it was given."""

    reason: str
    """What went wrong, in words: a traceback, or the exit code of a process that died."""


def run_jobs(start: Callable[[], Work], jobs: Sequence[Any], workers: int) -> Iterator[Any]:
    """Yield the result of each job, or a `JobFailed`, as they come.

    Args:
        start: Called once in each worker process (so it must be picklable); returns the function that does
            a job.
        jobs: Picklable, one argument each.
        workers: Number of processes, at least 1. A worker that dies is replaced, and its job is not tried
            again.

    Side effects: processes, started by `spawn` and ended when the iterator is closed.
    """
    if workers < 1:
        raise ValueError(f"workers = {workers}, expected at least 1.")
    waiting = list(reversed(jobs))
    running: dict[Connection, tuple[Any, Any]] = {}  # connection -> (process, job)
    try:
        for _ in range(min(workers, len(waiting))):
            process, connection = _spawn(start)
            _hand_out(connection, process, waiting, running)
        while running:
            for ready in wait(list(running)):
                connection = cast(Connection, ready)  # nothing else is waited for
                process, job = running.pop(connection)
                try:
                    good, result = connection.recv()
                except EOFError:
                    process.join()
                    connection.close()
                    yield JobFailed(job, f"the worker process died with exit code {process.exitcode}")
                    if waiting:
                        process, connection = _spawn(start)
                        _hand_out(connection, process, waiting, running)
                    continue
                _hand_out(connection, process, waiting, running)
                yield result if good else JobFailed(job, result)
    finally:
        for connection, (process, _) in running.items():
            connection.close()
            process.terminate()
            process.join()


def _spawn(start: Callable[[], Work]) -> tuple[Any, Connection]:
    """Start one worker; return its process and our end of the pipe to it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(start, theirs), daemon=True)
    process.start()
    theirs.close()  # so that the death of the worker closes the pipe
    return process, ours


def _hand_out(connection: Connection, process: Any, waiting: list[Any], running: dict[Connection, Any]) -> None:
    """Give a worker the next job, or send it home."""
    if waiting:
        job = waiting.pop()
        connection.send(job)
        running[connection] = (process, job)
    else:
        connection.close()
        process.join()


def _serve(start: Callable[[], Work], connection: Connection) -> None:
    """Do jobs until the pipe closes; a job that raises is reported, and the next one is taken."""
    work = None
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            work = work or start()
            connection.send((True, work(job)))
        except KeyboardInterrupt:
            return
        except Exception:
            connection.send((False, traceback.format_exc()))
