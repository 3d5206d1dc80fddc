"""What ends a training that has gone wrong: what is not finite, a policy that runs away, a signal to stop.

    rewards, observations -> checked after every step -> weights, divergence -> checked after every update -> saved

A policy is saved only if its weights are finite, so the one on disk is good, and `--resume` goes on from it.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from agents.time_budget import TimeBudget

MOST_KL = 5.0
"""Nats from the policy before an update to the one after it, by SB3's estimate, that are no learning any more; usual
are 0.01 to 0.1."""
A2C_TELLS_EVERY = 10
"""Rollouts from one point of its TensorBoard curves to the next; SB3's own 100 are longer than a short training."""
TERMINATED, INTERRUPTED = 128 + int(signal.SIGTERM), 128 + int(signal.SIGINT)
"""What a shell takes for the exit status of a process that was terminated."""


class TrainingError(RuntimeError):
    """A training that cannot go on: something is not finite, or the policy has run away."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM)."""


class TrainingGuard(BaseCallback):
    """Ends `learn` by a `TrainingError` before anything learns from, or is saved with, what is not finite.

    SB3's `VecCheckNan` sees rewards and observations, too, but not the last observations of episodes, and not weights.
    """

    def _on_rollout_start(self) -> None:
        """Check what the update before has left, and what the policy is about to see."""
        check_weights(self.model)
        told = self.logger.name_to_value
        for name in ("train/loss", "train/approx_kl"):
            if name in told and not math.isfinite(told[name]):
                raise TrainingError(f"{name} was {told[name]} in the last update, expected a finite number.")
        if (divergence := told.get("train/approx_kl", 0.0)) > MOST_KL:
            raise TrainingError(
                f"the last update moved the policy by {divergence:.1f} nats (train/approx_kl), expected at most "
                f"{MOST_KL:g}: it has run away. Likely cause: the learning rate is too high."
            )
        self._check("observations", getattr(self.model, "_last_obs", None))

    def _on_step(self) -> bool:
        self._check("rewards", self.locals["rewards"])
        self._check("observations", self.locals["new_obs"])
        for info in self.locals["infos"]:
            self._check("last observations of episodes", info.get("terminal_observation"))
        return True

    def _check(self, what: str, values: Any) -> None:
        """Raise if something is not finite; values are arrays, dictionaries of arrays, or nothing."""
        each = list(values.values()) if isinstance(values, dict) else [values]
        if not all(np.isfinite(value).all() for value in each if value is not None):
            raise TrainingError(
                f"the {what} are not finite after {self.num_timesteps:,} steps. Likely cause: a damaged checkpoint, or "
                "a precision too low for it."
            )


def check_weights(learner: BaseAlgorithm) -> None:
    """Raise unless all weights of a learner's policy are finite.

    Raises:
        TrainingError: Some are not; says in which parts.
    """
    broken = [name for name, value in learner.policy.named_parameters() if not torch.isfinite(value).all()]
    if broken:
        raise TrainingError(
            f"the policy has weights that are not finite after {learner.num_timesteps:,} steps, in {broken[0]} and "
            f"{len(broken) - 1} other parts. Likely cause: the learning rate is too high, or a reward was huge."
        )


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise `Terminated` where the process is asked to end, as Ctrl-C raises `KeyboardInterrupt`."""

    def stop(*_: Any) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # where no signal can be handled
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def learn_for(
    learner: BaseAlgorithm,
    budget: TimeBudget,
    *,
    also: Sequence[BaseCallback] = (),
    goes_on: bool = False,
    name: str = "run",
    say: Callable[[str], object] = print,
) -> None:
    """Train until the time is over; whatever ends it earlier, the policy on disk is a good one.

    Ctrl-C saves and returns. SIGTERM saves and ends the process with status 143. A fault saves nothing.

    Args:
        learner: To be trained.
        budget: Its time, and how it is saved.
        also: Other callbacks.
        goes_on: Whether it was trained before.
        name: Of the run in TensorBoard.
        say: Gets a line if the training was interrupted, or was over before its first update.

    Raises:
        TrainingError: Something was not finite, or the policy has run away. Says what is on disk.
        SystemExit: SIGTERM came.
    """
    updates = learner._n_updates
    telling: dict[str, Any] = {"log_interval": A2C_TELLS_EVERY} if isinstance(learner, A2C) else {}
    try:
        with sigterm_interrupts():
            callbacks = [TrainingGuard(), *also, budget]
            learner.learn(10**12, callback=callbacks, tb_log_name=name, reset_num_timesteps=not goes_on, **telling)
    except KeyboardInterrupt as asked:
        if not hasattr(budget, "model"):  # SB3 had not begun
            say("The training was interrupted before its first step: there is nothing to save.")
            raise SystemExit(TERMINATED if isinstance(asked, Terminated) else INTERRUPTED) from None
        try:
            budget.save_now()
        except TrainingError as broken:
            raise _told(broken, budget) from broken
        if isinstance(asked, Terminated):
            say(f"The training was terminated after {budget.progress.steps:,} steps, and saved: --resume goes on.")
            raise SystemExit(TERMINATED) from None
        say("The training was interrupted; what was learned so far is evaluated.")
    except Exception as error:
        fault = error if isinstance(error, TrainingError) else _fault_behind(learner)
        if fault is None:
            error.add_note(_on_disk(budget))
            raise
        raise _told(fault, budget) from error
    if learner._n_updates == updates:
        say(
            f"Nothing was learned in this run: its time was over after {budget.progress.steps:,} steps, before the "
            "first update. The policy is as it was at the beginning. Fix: more --minutes, or a shorter --rollout."
        )


def _fault_behind(learner: BaseAlgorithm) -> TrainingError | None:
    """Return the fault that made SB3 fail: with broken weights it finds no actions."""
    try:
        check_weights(learner)
    except TrainingError as fault:
        return fault
    return None


def _told(fault: TrainingError, budget: TimeBudget) -> TrainingError:
    return TrainingError(f"The training ended: {fault} {_on_disk(budget)}")


def _on_disk(budget: TimeBudget) -> str:
    if budget.saved is None:
        return "Nothing was saved yet: start again, with a lower learning rate if it was the policy."
    return (
        f"The policy of {budget.saved:,} steps is saved, and good: --resume goes on from it, with other dreams. If "
        "that ends so again, start anew with a lower learning rate."
    )
