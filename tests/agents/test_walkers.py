"""Scripted walks, in a maze of a few lines that moves as the real one does."""

import itertools

import numpy as np
import pytest

from agents.walkers import (
    ACTION_COUNT,
    RandomGoalWalker,
    StickyWalker,
    TargetSeeker,
    UniformWalker,
    shortest_path,
    steer,
)

LAYOUT = np.array(
    [
        [1, 1, 1, 1, 1],
        [0, 0, 0, 0, 1],
        [1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1],
    ],
    dtype=np.uint8,
)  # a serpentine: from (0.5, 0.5) to (4.5, 4.5) is 16 cells


class FlatMaze:
    """A point that turns 18 degrees and rolls a quarter of a cell a step, and stops at walls."""

    def __init__(self, target=(4.5, 4.5)):
        self.position, self.angle, self.target = np.array([0.5, 0.5]), 0.0, np.array(target)

    def info(self):
        return {
            "agent_pos": self.position,
            "agent_dir": np.array([np.cos(self.angle), np.sin(self.angle)]),
            "target_pos": self.target,
            "maze_layout": LAYOUT,
        }

    def step(self, action):
        self.angle += np.radians(18) * ((action in (2, 4)) - (action in (3, 5)))
        if action in (1, 4, 5):
            ahead = self.position + 0.25 * np.array([np.cos(self.angle), np.sin(self.angle)])
            if ((ahead > 0.1) & (ahead < 4.9)).all() and LAYOUT[int(ahead[1]), int(ahead[0])]:
                self.position = ahead


def steps_to_target(walker, limit):
    maze = FlatMaze()
    for step in range(limit):
        if np.linalg.norm(maze.position - maze.target) < 0.4:
            return step
        maze.step(walker.act(None, maze.info()))
    return limit


def test_shortest_path_goes_through_the_serpentine():
    path = shortest_path(LAYOUT, (0, 0), (4, 4))
    assert (path[0], path[-1], len(path)) == ((0, 0), (4, 4), 17)
    assert all(LAYOUT[y, x] for x, y in path)
    assert all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in itertools.pairwise(path))


def test_shortest_path_without_a_path():
    walled = LAYOUT.copy()
    walled[2, 2] = 0
    assert shortest_path(walled, (0, 0), (4, 4)) == [(0, 0), (4, 4)]


@pytest.mark.parametrize(
    ("waypoint", "action"), [((5, 0.1), 1), ((5, 2), 4), ((5, -2), 5), ((-1, 5), 2), ((-1, -5), 3)]
)
def test_steers_towards_the_waypoint(waypoint, action):
    assert steer(np.zeros(2), np.array([1.0, 0.0]), np.array(waypoint, dtype=float)) == action


def test_seeker_takes_about_the_shortest_time():
    assert steps_to_target(TargetSeeker(np.random.default_rng(0), noise=0.0), 200) < 100  # 62 rolling steps + turns


def test_noise_slows_but_does_not_stop():
    clean = steps_to_target(TargetSeeker(np.random.default_rng(0), noise=0.0), 2000)
    noisy = steps_to_target(TargetSeeker(np.random.default_rng(0), noise=0.5), 2000)
    assert clean < noisy < 2000


def test_seeker_gets_away_from_a_wall_it_is_stuck_at():
    seeker = TargetSeeker(np.random.default_rng(0), noise=0.0)
    info = FlatMaze().info()
    actions = [seeker.act(None, info) for _ in range(40)]  # whatever it does, it stays where it is
    assert len(set(actions)) > 3


def test_random_goals_lead_through_the_whole_maze():
    maze, walker = FlatMaze(), RandomGoalWalker(np.random.default_rng(0), noise=0.1)
    seen = set()
    for _ in range(1000):
        maze.step(walker.act(None, maze.info()))
        seen.add(tuple(maze.position.astype(int)))
    assert len(seen) == LAYOUT.sum()


@pytest.mark.parametrize("held", [True, False])
def test_a_held_burst_repeats_one_action(held):
    """With noise alone, bursts of five follow each other."""
    maze, seeker = FlatMaze(), TargetSeeker(np.random.default_rng(0), noise=1.0, held=held)
    acted = np.array([seeker.act(None, maze.info()) for _ in range(200)]).reshape(-1, 5)
    assert (acted == acted[:, :1]).all() == held
    assert len(np.unique(acted)) == ACTION_COUNT


def test_noise_is_the_share_of_random_steps():
    """With the target straight ahead a clean seeker only rolls, so 5/6 of the noisy steps show."""
    maze, seeker = FlatMaze(target=(4.5, 0.5)), TargetSeeker(np.random.default_rng(0), noise=0.3)
    seeker._is_stuck = lambda position: False
    others = np.mean([seeker.act(None, maze.info()) != 1 for _ in range(20_000)])
    assert others == pytest.approx(0.3 * 5 / 6, abs=0.02)  # standard error about 0.007, as bursts are correlated


def test_sticky_repeats_as_often_as_it_says():
    walker = StickyWalker(np.random.default_rng(0), repeat=0.7)
    actions = np.array([walker.act(None, {}) for _ in range(20_000)])
    assert np.mean(actions[1:] == actions[:-1]) == pytest.approx(0.7 + 0.3 / ACTION_COUNT, abs=0.02)


def test_sticky_chooses_from_as_many_actions_as_it_is_told():
    walker = StickyWalker(np.random.default_rng(0), repeat=0.0, actions=3)
    assert {walker.act(None, {}) for _ in range(100)} == {0, 1, 2}


def test_uniform_is_uniform():
    walker = UniformWalker(np.random.default_rng(0))
    counts = np.bincount([walker.act(None, {}) for _ in range(12_000)], minlength=ACTION_COUNT)
    assert np.abs(counts - 2000).max() < 200  # five standard deviations


@pytest.mark.parametrize("make", [UniformWalker, StickyWalker, TargetSeeker, RandomGoalWalker])
def test_same_seed_same_walk(make):
    def walk():
        maze, walker = FlatMaze(), make(np.random.default_rng(7))
        walker.reset()
        actions = []
        for _ in range(200):
            actions.append(walker.act(None, maze.info()))
            maze.step(actions[-1])
        return actions

    assert walk() == walk()


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match=r"noise = 1\.5"):
        TargetSeeker(np.random.default_rng(0), noise=1.5)
    with pytest.raises(ValueError, match="global_observables"):
        TargetSeeker(np.random.default_rng(0)).act(None, {})
