"""Find the committed results of agents, by what is in them, and refuse broken ones.

Nothing is kept by hand: whatever result has `metrics.policies` is of agents.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.comparison import WORLDS, compare_worlds
from agents.evaluate import Evaluation
from agents.results import RESULT_FILE


def find_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the results of agents in the folders of a folder, by their names, in alphabetical order.

    Raises:
        ValueError: A result is no JSON, or of agents and without what a row needs; it says which file.
    """
    found = {}
    for path in sorted(folder.glob(f"*/{RESULT_FILE}")):
        try:
            result = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path} is no JSON: {error}. Likely cause: an edit by hand. Fix: copy the run's result again."
            ) from error
        if "policies" in result.get("metrics", {}):
            _check(path, result)
            found[path.parent.name] = result | {"metrics": judged(result["metrics"])}
    return found


def judged(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics with differences and verdicts by today's rules, where every episode's return is there.

    Results that were written under other rules are then read as new ones are.
    """
    if "differences" not in metrics or "episode_returns" not in metrics:
        return dict(metrics)
    steps = {
        row["name"]: {world: row[world]["steps"] for world in WORLDS if world in row} for row in metrics["policies"]
    }
    runs = {
        name: {
            world: Evaluation(0, tuple(returns), (steps[name][world],) * len(returns))
            for world, returns in worlds.items()
        }
        for name, worlds in metrics["episode_returns"].items()
    }
    again = compare_worlds(runs)
    return dict(metrics) | {name: again[name] for name in ("differences", "verdicts")}


def _check(path: Path, result: Mapping[str, Any]) -> None:
    """Refuse results of agents that a row cannot be written from.

    Raises:
        ValueError: It says where what is missing.
    """
    needed: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
        "": (result, ("experiment", "config", "seed", "minutes")),
        "config": (result.get("config", {}), ("world_model",)),
    }
    metrics = result["metrics"]
    if "training" in metrics:
        needed["metrics.training"] = (metrics["training"], ("steps", "minutes"))
    for number, policy in enumerate(metrics["policies"]):
        place = f"metrics.policies[{number}]"
        measured = [world for world in WORLDS if policy.get(world) is not None]
        needed[place] = (policy, ("name", *(() if measured else WORLDS)))
        needed |= {f"{place}.{world}": (policy[world], ("mean", "ci95", "episodes", "steps")) for world in measured}
    for place, (given, keys) in needed.items():
        if missing := [key for key in keys if key not in given]:
            raise ValueError(
                f"{path} has no {', '.join(missing)} in {place or 'the result'}, expected a result of agents as "
                "agents.results.write_result and agents.comparison write it. Fix: run the experiment again, or take "
                "the folder away."
            )
