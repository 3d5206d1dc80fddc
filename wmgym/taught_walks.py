"""Recorded walks as a world model sees them, with what a teacher knew there: cut into stretches and windows.

Of the frames only what is asked for is read into memory, and no file is kept open.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.actions import without_first
from model.axes import START_ACTION
from model.pupil import Lesson
from model.training import Windows
from wmgym.episode_files import check_headers, open_arrays, read_actions, read_headers, read_space
from wmgym.errors import RecordingError
from wmgym.lessons import refuse_other_lengths
from wmgym.watched_recordings import open_watched


@dataclass(frozen=True)
class Walks:
    """Whole episodes of one length.

    Attributes:
        files: Latents of each, as `wmgym.watched_recordings.watch_recordings` wrote them.
        led: `[episodes t]` int64: the action that led to each frame; the first is none.
        rewards: `[episodes t]` float32: the reward that came with it.
        wanted: `[episodes t]` int64: the teacher's action.
        goal: `[episodes t 2]` float32: cells ahead and to the left at which its goal lies.
        known: `[episodes t]`: whether the teacher knows where the goal is.
    """

    files: tuple[Path, ...]
    led: NDArray[np.int64]
    rewards: NDArray[np.float32]
    wanted: NDArray[np.int64]
    goal: NDArray[np.float32]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.files)

    @property
    def frames(self) -> int:
        """Frames of each episode."""
        return int(self.led.shape[1])

    def in_a_mirror(self, files: Sequence[Path], actions: Sequence[int]) -> "Walks":
        """Return the same walks, left for right.

        Args:
            files: Latents of the mirrored frames.
            actions: Where each action then stands.
        """
        turned = np.array(actions)
        led = np.where(self.led == START_ACTION, START_ACTION, turned[self.led])
        goal = self.goal * np.array([1, -1], np.float32)
        return Walks(tuple(files), led, self.rewards, turned[self.wanted], goal, self.known)

    def and_those(self, others: "Walks") -> "Walks":
        """Return these walks and others of the same length."""
        ours, theirs = vars(self), vars(others)
        arrays = {
            name: np.concatenate([ours[name], theirs[name]]) for name in ours if isinstance(ours[name], np.ndarray)
        }
        return Walks(files=self.files + others.files, **arrays)

    def lesson(self, rows: Sequence[int], begin: int, end: int) -> Lesson:
        """Read a stretch of some episodes: from frame `begin` up to, and without, frame `end`.

        Raises:
            RecordingError: A file of latents is damaged.
        """
        rows, span = list(rows), slice(begin, end)
        latents = np.stack([open_watched(self.files[row])[span].astype(np.float32) for row in rows])
        told = (part[rows, span] for part in (self.led, self.wanted, self.goal, self.known))
        return Lesson(torch.from_numpy(latents), *map(torch.from_numpy, told))

    def round(self, rng: np.random.Generator, episodes: int, stretch: int, device: torch.device) -> Iterator[Lesson]:
        """Go through some episodes side by side from their beginning to their end, in stretches.

        The first stretch is of half to all of the others' length, so that stretches do not always end at the same
        frames; the last one takes a rest of less than half of it.

        Args:
            rng: Consumed for which episodes, and for the length of the first stretch.
            episodes: How many, at most all.
            stretch: Frames of a stretch, at least 2.
            device: Where to.
        """
        rows = rng.choice(len(self), min(episodes, len(self)), replace=False).tolist()
        shortest = -(-stretch // 2)
        first = int(rng.integers(shortest, stretch + 1))
        inner = [edge for edge in range(first, self.frames, stretch) if self.frames - edge >= shortest]
        for begin, end in itertools.pairwise([0, *inner, self.frames]):
            yield Lesson(*(part.to(device) for part in self.lesson(rows, begin, end)))

    def windows(
        self,
        rng: np.random.Generator,
        count: int,
        frames: int,
        device: torch.device,
        *,
        paid_share: float = 0.0,
        last_frames: int = 1,
    ) -> Windows:
        """Draw windows from all places in all episodes, uniformly, or some of them around rewards.

        Args:
            rng: Consumed.
            count: How many.
            frames: Of each, at most an episode's.
            device: Where to.
            paid_share: Probability that a window is drawn with a reward in its last frames: each reward that can lie
                there is as likely, and then each of its places there.
            last_frames: How many frames these are; the first frame of a window is never one.

        Raises:
            RecordingError: Windows shall be paid, and no reward comes late enough in its episode.
        """
        frames = min(frames, self.frames)
        latest, last = self.frames - frames, min(last_frames, frames - 1)
        places = [(int(rng.integers(len(self))), int(rng.integers(latest + 1))) for _ in range(count)]
        paid = np.flatnonzero(rng.random(count) < paid_share)
        events = self._rewarded(frames - last) if len(paid) else ()
        for i in paid:
            row, at = events[rng.integers(len(events))]
            first, after = max(0, at - frames + 1), min(latest, at - frames + last) + 1
            places[i] = (row, int(rng.integers(first, after)))
        cut = [self.lesson([row], begin, begin + frames) for row, begin in places]
        rewards = np.stack([self.rewards[row, begin : begin + frames] for row, begin in places])
        latents, actions = (torch.cat([getattr(part, name) for part in cut]) for name in ("latents", "actions"))
        drawn = (latents, actions, torch.from_numpy(rewards), torch.zeros(rewards.shape))
        return Windows(*(part.to(device) for part in drawn))

    def _rewarded(self, first: int) -> list[list[int]]:
        """Return episode and frame of each reward from frame `first` on.

        Raises:
            RecordingError: There is none.
        """
        found: list[list[int]] = (np.argwhere(self.rewards[:, first:] > 0) + np.array([0, first])).tolist()
        if not found:
            raise RecordingError(
                f"no reward from frame {first} on in {len(self)} episodes of {self.frames} frames, expected one that a "
                "window can end with. Fix: recordings of a walker that finds rewards, or no windows that are paid."
            )
        return found


def read_steps(files: Sequence[Path]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the actions that led to the frames of some episodes, the first of each none, and the rewards.

    Raises:
        RecordingError: They differ in length, or one cannot be read.
    """
    steps = [_steps_of(path) for path in files]
    refuse_other_lengths({path: len(reward) for path, (_, reward) in zip(files, steps, strict=True)}, "recorded")
    led = np.stack([action for action, _ in steps]).astype(np.int64)
    led[:, 0] = START_ACTION
    return led, np.stack([reward for _, reward in steps])


