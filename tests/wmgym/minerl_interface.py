"""What MineRL's environments take and show, recorded from its own specifications into `minerl_interface.json`.

MineRL's sources were laid beside an old gym and numpy; its Python side imports without Java:

    python3.11 -m venv venv && venv/bin/pip install "setuptools<66" "wheel<0.38" numpy==1.26.4
    venv/bin/pip install --no-build-isolation gym==0.19.0
    venv/bin/pip install "opencv-python-headless<4.10" tqdm requests lxml psutil Pyro4 coloredlogs dill jinja2 pillow \\
        xmltodict==0.12.0 inflection filelock typing_extensions daemoniker simple-term-menu
    git clone --branch v0.4.4 https://github.com/minerllabs/minerl minerl-0.4.4    (v1.0.2 for the other)
    PYTHONPATH=minerl-0.4.4 venv/bin/python tests/wmgym/minerl_interface.py "minerl 0.4.4"

The source distribution of minerl 0.4.4 on PyPI gives the same. Keys, types and bounds of spaces, the no-op and the step
limit are recorded for the environments in `TASKS`, nothing else of MineRL's.
"""

import importlib
import json
import sys
from pathlib import Path

RECORD = Path(__file__).with_suffix(".json")
TASKS = {
    "minerl 0.4.4": (
        "MineRLTreechop-v0",
        "MineRLNavigate-v0",
        "MineRLNavigateDense-v0",
        "MineRLObtainDiamond-v0",
        "MineRLObtainIronPickaxe-v0",
        "MineRLTreechopVectorObf-v0",
        "MineRLBasaltFindCave-v0",
    ),
    "minerl 1.0.2": (
        "MineRLTreechop-v0",
        "MineRLNavigate-v0",
        "MineRLObtainDiamondShovel-v0",
        "MineRLHumanSurvival-v0",
        "MineRLBasaltFindCave-v0",
        "MineRLBasaltMakeWaterfall-v0",
    ),
}


def recorded():
    """All that was recorded, by version and task."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def tell(space):
    """Describe one of MineRL's spaces."""
    kind = type(space).__name__
    if kind == "Enum":
        return {"type": kind, "values": [str(value) for value in space.values], "default": str(space.default)}
    if kind == "Discrete":
        return {"type": kind, "n": int(space.n)}
    if kind == "Box":
        bounds = {"low": float(space.low.min()), "high": float(space.high.max())}
        return {"type": kind, **bounds, "shape": [int(n) for n in space.shape], "dtype": str(space.dtype)}
    return {"type": kind}


def look(tasks):
    """Describe environments of the installed MineRL."""
    gym, envs = importlib.import_module("gym"), importlib.import_module("minerl.herobraine.envs")
    specs = {spec.name: spec for spec in vars(envs).values() if isinstance(spec, envs.EnvSpec)}
    told = {}
    for task in tasks:
        action, observation = specs[task].action_space, specs[task].observation_space
        told[task] = {
            "max_episode_steps": gym.spec(task).max_episode_steps,
            "action_space": {key: tell(part) for key, part in action.spaces.items()},
            "no_op": {key: getattr(value, "tolist", lambda v=value: v)() for key, value in action.no_op().items()},
            "observation_space": {key: tell(part) for key, part in observation.spaces.items()},
            "information": sorted(specs[task].monitor_space.spaces),
        }
    return told


def main(version):
    """Record the installed MineRL under a version."""
    kept = recorded() if RECORD.exists() else {}
    kept[version] = look(TASKS[version])
    RECORD.write_text(lines(kept, depth=4) + "\n", encoding="utf-8")


def lines(value, depth):
    """JSON of nested dictionaries, broken into lines down to a depth."""
    if not depth or not isinstance(value, dict) or not value:
        return json.dumps(value)
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {lines(part, depth - 1)}" for key, part in value.items()) + "\n}"


if __name__ == "__main__":
    main(sys.argv[1])
