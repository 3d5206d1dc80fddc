"""The record an experiment leaves: `result.json`, the same keys for all, never half-written."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

RESULT_FILE = "result.json"
PACKAGES = ("wmgym", "torch", "gymnasium", "stable_baselines3", "numpy")


def write_result(
    folder: Path,
    *,
    experiment: str,
    config: dict[str, Any],
    seed: int,
    minutes: float,
    metrics: dict[str, Any],
) -> dict[str, Any]:
    """Write `result.json` into a folder, and return what it says.

    Args:
        folder: Made if it is not there.
        experiment: Name of the script.
        config: Its settings; paths become strings.
        seed: What fixed its randomness.
        minutes: How long it ran.
        metrics: What it measured, finite numbers only.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not have.
    """
    result = {
        "experiment": experiment,
        "config": {key: str(v) if isinstance(v, Path) else v for key, v in config.items()},
        "seed": seed,
        "versions": versions(),
        "commit": commit(),
        "minutes": round(minutes, 2),
        "metrics": metrics,
    }
    write_json(folder / RESULT_FILE, result)
    return result


def write_json(path: Path, values: Any) -> None:
    """Write JSON that appears whole or not at all; folders on the way are made.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def file_digest(path: Path) -> str:
    """Return 16 hexadecimal digits that tell a file from others, wherever it lies and whatever it is called."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def training_record(settings: Any, progress: Any) -> dict[str, Any]:
    """Return how something was trained, to ship with it: settings, counters, versions and commit.

    Args:
        settings: A dataclass; of paths only the last part is kept.
        progress: A dataclass of counters.
    """
    return {
        "settings": _json_able(asdict(settings)),
        "progress": asdict(progress),
        "versions": versions(),
        "commit": commit(),
    }


def told_checkpoint(checkpoint: str | Path | None) -> str | None:
    """Return how a result names a checkpoint: by its folder's last name, with that of the run before `checkpoint`.

    Args:
        checkpoint: As a command line has it; None for the shipped one.
    """
    if checkpoint is None:
        return None
    place = Path(checkpoint)
    parts = (place.resolve() if place.exists() else place).parts
    return "/".join(parts[-2:] if parts[-1:] == ("checkpoint",) else parts[-1:])


def is_of(result: Mapping[str, Any], world_model: str) -> bool:
    """Say whether a result is of a world model; not if it does not tell which it is of.

    Args:
        result: With the beginning of the digest of its world model among its settings.
        world_model: Digest.
    """
    told = result["config"].get("world_model")
    return bool(told) and world_model.startswith(told)


def _json_able(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_able(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_json_able(v) for v in value]
    return value.name if isinstance(value, Path) else value


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide results, as far as installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Return the git commit of these sources, with a `+` if they were changed since; None outside git."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")
