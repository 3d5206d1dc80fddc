"""What an agent would have seen in recorded episodes, kept on disk: one file an episode, made once.

Files are named by what an episode's file holds, so that one of another folder, or recorded anew, is another.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.world_model import WorldModel
from wmgym.checkpoint import fingerprint, tokenizer_fingerprint
from wmgym.errors import RecordingError
from wmgym.fidelity import encode, read_all, refuse_other_worlds
from wmgym.recorded_features import features_of
from wmgym.recording import Episode, content_digest

AT_ONCE = 64
"""Frames that are encoded at a time."""


def place_watched(output: Path, observation: str, checkpoint: str | Path | None) -> Path:
    """Return the folder of a run for what a checkpoint shows of recordings; latents are the tokenizer's alone.

    Args:
        output: Of the run.
        observation: "latent" or "features".
        checkpoint: See `wmgym.checkpoint.open_checkpoint`.
    """
    maker = tokenizer_fingerprint if observation == "latent" else fingerprint
    return output / "watched" / f"{observation}-{maker(checkpoint)}"


def watch_recordings(
    world: WorldModel,
    files: Sequence[Path],
    folder: Path,
    observation: str,
    mirror: Sequence[int] | None = None,
    progress: Callable[[int], object] = lambda frames: None,
) -> list[Path]:
    """Write what a world model shows of recorded episodes, and return the files, in the same order.

    Args:
        world: The model.
        files: Episodes.
        folder: Where to, of this model and observation only; made if it is not there.
        observation: "latent" or "features", as `wmgym.observations` has them.
        mirror: Watch them as in a mirror, left for right; where each action then stands, such as (0, 1, 3, 2) if 2 and
            3 turn left and right. None for as they are.
        progress: Is told how many frames more were watched.

    Raises:
        RecordingError: A file cannot be read.
        ContextError: An episode is of another world than the model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in files:
        target = folder / f"{name_of(path)}{'' if mirror is None else '-mirrored'}.npy"
        written.append(target)
        if target.exists():
            continue
        partial = target.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.save(file, _watched(world, path, observation, mirror).astype(np.float16))
        partial.replace(target)
        progress(len(np.load(target, mmap_mode="r")))
    return written


def read_watched(files: Sequence[Path]) -> NDArray[np.float16]:
    """Read what `watch_recordings` wrote, `[episodes t ...]`.

    Raises:
        RecordingError: There is none, the episodes differ in length, or a file is damaged.
    """
    lengths = {len(open_watched(path)) for path in files}
    if len(lengths) != 1:
        raise RecordingError(
            f"episodes of {sorted(lengths) or 'no'} frames given, expected at least one, and one length. Most likely "
            "some were ended early: move them away."
        )
    watched = np.empty((len(files), *open_watched(files[0]).shape), np.float16)
    for i, path in enumerate(files):
        watched[i] = open_watched(path)
    return watched


def open_watched(path: Path) -> NDArray[Any]:
    """Return what is in a file that was made of an episode, without reading it; it stays open as long as that is kept.

    Raises:
        RecordingError: It is damaged.
    """
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r")
        if not found.ndim:
            raise ValueError("a single number")
    except (OSError, ValueError, EOFError) as error:
        raise RecordingError(
            f"{path}: cannot be read ({error}), expected what was made of a recording. Most likely the disk was full, "
            "or the copy is not whole. Fix: delete it; it is made again."
        ) from error
    return found


def name_of(path: Path) -> str:
    """Return what a file made of an episode is called: by what the episode's file holds.

    Raises:
        RecordingError: It cannot be read.
    """
    return hashlib.sha256(content_digest(path).encode()).hexdigest()[:16]


@torch.inference_mode()
def _watched(world: WorldModel, path: Path, observation: str, mirror: Sequence[int] | None) -> NDArray[Any]:
    episodes = read_all([path])
    refuse_other_worlds(episodes, world.config.dynamics, world.config.tokenizer.frame_size)
    if mirror is not None:
        episodes = [mirrored(episode, mirror) for episode in episodes]
    if observation == "features":
        return features_of(world, episodes)[0].numpy()
    images = episodes[0].image
    parts = [encode(world, images[None, t : t + AT_ONCE])[0].cpu() for t in range(0, len(images), AT_ONCE)]
    return torch.cat(parts).numpy()


def mirrored(episode: Episode, actions: Sequence[int]) -> Episode:
    """Return an episode left for right; the state, which would have to be mirrored as well, is left out.

    Args:
        episode: As it was.
        actions: Where each action then stands.
    """
    image = np.ascontiguousarray(episode.image[:, :, ::-1])
    return replace(episode, image=image, action=np.array(actions)[episode.action], state={})
