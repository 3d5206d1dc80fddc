"""Memories of starts: what taking them in gives, the same to the last bit whoever else starts, and never too much."""

import numpy as np
import pytest
import torch

from wmgym import start_memories
from wmgym.context import Context, first_frame
from wmgym.dream import Dreams
from wmgym.observing import take_in
from wmgym.start_memories import TOGETHER, StartMemories

COUNT = TOGETHER + 3


@pytest.fixture
def starts():
    """Of two lengths, mixed."""
    rng = np.random.default_rng(0)
    lengths = [3 if i % 4 else 2 for i in range(COUNT)]
    return [Context(rng.integers(0, 256, (t, 64, 64, 3), np.uint8), rng.integers(0, 6, t)) for t in lengths]


@pytest.fixture
def memories(micro, starts):
    return StartMemories(micro.world, starts)


def flat(taken):
    memory, latents, features = taken
    return memory.to_dict() | {"latents": latents, "features": features}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


@torch.inference_mode()
def test_they_are_what_taking_in_gives(micro, starts, memories):
    for numbers in ([1, 2, 9], [9, 1], [4, 0, 8, 4]):
        given = [starts[i] for i in numbers]
        expected = flat(take_in(micro.world, micro.world.dynamics.initial_memory(len(numbers)), given))
        for key, value in flat(memories.take(numbers)).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_they_depend_neither_on_the_order_nor_on_who_else_starts(micro, starts, memories):
    other = StartMemories(micro.world, starts)
    other.take([10, 9])
    other.take([6])
    together = flat(memories.take([1, 6, 9]))
    for i, number in enumerate([1, 6, 9]):
        assert_equal(flat(other.take([number])), {key: value[i : i + 1] for key, value in together.items()})


@torch.inference_mode()
def test_each_is_taken_in_once(memories, monkeypatch):
    looked_at = []

    def count(world, memory, contexts):
        looked_at.extend(id(context) for context in contexts)
        return take_in(world, memory, contexts)

    monkeypatch.setattr(start_memories, "take_in", count)
    for _ in range(2):
        for number in range(COUNT):
            memories.take([number, number])
    assert len(looked_at) == len(set(looked_at)) == COUNT


@torch.inference_mode()
def test_what_is_handed_out_is_a_copy(memories):
    first = flat(memories.take([1]))
    kept = {key: value.clone() for key, value in first.items()}
    for value in first.values():
        value.add_(1)
    assert_equal(flat(memories.take([1])), kept)


@torch.inference_mode()
def test_single_frames_are_looked_at_together_and_not_kept(micro, monkeypatch):
    frames = [first_frame(frame) for frame in np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)]
    memories, groups = StartMemories(micro.world, frames), []

    def count(world, memory, contexts):
        groups.append(len(contexts))
        return take_in(world, memory, contexts)

    monkeypatch.setattr(start_memories, "take_in", count)
    memories.take([2, 0, 2])
    assert groups == [3]
    assert not memories._kept


@torch.inference_mode()
def test_too_many_are_not_kept(micro, starts, memories, monkeypatch):
    size = micro.world.dynamics.initial_memory(1).nbytes
    monkeypatch.setattr(start_memories, "KEPT_BYTES", COUNT * size - 1)
    thrifty = StartMemories(micro.world, starts)
    for numbers in ([1, 2], [4, 8]):
        for key, value in flat(thrifty.take(numbers)).items():
            torch.testing.assert_close(value, flat(memories.take(numbers))[key], rtol=1e-4, atol=1e-4)
    assert not thrifty._kept
    assert memories._kept


def test_a_dream_is_the_same_whatever_was_dreamed_before(micro, starts):
    """To the last bit, in a batch of the same size."""
    shown = []
    for seeds_before in ([], [7, 8], [3]):
        dreams = Dreams(micro.world, starts, 2, denoising_steps=1)
        for seed in seeds_before:
            dreams.seed(1, seed)
            dreams.start([1])
        for row in (0, 1):
            dreams.seed(row, row)
        dreams.start([0, 1])
        for action in (1, 4, 2):
            dreams.step(np.array([action, 0]))
        shown.append(dreams.observations("features"))
    np.testing.assert_array_equal(shown[0], shown[1])
    np.testing.assert_array_equal(shown[0], shown[2])
