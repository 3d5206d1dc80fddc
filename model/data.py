"""Recorded episodes as latents: encoded once, kept on disk as memory maps, read as windows.

A store is a folder: for every episode `NAME.latents.npy` (float16) and `NAME.steps.npz` (of each frame action, reward,
termination and, where it was recorded, place and direction of the camera), and `episodes.json` with names and lengths.
Only the windows asked for are read into memory.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.axes import Poses
from model.poses import relative_poses
from model.training import Windows

MOST_REWARDS = 32
"""A head tells no more different rewards apart."""


@dataclass(frozen=True)
class EncodedEpisode:
    """One episode as it is stored.

    Attributes:
        name: tells it from the others; an episode already in the store is not encoded again.
        latents: `(t, d, h, w)` float16.
        actions: `(t,)`, or `(t, a)` if they are continuous: the action that led to each frame; row 0 is meaningless.
        rewards: `(t,)`: the reward that came with each frame.
        terminated: `(t,)`: 1 where the episode ended with the frame.
        positions: `(t, 2)`: where the camera was, if known.
        directions: `(t, 2)`: unit vectors along which it looked, if known.
    """

    name: str
    latents: NDArray[np.float16]
    actions: NDArray[np.int64] | NDArray[np.float32]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.float32]
    positions: NDArray[np.float32] | None = None
    directions: NDArray[np.float32] | None = None


class LatentStore:
    """Reads windows from a store without holding it in memory."""

    def __init__(self, folder: Path) -> None:
        """Opens a store.

        Raises:
            FileNotFoundError: the folder holds no store.
        """
        self.folder = folder
        index: list[dict[str, Any]] = json.loads((folder / "episodes.json").read_text())
        self.names = [entry["name"] for entry in index]
        self.lengths = np.array([entry["frames"] for entry in index])
        self.latents: list[NDArray[np.float16]] = [
            np.load(folder / f"{name}.latents.npy", mmap_mode="r") for name in self.names
        ]
        self.steps = [dict(np.load(folder / f"{name}.steps.npz")) for name in self.names]

    @property
    def has_poses(self) -> bool:
        """Whether it is known of every episode where the camera was."""
        return all("positions" in steps and "directions" in steps for steps in self.steps)

    @cached_property
    def ended(self) -> NDArray[np.bool_]:
        """`(episodes,)`: which terminated."""
        return np.array([steps["terminated"][-1] > 0 for steps in self.steps], dtype=np.bool_)

    @property
    def frames(self) -> int:
        """Frames of all episodes together."""
        return int(self.lengths.sum())

    def windows(
        self,
        rng: np.random.Generator,
        batch: int,
        frames: int,
        there_and_back: float = 0.0,
        pose_origin: int = 0,
        show_ends: bool = False,
    ) -> Windows:
        """Draws windows, each position of each long enough episode equally likely.

        Args:
            rng: consumed.
            batch: how many windows.
            frames: frames per window.
            there_and_back: share of them whose second half is the first one backwards (`walked_back`).
            pose_origin: poses are relative to a frame up to so many frames before the window's first, drawn anew for
                each, as they are for whom sees the end of a longer walk only.
            show_ends: the last position of an episode that terminated counts for `frames` positions, so that its end is
                seen as often as any frame in its middle, and not in one window only.

        Raises:
            ValueError: no episode is long enough.
        """
        room = np.maximum(self.lengths - frames + 1, 0)
        last = room - 1
        if show_ends:
            room = room + (frames - 1) * (self.ended & (room > 0))
        if not room.any():
            raise ValueError(
                f"windows of {frames} frames asked for, but the longest episode in {self.folder} has "
                f"{self.lengths.max()}; shorten the context stages or record longer episodes."
            )
        which = rng.choice(len(room), size=batch, p=room / room.sum())
        places = [(int(i), int(min(rng.integers(room[i]), last[i]))) for i in which]
        origins = [int(rng.integers(max(0, j - pose_origin), j + 1)) for _, j in places] if pose_origin else None
        windows = self.stack(places, frames, origins)
        turned = int(there_and_back * batch + rng.random()) if there_and_back else 0  # right on average
        return walked_back(windows, turned)

    def stack(self, places: list[tuple[int, int]], frames: int, origins: list[int] | None = None) -> Windows:
        """Reads the windows at the given (episode, first frame) places.

        Args:
            places: where.
            frames: per window.
            origins: the frames of the episodes to which poses are relative; None for the first of each window.
        """
        latents = np.stack([self.latents[i][j : j + frames] for i, j in places]).astype(np.float32)

        def column(key: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([self.steps[i][key][j : j + frames] for i, j in places]))

        poses = self._poses(places, frames, origins or [j for _, j in places]) if self.has_poses else None
        return Windows(torch.from_numpy(latents), column("actions"), column("rewards"), column("terminated"), poses)

    def _poses(self, places: list[tuple[int, int]], frames: int, origins: list[int]) -> Poses:
        def read(key: str) -> torch.Tensor:
            told = (self.steps[i][key][[o, *range(j, j + frames)]] for (i, j), o in zip(places, origins, strict=True))
            return torch.from_numpy(np.stack(list(told)))

        return relative_poses(read("positions"), read("directions"))[:, 1:]

    def reward_values(self) -> tuple[float, ...]:
        """The distinct rewards that occur, most frequent first; levels between them if there are very many."""
        return reward_levels(np.concatenate([s["rewards"] for s in self.steps]))


def reward_levels(rewards: NDArray[np.float32], most: int = MOST_REWARDS) -> tuple[float, ...]:
    """The rewards a head tells apart, most frequent first.

    These are all that occur, if they are not more than `most`. Else they are the most frequent one, and the means of
    the others in `most - 1` groups of equally many occurrences, by size: what is between two levels counts as the
    nearer.

    Args:
        rewards: all that were recorded.
        most: how many levels.
    """
    values, counts = np.unique(rewards, return_counts=True)
    if len(values) > most:
        commonest = values[counts.argmax()]
        others = np.sort(rewards[rewards != commonest].astype(np.float64))
        means = {float(np.float32(group.mean())) for group in np.array_split(others, most - 1) if len(group)}
        kept = np.array(sorted(means | {float(commonest)}), np.float32)
        nearest = np.abs(values[:, None] - kept).argmin(1)
        values, counts = kept, np.bincount(nearest, weights=counts, minlength=len(kept))
    return tuple(float(values[i]) for i in np.argsort(-counts, kind="stable"))


def walked_back(windows: Windows, rows: int) -> Windows:
    """The windows with the last `rows` of them walked there and exactly back: frame i is frame `t - 1 - i` again.

    The last, because the first get few-step targets (`model.diffusion`): as far as there is room, who walks back is not
    who gets these.

    What is seen on the way back follows from where the camera is, and from memory. No action led there, and no reward
    or end came with it: they are those of frames in which nothing happened.
    """
    if not rows:
        return windows
    frames, kept = windows.actions.shape[1], len(windows.actions) - rows
    order = torch.arange(frames)
    order = torch.minimum(order, frames - 1 - order)
    back = torch.arange(frames) > (frames - 1) / 2

    def turn(v: torch.Tensor, blank: bool) -> torch.Tensor:
        turned = v[kept:][:, order]
        if blank:
            turned[:, back] = 0
        return torch.cat([v[:kept], turned])

    latents, actions, rewards, terminated, poses = windows
    poses = None if poses is None else turn(poses, False)
    return Windows(turn(latents, False), turn(actions, True), turn(rewards, True), turn(terminated, True), poses)


def stored_names(folder: Path) -> list[str]:
    """Names of the episodes in a store; none if there is no store yet."""
    index = folder / "episodes.json"
    return [entry["name"] for entry in json.loads(index.read_text())] if index.exists() else []


def append_episodes(folder: Path, episodes: Iterator[EncodedEpisode]) -> None:
    """Adds episodes to a store, one at a time; a kill loses at most the one being written."""
    folder.mkdir(parents=True, exist_ok=True)
    index_path = folder / "episodes.json"
    index = json.loads(index_path.read_text()) if index_path.exists() else []
    for episode in episodes:
        np.save(folder / f"{episode.name}.latents.npy", episode.latents)
        steps = {"actions": episode.actions, "rewards": episode.rewards, "terminated": episode.terminated}
        if episode.positions is not None and episode.directions is not None:
            steps |= {"positions": episode.positions, "directions": episode.directions}
        np.savez(folder / f"{episode.name}.steps.npz", **steps)  # type: ignore[arg-type]
        index.append({"name": episode.name, "frames": len(episode.latents)})
        partial = index_path.with_suffix(".partial")
        partial.write_text(json.dumps(index))
        partial.replace(index_path)
