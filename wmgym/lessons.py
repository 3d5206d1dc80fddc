"""Recordings that agents learn from, and those that tell how well: found, checked, and kept apart."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from wmgym.errors import RecordingError
from wmgym.recording import SEED_RANGES, read_episode, read_state, read_summary, scan

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


def state_in(path: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return what of `keys` was recorded of an episode's `info`, each with a leading axis of frames.

    Raises:
        RecordingError: The file cannot be read.
    """
    return read_state(path, keys)[0]


def refuse_other_lengths(lengths: Mapping[Path, int], name: str) -> None:
    """Refuse to learn from episodes that are not all as long as the first.

    Args:
        lengths: How many frames each episode has.
        name: What they are for: "train", say.

    Raises:
        RecordingError: There is none, or some are longer or shorter.
    """
    of_length: dict[int, list[Path]] = defaultdict(list)
    for path, frames in lengths.items():
        of_length[frames].append(path)
    if not of_length:
        raise RecordingError(f"no {name} episodes given, expected one or more. Fix: name folders that hold some.")
    if len(of_length) > 1:
        common = sorted(of_length, key=lambda n: -len(of_length[n]))
        told = ", ".join(f"{len(of_length[n])} have {n} frames (such as {of_length[n][0]})" for n in common[:2])
        more = f", others {len(common) - 2} more lengths" if len(common) > 2 else ""
        raise RecordingError(
            f"{name} episodes of several lengths given: {told}{more}; expected one length. Likely cause: some were "
            "ended early, or recorded with another --max-steps. Fix: keep those of one length in the folders, or "
            "record them again."
        )


def check_one_length(files: Sequence[Path], name: str) -> None:
    """Refuse episodes that are not all as long as the first, before anything is made of them.

    Args:
        files: Episodes.
        name: What they are for; see `refuse_other_lengths`.

    Raises:
        RecordingError: There is none, some are longer or shorter, or one cannot be read.
    """
    refuse_other_lengths({path: read_summary(path)[0] for path in files}, name)


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


def refuse_to_mirror_others(files: Sequence[Path]) -> None:
    """Refuse to mirror recordings that have not Memory Maze's actions; the first file of each folder tells.

    Args:
        files: Episodes to mirror.

    Raises:
        RecordingError: They have others, or a file cannot be read.
    """
    for path in {path.parent: path for path in reversed(files)}.values():
        episode = read_episode(path, ())
        space = Discrete(episode.action_count) if episode.action_space is None else episode.action_space
        if space != Discrete(len(MIRRORED)):
            raise RecordingError(
                f"{path}: actions of {space} given to be mirrored, expected Discrete({len(MIRRORED)}), Memory Maze's: "
                "it is not known which others go left and which right. Fix: --no-mirror."
            )
