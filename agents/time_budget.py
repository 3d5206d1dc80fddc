"""Train an SB3 learner for a time instead of a number of steps, saving on the way."""

import math
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

POINT_EVERY = 1.0
"""Seconds from one point of the learning curve to the next, at least: DQN's rollouts are short."""


@dataclass
class TrainingProgress:
    """How far a training has come."""

    steps: int = 0
    """Environment steps made."""
    seconds: float = 0.0
    """Time spent on it, in all its runs, from before the first reset to the end of the last update."""
    curve: list[dict[str, int | float]] = field(default_factory=list)
    """`{"steps", "return"}` after rollouts: mean return of the last hundred episodes that ended."""
    parts: dict[str, float] = field(default_factory=dict)
    """Of these seconds, how many went where (`agents.learning_time`)."""
    planned: float = 0.0
    """Seconds that it was to take when it began: what schedules, such as DQN's exploration, run over."""


class TimeBudget(BaseCallback):
    """Ends `learn` when its time is over; give that a number of steps that is never reached.

    Progress counts from when this is made: what SB3 does before the first step, such as resetting the environment, is
    part of it, but does not shorten the training.

    Schedules of SB3 that run over all steps run over the time that was planned when the training began, and stay at
    their ends when it goes on for longer.

    Attributes:
        progress: How far it has come.
        saved: Steps after which it was last saved, by earlier runs too; None if it never was.

    Args:
        seconds: How long to train, the first reset, the update in progress and what earlier runs took not counted.
        save: Called with learner and progress every `save_every` seconds and at the end.
        show: Called with the progress after every step.
        save_every: Seconds between saves: what a kill loses at most, but for a rollout and its update.
        earlier: How far earlier runs had come; then `learn` needs `reset_num_timesteps=False`.
        parts: Seconds of this run by what they were spent on, growing (`agents.learning_time.watch_learning`).
    """

    def __init__(
        self,
        seconds: float,
        *,
        save: Callable[[BaseAlgorithm, TrainingProgress], None],
        show: Callable[[TrainingProgress], None] = lambda progress: None,
        save_every: float = 60.0,
        earlier: TrainingProgress | None = None,
        parts: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.progress = TrainingProgress() if earlier is None else deepcopy(earlier)
        self.saved: int | None = self.progress.steps or None
        self._last_point = -math.inf
        self._seconds, self._save, self._show, self._save_every = seconds, save, show, save_every
        if self.progress.seconds and not self.progress.parts:  # of earlier runs it is not known, so not of all
            parts = None
        self._parts, self._parts_before = {} if parts is None else parts, dict(self.progress.parts)
        self._started = time.monotonic() - self.progress.seconds

    def _on_training_start(self) -> None:
        self.progress.seconds = time.monotonic() - self._started
        self._end = self.progress.seconds + self._seconds
        self._next_save = self.progress.seconds + self._save_every
        self.progress.planned = self.progress.planned or self._end

    def _on_step(self) -> bool:
        """Say whether there is time left."""
        self.progress.steps = self.num_timesteps
        self.progress.seconds = time.monotonic() - self._started
        share = min(1.0, self.progress.seconds / self.progress.planned)
        self.model._total_timesteps = round(self.num_timesteps / max(share, 1e-9))  # of which SB3 reckons its progress
        self._show(self.progress)
        return self.progress.seconds < self._end

    def _on_rollout_end(self) -> None:
        episodes = self.model.ep_info_buffer
        if episodes and self.progress.seconds >= self._last_point + POINT_EVERY:
            self._last_point = self.progress.seconds
            mean = sum(float(episode["r"]) for episode in episodes) / len(episodes)
            self.progress.curve.append({"steps": self.num_timesteps, "return": mean})
        if self.progress.seconds >= self._next_save:
            self._next_save = self.progress.seconds + self._save_every
            self.save_now()

    def _on_training_end(self) -> None:
        self.save_now()

    def save_now(self) -> None:
        """Save learner and progress."""
        self.progress.seconds = time.monotonic() - self._started
        before = self._parts_before
        self.progress.parts = before | {name: before.get(name, 0.0) + spent for name, spent in self._parts.items()}
        self._save(self.model, self.progress)
        self.saved = self.progress.steps
