"""The page on one's own environment works: all its commands and Python, in order, on the real MiniWorld.

Only numbers are made small. What a command needs must be in the extras that the page has installed until then: all
other optional modules cannot be imported.
"""

import configparser
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/your_environment.md"
SMALL = {
    "collect_episodes.py --episodes": "8",
    "train_tokenizer.py --episodes": "8",
    "evaluate_world_model.py --episodes": "4",
    "evaluate_world_model.py --long-dream": "12",
    "--minutes": "0.03",
    "--dream-episodes": "2",
    "--real-episodes": "1",
}
"""What numbers become, by option or by script and option; all others stay as they are."""
INSTALLATION = ("python -m venv .venv", ". .venv/bin/activate")
MODULES = {
    "experiments": "lightning_fabric matplotlib PIL scipy tensorboard torchmetrics tqdm tyro",
    "human": "pygame",
    "lerobot": "av pyarrow",
    "maze": "dm_control memory_maze mujoco",
    "minari": "h5py minari pyarrow",
    "miniworld": "miniworld pyglet",
    "sb3": "sb3_contrib stable_baselines3",
    "stable-worldmodel": "cv2 imageio stable_worldmodel",
    "video": "moviepy",
    "video-data": "av",
}
"""What the optional dependencies of each extra are imported as."""


def blocks():
    """The page's blocks of code as (language, text), in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def made_small(script):
    """The same commands with small numbers, and a TensorBoard that ends by itself."""
    for option, value in SMALL.items():
        pattern = option.replace(" ", " .*?")  # of one line
        script = re.sub(rf"({pattern}) [0-9.]+\b", rf"\1 {value}", script)
    return script.replace("tensorboard --logdir", "tensorboard --inspect --logdir")


def extras_of(line):
    """The extras that a line installs."""
    named = re.fullmatch(r"pip install -e '\.\[([a-z0-9,-]+)\]' -c constraints\.txt", line)
    assert named, f"cannot tell what this installs: {line}"
    return set(named[1].split(","))


@pytest.fixture
def shell(tmp_path):
    """A function that runs a script in an empty folder that has the scripts in it, with these extras installed."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / ".site").mkdir()
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PYTHONPATH": f"{tmp_path / '.site'}{os.pathsep}{ROOT}", "PATH": paths, "OMP_NUM_THREADS": "1"}

    def run(script, extras, *command):
        there = {name for extra in extras for name in MODULES[extra].split()}
        absent = sorted({name for names in MODULES.values() for name in names.split()} - there)
        site = f"import os, sys\nos.cpu_count = lambda: 1\nsys.modules.update(dict.fromkeys({absent}))\n"
        (tmp_path / ".site/sitecustomize.py").write_text(site)
        ran = subprocess.run(
            command or ("bash", "-euo", "pipefail", "-c", script), cwd=tmp_path, env=env, text=True,
            input=script if command else "", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1500,
        )  # fmt: skip
        assert ran.returncode == 0, f"{script}\n{ran.stdout[-3000:]}"
        return ran.stdout

    return run


def test_the_page_works_as_it_is_written(shell, tmp_path):
    extras, told = set(), ""
    for language, text in blocks():
        if language == "python":
            told += shell(text, extras, sys.executable, "-")
            continue
        assert language == ""
        lines = text.splitlines()
        for line in lines:
            extras |= extras_of(line) if line.startswith("pip ") else set()
        kept = [line for line in lines if line not in INSTALLATION and not line.startswith("pip ")]
        told += shell(made_small("\n".join(kept)), extras) if kept else ""
    for folder, episodes in {"room": 16, "room_validation": 8, "room_test": 8, "hall": 8, "pole": 8}.items():
        assert len(list((tmp_path / "recordings" / folder).glob("*.npz"))) == episodes
    assert "random policy" in told
    assert "These tags are in runs/room:" in told  # TensorBoard found the curves
    for picture in ("room_beside.png", "room_scores/clips.png", "room_scores/long_dream.png"):
        assert (tmp_path / "runs" / picture).stat().st_size > 0
    assert (tmp_path / "runs/room_ppo/dream_beside_reality.gif").stat().st_size > 0


def test_only_numbers_are_changed():
    changed = 0
    for language, text in blocks():
        if language == "":
            before, after = shlex.split(text, comments=True), shlex.split(made_small(text), comments=True)
            after = [word for word in after if word != "--inspect"]
            differing = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
            assert all(re.fullmatch(r"[0-9.]+", old) and re.fullmatch(r"[0-9.]+", new) for old, new in differing)
            changed += len(differing)
    assert changed >= len(SMALL)


def test_a_command_that_does_not_work_is_noticed(shell):
    page = made_small(PAGE.read_text(encoding="utf-8"))
    command = next(line for line in page.splitlines() if "--split validation" in line)
    with pytest.raises(AssertionError, match="no-such"):
        shell(command.replace("--rewards sign", "--rewards no-such"), {"experiments", "miniworld"})
    with pytest.raises(AssertionError, match="miniworld"):
        shell(command, {"experiments"})


def test_extras_are_those_of_the_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert set(MODULES) == set(config["options.extras_require"]) - {"dev"}
