"""Imagined against real: what policies scored in dreams and in reality, side by side, and what follows."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from agents.evaluate import Evaluation, compare

WORLDS = ("imagined", "real")
ENOUGH_EPISODES = 6
"""That differ. With fewer, all differences having one sign is no rare chance: 2 * 0.5**5 is above 5 %."""
BEATS, WORSE, UNDECIDED = "beats", "is worse than", "is not shown to differ from"


def compare_worlds(policies: Mapping[str, Mapping[str, Evaluation]]) -> dict[str, Any]:
    """Return what policies scored in each world, as results and tables have it.

    Args:
        policies: What each policy scored by world, "imagined" and, unless it was left out, "real". The first
            is the baseline that the others have to beat.

    Returns:
        `policies`: a list of `{"name", "imagined", "real"}`, each world summarised. `differences`: the same
        for the others less the baseline, episode by episode. `episode_returns`: by policy and world.
        `verdicts`: a sentence for each policy against each one before it.

    Raises:
        ValueError: Policies did not run the same episodes.
    """
    (_, baseline), *others = policies.items()
    differences: list[dict[str, Any]] = [
        {"name": name, **{world: compare(found, baseline[world]) for world, found in worlds.items()}}
        for name, worlds in others
    ]
    return {
        "policies": [
            {"name": name, **{world: found.summary() for world, found in worlds.items()}}
            for name, worlds in policies.items()
        ],
        "differences": differences,
        "episode_returns": {
            name: {world: list(found.returns) for world, found in worlds.items()} for name, worlds in policies.items()
        },
        "verdicts": [
            verdict(name, earlier, compare(policies[name]["real"], policies[earlier]["real"]))
            for earlier, name in combinations(policies, 2)
            if "real" in policies[name]
        ],
    }


def verdict(name: str, baseline: str, difference: Mapping[str, Any]) -> str:
    """Say in a sentence whether a policy beats a baseline in the real environment, and by how much.

    Args:
        name: Of the policy.
        baseline: Its name.
        difference: Policy less baseline, summarised.
    """
    low, high = difference["ci95"]
    return (
        f"In the real environment, {name} {outcome(difference)} {baseline}: {difference['mean']:+.2f} an episode, 95 % "
        f"interval {low:+.2f} to {high:+.2f}, {difference['episodes']} episodes, the same starts for both."
    )


def outcome(difference: Mapping[str, Any]) -> str:
    """Say in a verb what a summarised difference shows.

    That is something when its 95 % interval excludes zero and at least six episodes differ.
    """
    low, high = difference["ci95"]
    shown = difference.get("differ", difference["episodes"]) >= ENOUGH_EPISODES and (low > 0 or high < 0)
    return (BEATS if low > 0 else WORSE) if shown else UNDECIDED


def as_table(report: Mapping[str, Any]) -> str:
    """Return what `compare_worlds` returned as lines to print, verdicts last."""
    base = report["policies"][0]
    rows = [(row["name"], row) for row in report["policies"]]
    rows += [(f"{row['name']} - {base['name']}", row) for row in report["differences"]]
    width = max(len(name) for name, _ in rows) + 2
    lines = [" " * width + "".join(f"{world:>28}" for world in WORLDS)]
    lines += [f"{name:{width}}" + "".join(f"{_cell(row.get(world)):>28}" for world in WORLDS) for name, row in rows]
    legend = f"mean return of {said_steps(report['policies'])} [95 % interval], episodes"
    return "\n".join([legend, *lines, *report["verdicts"]])


def said_steps(policies: Iterable[Mapping[str, Any]]) -> str:
    """Say how many steps the episodes of policies had, in all worlds: a range where some ended earlier.

    Args:
        policies: As `compare_worlds` returns them.
    """
    steps = {row[world]["steps"] for row in policies for world in WORLDS if row.get(world)}
    few, many = min(steps), max(steps)
    return f"{few} steps" if few == many else f"{few} to {many} steps (the mean of each policy in each world)"


def _cell(summary: Mapping[str, Any] | None) -> str:
    """Return one entry of the table."""
    if summary is None:
        return "not measured"
    low, high = summary["ci95"]
    return f"{summary['mean']:.2f} [{low:.2f}, {high:.2f}], {summary['episodes']}"
