"""What a base installation must be able to do; `make test-base` runs it outside the tree, without pytest."""

import importlib.util
import sys
from pathlib import Path

import gymnasium

import agents
import model
import wmgym

EXTRAS = ("stable_baselines3", "memory_maze", "mujoco", "tyro", "matplotlib")


def check_files():
    """The three packages come from the installation, with their types, and nothing else came with them."""
    for package in (agents, model, wmgym):
        folder = Path(package.__file__).resolve().parent
        if "site-packages" not in folder.parts:
            sys.exit(f"{package.__name__} was imported from {folder}, not from the installation")
        if not (folder / "py.typed").is_file():
            sys.exit(f"{package.__name__} was installed without py.typed")
    if not list(Path(agents.__file__).parent.glob("policies/*/policy.safetensors")):
        sys.exit("agents was installed without the policies that ship")
    for name in ("experiments", "tests", *EXTRAS):
        if importlib.util.find_spec(name) is not None:
            sys.exit(f"{name} is importable: this is no base installation")


def check_dream():
    """The shipped checkpoint dreams, offline and without any extra."""
    env = gymnasium.make("wmgym:LSSVWM-MemoryMaze-v0", max_episode_steps=3)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(3)]
    env.close()
    if [truncated for _, truncated in ends] != [False, False, True]:
        sys.exit(f"three steps in the shipped dream ended as (terminated, truncated) = {ends}")


if __name__ == "__main__":
    check_files()
    check_dream()
    print("The base installation dreams.")
