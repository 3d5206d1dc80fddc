"""A maze in which a ball turns and rolls without a simulator: enough for walkers to find their way in."""

import numpy as np

from agents.walkers import FORWARD, FORWARD_LEFT, FORWARD_RIGHT, LEFT, RIGHT

LAYOUT = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 0, 1],
        [1, 0, 1, 1, 1, 0, 1],
        [1, 0, 0, 1, 0, 0, 1],
        [1, 1, 1, 1, 1, 1, 1],
    ],
    np.uint8,
)
"""A ring with a dead end: `LAYOUT[y, x]`, 0 where there is wall."""
TURN = {LEFT: 18.0, RIGHT: -18.0, FORWARD_LEFT: 15.0, FORWARD_RIGHT: -15.0}
ROLLED = {FORWARD: 0.2, FORWARD_LEFT: 0.15, FORWARD_RIGHT: 0.15}


def info_of(position, heading, target, layout=LAYOUT):
    """What an environment with global observables tells of where the ball is."""
    direction = np.array([np.cos(np.radians(heading)), np.sin(np.radians(heading))])
    where = {"agent_pos": np.array(position, float), "agent_dir": direction}
    return where | {"maze_layout": layout, "target_pos": np.array(target, float)}


def walk(walker, steps, start=(0.5, 0.5), heading=0.0, targets=((6.5, 4.5), (3.5, 2.5))):
    """Let a walker walk; the target changes when it is reached. Returns what was told, frame by frame, and actions."""
    position, told, actions, reached = np.array(start, float), [], [], 0
    walker.reset()
    for _ in range(steps):
        told.append(info_of(position, heading, targets[reached % len(targets)]))
        action = walker.act(None, told[-1])
        actions.append(action)
        heading += TURN.get(action, 0.0)
        ahead = position + ROLLED.get(action, 0.0) * info_of(position, heading, (0, 0))["agent_dir"]
        x, y = ahead
        if 0 <= x < LAYOUT.shape[1] and 0 <= y < LAYOUT.shape[0] and LAYOUT[int(y), int(x)]:
            position = ahead
        reached += np.linalg.norm(position - targets[reached % len(targets)]) < 0.4
    told.append(info_of(position, heading, targets[reached % len(targets)]))
    return {key: np.stack([info[key] for info in told]) for key in told[0]}, np.array(actions)
