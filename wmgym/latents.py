"""A folder of latents: what it was made from, and whether it is whole.

Beside what `model.data.LatentStore` reads lie `tokenizer.sha256` and `recordings.json`: the digests of the tokenizer
and of the recordings, by which a run that goes on sees that they are still the same.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoint import weights_digest
from model.data import LatentStore, stored_names
from wmgym.errors import CheckpointError, RecordingError
from wmgym.other_layouts import episode_name
from wmgym.recording import Scan, content_digest

RECORDINGS_FILE = "recordings.json"


def bind_to_tokenizer(store: Path, tokenizer: Path) -> None:
    """Mark a store of latents with the tokenizer that encodes it.

    Args:
        store: Folder of `model.data.LatentStore`; made if it is not there.
        tokenizer: Run folder of train_tokenizer.py.

    Raises:
        CheckpointError: Another tokenizer encoded what is there already, or the store is damaged.
    """
    digest = weights_digest(tokenizer)
    mark = store / "tokenizer.sha256"
    if names_in(store) and (not mark.exists() or mark.read_text() != digest):
        raise CheckpointError(
            f"the latents in {store} were not encoded by the tokenizer in {tokenizer}: it was trained further, or is "
            "another. Use the tokenizer this run began with, or start a new run with another --output."
        )
    store.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest)


def bind_to_recordings(store: Path, found: Scan) -> None:
    """Mark a store of latents with the recordings it holds and will hold; later recordings may join.

    A store that earlier releases made has no such mark: the recordings at hand are taken for its own.

    Args:
        store: Folder of `model.data.LatentStore`, which exists.
        found: The recordings.

    Raises:
        RecordingError: An episode of the store is not among the recordings, or was made from another file.
        CheckpointError: The store is damaged.
    """
    mark = store / RECORDINGS_FILE
    marked = _read_json(mark) if mark.exists() else {}
    present = {episode_name(path): content_digest(path) for path in found.usable}
    names = sorted(names_in(store))
    missing = [name for name in names if name not in present]
    other = [name for name in names if name in present and marked.get(name, present[name]) != present[name]]
    if missing or other:
        odd = f"{other[0]}.npz is another file" if other else f"there is no usable {missing[0]}.npz"
        raise RecordingError(
            f"{len(missing) + len(other)} of {len(names)} episodes in {store} are not those in --recordings: {odd}. "
            "Expected all recordings this run began with, to which new ones may be added. Likely cause: another "
            "folder, or files moved away or recorded anew. Pass the folder the run began with, or start a new run with "
            "another --output."
        )
    partial = mark.with_suffix(".partial")
    partial.write_text(json.dumps(present))
    partial.replace(mark)


def names_in(store: Path) -> set[str]:
    """Return the names of the episodes in a store; none if there is no store yet.

    Raises:
        CheckpointError: The store's index is damaged.
    """
    try:
        return set(stored_names(store))
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(store, store / "episodes.json", error) from error


def open_store(folder: Path) -> LatentStore:
    """Open a store of latents whose files are whole.

    Raises:
        RecordingError: Nothing was encoded, as all recordings are damaged.
        CheckpointError: A file is missing, truncated or damaged; the message names it.
    """
    names = names_in(folder)
    if not names:
        raise RecordingError(
            f"{folder} holds no episode: none of the recordings could be read. Record the damaged ones, named above, "
            "anew with experiments/collect_episodes.py."
        )
    for name in sorted(names):
        for path in (folder / f"{name}.latents.npy", folder / f"{name}.steps.npz"):
            _refuse_damaged(folder, path)
    return LatentStore(folder)


def _refuse_damaged(store: Path, path: Path) -> None:
    try:
        if path.suffix == ".npy":
            np.load(path, mmap_mode="r")
        else:
            with open(path, "rb") as file, np.load(file) as archive:
                dict(archive)
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds on damaged files
        raise _damaged(store, path, error) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise _damaged(path.parent, path, error) from error


def _damaged(store: Path, path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} is missing, truncated or damaged ({type(error).__name__}: {error}), expected as it was written. "
        f"Likely cause: a full disk, or a copy that broke off. Delete the folder {store} and run again: the "
        "recordings are encoded anew, and the training goes on."
    )
