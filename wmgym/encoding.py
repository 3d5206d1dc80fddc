"""Recordings made ready for training: latents on disk, and what dreams of the checkpoint start from."""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import weights_digest
from model.data import EncodedEpisode, stored_names
from model.tokenizer import Tokenizer
from wmgym.codec import frames_to_tensor
from wmgym.errors import CheckpointError, RecordingError
from wmgym.recording import Episode, Scan, read_episode, read_summary
from wmgym.starts import Clips, draw_clip

FRAMES_AT_ONCE = 100
Show = Callable[..., Iterable[Path]]
"""Wraps files in a progress bar: `tqdm.tqdm`, or anything that takes them and `desc=`."""
Starts = tuple[NDArray[np.uint8], Clips | None]
"""First frames `[n H W c]`, and clips where episodes are long enough for them."""


def bind_to_tokenizer(store: Path, tokenizer: Path) -> None:
    """Mark a store of latents with the tokenizer that encodes it.

    Args:
        store: Folder of `model.data.LatentStore`; made if it is not there.
        tokenizer: Run folder of train_tokenizer.py.

    Raises:
        CheckpointError: Another tokenizer encoded what is there already.
    """
    digest = weights_digest(tokenizer)
    mark = store / "tokenizer.sha256"
    if stored_names(store) and (not mark.exists() or mark.read_text() != digest):
        raise CheckpointError(
            f"the latents in {store} were not encoded by the tokenizer in {tokenizer}: it was trained further, or is "
            "another. Use the tokenizer this run began with, or start a new run with another --output."
        )
    store.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest)


def encode_new(
    found: Scan, tokenizer: Tokenizer, num_actions: int, known: set[str], most: int, show: Show
) -> Iterator[EncodedEpisode]:
    """Encode the episodes that are not known yet; damaged files are named, skipped and counted.

    Args:
        found: The recordings.
        tokenizer: Trained.
        num_actions: What every recording must have.
        known: Names of episodes to leave out.
        most: Look at no more episodes than these, in order of their names.
        show: Progress bar.

    Raises:
        RecordingError: An episode was recorded with another number of actions.
    """
    files = [path for path in found.usable[:most] if path.stem not in known]
    read = 0
    for path, episode in sound_episodes(show(files, desc="encoding")):
        read += 1
        if episode.action_count != num_actions:
            raise RecordingError(
                f"{path} has {episode.action_count} actions, the first recording has {num_actions}; expected "
                "recordings of one environment. Move the others to a folder of their own."
            )
        parts = np.array_split(episode.image, max(1, len(episode.image) // FRAMES_AT_ONCE))
        with torch.no_grad():
            encoded = [tokenizer.encode(frames_to_tensor(part, tokenizer.scale.device)) for part in parts]
        latents = torch.cat(encoded).half().cpu().numpy()
        ended = np.zeros(len(latents), dtype=np.float32)
        ended[-1] = episode.terminated
        yield EncodedEpisode(path.stem, latents, episode.action, episode.reward, ended)
    unusable = len(files) - read + len(found.unusable)
    if unusable:
        print(f"{unusable} unusable files: {[p.name for p in found.unusable]}", file=sys.stderr)


def read_starts(files: list[Path], first_frames: int, clips: int, clip_frames: int, seed: int, show: Show) -> Starts:
    """Read what dreams start from: first frames, and clips of episodes that are long enough.

    Args:
        files: Episodes, taken in order, for clips those with rewards first; damaged ones are named and skipped.
        first_frames: At most so many, at least 1.
        clips: At most so many, one an episode.
        clip_frames: Frames of a clip.
        seed: Fixes where clips are cut.
        show: Progress bar.
    """
    firsts = [episode.image[0] for _, episode in sound_episodes(show(files[:first_frames], desc="first frames"))]
    frames: list[NDArray[np.uint8]] = []
    actions: list[NDArray[np.int64]] = []
    rng = np.random.default_rng(seed)
    rewarded_first = sorted(files, key=lambda path: not _has_reward(path))
    for _, episode in sound_episodes(show(rewarded_first[:clips], desc="clips")):
        if len(episode.image) >= clip_frames:
            clip, led = draw_clip(episode, clip_frames, rng)
            frames.append(clip)
            actions.append(led)
    cut = Clips(np.stack(frames), np.stack(actions)) if frames else None
    return np.stack(firsts), cut


def _has_reward(path: Path) -> bool:
    """Say whether an episode has rewards; False where it cannot be read."""
    try:
        return read_summary(path)[1] > 0
    except RecordingError:
        return False


def sound_episodes(files: Iterable[Path]) -> Iterator[tuple[Path, Episode]]:
    """Read episodes; a damaged one is named and skipped."""
    for path in files:
        try:
            yield path, read_episode(path, state_keys=())
        except RecordingError as error:
            print(f"skipped {error}", file=sys.stderr)
