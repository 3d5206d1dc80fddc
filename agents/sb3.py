"""Stable-Baselines3 in any Gymnasium vector environment: the adapter it needs, PPO with sane settings.

SB3 knows only its own `VecEnv`. What it reads from one, and what decides the values PPO learns, is put
together here: `terminal_observation`, `TimeLimit.truncated`, and `episode` by SB3's own `VecMonitor`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from agents.grid_extractor import GridExtractor, is_grid_space

Indices = int | Iterable[int] | None
_FINAL_KEYS = ("final_obs", "_final_obs", "final_info", "_final_info")


class SB3VecEnv(VecEnv):
    """A Gymnasium vector environment as SB3 wants it, step for step what SB3's own `DummyVecEnv` gives.

    Observations may be numpy arrays or tensors on any device; one copy to the host is made per step, and
    what is handed out is never overwritten. Closing it closes the environment.

    Args:
        env: Must reset itself in the step that ends an episode, since SB3 expects the next episode's first
            observation there and the last one in `infos[i]["terminal_observation"]`.

    Raises:
        ValueError: The environment resets itself in another way, or does not say how.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.SAME_STEP.value):
            raise ValueError(
                f"{env} has autoreset_mode = {mode}, expected {AutoresetMode.SAME_STEP}. Gymnasium's own "
                "vector environments default to another. Fix: "
                'gymnasium.make_vec(id, vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP}), or, '
                'with vectorization_mode="vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP.'
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Reset all environments, with the seeds and options set before, once."""
        base = self._seeds[0]
        options = self._options[0]
        if any(other != options for other in self._options):
            raise ValueError(
                "set_options was given different options for different environments, but a Gymnasium vector "
                "environment takes one dictionary for all. Fix: pass one dictionary."
            )
        observations, infos = self.env.reset(seed=base, options=options or None)
        self.reset_infos = split_infos(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return _to_host(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step all environments; return observations, rewards, ends, and one information dictionary each."""
        observations, rewards, terminated, truncated, batched = self.env.step(self._actions)
        terminated, truncated = _to_host(terminated), _to_host(truncated)
        ended = terminated | truncated
        finals = {key: batched[key] for key in _FINAL_KEYS if key in batched}
        infos = split_infos({key: v for key, v in batched.items() if key not in _FINAL_KEYS}, self.num_envs)
        last_infos = split_infos(finals.get("final_info", {}), self.num_envs)
        for i in map(int, np.flatnonzero(ended)):
            self.reset_infos[i] = infos[i]
            infos[i] = last_infos[i] | {"terminal_observation": _to_host(_take(finals["final_obs"], i))}
        for i, info in enumerate(infos):
            info["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return _to_host(observations), _to_host(rewards).astype(np.float32), ended, infos

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return the rendered frame of each environment."""
        frames = self.env.render()
        return [None] * self.num_envs if frames is None else [np.asarray(frame) for frame in frames]

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of each environment; of the whole, repeated, where all are stepped as one."""
        chosen = list(self._get_indices(indices))
        members = self._members()
        if members is not None:
            return [members[i].get_wrapper_attr(attr_name) for i in chosen]
        whole = self.env.unwrapped
        if not hasattr(whole, attr_name) and hasattr(whole, "get_attr"):  # in other processes
            values = whole.get_attr(attr_name)
            return [values[i] for i in chosen]
        return [getattr(whole, attr_name)] * len(chosen)

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Set an attribute of each environment; of the whole where all are stepped as one."""
        members, whole = self._members(), self.env.unwrapped
        if members is not None:
            for i in self._get_indices(indices):
                members[i].set_wrapper_attr(attr_name, value)
            return
        self._refuse_some("set_attr", indices)
        if hasattr(whole, "set_attr"):
            whole.set_attr(attr_name, [value] * self.num_envs)
        else:
            setattr(whole, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of each environment; once, its result repeated, where all are stepped as one."""
        members, whole = self._members(), self.env.unwrapped
        if members is not None:
            chosen = [members[i] for i in self._get_indices(indices)]
            return [env.get_wrapper_attr(method_name)(*method_args, **method_kwargs) for env in chosen]
        self._refuse_some("env_method", indices)
        if hasattr(whole, "call"):
            return list(whole.call(method_name, *method_args, **method_kwargs))
        return [getattr(whole, method_name)(*method_args, **method_kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Indices = None) -> list[bool]:
        """Say for each environment whether it is wrapped so; no where single ones are out of sight."""
        members, chosen = self._members(), self._get_indices(indices)
        return [members is not None and is_wrapped(members[i], wrapper_class) for i in chosen]

    def _members(self) -> Sequence[gymnasium.Env[Any, Any]] | None:
        """Return the single environments, if they are there in this process."""
        members: Sequence[gymnasium.Env[Any, Any]] | None = getattr(self.env.unwrapped, "envs", None)
        return members

    def _refuse_some(self, what: str, indices: Indices) -> None:
        """Raise unless all environments are meant."""
        if set(self._get_indices(indices)) != set(range(self.num_envs)):
            raise ValueError(f"{what} got indices = {indices}, expected None: {self.env} can only be asked as a whole.")


class SB3Policy:
    """A trained SB3 model as evaluation wants it; a recurrent one keeps its state from call to call.

    Args:
        model: PPO, RecurrentPPO, or any SB3 algorithm.
        seed: Fixes the actions drawn.
        deterministic: Take the likeliest action instead of drawing one. In mazes it gets stuck more easily.

    Randomness: draws from torch's default generator with a state of its own, and puts the old state back.
    """

    def __init__(self, model: BaseAlgorithm, seed: int, *, deterministic: bool = False) -> None:
        self._model = model
        self._deterministic = deterministic
        self._memory: Any = None
        self._rng = torch.Generator().manual_seed(seed).get_state()

    def act(self, observations: Any, is_first: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the model's actions."""
        devices = [self._model.device] if self._model.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.set_rng_state(self._rng)
            actions, self._memory = self._model.predict(
                _to_host(observations), self._memory, is_first, self._deterministic
            )
            self._rng = torch.get_rng_state()
        return actions


def make_ppo(
    env: VectorEnv[Any, Any, Any],
    *,
    seed: int,
    recurrent: bool = False,
    tensorboard: Path | None = None,
    **settings: Any,
) -> BaseAlgorithm:
    """Make a PPO learner with a network that fits the observations and settings that fit dreams.

    Images get SB3's convolutional network, grids of floats one of our own, and what comes out, or anything else, two
    hidden layers of 128. Settings are for many environments, short rollouts and rare rewards.

    Args:
        env: A vector environment that resets itself in the step that ends an episode.
        seed: Fixes initial weights, actions and the order of learning, and seeds the environment.
        recurrent: Use a recurrent network (RecurrentPPO of sb3-contrib), for observations without memory.
        tensorboard: Folder for TensorBoard.
        **settings: Any of PPO's own, in place of ours; of `policy_kwargs` only those that are given.

    Raises:
        ValueError: The environment resets itself in another way.
        ImportError: `recurrent`, and sb3-contrib is not installed.

    Source: J. Schulman et al., Proximal policy optimization algorithms, arXiv:1707.06347.
    """
    monitored = VecMonitor(SB3VecEnv(env))
    image = is_image_space(env.single_observation_space)
    looking = {"features_extractor_class": GridExtractor} if is_grid_space(env.single_observation_space) else {}
    chosen: dict[str, Any] = {
        "learning_rate": 3e-4,
        "n_steps": 64,
        "batch_size": 512,
        "n_epochs": 4,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "ent_coef": 0.01,
        "policy_kwargs": ({} if image else {"net_arch": [128, 128]} | looking) | settings.pop("policy_kwargs", {}),
        "device": "auto" if image else "cpu",
        "tensorboard_log": None if tensorboard is None else str(tensorboard),
        "seed": seed,
    } | settings
    chosen["batch_size"] = min(chosen["batch_size"], chosen["n_steps"] * env.num_envs)
    name = ("Cnn" if image else "Mlp") + ("LstmPolicy" if recurrent else "Policy")
    learner: BaseAlgorithm = _algorithm(recurrent)(name, monitored, **chosen)
    return learner


def load_ppo(path: Path, *, recurrent: bool = False, env: VectorEnv[Any, Any, Any] | None = None) -> BaseAlgorithm:
    """Load what SB3's `save` wrote, onto the CPU; with an environment to go on learning in, or without.

    SB3 keeps part of its settings pickled inside the zip file, and unpickling can run code: load only files
    that you or someone you trust has written.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, of another algorithm, or of an agent that sees or does something else.
        ImportError: `recurrent`, and sb3-contrib is not installed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a policy that Stable-Baselines3 saved.")
    algorithm = _algorithm(recurrent)
    monitored = None if env is None else VecMonitor(SB3VecEnv(env))
    try:
        learner: BaseAlgorithm = algorithm.load(path, monitored, device="cpu")
    except Exception as error:  # from zipfile, json, pickle, torch and SB3, each with its own
        raise ValueError(
            f"{path}: cannot be read ({error}), expected a policy of {algorithm.__name__} that fits its environment. "
            "Most likely the file is truncated, or recurrent is not as in training. Train again."
        ) from error
    return learner


def split_infos(batched: dict[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Turn Gymnasium's dictionary of arrays, a mask `_key` beside each `key`, into one dictionary each."""
    infos: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in batched.items():
        if key.startswith("_") and key[1:] in batched:
            continue
        mask = batched.get(f"_{key}", np.ones(num_envs, dtype=np.bool_))
        each = split_infos(values, num_envs) if isinstance(values, dict) else values
        for i in np.flatnonzero(mask):
            infos[i][key] = each[i]
    return infos


def _algorithm(recurrent: bool) -> type[Any]:
    """Return PPO, or RecurrentPPO."""
    if not recurrent:
        return PPO
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError as error:
        raise ImportError("recurrent=True needs sb3-contrib. Fix: pip install 'wmgym[sb3]'.") from error
    return RecurrentPPO


def _to_host(values: Any) -> Any:
    """Copy an array, a tensor on any device, or a dictionary of them into new numpy arrays."""
    if isinstance(values, dict):
        return {key: _to_host(v) for key, v in values.items()}
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy().copy()
    return np.array(values)


def _take(observations: Any, i: int) -> Any:
    """Return one environment's observation out of an array of them, or a dictionary of arrays."""
    if isinstance(observations, dict):
        return {key: v[i] for key, v in observations.items()}
    return observations[i]
