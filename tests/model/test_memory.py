"""Memory is a value: rows are chosen, repeated and replaced without touching what was given."""

import pytest
import torch

from model.memory import Memory


@pytest.fixture
def memory(make_dynamics, make_episode):
    model = make_dynamics()
    with torch.no_grad():
        return model.observe(model.initial_memory(3), *make_episode(model.config, 3, 2))[1]


def assert_same(first, second):
    for (name, ours), (other, theirs) in zip(first.to_dict().items(), second.to_dict().items(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs), name


def test_select_takes_rows_in_the_given_order(memory):
    chosen = memory.select(torch.tensor([2, 0, 2]))
    assert chosen.batch == 3
    for name, value in memory.to_dict().items():
        assert torch.equal(chosen.to_dict()[name], torch.stack([value[2], value[0], value[2]])), name


def test_repeat_keeps_copies_of_a_dream_together(memory):
    assert_same(memory.repeat(2), memory.select(torch.tensor([0, 0, 1, 1, 2, 2])))


def test_split_and_joined_are_each_other_s_inverse(memory):
    parts = memory.split()
    assert [part.batch for part in parts] == [1, 1, 1]
    for row, part in enumerate(parts):
        assert_same(part, memory.select(torch.tensor([row])))
    assert_same(Memory.joined(parts), memory)
    assert_same(Memory.joined([parts[2], memory]), memory.select(torch.tensor([2, 0, 1, 2])))


def test_rings_that_grew_differently_are_joined_with_empty_places_before_the_oldest_frame():
    def ring(frames):
        filled = torch.arange(1.0, frames + 1).reshape(1, frames, 1, 1, 1)
        return Memory((), (filled,), (-filled,), (), torch.tensor([frames]))

    joined = Memory.joined([ring(3), ring(1), ring(2)])
    assert joined.keys[0].flatten(1).tolist() == [[1, 2, 3], [0, 0, 1], [0, 1, 2]]
    assert joined.values[0].flatten(1).tolist() == [[-1, -2, -3], [0, 0, -1], [0, -1, -2]]
    assert joined.seen.tolist() == [3, 1, 2]


def test_replace_changes_the_given_rows_of_a_copy(memory):
    before, other = memory.clone(), memory.select(torch.tensor([2, 2]))
    changed = memory.replace(torch.tensor([0, 1]), other)
    assert_same(memory, before)
    assert_same(changed, memory.select(torch.tensor([2, 2, 2])))
    assert_same(memory.replace(torch.tensor([1]), memory.select(torch.tensor([1]))), memory)


@pytest.mark.parametrize(
    "copy", [Memory.clone, lambda m: m.select(torch.arange(3)), lambda m: m.repeat(1), lambda m: Memory.joined([m])]
)
def test_copies_share_no_storage(memory, copy):
    before, copied = memory.clone(), copy(memory)
    for value in copied.to_dict().values():
        value.zero_()
    assert_same(memory, before)


def test_dictionary_round_trip(memory):
    again = Memory.from_dict(memory.to_dict())
    assert_same(again, memory)
    assert all(v is w for v, w in zip(again.scan, memory.scan, strict=True))


def test_counts_its_bytes(memory):
    expected = sum(v.nelement() * v.element_size() for v in (*memory.scan, *memory.keys, *memory.values))
    assert memory.nbytes == expected + 3 * 8
    assert memory.repeat(4).nbytes == 4 * memory.nbytes


def test_cannot_be_changed_by_accident(memory):
    with pytest.raises(AttributeError):
        memory.seen = torch.zeros(3)
