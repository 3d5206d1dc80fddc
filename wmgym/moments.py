"""Moments of recorded episodes, from which a dream and the real world both go on: the same start in either.

recording -> its first frames and actions -> a dream takes the frames in as its context
                                          -> the real world of its seed takes the actions again
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from wmgym.action_spaces import from_model
from wmgym.chosen_actions import counts_from_zero, for_environment
from wmgym.context import Context
from wmgym.errors import RecordingError
from wmgym.recording import SEED_RANGES, content_digest, read_episode

FAR_OFF = 8.0
"""Levels: machines draw edges a little differently; another place differs by tens."""


@dataclass(frozen=True)
class Moment:
    """Where an episode had come to.

    Attributes:
        seed: Of the real world's reset.
        actions: `[steps]`: all that were taken since.
        context: The last frames until then, which a dream is shown, and the actions that led to them.
        digest: Tells the recording from all others.
    """

    seed: int
    actions: NDArray[Any]
    context: Context
    digest: str


def read_moments(
    files: Sequence[Path], count: int, frames: int, lead: int | None = None, *, latest: int | None = None, seed: int = 0
) -> list[Moment]:
    """Return moments of recordings of held-out worlds, one of each of the first that have one.

    Args:
        files: Episodes.
        count: How many moments.
        frames: How many frames a dream is shown, at least 1; so many lie before the moment, or more.
        lead: So many steps after the moment, at most, the recorded walk is paid a reward, where agents can tell apart
            who knows what to do; None for any moment that is not the last.
        latest: Not after so many steps of the walk, so that the real world's own time limit leaves room; None for any.
        seed: Fixes which.

    Raises:
        RecordingError: An episode cannot be read, says no seed, or has one to train on, or there are too few with such
            a moment.
    """
    moments: list[Moment] = []
    for path in files:
        if len(moments) == count:
            break
        episode = read_episode(path)
        if episode.seed is None or episode.seed in SEED_RANGES["train"]:
            raise RecordingError(
                f"{path}: the seed {episode.seed} given, expected one of a held-out world. Fix: record with "
                "experiments/collect_episodes.py --split test."
            )
        fits = _fitting(episode.reward, frames, lead)
        if latest is not None:
            fits = fits[fits <= latest]
        if len(fits):
            at = int(np.random.default_rng([seed, episode.seed]).choice(fits))
            span = slice(at + 1 - frames, at + 1)
            context = Context(episode.image[span].copy(), episode.action[span].copy())
            moments.append(Moment(episode.seed, episode.action[1 : at + 1].copy(), context, content_digest(path)))
    if len(moments) < count:
        near = "" if lead is None else f" and a reward within {lead} steps after"
        near += "" if latest is None else f", at step {latest} or earlier"
        raise RecordingError(
            f"{len(moments)} of {len(files)} recordings have a moment with {frames} frames before{near}, expected "
            f"{count}. Fix: record more, or longer ones, with experiments/collect_episodes.py --split test."
        )
    return moments


def _fitting(reward: NDArray[np.float32], frames: int, lead: int | None) -> NDArray[np.int64]:
    """Return the frames at which a moment may lie."""
    times = np.arange(frames - 1, len(reward) - 1)
    if lead is None:
        return times
    paid = np.append(np.flatnonzero(reward > 0), len(reward) + lead)  # none comes after the last
    return times[paid[np.searchsorted(paid, times, side="right")] - times <= lead]


class MomentsOfDreams(VectorWrapper[Any, Any, Any, Any]):
    """Dreams that go on from moments: `reset(seed=s)` starts dream i from moment `s + i`, counted around.

    Args:
        env: Dreams.
        moments: At least one.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], moments: Sequence[Moment]) -> None:
        super().__init__(env)
        self._moments = moments

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start all dreams.

        Args:
            seed: A number; None counts as 0.
            options: For the dreams; without a context.
        """
        first = seed or 0
        contexts = [self._moments[(first + i) % len(self._moments)].context for i in range(self.num_envs)]
        shown = [{"frames": context.frames, "actions": self._chosen(context.actions)} for context in contexts]
        return self.env.reset(seed=seed, options=(options or {}) | {"context": shown})

    def _chosen(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Return actions of a context as elements of the dreams' action space; the first may be that of none."""
        space = self.env.single_action_space
        return actions if counts_from_zero(space) else from_model(space, actions.clip(0))


class MomentsOfReality(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A real environment that goes on from moments: `reset(seed=s)` takes it to moment `s`, counted around.

    The world of the moment's seed is reset, and its actions are taken again, which a deterministic simulator answers
    as it did when it was recorded. A world model that watches remembers the frames of the context, as a dream does.

    Args:
        env: The environment of the recordings, whatever it shows. A time limit of its own has to leave room.
        moments: At least one.
        steps: Of an episode, from the moment on; it is truncated then.

    Randomness: that of `env`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], moments: Sequence[Moment], steps: int) -> None:
        super().__init__(env)
        self._moments, self._steps, self._left = moments, steps, steps

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start at a moment; without a seed as the environment itself starts, because nobody says where.

        Raises:
            RecordingError: The world does not come to where it was when it was recorded.
        """
        self._left = self._steps
        if seed is None:
            return self.env.reset(options=options)
        moment = self._moments[seed % len(self._moments)]
        observation, info = self.env.reset(seed=moment.seed, options=options)
        before = len(moment.actions) + 1 - len(moment.context.frames)
        for step, action in enumerate(moment.actions, start=1):
            if step == before and self.env.has_wrapper_attr("forget"):
                self.env.get_wrapper_attr("forget")()
            taken = for_environment(self.env.action_space, action)
            observation, _, terminated, truncated, info = self.env.step(taken)
            if terminated or truncated:
                raise RecordingError(
                    f"the episode of seed {moment.seed} ended before its moment. Most likely the environment's time "
                    "limit is too short, or it is another one than was recorded."
                )
        self._check_frame(moment)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step the environment; truncate after so many steps."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._left -= 1
        return observation, reward, terminated, truncated or self._left <= 0, info

    def _check_frame(self, moment: Moment) -> None:
        frame: NDArray[np.uint8] | Any = self.env.render()
        recorded = moment.context.frames[-1]
        if frame is None or frame.shape != recorded.shape:  # shown at another size: nothing to compare
            return
        off = float(np.abs(frame.astype(np.int16) - recorded).mean())
        if off > FAR_OFF:
            raise RecordingError(
                f"after the same actions the world of seed {moment.seed} looks otherwise than it was recorded (by "
                f"{off:.1f} of 256 levels on average). Most likely it was recorded by another simulator or version."
            )
