"""Folders of runs that teach a world model: what each began with, and what of that its own checkpoint takes over."""

import json
import shutil
from pathlib import Path

from model.checkpoint import COMPRESSED, stored_file
from model.training_state import TENSORS_FILE
from wmgym.checkpoint import STARTS_FILE
from wmgym.recorded_world import WORLD_FILE

BEGAN_WITH = "began_with"
"""Key in a run's record: fingerprint of the world model that it began with."""
KEPT, ASIDE = "watched", "of-"
"""What stays when a run is put aside, and how the name of its new folder begins."""


def put_aside(output: Path, given: str) -> None:
    """Move a run that began with another world model than the given one into a folder of its own, and say so.

    Args:
        output: Of the run; need not hold one.
        given: Fingerprint of a world model.

    Raises:
        ValueError: It cannot be told how the run began.
    """
    if (began := began_with(output)) in (None, given):
        return
    aside = output / f"{ASIDE}{began}"
    aside.mkdir(exist_ok=True)
    for path in list(output.iterdir()):
        if path.name != KEPT and not path.name.startswith((".", ASIDE)):
            path.replace(aside / path.name)
    print(f"the run of world model {began} is in {aside} now; this one begins anew")


def refuse_another_start(output: Path, given: str) -> None:
    """Refuse to go on with a run that began with another world model than the given one.

    Args:
        output: Of the run; need not hold one.
        given: Fingerprint of a world model.

    Raises:
        ValueError: It began with another one, or it cannot be told how it began.
    """
    if (began := began_with(output)) not in (None, given):
        raise ValueError(
            f"--checkpoint of world model {given} given, expected {began}, with which the run in {output} began. Pass "
            "that one, or start a new run: with another --output, or with --anew."
        )


def began_with(output: Path) -> str | None:
    """Return the fingerprint of the world model that a run began with; None if there is no run.

    Raises:
        ValueError: There is one whose record is missing, damaged, or does not say it.
    """
    path = output / "checkpoint" / "training.json"
    if not (output / TENSORS_FILE).exists():
        return None
    try:
        return str(json.loads(path.read_text())[BEGAN_WITH])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({error!r}), expected how the run in {output} began. Most likely it is a run of "
            "another script: pass another --output."
        ) from error


def copy_starts(source: Path, folder: Path) -> None:
    """Let dreams of a new checkpoint start where those of another one do, and say what world both are of.

    Args:
        source: The other one.
        folder: The new one; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (STARTS_FILE, WORLD_FILE):
        if (stored := stored_file(source / name)).exists():
            partial_file = folder / f"{stored.name}.partial"
            shutil.copyfile(stored, partial_file)
            for before in {name, name + COMPRESSED} - {stored.name}:
                (folder / before).unlink(missing_ok=True)
            partial_file.replace(folder / stored.name)
