"""Recordings made ready for training: latents on disk, and what dreams of the checkpoint start from."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.config import LSSVWMConfig
from model.data import EncodedEpisode
from model.tokenizer import Tokenizer
from wmgym.clips import POSE_KEYS
from wmgym.codec import frames_to_tensor
from wmgym.errors import RecordingError
from wmgym.model_actions import described, refuse_outside, with_actions_of
from wmgym.other_layouts import episode_name
from wmgym.recording import SEED_RANGES, Episode, Scan, read_episode, read_summary
from wmgym.starts import Clips, draw_clip

FRAMES_AT_ONCE = 100
Show = Callable[..., Iterable[Path]]
"""Wraps files in a progress bar: `tqdm.tqdm`, or anything that takes them and `desc=`."""
Starts = tuple[NDArray[np.uint8], Clips | None]
"""First frames `[n H W c]`, and clips where episodes are long enough for them."""


def encode_new(
    found: Scan, tokenizer: Tokenizer, dynamics: LSSVWMConfig, known: set[str], most: int, show: Show
) -> Iterator[EncodedEpisode]:
    """Encode the episodes that are not known yet; damaged files are named, skipped and counted.

    Args:
        found: The recordings.
        tokenizer: Trained.
        dynamics: Whose actions every recording must have.
        known: Names of episodes to leave out.
        most: Look at no more episodes than these, in order of their names.
        show: Progress bar.

    Raises:
        RecordingError: An episode was recorded with other actions or with some beyond their bounds, in frames of
            another size than the tokenizer's, or with a seed that is kept for validation or test.
    """
    files = [path for path in found.usable[:most] if episode_name(path) not in known]
    read = 0
    size = tokenizer.config.frame_size
    for path, episode in sound_episodes(show(files, desc="encoding"), size):
        read += 1
        given = with_actions_of(dynamics, episode)
        if given != dynamics:
            raise RecordingError(
                f"{path} has {described(given)}, the first recording has {described(dynamics)}; expected "
                "recordings of one environment. Move the others to a folder of their own."
            )
        refuse_outside(episode, dynamics, str(path), RecordingError)
        refuse_held_out(path, episode)
        refuse_size(path, episode, size)
        parts = np.array_split(episode.image, max(1, len(episode.image) // FRAMES_AT_ONCE))
        with torch.no_grad():
            encoded = [tokenizer.encode(frames_to_tensor(part, tokenizer.scale.device)) for part in parts]
        latents = torch.cat(encoded).half().cpu().numpy()
        ended = np.zeros(len(latents), dtype=np.float32)
        ended[-1] = episode.terminated
        positions, directions = (episode.state.get(key) for key in POSE_KEYS)
        yield EncodedEpisode(episode_name(path), latents, episode.action, episode.reward, ended, positions, directions)
    unusable = len(files) - read + len(found.unusable)
    if unusable:
        print(f"{unusable} unusable files: {[p.name for p in found.unusable]}", file=sys.stderr)


def read_starts(
    files: list[Path],
    first_frames: int,
    clips: int,
    clip_frames: int,
    seed: int,
    show: Show,
    frame_size: int | None = None,
) -> Starts:
    """Read what dreams start from: first frames, and clips of episodes that are long enough.

    Args:
        files: Episodes, taken in order, for clips those with rewards first; damaged ones are named and skipped.
        first_frames: At most so many, at least 1.
        clips: At most so many, one an episode.
        clip_frames: Frames of a clip.
        seed: Fixes where clips are cut.
        show: Progress bar.
        frame_size: What frames of videos are scaled down to.

    Raises:
        RecordingError: All of the files that were looked at are damaged.
    """
    first_files = show(files[:first_frames], desc="first frames")
    # copied, as clips are: a view would keep its whole episode in memory
    firsts = [episode.image[0].copy() for _, episode in sound_episodes(first_files, frame_size)]
    frames: list[NDArray[np.uint8]] = []
    actions: list[NDArray[Any]] = []
    rng = np.random.default_rng(seed)
    long_enough = _rewarded_first(files, clip_frames) if clips else []
    for _, episode in sound_episodes(show(long_enough[:clips], desc="clips"), frame_size):
        if len(episode.image) - episode.terminated >= clip_frames:
            clip, led = draw_clip(episode, clip_frames, rng)
            frames.append(clip.copy())
            actions.append(led)
    if not firsts:
        raise RecordingError(
            f"none of the first {first_frames} of {len(files)} episodes can be read; expected at least one "
            "to take a first frame from. Record the damaged ones, named above, anew."
        )
    cut = Clips(np.stack(frames), np.stack(actions)) if frames else None
    return np.stack(firsts), cut


def _rewarded_first(files: list[Path], frames: int) -> list[Path]:
    """Return files of at least so many frames, those with rewards first; unreadable ones stay, to be named.

    Of videos, which have no rewards or are told of at length only, none is looked at: their order stays.
    """
    rewarded: list[Path] = []
    others: list[Path] = []
    for path in files:
        try:
            length, total, _ = read_summary(path) if path.suffix == ".npz" else (frames, 0.0, "")
        except RecordingError:
            others.append(path)
            continue
        if length >= frames:
            (rewarded if total > 0 else others).append(path)
    return rewarded + others


def first_episode(folder: Path, found: Scan, frame_size: int | None = None) -> Episode:
    """Read the first episode that is not damaged.

    Args:
        folder: What to call the recordings.
        found: The recordings.
        frame_size: What frames of videos are scaled down to.

    Raises:
        RecordingError: All are damaged, or there are none.
    """
    for _, episode in sound_episodes(found.usable, frame_size):
        return episode
    raise RecordingError(
        f"{folder} holds no usable episode ({len(found.usable) + len(found.unusable)} damaged); record some with "
        "experiments/collect_episodes.py."
    )


def sound_episodes(files: Iterable[Path], frame_size: int | None = None) -> Iterator[tuple[Path, Episode]]:
    """Read episodes, one at a time; a damaged one is named and skipped.

    Args:
        files: Episodes.
        frame_size: What frames of videos are scaled down to; None for as they are.
    """
    for path in files:
        try:
            yield path, read_episode(path, state_keys=POSE_KEYS, frame_size=frame_size)
        except RecordingError as error:
            print(f"skipped {error}", file=sys.stderr)


def read_sound(files: Iterable[Path], frame_size: int | None = None) -> list[Episode]:
    """Read episodes, all at once; damaged ones are named, skipped and counted.

    Args:
        files: Episodes.
        frame_size: What frames of videos are scaled down to; None for as they are.
    """
    looked_at = list(files)
    episodes = [episode for _, episode in sound_episodes(looked_at, frame_size)]
    if len(episodes) < len(looked_at):
        print(f"{len(looked_at) - len(episodes)} of {len(looked_at)} files are damaged", file=sys.stderr)
    return episodes


def refuse_held_out(path: Path, episode: Episode) -> None:
    """Refuse to train on an episode of a maze that is kept for validation or test.

    Args:
        path: What to call the episode.
        episode: Passes if it has no seed, as in the official set, or one outside those ranges.

    Raises:
        RecordingError: Its seed belongs to a held-out split.
    """
    for split in ("validation", "test"):
        if episode.seed is not None and episode.seed in SEED_RANGES[split]:
            raise RecordingError(
                f"{path} was recorded with seed {episode.seed}, of split {split}; expected a seed to train on (for the "
                f"Memory Maze {SEED_RANGES['train'].start} to {SEED_RANGES['train'].stop - 1}). Likely cause: the "
                "folder of another split. Pass --recordings a folder of training episodes."
            )


def refuse_size(path: Path, episode: Episode, size: int) -> None:
    """Refuse an episode whose frames are not those of the tokenizer.

    Args:
        path: What to call the episode.
        episode: The recording.
        size: Height and width of the tokenizer's frames.

    Raises:
        RecordingError: Its frames have another height or width.
    """
    height, width = episode.image.shape[1:3]
    if (height, width) != (size, size):
        raise RecordingError(
            f"{path} has frames of {height}x{width} pixels, expected {size}x{size}, as the tokenizer has. "
            "Likely cause: recordings of another environment. Move them away, or record at the expected size."
        )
