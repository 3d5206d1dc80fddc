"""Which algorithms of Stable-Baselines3 learn in dreams, and with which settings each begins.

Dreams are many at once, short, and rarely rewarded: rollouts are short, batches large, and the credit of a reward
reaches back over several steps (lambda returns, or n-step returns in DQN).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from stable_baselines3 import A2C, PPO

from agents.dqn import ManyDreamsDQN, steps_to_fill

Algorithm = Literal["ppo", "recurrent_ppo", "a2c", "dqn"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
LABELS: dict[Algorithm, str] = {"ppo": "PPO", "recurrent_ppo": "RecurrentPPO", "a2c": "A2C", "dqn": "DQN"}
REPLAY_BYTES = 512 * 2**20
"""What DQN's replay buffer may take: 256 MiB of observations, and as much of those that followed."""

BATCH = 512
"""Steps that PPO and RecurrentPPO learn from at once, if a rollout has as many."""


@dataclass(frozen=True)
class Defaults:
    """What an algorithm begins with in dreams, unless told otherwise.

    Attributes:
        learning_rate: Of Adam (of RMSprop in A2C).
        rollout: Steps of each dream from one update to the next.
        entropy: Weight of the entropy bonus; None where there is none.
        critic_warmup: When it goes on from a clone: rollouts in which only the critic learns.
    """

    learning_rate: float
    rollout: int
    entropy: float | None
    critic_warmup: int = 0


FROM_SCRATCH: dict[Algorithm, Defaults] = {
    "ppo": Defaults(7e-4, 32, 0.01),
    "recurrent_ppo": Defaults(3e-4, 32, 0.01),
    "a2c": Defaults(7e-4, 8, 0.01),
    "dqn": Defaults(3e-4, 4, None),
}
FINE_TUNING: dict[Algorithm, Defaults] = {
    "ppo": Defaults(1e-4, 32, 0.001, critic_warmup=20),
    "recurrent_ppo": Defaults(1e-4, 32, 0.001, critic_warmup=20),
    "a2c": Defaults(1e-4, 8, 0.001, critic_warmup=320),  # an update is one step of its optimizer, one of PPO's is 16
}
"""Gentle, so that what was cloned is not unlearned; DQN has no actor to go on from."""
CLOSE_TO_CLONE = {"clip_range": 0.1, "target_kl": 0.02}
"""PPO's limits on how far one update may go from the policy before it, when that one is a clone worth keeping."""


