"""The adapter by which Stable-Baselines3 learns in any Gymnasium vector environment.

SB3 knows only its own `VecEnv`. What it reads from one, and what decides the values it learns, is put together here:
`terminal_observation`, `TimeLimit.truncated`, and `episode` by SB3's own `VecMonitor`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv

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
        return to_host(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Step all environments; return observations, rewards, ends, and one information dictionary each."""
        observations, rewards, terminated, truncated, batched = self.env.step(self._actions)
        terminated, truncated = to_host(terminated), to_host(truncated)
        ended = terminated | truncated
        finals = {key: batched[key] for key in _FINAL_KEYS if key in batched}
        infos = split_infos({key: v for key, v in batched.items() if key not in _FINAL_KEYS}, self.num_envs)
        last_infos = split_infos(finals.get("final_info", {}), self.num_envs)
        for i in map(int, np.flatnonzero(ended)):
            self.reset_infos[i] = infos[i]
            infos[i] = last_infos[i] | {"terminal_observation": to_host(_take(finals["final_obs"], i))}
        for i, info in enumerate(infos):
            info["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return to_host(observations), to_host(rewards).astype(np.float32), ended, infos

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


def to_host(values: Any) -> Any:
    """Copy an array, a tensor on any device, or a dictionary of them into new numpy arrays."""
    if isinstance(values, dict):
        return {key: to_host(v) for key, v in values.items()}
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy().copy()
    return np.array(values)


def _take(observations: Any, i: int) -> Any:
    """Return one environment's observation out of an array of them, or a dictionary of arrays."""
    if isinstance(observations, dict):
        return {key: v[i] for key, v in observations.items()}
    return observations[i]
