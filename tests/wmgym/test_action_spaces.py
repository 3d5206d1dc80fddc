"""Action spaces: to a model and back is the identity, as is to text and back; what cannot be recorded is refused."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from wmgym.action_spaces import (
    action_count,
    action_size,
    from_model,
    from_text,
    refuse_other_spaces,
    same_actions,
    to_model,
    to_text,
)
from wmgym.chosen_actions import for_environment

SPACES = [
    Discrete(6),
    Discrete(3, start=-1),
    MultiDiscrete([3, 2, 4]),
    MultiDiscrete([[2, 3], [4, 2]]),
    MultiDiscrete([3, 2], start=[1, -1]),
    Discrete(4, start=2, dtype=np.int32),
    MultiDiscrete([3, 2], dtype=np.int16, start=[0, -1]),
    Box(-1, 1, (2,), np.float32),
    Box(np.array([[0.0], [-2.0]]), np.array([[1.0], [3.0]]), dtype=np.float64),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("leading", [(), (5,), (2, 3)], ids=str)
def test_there_and_back(space, leading):
    space.seed(0)
    count = int(np.prod(leading))
    actions = np.stack([space.sample() for _ in range(count)]).reshape((*leading, *space.shape))
    seen = to_model(space, actions)
    if action_size(space):
        assert seen.shape == (*leading, action_size(space))
        assert seen.dtype == np.float32
    else:
        assert seen.shape == leading
        assert seen.dtype == np.int64
        assert (seen >= 0).all()
        assert (seen < action_count(space)).all()
    back = from_model(space, seen)
    assert back.dtype == space.dtype
    assert back.shape == actions.shape
    np.testing.assert_allclose(back, actions, rtol=1e-6)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_environments_get_elements_of_their_space(space):
    space.seed(1)
    action = space.sample()
    taken = for_environment(space, to_model(space, action))
    assert space.contains(taken)
    np.testing.assert_allclose(taken, action, rtol=1e-6)


def test_bounds_that_float32_rounds_to_beyond_themselves_come_back_exactly():
    space = Box(np.array([-3.2, -3.3]), np.array([3.2, 3.3]), dtype=np.float64)
    assert (float(np.float32(3.2)) > 3.2, float(np.float32(3.3)) > 3.3) == (True, False)
    for action in (space.low, space.high, np.array([3.1, 3.2])):
        back = from_model(space, to_model(space, action))
        assert space.contains(back)
        np.testing.assert_allclose(back, action, rtol=0 if action[1] != 3.2 else 1e-7)
    assert from_model(space, np.array([3.3, np.nan], np.float32))[0] == np.float32(3.3)  # nothing else is clipped


def test_every_combination_has_a_number_of_its_own():
    space = MultiDiscrete([3, 2, 4])
    actions = from_model(space, np.arange(action_count(space)))
    assert len(np.unique(actions, axis=0)) == 24 == action_count(space)
    assert to_model(space, [0, 0, 1]) == 1  # the last number runs fastest
    assert to_model(space, [1, 0, 0]) == 8


@pytest.mark.parametrize("action", [[3, 0, 0], [0, -1, 0], [0, 0, 4]])
def test_a_number_of_a_combination_that_is_out_of_range_has_no_number(action):
    with pytest.raises(ValueError, match="invalid entry in coordinates array"):
        to_model(MultiDiscrete([3, 2, 4]), action)
    assert to_model(Discrete(3), 7) == 7  # which is not checked


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_text(space):
    assert from_text(to_text(space)) == space


def test_whole_numbers_of_which_a_file_tells_no_type_are_int64():
    assert from_text('{"type": "Discrete", "n": 4, "start": 1}') == Discrete(4, start=1)
    told = '{"type": "MultiDiscrete", "nvec": [3, 2], "start": [0, 1]}'
    assert from_text(told) == MultiDiscrete([3, 2], start=[0, 1])


def test_the_same_actions_may_be_of_another_type():
    assert same_actions(Discrete(4, dtype=np.int32), Discrete(4))
    assert same_actions(MultiDiscrete([3, 2], dtype=np.int32), MultiDiscrete([3, 2]))
    for space in SPACES:
        assert [same_actions(space, other) for other in SPACES].count(True) == 1, space
        assert same_actions(space, space)
    assert not same_actions(MultiDiscrete([3, 2]), MultiDiscrete([3, 2, 1]))
    assert not same_actions(Discrete(6), MultiDiscrete([6]))
    assert not same_actions(Box(-1, 1, (2,), np.float32), Box(-1, 1, (2,), np.float64))


@pytest.mark.parametrize(
    ("space", "word"),
    [
        (Dict(a=Discrete(2)), "TransformAction"),
        (Tuple([Discrete(2)]), "TransformAction"),
        (MultiBinary(3), "TransformAction"),
        (MultiDiscrete([100, 100]), "4,096"),
        (Box(-np.inf, np.inf, (2,)), "bounded"),
        (Box(0, 255, (2,), np.uint8), "floats"),
    ],
    ids=str,
)
def test_refuses(space, word):
    with pytest.raises(ValueError, match=word):
        refuse_other_spaces(space)


@pytest.mark.parametrize("text", ["", "[]", '{"type": "Dict"}', '{"type": "Box", "low": [0]}', '{"type": "Discrete"}'])
def test_refuses_text(text):
    with pytest.raises(ValueError, match="no action space"):
        from_text(text)
