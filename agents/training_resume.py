"""A training that goes on where an earlier one ended, was interrupted or was killed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.algorithms import Algorithm
from agents.dqn import ManyDreamsDQN
from agents.sb3 import load_learner
from agents.time_budget import TrainingProgress
from agents.training_folder import POLICY_FILE, read_training


def resume_training(
    folder: Path,
    algorithm: Algorithm,
    env: VectorEnv[Any, Any, Any],
    *,
    seed: int,
    say: Callable[[str], object] = print,
) -> tuple[BaseAlgorithm, TrainingProgress]:
    """Return the learner saved in a folder, optimizer included, and how far it had come.

    Args:
        folder: As `save_training` left it.
        algorithm: That of the training.
        env: To go on learning in.
        seed: That of the training; together with the steps made it fixes what comes, which is not what came before.
        say: Gets a line about what is not as it was: DQN's replay buffer, which is not kept.

    Raises:
        FileNotFoundError: There is no such training.
        ValueError: It is damaged, of another algorithm, or of another environment.
    """
    learner = load_learner(folder / POLICY_FILE, algorithm, env)
    earlier = TrainingProgress(**read_training(folder)["progress"])
    learner.set_random_seed((seed + earlier.steps) % 2**32)  # SB3 goes back to the first seed, and its dreams
    if isinstance(learner, ManyDreamsDQN):
        say(f"DQN's replay buffer is not kept: the policy fills it with {learner.fill_again():,} steps first.")
    return learner, earlier
