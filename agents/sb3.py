"""Stable-Baselines3 in dreams: learners with settings that fit, and policies as evaluation wants them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from agents.algorithms import Algorithm, algorithm_class, settings_in_dreams
from agents.dqn import ManyDreamsDQN
from agents.grid_extractor import GridExtractor, is_grid_space
from agents.pretrained import WEIGHTS_FILE, load_weights
from agents.sb3_vec_env import SB3VecEnv, to_host


class SB3Policy:
    """A trained SB3 model as evaluation wants it; a recurrent one keeps its state from call to call.

    Args:
        model: PPO, RecurrentPPO, A2C, DQN, or any other SB3 algorithm. DQN's takes the best action always: what it
            explored by in training is no part of its policy.
        seed: Fixes the actions drawn.
        deterministic: Take the likeliest action instead of drawing one. In mazes it gets stuck more easily.

    Randomness: draws from torch's default generator with a state of its own, and puts the old state back.
    """

    def __init__(self, model: BaseAlgorithm, seed: int, *, deterministic: bool = False) -> None:
        self._model = model
        self._deterministic = deterministic or isinstance(model, DQN)
        self._memory: Any = None
        self._rng = torch.Generator().manual_seed(seed).get_state()

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the model's actions."""
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.set_rng_state(self._rng)
            actions, self._memory = self._model.predict(
                to_host(observations), self._memory, is_first, self._deterministic
            )
            self._rng = torch.get_rng_state()
        return actions


def make_learner(
    algorithm: Algorithm,
    env: VectorEnv[Any, Any, Any],
    *,
    seed: int,
    tensorboard: Path | None = None,
    **settings: Any,
) -> BaseAlgorithm:
    """Make a learner with a network that fits the observations and settings that fit dreams.

    Images get SB3's convolutional network, grids of floats one of our own, and what comes out, or anything else, two
    hidden layers of 128. Settings are for many environments, short episodes and rare rewards.

    Args:
        algorithm: "ppo", "recurrent_ppo" (of sb3-contrib, for observations without memory), "a2c" or "dqn".
        env: A vector environment that resets itself in the step that ends an episode.
        seed: Fixes initial weights, actions and the order of learning, and seeds the environment.
        tensorboard: Folder for TensorBoard.
        **settings: Any of the algorithm's own, in place of ours; of `policy_kwargs` only those that are given.

    Raises:
        ValueError: There is no such algorithm, or the environment resets itself in another way.
        ImportError: It takes sb3-contrib, which is not installed.

    Source: J. Schulman et al., Proximal policy optimization algorithms, arXiv:1707.06347; V. Mnih et al., Asynchronous
    methods for deep reinforcement learning, arXiv:1602.01783; V. Mnih et al., Human-level control through deep
    reinforcement learning, Nature 518, 2015.
    """
    create = algorithm_class(algorithm)
    monitored, space = _monitored(env), env.single_observation_space
    image = is_image_space(space)
    looking = {"features_extractor_class": GridExtractor} if is_grid_space(space) else {}
    chosen: dict[str, Any] = {
        **settings_in_dreams(algorithm, space, env.num_envs),
        "policy_kwargs": ({} if image else {"net_arch": [128, 128]} | looking) | settings.pop("policy_kwargs", {}),
        "device": "auto" if image else "cpu",
        "tensorboard_log": None if tensorboard is None else str(tensorboard),
        "seed": seed,
    } | settings
    if "n_epochs" in chosen:
        chosen["batch_size"] = min(chosen["batch_size"], chosen["n_steps"] * env.num_envs)
    name = ("Cnn" if image else "Mlp") + ("LstmPolicy" if algorithm == "recurrent_ppo" else "Policy")
    learner: BaseAlgorithm = create(name, monitored, **chosen)
    return learner


def load_learner(path: Path, algorithm: Algorithm, env: VectorEnv[Any, Any, Any] | None = None) -> BaseAlgorithm:
    """Load what SB3's `save` wrote, onto the CPU; with an environment to go on learning in, or without.

    Of policies that ship with wmgym there are the actor's weights alone (`agents.pretrained`), to act by or begin with.

    DQN's replay buffer is not saved. Learning goes on once the policy has filled it again
    (`ManyDreamsDQN.fill_again`), exploring as it last did.

    SB3 keeps part of its settings pickled inside the zip file, and unpickling can run code: load only files
    that you or someone you trust has written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, of another algorithm, or of an agent that sees or does something else.
        ImportError: The algorithm takes sb3-contrib, which is not installed.
    """
    if path.name == WEIGHTS_FILE:
        return load_weights(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a policy that Stable-Baselines3 saved.")
    create = algorithm_class(algorithm)
    monitored = None if env is None else _monitored(env)
    changed: dict[str, Any] = {"replay_buffer_class": None} if algorithm == "dqn" else {}  # or SB3 warns of its own
    if algorithm == "dqn" and env is None:
        changed["buffer_size"] = 1  # nothing to remember without learning
    try:
        learner: BaseAlgorithm = create.load(path, monitored, device="cpu", **changed)
    except Exception as error:  # from zipfile, json, pickle, torch and SB3, each with its own
        raise ValueError(
            f"{path}: cannot be read ({error}), expected a policy of {create.__name__} that fits its environment. "
            "Most likely the file is truncated, or the algorithm is not that of the training. Train again."
        ) from error
    if isinstance(learner, ManyDreamsDQN) and env is not None:
        learner.fill_again()
    return learner


def make_ppo(env: VectorEnv[Any, Any, Any], *, seed: int, recurrent: bool = False, **settings: Any) -> BaseAlgorithm:
    """Make a learner of PPO, or of RecurrentPPO, as `make_learner` does."""
    return make_learner("recurrent_ppo" if recurrent else "ppo", env, seed=seed, **settings)


def load_ppo(path: Path, *, recurrent: bool = False, env: VectorEnv[Any, Any, Any] | None = None) -> BaseAlgorithm:
    """Load a learner of PPO, or of RecurrentPPO, as `load_learner` does."""
    return load_learner(path, "recurrent_ppo" if recurrent else "ppo", env)


def _monitored(env: VectorEnv[Any, Any, Any]) -> VecEnv:
    """Return the environment as SB3 wants it, telling what episodes were worth."""
    return VecMonitor(SB3VecEnv(env))
