"""The memory of the fast path: laid out it is a copy, dreams are put in anywhere, and one step can be taken back."""

import pytest
import torch

from model.fast_path import FastPath
from tests.model.test_fast_path import ALL, assert_same_memory, assert_same_prediction, draw, go_on


@torch.inference_mode()
def test_a_memory_that_was_laid_out_or_selected_is_a_copy(make, remember):
    world = make()
    path, memory, config = FastPath(world), remember(world), world.config.dynamics
    before, fast = memory.clone(), path.lay_out(memory)
    fast = go_on(path, world, fast, 2)
    value = fast.select(ALL, config)
    kept = value.clone()
    go_on(path, world, fast, 2 * config.attention_window)
    assert_same_memory(memory, before, exactly=True)
    assert_same_memory(value, kept, exactly=True)


@pytest.mark.parametrize(("ours", "theirs"), [(2, 0), (0, 3), (5, 1), (3, 3)])
@pytest.mark.parametrize("mix", ["micro", "oblong"])
@torch.inference_mode()
def test_dreams_are_put_in_wherever_both_rings_stand(mix, ours, theirs, make, remember):
    """Both have been stepped, by different numbers; what is put in and what was there go on like the plain network."""
    world = make(mix)
    path, config, rows = FastPath(world), world.config.dynamics, torch.tensor([3, 1])
    fast = go_on(path, world, path.lay_out(remember(world)), ours)
    other = go_on(path, world, path.lay_out(remember(world, (2, 6))), theirs)
    before, given = fast.select(ALL, config), other.select(torch.arange(2), config)
    plain, mixed, replaced = before.replace(rows, given), fast, fast.rows(rows)
    for put_in, expected in ((other, plain), (replaced, before), (other, plain)):
        mixed.overwrite(rows, put_in)
        assert_same_memory(mixed.select(ALL, config), expected, exactly=True)
    assert_same_memory(other.select(torch.arange(2), config), given, exactly=True)
    for _ in range(config.attention_window + 2):
        action, noise = draw(world)
        expected, plain = world.dynamics.imagine(plain, action, noise, 2)
        shown, mixed = path.imagine(mixed, action, noise, 2)
        assert_same_prediction(shown, expected)
        assert_same_memory(mixed.select(ALL, config), plain)


@pytest.mark.parametrize("before", range(5))
@torch.inference_mode()
def test_one_step_can_be_taken_back(before, make, remember):
    """Wherever the ring stands, the memory before a step is what it was, and leads to the same again."""
    world = make()
    path, config = FastPath(world), world.config.dynamics
    fast = go_on(path, world, path.lay_out(remember(world)), before)
    action, noise = draw(world)
    as_it_was = fast.select(ALL, config)
    first, after = path.imagine(fast, action, noise, 2)
    remembered = after.select(ALL, config)
    assert_same_memory(fast.select(ALL, config), as_it_was, exactly=True)
    go = path.imagine(fast, *draw(world), 1), path.observe(fast, noise, action)  # elsewhere, and back again
    assert not any(torch.equal(memory.select(ALL, config).scan[0], remembered.scan[0]) for _, memory in go)
    again, after = path.imagine(fast, action, noise, 2)
    assert_same_prediction(again, first, exactly=True)
    assert_same_memory(after.select(ALL, config), remembered, exactly=True)