def algorithm_class(algorithm: Algorithm) -> type[Any]:
    """Return the class of an algorithm.

    Raises:
        ImportError: It is that of sb3-contrib, which is not installed.
        ValueError: There is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm = {algorithm!r} given, expected one of {', '.join(ALGORITHMS)}.")
    if algorithm != "recurrent_ppo":
        return {"ppo": PPO, "a2c": A2C, "dqn": ManyDreamsDQN}[algorithm]
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError as error:
        fix = "pip install -e '.[sb3]' in a clone of wmgym"
        raise ImportError(f"recurrent_ppo needs sb3-contrib. Fix: {fix}.") from error
    return RecurrentPPO


def settings_in_dreams(algorithm: Algorithm, space: gymnasium.Space[Any], num_envs: int) -> dict[str, Any]:
    """Return the settings of SB3's own that an algorithm begins with in so many dreams.

    Args:
        algorithm: Which.
        space: Of one observation: how many DQN can remember depends on it.
        num_envs: Dreams stepped at once.
    """
    chosen = FROM_SCRATCH[algorithm]
    shared: dict[str, Any] = {"learning_rate": chosen.learning_rate, "gamma": 0.95}
    if algorithm == "dqn":
        room = replay_steps(space, num_envs)
        return shared | {
            "train_freq": chosen.rollout,
            "gradient_steps": chosen.rollout,  # of 64 dreams, each step is replayed four times
            "batch_size": 256,
            "n_steps": 3,
            "buffer_size": room,
            "learning_starts": steps_to_fill(room, num_envs),
            "target_update_interval": max(10_000, num_envs),
            "exploration_fraction": 0.3,
            "exploration_final_eps": 0.05,
        }
    shared |= {"n_steps": chosen.rollout, "gae_lambda": 0.95, "ent_coef": chosen.entropy}
    if algorithm == "a2c":
        return shared | {"normalize_advantage": True}  # then entropy weighs as it does in PPO
    return shared | {"batch_size": BATCH, "n_epochs": 4}


def replay_steps(space: gymnasium.Space[Any], num_envs: int, limit: int = REPLAY_BYTES) -> int:
    """Return how many steps a replay buffer of limited size holds; at least eight of each environment.

    Args:
        space: Of one observation. Each is kept twice: as what was seen, and as what followed.
        num_envs: Whose steps it holds; a multiple of it is returned.
        limit: Bytes; an action, a reward and two flags take 20 of a step.
    """
    if space.shape is None or space.dtype is None:
        raise ValueError(f"observations in {space} given, expected arrays of one shape and type.")
    step = 2 * math.prod(space.shape) * np.dtype(space.dtype).itemsize + 20
    return max(8, limit // (step * num_envs)) * num_envs


def with_defaults(algorithm: Algorithm, given: Mapping[str, Any], *, fine_tuning: bool) -> dict[str, Any]:
    """Return the settings given, and where None is, what the algorithm begins with.

    Args:
        algorithm: Which.
        given: By the names of `Defaults`.
        fine_tuning: Whether a policy is there to go on from.

    Raises:
        ValueError: Something is given that the algorithm has not, or that has no meaning without such a policy.
    """
    defaults = asdict((FINE_TUNING if fine_tuning else FROM_SCRATCH)[algorithm])
    if given["entropy"] is not None and defaults["entropy"] is None:
        raise ValueError(
            f"--entropy {given['entropy']:g} given with --algorithm {algorithm}, expected none: it explores by random "
            "actions, at first always, in the end one in twenty. Leave --entropy away."
        )
    if given["critic_warmup"] and not fine_tuning:
        raise ValueError(
            f"--critic-warmup {given['critic_warmup']} given without --start-from, expected both: no actor is there "
            "that the critic could spoil."
        )
    return {name: default if given[name] is None else given[name] for name, default in defaults.items()}


def check_rollout(algorithm: Algorithm, rollout: int, num_envs: int) -> None:
    """Refuse rollouts in which an advantage would be normalised among one.

    Args:
        algorithm: Which. DQN has no advantages.
        rollout: Steps of each dream from one update to the next.
        num_envs: Dreams.

    Raises:
        ValueError: A batch would be of one step: the only one, or, of RecurrentPPO, the last.
    """
    steps = rollout * num_envs
    alone = steps % BATCH == 1 if algorithm == "recurrent_ppo" else steps == 1
    if alone and algorithm != "dqn":
        last = "" if steps == 1 else f", of which {steps - 1:,} fill batches of {BATCH} and one is left over"
        raise ValueError(
            f"--rollout {rollout} and --num-envs {num_envs} given: {steps:,} step(s) from one update to the next"
            f"{last}, expected two or more for a batch: {LABELS[algorithm]} compares the steps of a batch with one "
            "another. Pass another --rollout, or more --num-envs."
        )


def as_sb3_names(
    algorithm: Algorithm, *, learning_rate: float, rollout: int, entropy: float | None, discount: float
) -> dict[str, Any]:
    """Return settings by the names that SB3 has for them in an algorithm."""
    shared = {"learning_rate": learning_rate, "gamma": discount}
    if algorithm == "dqn":
        return shared | {"train_freq": rollout, "gradient_steps": rollout}  # at any pace as much learning for a step
    return shared | {"n_steps": rollout, "ent_coef": entropy}
