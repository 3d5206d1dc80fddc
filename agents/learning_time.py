"""Where a second of learning in dreams goes: the world model, what is around it, or the learner."""

import functools
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecMonitor

from agents.first_reward import EndAtReward
from agents.sb3_vec_env import SB3VecEnv

REST = "rest of SB3"
Part = tuple[type, str, str]


class Stopwatch:
    """Adds up the seconds spent in parts of a program, each without those of the parts inside it.

    On a GPU, whose work goes on while the program does, seconds count where the program waits for it.

    Attributes:
        seconds: by part; of one that is being measured, up to its last change.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done inside as this part."""
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    @contextmanager
    def watching(self, owner: type, method: str, name: str) -> Iterator[None]:
        """Count all calls of a method as this part, as long as this is open."""
        original = getattr(owner, method)
        own = method in vars(owner)

        @functools.wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return original(*args, **kwargs)

        setattr(owner, method, watched)
        try:
            yield
        finally:
            setattr(owner, method, original) if own else delattr(owner, method)

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


@contextmanager
def watch_learning(learner: BaseAlgorithm, environment: Sequence[Part] = ()) -> Iterator[dict[str, float]]:
    """Measure where the time of `learner.learn` goes.

    Args:
        learner: Of SB3, learning in an environment behind our adapter.
        environment: What a step of the environment is made of: class, method, name of the part.

    Yields:
        Seconds by part, growing: those of the environment, the adapter, the policy's acting, its learning, and the rest
        of SB3.
    """
    parts: list[Part] = [
        *environment,
        (EndAtReward, "step", "environment"),
        (SB3VecEnv, "step_wait", "adapter"),
        (VecMonitor, "step_wait", "adapter"),
        (type(learner.policy), "forward", "acting"),
        (type(learner.policy), "predict", "acting"),
        (type(learner), "train", "learning"),
    ]
    watch = Stopwatch()
    with ExitStack() as stack:
        for owner, method, name in parts:
            stack.enter_context(watch.watching(owner, method, name))
        stack.enter_context(watch.part(REST))
        yield watch.seconds


def as_sentence(seconds: dict[str, float], steps: int) -> str:
    """Say in words where the time of so many steps went, most first."""
    total = sum(seconds.values())
    shares = sorted(seconds.items(), key=lambda item: -item[1])
    told = ", ".join(f"{name} {100 * spent / total:.1f} %" for name, spent in shares)
    return f"{steps / total:,.0f} steps a second; of the time: {told}."
