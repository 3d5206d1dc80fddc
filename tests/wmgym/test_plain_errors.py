"""Errors on purpose end a script with their message; all others keep the lines of code they came through."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmgym.arguments import check_minutes
from wmgym.errors import RecordingError
from wmgym.plain_errors import WANTED, plain_errors
from wmgym.recording import read_episode

ROOT = Path(__file__).parents[2]


def test_errors_on_purpose_are_told_in_words():
    with pytest.raises(SystemExit, match=r"ValueError: --minutes -1.0 given, expected more") as ended, plain_errors():
        check_minutes(-1.0)
    assert WANTED in str(ended.value)
    with pytest.raises(SystemExit, match=r"RecordingError: .*nowhere\.npz"), plain_errors():
        read_episode(Path("nowhere.npz"))


def test_files_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(SystemExit, match=r"FileNotFoundError: .*missing\.json"), plain_errors():
        (tmp_path / "missing.json").read_text()


@pytest.mark.parametrize("mistake", [lambda: {}["key"], lambda: int("x"), lambda: 1 / 0])
def test_mistakes_of_the_code_keep_their_traceback(mistake):
    with pytest.raises((KeyError, ValueError, ZeroDivisionError)), plain_errors():
        mistake()


def test_the_traceback_can_be_had(monkeypatch):
    monkeypatch.setenv(WANTED, "1")
    with pytest.raises(RecordingError), plain_errors():
        read_episode(Path("nowhere.npz"))


@pytest.mark.parametrize("wanted", ["", "1"])
def test_a_script_ends_with_the_message(tmp_path, wanted):
    command = [sys.executable, ROOT / "experiments/train_critic.py", "--recordings", tmp_path, "--validation", tmp_path]
    ended = subprocess.run(
        [*map(str, command), "--output", str(tmp_path / "critic")], cwd=ROOT, env=os.environ | {WANTED: wanted},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 1
    assert f"no episode in {tmp_path}" in ended.stderr
    assert ("Traceback" in ended.stderr) == bool(wanted)
