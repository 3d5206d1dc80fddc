"""Errors on purpose end a script with their message; all others keep the lines of code they came through."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmgym.arguments import check_minutes, check_ranges
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


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """Whoever runs the tests may want tracebacks."""
    monkeypatch.delenv(WANTED, raising=False)


@pytest.mark.parametrize("mistake", [lambda: {}["key"], lambda: check_ranges(object(), {"minutes": (0, 1)})])
def test_mistakes_of_the_code_keep_their_traceback(mistake):
    """One in the code of who uses ours, and one in ours, whose line is no raise."""
    with pytest.raises((KeyError, AttributeError)), plain_errors():
        mistake()


def test_what_others_raise_keeps_its_traceback():
    with pytest.raises(json.JSONDecodeError), plain_errors():
        json.loads("{")


def test_the_traceback_can_be_had(monkeypatch):
    monkeypatch.setenv(WANTED, "1")
    with pytest.raises(RecordingError), plain_errors():
        read_episode(Path("nowhere.npz"))


def test_ctrl_c_is_no_error(capsys):
    with pytest.raises(SystemExit) as ended, plain_errors():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


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
