"""Policies that ship with wmgym, as weights alone: nothing is unpickled, whatever wrote them.

folder -> policy.safetensors -> a learner of Stable-Baselines3 whose actor has these weights
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.sb3_vec_env import SB3VecEnv

WEIGHTS_FILE = "policy.safetensors"
PRETRAINED = {"pretrained-clone": Path(__file__).parent / "policies" / "pretrained-clone"}
"""By name, the folders of trained policies that ship with wmgym; they see by the world model that does."""
LAYERS, ACTIONS = "mlp_extractor.policy_net.", "action_net."
"""How the names of an actor's weights begin in SB3's actor-critic policy."""


class _Spaces(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """An environment of these spaces, for a learner that is told nothing else of where it acts."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  (Gymnasium's own declaration)

    def __init__(self, observations: Box, actions: Discrete) -> None:
        self.num_envs = 1
        self.single_observation_space, self.single_action_space = observations, actions
        self.observation_space, self.action_space = (batch_space(space, 1) for space in (observations, actions))

    def reset(self, **_: Any) -> Any:
        """Refuse to."""
        raise RuntimeError(
            "a policy of weights alone was asked to learn, expected to act only. Fix: dream_ppo.py --start-from, or "
            "agents.fine_tuning.continue_policy, which make a learner with a critic of its own."
        )


def folder_of(place: str | Path) -> Path:
    """Return the folder that is meant by a path, or by the name of a policy that ships with wmgym.

    Raises:
        ValueError: It could be both.
    """
    if str(place) in PRETRAINED and Path(place).exists():
        raise ValueError(
            f"{place} given, which is a policy that ships with wmgym and lies here, too. Fix: give the whole path, "
            f"{Path(place).resolve()} or {PRETRAINED[str(place)]}."
        )
    return PRETRAINED.get(str(place), Path(place))


def load_pretrained(name: str) -> PPO:
    """Return a policy that ships with wmgym: to `predict` with, not to learn on (`dream_ppo.py --start-from` does).

    Args:
        name: One of `PRETRAINED`.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in list(PRETRAINED):
        raise ValueError(f"name = {name!r}, expected one of {', '.join(map(repr, PRETRAINED))}, without a share.")
    return load_weights(PRETRAINED[name] / WEIGHTS_FILE)


def save_weights(learner: BaseAlgorithm, file: Path) -> None:
    """Write the actor of a policy without a memory of its own, of vectors and discrete actions.

    Args:
        learner: Of PPO or A2C; `training.json` has to be put beside the file, as its training left it.
        file: Where to.

    Raises:
        ValueError: It has a memory, sees through another network first, or does not act by tanh layers.
    """
    policy: Any = learner.policy
    kept = {name for name in policy.state_dict() if name.startswith((LAYERS, ACTIONS))}
    others = [name for name in policy.state_dict() if name not in kept and "value_net" not in name]
    if others or not any(name.startswith(LAYERS) for name in kept) or policy.activation_fn is not torch.nn.Tanh:
        raise ValueError(
            f"a policy of {type(policy).__name__} with {', '.join(others[:3]) or policy.activation_fn.__name__} given, "
            "expected SB3's MlpPolicy of tanh layers: no other is made of its weights again. Ship its policy.zip."
        )
    save_file({name: policy.state_dict()[name].detach().cpu().contiguous() for name in sorted(kept)}, file)


def load_weights(file: Path) -> PPO:
    """Return a policy whose actor has the weights of a file; its critic knows nothing, and it cannot learn as it is.

    Args:
        file: As `save_weights` wrote it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or holds no such actor.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file, expected the weights of a policy.")
    try:
        weights = load_file(file)
        numbers = sorted(
            int(name.removeprefix(LAYERS).removesuffix(".weight"))
            for name in weights
            if name.startswith(LAYERS) and name.endswith(".weight")
        )
        layers = [weights[f"{LAYERS}{number}.weight"] for number in numbers]
        observations = Box(-np.inf, np.inf, (layers[0].shape[1],), np.float32)
        actions = Discrete(len(weights[f"{ACTIONS}weight"]))
        if not all(torch.isfinite(value).all() for value in weights.values()):
            raise ValueError("not all weights are finite")
        with torch.random.fork_rng([]):  # the critic's weights are drawn
            torch.manual_seed(0)
            learner = PPO(
                "MlpPolicy", SB3VecEnv(_Spaces(observations, actions)), n_steps=2, batch_size=2, device="cpu",
                policy_kwargs={"net_arch": [len(layer) for layer in layers]},
            )  # fmt: skip
        left, unknown = learner.policy.load_state_dict(weights, strict=False)
        if unknown or any(name.startswith((LAYERS, ACTIONS)) for name in left):
            raise ValueError(f"it has {', '.join(unknown) or 'no'} weights that are not an actor's")
    except (SafetensorError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise ValueError(
            f"{file}: cannot be read ({error}), expected the weights of an actor with hidden layers, as "
            "agents.pretrained.save_weights writes them. Most likely the file is truncated: install wmgym again."
        ) from error
    learner.policy.set_training_mode(False)
    return learner
