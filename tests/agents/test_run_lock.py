"""One run at a time in a folder: the lock is another process's, and gone when that is killed."""

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents.run_lock import FolderInUseError, only_run_in

ROOT = Path(__file__).parents[2]
HOLD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from agents.run_lock import only_run_in

with only_run_in(Path(sys.argv[1])):
    if sys.argv[2] == "started":
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid
        print(worker, flush=True)
    elif (worker := os.fork()) == 0:
        print(os.getpid(), flush=True)  # by itself: from here on it has let go of the lock
        time.sleep(600)
    sys.stdin.read()
    os.kill(worker, signal.SIGKILL)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")


@contextmanager
def another_run_in(folder, worker="started"):
    """A process that holds the folder, and has a worker, until its input ends."""
    line = [sys.executable, "-c", HOLD, str(folder), worker]
    held = subprocess.Popen(line, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    held.worker = int(held.stdout.readline())
    try:
        yield held
    finally:
        held.communicate(timeout=60)


def test_a_second_run_in_a_folder_is_refused_until_the_first_has_ended(tmp_path):
    folder = tmp_path / "runs" / "one"
    with another_run_in(folder) as first:
        told = f"{folder} given to write into, expected .* process {first.pid} .* Likely cause: .* another --output"
        with pytest.raises(FolderInUseError, match=told), only_run_in(folder):
            pytest.fail("two runs in one folder")
        with only_run_in(tmp_path / "runs" / "two"):
            pass
    with only_run_in(folder), pytest.raises(FolderInUseError), only_run_in(folder):
        pytest.fail("two runs of one process")
    with pytest.raises(KeyError), only_run_in(folder):  # free again, and so it is after a failure
        raise KeyError
    with only_run_in(folder):
        pass


@pytest.mark.parametrize("worker", ["started", "forked"])
def test_a_killed_run_leaves_no_lock_though_its_worker_lives(worker, tmp_path):
    with another_run_in(tmp_path, worker) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
        try:
            with only_run_in(tmp_path):
                assert (tmp_path / ".lock").exists()
        finally:
            subprocess.run(["kill", str(first.worker)], check=True)  # it lived until now