def _steps_of(path: Path) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Return actions and rewards of an episode, without decoding its images."""
    check_headers(path, read_headers(path))
    with open_arrays(path) as archive:
        space = read_space(path, archive["action_space"]) if "action_space" in archive.files else None
        return read_actions(path, archive["action"], space)[0], archive["reward"].astype(np.float32)


@torch.inference_mode()
def share_right(
    pupil: Any, walks: Walks, episodes: int, forget_every: int | None, device: torch.device, stretch: int = 100
) -> float:
    """Return the share of frames at which the teacher's action is the pupil's likeliest.

    Args:
        pupil: A `model.pupil.Pupil`; it is in evaluation mode meanwhile.
        walks: That it did not learn from.
        episodes: How many of them, the first ones.
        forget_every: Frames after which memory is emptied, as if the episode had only begun; None for never.
        device: Of the pupil.
        stretch: Frames that are taken in at a time.
    """
    rows, learning = list(range(min(episodes, len(walks)))), pupil.training
    pupil.eval()
    memory, right = None, 0.0
    step = stretch if forget_every is None else forget_every
    for begin in range(0, walks.frames, step):
        lesson = Lesson(*(part.to(device) for part in walks.lesson(rows, begin, min(begin + step, walks.frames))))
        if memory is None or forget_every is not None:
            memory = pupil.dynamics.initial_memory(len(rows))
            lesson = lesson._replace(actions=without_first(lesson.actions))
        told, memory = pupil(lesson, memory)
        right += float(told.right.sum())
    pupil.train(learning)
    return right / (len(rows) * walks.frames)
