"""Agents watched in the real maze: what is written, and what is told of one who never moves."""

import importlib.util
import json

import pytest

from agents.walk_report import SITUATIONS
from experiments.diagnose_agent import Args, main

pytestmark = pytest.mark.skipif(importlib.util.find_spec("memory_maze") is None, reason="memory-maze is not installed")


def test_agents_are_watched_in_the_real_maze(micro_folder, tmp_path):
    args = Args(
        policies=("still", "random"), output=tmp_path, checkpoint=str(micro_folder), steps=14, episodes=3, workers=2
    )
    rows = {row["name"]: row for row in main(args)["metrics"]["rows"]}
    still = rows["still"]
    assert still["stuck"] == 1.0
    assert still["return"] == {"mean": 0.0, "ci95": [0.0, 0.0], "episodes": 3, "steps": 14}
    assert sum(still[f"share, {name}"] for name in ("in sight", "seen before", "never seen")) == pytest.approx(1)
    assert 0 < still["cells"] < 0.1
    assert json.loads((tmp_path / "result.json").read_text())["config"]["policies"] == ["still", "random"]
    assert "| still | 0.00 [0.00, 0.00] |" in (tmp_path / "result.md").read_text()


def test_the_teacher_agrees_with_itself_for_as_long_as_it_remembers(micro_folder, tmp_path):
    """But for its bursts of random actions, which take a twentieth of the steps."""
    args = Args(policies=(), output=tmp_path, checkpoint=str(micro_folder), steps=60, episodes=2, teachers=(0, 1))
    rows = {row["name"]: row for row in main(args)["metrics"]["rows"]}
    agrees = {
        name: sum((row[f"agrees, {s}"] or 0) * row[f"share, {s}"] for s in SITUATIONS) for name, row in rows.items()
    }
    assert agrees["teacher"] > 0.8
    assert agrees["teacher, memory emptied every 1 steps"] < agrees["teacher"]


def test_nothing_is_begun_with_settings_out_of_range(tmp_path):
    with pytest.raises(ValueError, match="--episodes 0 given"):
        main(Args(policies=("still",), output=tmp_path, episodes=0))
    with pytest.raises(ValueError, match="neither --policies nor --teachers given"):
        main(Args(policies=(), output=tmp_path))
    with pytest.raises(ValueError, match="--seed -1 given"):
        main(Args(policies=("still",), output=tmp_path, seed=-1))


def test_another_world_is_refused_before_policies_are_read(toy_folder, tmp_path):
    args = Args(policies=("nowhere",), output=tmp_path / "run", checkpoint=str(toy_folder))
    message = r"^diagnosis given with a checkpoint of .*Toy-v0, expected .*MemoryMaze-9x9-v0: .*imagined_vs_real\.py"
    with pytest.raises(ValueError, match=message):
        main(args)
