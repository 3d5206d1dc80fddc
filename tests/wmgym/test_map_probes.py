"""Map probes: find what is in the features, nothing in noise, and are scored by hand-computed rules."""

import math

import pytest
import torch

from wmgym import map_probes
from wmgym.map_features import ProbeData
from wmgym.map_probes import TASKS, Probe, Scores, score_constants, score_probes, train_probe

STEPS, CELLS, TARGETS = 10, 9, 2


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(map_probes, "UNITS", 64)
    monkeypatch.setattr(map_probes, "BATCH", 64)


def random_mazes(seed, count, features):
    """Mazes three in four of whose cells are free; features by name."""
    generator = torch.Generator().manual_seed(seed)
    free = torch.rand(count, CELLS, generator=generator) < 0.75
    targets = 3 * torch.rand(count, TARGETS, 2, generator=generator)
    angle = 2 * math.pi * torch.rand(count, STEPS, 1, generator=generator)
    poses = torch.cat([3 * torch.rand(count, STEPS, 2, generator=generator), angle.cos(), angle.sin()], dim=-1)
    noise = torch.randn(count, STEPS, CELLS + 2 * TARGETS, generator=generator)
    data = ProbeData(torch.arange(STEPS), noise, poses, free, targets)
    if features == "truth":
        shown = free[:, None].float().expand(-1, STEPS, -1)
        shown_targets = targets.flatten(1)[:, None].expand(-1, STEPS, -1)
        data = ProbeData(data.steps, torch.cat([shown, shown_targets], dim=-1), poses, free, targets)
    return data


def trained(features, steps, seed=0):
    training, held_out = random_mazes(1, 100, features), random_mazes(2, 50, features)
    probes = [train_probe(training, task, steps=steps, seed=seed, learning_rate=3e-3) for task in TASKS]
    return probes, training, held_out


@pytest.mark.learns
def test_what_stands_in_the_features_is_found():
    probes, _, held_out = trained("truth", 150)
    scores = score_probes(*probes, held_out).summary()
    assert scores["walls_accuracy"] > 99
    assert scores["objects_rmse"] < 0.25


def test_noise_is_no_better_than_a_constant():
    probes, training, held_out = trained("noise", 100)
    scores, constants = score_probes(*probes, held_out).summary(), score_constants(training, held_out)
    constant, by_pose = constants["constant"].summary(), constants["constant_position"].summary()
    assert scores["walls_accuracy"] == pytest.approx(constant["walls_accuracy"], abs=1)
    assert scores["objects_rmse"] == pytest.approx(by_pose["objects_rmse"], abs=0.05)
    # The pose alone tells where the middle of the maze is.
    assert by_pose["objects_rmse"] < constant["objects_rmse"] - 0.2


def two_mazes(free, targets):
    """Two mazes of two cells and one target, seen twice from (0, 0), once to the north and once to the east."""
    poses = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]).expand(2, 2, 4)
    features = torch.zeros(2, 2, 1)
    return ProbeData(torch.tensor([0, 500]), features, poses, torch.tensor(free), torch.tensor(targets)[:, None])


def test_constants_are_as_by_hand():
    training = two_mazes([[True, False], [True, False]], [[3.0, 1.0], [1.0, 3.0]])
    held_out = two_mazes([[True, True], [True, False]], [[2.0, 2.0], [2.0, 5.0]])
    constants = score_constants(training, held_out)
    # The majority is free, wall. Seen to the north, (x, y) is x to the right and y ahead; to the east -y and x.
    # Training: (3, 1), (-1, 3), (1, 3), (-3, 1), in the mean (0, 2). Held out: (2, 2), (-2, 2); (2, 5), (-5, 2).
    assert constants["constant"].correct.tolist() == [[0.5, 0.5], [1, 1]]
    assert constants["constant"].squared.tolist() == [[4, 4], [4 + 9, 25]]
    assert constants["constant"].summary() == pytest.approx({"walls_accuracy": 75, "objects_rmse": math.sqrt(46 / 4)})
    # The mean position is (2, 2), wherever it is seen from.
    assert constants["constant_position"].squared.flatten().tolist() == pytest.approx([0, 0, 9, 9])


def test_an_untrained_probe_answers_the_constant():
    training, held_out = random_mazes(1, 20, "noise"), random_mazes(2, 5, "noise")
    rows, answer = training.inputs().flatten(0, 1), torch.arange(3.0)
    assert torch.equal(Probe(rows, answer)(held_out.inputs().flatten(0, 1)), answer.expand(5 * STEPS, 3))


def test_a_probe_is_four_layers_of_1024_units(monkeypatch):
    monkeypatch.undo()
    probe = Probe(torch.randn(5, 7), torch.zeros(9))
    assert [tuple(p.shape) for p in probe.parameters() if p.dim() == 2] == [(1024, 7), *3 * [(1024, 1024)], (9, 1024)]


def test_only_steps_from_the_start_on_count():
    scores = Scores((0, 250, 500, 750), torch.tensor([[0.0, 0.0, 1.0, 0.5]]), torch.tensor([[9.0, 9.0, 4.0, 0.0]]))
    assert scores.between(500).summary() == pytest.approx({"walls_accuracy": 75, "objects_rmse": math.sqrt(2)})
    assert scores.between(0, 500).summary() == {"walls_accuracy": 0, "objects_rmse": 3}
    with pytest.raises(ValueError, match="steps from 751 to the end asked for, but of those kept the last is 750"):
        scores.between(751)


def test_the_seed_fixes_a_training():
    data, told = random_mazes(1, 20, "truth"), []
    first, same, other = (
        train_probe(data, "walls", steps=20, seed=seed, learning_rate=3e-3, progress=told.append) for seed in (0, 0, 1)
    )
    rows = data.inputs().flatten(0, 1)
    assert sum(told) == 60
    assert torch.equal(first(rows), same(rows))
    assert not torch.equal(first(rows), other(rows))
