"""Recordings that agents learn from, and those that tell how well: found, checked, and kept apart."""

from collections.abc import Callable, Sequence
from pathlib import Path

from wmgym.errors import RecordingError
from wmgym.recording import SEED_RANGES, read_state, scan

MIRRORED = (0, 1, 3, 2, 5, 4)
"""Memory Maze's actions, left for right."""


def usable_files(folders: Sequence[Path], say: Callable[[str], object] = print) -> list[Path]:
    """Return the usable episodes of some folders; say which are not.

    Raises:
        RecordingError: There is none, or no folder is given.
    """
    if not folders:
        raise RecordingError("no folder of recordings given, expected one or more.")
    found = [scan(folder) for folder in folders]
    for path, reason in [pair for each in found for pair in each.unusable.items()]:
        say(f"left out {path}: {reason}")
    files = [path for each in found for path in each.usable]
    if not files:
        raise RecordingError(
            f"no episode in {', '.join(map(str, folders))}, expected some. Record with experiments/collect_episodes.py."
        )
    return files


def keep_apart(train: Sequence[Path], held_out: Sequence[Path]) -> None:
    """Refuse to learn from mazes that agents are judged in, and to judge in mazes to learn from.

    Episodes that do not say their seed pass.

    Args:
        train: Episodes to learn from.
        held_out: Episodes to tell on how well.

    Raises:
        RecordingError: One has a seed of the other kind.
    """
    for files, split, wrong, right in (
        (train, "train", "seeds of held-out mazes", "training"), (held_out, "validation", "training seeds", "held-out"),
    ):  # fmt: skip
        seeds = {path: read_state(path, ())[1] for path in files}
        known = {path: seed for path, seed in seeds.items() if seed is not None}
        others = [path for path, seed in known.items() if (seed in SEED_RANGES["train"]) != (split == "train")]
        if others:
            raise RecordingError(
                f"{len(others)} episodes in {others[0].parent} have {wrong}, such as {known[others[0]]}, expected "
                f"{right} ones. Fix: record with experiments/collect_episodes.py --split {split}."
            )
