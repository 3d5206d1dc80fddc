"""What an agent does in a maze, and where it fails: beside a teacher who remembers all it has seen.

info -> where the target is: in sight, seen before, never seen -> does the agent what the teacher would do?
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.explorer import Explorer, is_in_view
from agents.walkers import cell_of

SITUATIONS = ("in sight", "seen before", "never seen")
"""Where the current target is, as one knows who remembers the whole episode."""
STUCK_STEPS, STUCK_CELLS = 12, 0.1
"""Who came no farther in so many steps, in which one can also turn around (ten, of 18 degrees), is stuck."""
REACH_STEPS = 25
"""A target that came into sight counts as reached if it is within so many steps; if fewer are left, it is left out."""


class WalkWatcher:
    """Watches one episode of an agent in a maze.

    Args:
        seed: Of the teacher's generator, which it does not use to say what it intends.
    """

    def __init__(self, seed: int = 0) -> None:
        self._teacher = Explorer(np.random.default_rng(seed))
        self._positions: list[Any] = []
        self._situations: list[int] = []
        self._agrees: list[bool] = []
        self._rewards: list[float] = []
        self._layout: Any = None

    def see(self, info: Mapping[str, Any]) -> int:
        """Look at where the agent stands, before it acts; return what the teacher would do.

        Args:
            info: Of an environment made with `global_observables=True`.

        Raises:
            ValueError: It has no positions.
        """
        intended = self._teacher.intend(info)
        position, direction, target = (
            np.asarray(info[k], np.float64) for k in ("agent_pos", "agent_dir", "target_pos")
        )
        self._layout = np.asarray(info["maze_layout"])
        if is_in_view(self._layout, position, direction, target):
            self._situations.append(0)
        else:
            self._situations.append(1 if self._teacher.knows_target else 2)
        self._positions.append(position.copy())
        self._intended = intended
        return intended

    def did(self, action: int, reward: float) -> None:
        """Take down what the agent did then, and what it was paid."""
        self._agrees.append(action == self._intended)
        self._rewards.append(reward)

    def report(self) -> dict[str, float | None]:
        """Return what happened; None for what never came up.

        Returns:
            `return`; by situation `share, ...` of the steps and `agrees, ...`, how often the agent did then what the
            teacher would have done; `stuck`, the share of the steps from which it came nowhere; `sightings`, how often
            the target came into sight, and `reached`, the share of those with a reward within 25 steps; `cells`, the
            share of the free cells that it stood in.
        """
        situations, agrees = np.array(self._situations), np.array(self._agrees)
        rewards, positions = np.array(self._rewards), np.array(self._positions)
        found: dict[str, float | None] = {"return": float(rewards.sum())}
        for i, name in enumerate(SITUATIONS):
            here = situations == i
            found[f"share, {name}"] = float(here.mean())
            found[f"agrees, {name}"] = float(agrees[here].mean()) if here.any() else None
        came = np.linalg.norm(positions[STUCK_STEPS:] - positions[:-STUCK_STEPS], axis=1)
        found["stuck"] = float((came < STUCK_CELLS).mean()) if len(came) else None
        appears = np.flatnonzero((situations == 0) & np.concatenate([[True], situations[:-1] != 0]))
        reached = [
            bool((rewards[at : at + REACH_STEPS] > 0).any()) for at in appears if at + REACH_STEPS <= len(rewards)
        ]
        found["sightings"], found["reached"] = float(len(appears)), float(np.mean(reached)) if reached else None
        visited = {cell_of(self._layout, position) for position in positions}
        found["cells"] = len(visited) / int((self._layout != 0).sum())
        return found


def mean_report(reports: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the mean of each entry over the episodes in which it came up; None where it never did."""
    values = {name: [report[name] for report in reports if report[name] is not None] for name in reports[0]}
    return {name: float(np.mean(found)) if found else None for name, found in values.items()}  # type: ignore[arg-type]
