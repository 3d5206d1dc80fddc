"""What a base installation must be able to do; `make test-base` runs it outside the tree, without pytest."""

import importlib.util
import sys
from pathlib import Path

import gymnasium

import agents
import model
import wmgym

for package in (agents, model, wmgym):
    location = Path(package.__file__ or "").resolve()
    if "site-packages" not in location.parts:
        sys.exit(f"{package.__name__} was imported from {location}, not from the installation")
    if not (location.parent / "py.typed").is_file():
        sys.exit(f"{package.__name__} was installed without py.typed")
for extra in ("stable_baselines3", "memory_maze", "mujoco", "tyro", "matplotlib"):
    if importlib.util.find_spec(extra) is not None:
        sys.exit(f"{extra} is installed: this is no base installation")

env = gymnasium.make("wmgym:LSSVWM-MemoryMaze-v0", max_episode_steps=3)
env.reset(seed=0)
steps = [env.step(env.action_space.sample()) for _ in range(3)]
if [truncated for *_, truncated, _ in steps] != [False, False, True]:
    sys.exit("three steps in the shipped dream did not end in a truncation")
env.close()
