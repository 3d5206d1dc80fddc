"""Measure a policy in rounds that are kept on disk: a run that was killed goes on with the next round."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from agents.evaluate import Evaluation, evaluate
from agents.interfaces import Policy
from agents.results import write_json
from agents.two_worlds import World

MakePolicy = Callable[[int, int], Policy]
"""`make(rows, seed)`: a policy for so many environments; the seed is another for each round."""


@dataclass(frozen=True)
class Measured:
    """What a policy scored, and what it took.

    Attributes:
        evaluation: Its returns.
        seconds: In which the policy thought, of all rounds.
        acts: How often it was asked, for all environments of a round at once.
    """

    evaluation: Evaluation
    seconds: float
    acts: int


def measure_in_rounds(
    name: str, make_policy: MakePolicy, world: World, *, steps: int, seed: int, file: Path, settings: dict[str, Any]
) -> Measured:
    """Evaluate a policy, made anew for each round of one episode in each environment; keep what each round gave.

    Args:
        name: Of policy and world, for the progress bar.
        make_policy: Makes it.
        world: Where, and how many episodes.
        steps: Of an episode, for the progress bar.
        seed: Of the first episode.
        file: Where rounds are kept. What is there already is not run again.
        settings: What decides the returns, as JSON has it.

    Raises:
        ValueError: The file is damaged, or holds rounds of other settings.
    """
    kept = _read(file, settings)
    with world.open() as env, tqdm(total=world.episodes * steps, unit="step", desc=name) as bar:
        while (done := len(kept["returns"])) < world.episodes:
            bar.update(done * steps - bar.n)
            policy = _Timed(make_policy(env.num_envs, seed + done))
            wanted = min(env.num_envs, world.episodes - done)
            found = evaluate(policy, env, episodes=wanted, seed=seed + done, on_step=bar.update)
            kept["returns"] += found.returns
            kept["lengths"] += found.lengths
            kept["seconds"], kept["acts"] = kept["seconds"] + policy.seconds, kept["acts"] + policy.acts
            write_json(file, kept)
            bar.set_postfix(mean_return=f"{np.mean(kept['returns']):.2f}")
        bar.update(world.episodes * steps - bar.n)
    returns, lengths = (tuple(kept[key][: world.episodes]) for key in ("returns", "lengths"))
    return Measured(Evaluation(seed, returns, lengths), kept["seconds"], kept["acts"])


class _Timed:
    """A policy, and for how long it thought."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.seconds, self.acts = 0.0, 0

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> Any:
        started = time.monotonic()
        actions = self._policy.act(observations, is_first)
        self.seconds += time.monotonic() - started
        self.acts += 1
        return actions


def _read(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what was kept of earlier rounds.

    Raises:
        ValueError: It is damaged, or of other settings.
    """
    new: dict[str, Any] = {"settings": settings, "returns": [], "lengths": [], "seconds": 0.0, "acts": 0}
    if not file.exists():
        return new
    try:
        kept = json.loads(file.read_text())
        whole = kept.keys() == new.keys() and len(kept["returns"]) == len(kept["lengths"])
    except (ValueError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise ValueError(f"{file}: cannot be read, expected rounds of an evaluation. Fix: delete it; they run again.")
    if kept["settings"] != json.loads(json.dumps(settings)):
        raise ValueError(f"{file}: holds rounds of other settings than those chosen now. Fix: another file for these.")
    return dict(kept)
