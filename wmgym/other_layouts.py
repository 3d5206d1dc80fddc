"""Where episodes of a folder lie and which module reads each: the layouts beside our own, read in place.

A layout is a module with functions of the names and arguments of those in `wmgym.recording`, and a line in `LAYOUTS`.
"""

import functools
import importlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
LAYOUTS = {
    ".mp4": "wmgym.video_recordings",
    "video.npz": "wmgym.video_recordings",
    "recording.mp4": "wmgym.minerl_layout",
}
"""What reads files of a suffix, `.npz` files of a kind, or MineRL's streams; loaded when the first is met."""
MINERL_VIDEO, MINERL_ROWS = "recording.mp4", "rendered.npz"
"""Of a stream, which is a folder with both."""


def layout_of(path: Path) -> str | None:
    """Return the name of the module that reads a file; None for our own layout, and for what cannot be opened."""
    if path.name == MINERL_VIDEO and path.with_name(MINERL_ROWS).is_file():
        return LAYOUTS[MINERL_VIDEO]
    if path.suffix != ".npz":
        return LAYOUTS.get(path.suffix)
    return LAYOUTS["video.npz"] if _arrays_in(path) & {"image", "video", "actions"} in _VIDEO_ARRAYS else None


_VIDEO_ARRAYS = ({"video"}, {"video", "actions"}, {"actions"})


def or_other_layout(function: Callable[Concatenate[Path, P], R]) -> Callable[Concatenate[Path, P], R]:
    """Make a function of `wmgym.recording` that reads a file leave those of other layouts to theirs."""

    @functools.wraps(function)
    def read(path: Path, *args: P.args, **kwargs: P.kwargs) -> R:
        module = layout_of(path)
        if module is None:
            return function(path, *args, **kwargs)
        other: Callable[Concatenate[Path, P], R] = getattr(importlib.import_module(module), function.__name__)
        return other(path, *args, **kwargs)

    return cast(Callable[Concatenate[Path, P], R], read)


def episode_files(folder: Path) -> list[Path]:
    """Return the files of a folder that should be episodes, of any layout, sorted by name.

    Our own lie in the folder itself; of other layouts those one folder below are found, too, as TECO's lie in one for
    each process that recorded. Nothing is opened but `.npz` files one folder below, which might be our own.
    """
    direct, folders = _entries(folder)
    found = list(direct)
    for below in folders:
        entries, _ = _entries(below)
        found += [path for path in entries if path.suffix != ".npz" or "image" not in _arrays_in(path)]
    return sorted(found)


def episode_name(path: Path) -> str:
    """Return what tells an episode from the others of its set: of files in folders for processes, theirs as well."""
    return path.stem if layout_of(path) is None else f"{path.parent.name}-{path.stem}"


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files in a folder that could be episodes, and the folders in it."""
    names: dict[str, set[str]] = {}
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix in (".npz", ".mp4"):
                names.setdefault(stem, set()).add(suffix)
            elif entry.is_dir():
                folders.append(Path(entry.path))
    if ".mp4" in names.get(Path(MINERL_VIDEO).stem, ()):
        names.pop(Path(MINERL_ROWS).stem, None)
    files = [folder / f"{stem}{'.mp4' if '.mp4' in suffixes else '.npz'}" for stem, suffixes in names.items()]
    return files, folders


def _arrays_in(path: Path) -> set[str]:
    """Return the names of the arrays in a file, none if it cannot be opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return set()
