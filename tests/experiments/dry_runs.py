"""What make would run, read as the scripts read it, without running it."""

import importlib
import os
import shlex
import subprocess
from collections import defaultdict
from pathlib import Path

import tyro

ROOT = Path(__file__).parents[2]


def dry_run(*words, folder=ROOT, check=True):
    """What make would do with these targets and settings."""
    line = ["make", "--dry-run", "PYTHON_BIN=python", *words]
    alone = {key: value for key, value in os.environ.items() if "MAKE" not in key}  # as if no other make had called
    return subprocess.run(line, cwd=folder, env=alone, capture_output=True, text=True, check=check)


def commands_in(printed):
    """The arguments with which each script would be run, by its name."""
    found = defaultdict(list)
    for command in printed.replace("\\\n", " ").splitlines():
        words = shlex.split(command.split(">")[0])
        if words[:1] == ["python"]:
            name = Path(words[1]).stem
            script = importlib.import_module(f"experiments.{name}")
            found[name].append(tyro.cli(script.Args, args=words[2:]))
    return found
