"""MineRL's dictionaries against tables of actions and against keys with a camera, on the spaces that were recorded."""

import math

import numpy as np
import pytest
from gymnasium.spaces import Discrete, MultiDiscrete
from hypothesis import given
from hypothesis import strategies as st

from tests.wmgym.fake_minerl import DictSpace
from tests.wmgym.minerl_interface import recorded
from wmgym.action_spaces import from_model
from wmgym.errors import InvalidActionError
from wmgym.minerl_actions import STANDARD_TABLE, TURN_DEGREES, ActionTable, TableAction
from wmgym.minerl_camera import CameraBins, KeysAndCamera
from wmgym.minerl_keys import read_rows

SPECS = [(version, task) for version, tasks in recorded().items() for task in tasks if "VectorObf" not in task]
MAPPINGS = {"table": ActionTable(), "keys_and_camera": KeysAndCamera()}


def elements(space):
    """All elements of a space."""
    count = int(space.n) if isinstance(space, Discrete) else math.prod(space.nvec.tolist())
    return from_model(space, np.arange(count))


def space_of(version, task):
    told = recorded()[version][task]
    return DictSpace(told["action_space"], told["no_op"])


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize(("version", "task"), SPECS)
def test_every_action_is_one_of_minerl_and_comes_back(version, task, name):
    mapping, space = MAPPINGS[name], space_of(version, task)
    chosen = elements(mapping.space)
    for action in chosen if name == "table" else chosen[:: len(chosen) // 50]:
        pressed = {**space.no_op(), **mapping.to_minerl(action)}
        assert space.contains(pressed), pressed
        np.testing.assert_array_equal(mapping.from_minerl(pressed), action)


def test_every_combination_of_keys_and_camera_comes_back():
    mapping = KeysAndCamera()
    chosen = elements(mapping.space)
    rows = [mapping.to_minerl(action) for action in chosen]
    numbers, said = mapping.nearest(read_rows({key: np.stack([row[key] for row in rows]) for key in rows[0]}))
    np.testing.assert_array_equal(numbers, np.arange(len(chosen)))
    assert said.all()


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize(("version", "task"), SPECS)
def test_doing_nothing_is_the_no_op(version, task, name):
    mapping, idle = MAPPINGS[name], space_of(version, task).no_op()
    action = mapping.from_minerl(idle)
    assert action is not None
    pressed = mapping.to_minerl(action)
    assert all(np.array_equal(pressed[key], idle[key]) for key in pressed)


@pytest.mark.parametrize(
    ("pressed", "number"),
    [
        ({}, 0),
        ({"forward": 1}, 1),
        ({"forward": 1, "sprint": 1}, 1),  # sprinting is overlooked
        ({"sneak": 1}, 0),
        ({"forward": 1, "jump": 1}, 2),
        ({"jump": 1}, 0),  # no row jumps on the spot: one key amiss, as in rows 0 and 2; the first
        ({"forward": 1, "jump": 1, "attack": 1}, 2),  # 2 and 3 have one key amiss
        ({"camera": [0, -4.9]}, 0),
        ({"camera": [0, -5.1]}, 8),
        ({"camera": [0, 170]}, 9),
        ({"camera": [-30, 2]}, 10),
        ({"camera": [8, 7]}, 11),
        ({"camera": [7, 8]}, 9),
        ({"forward": 1, "camera": [0, 12]}, 13),
        ({"forward": 1, "camera": [80, 0]}, 1),  # keys come before the camera: no row walks and looks down
        ({"attack": 1, "camera": [7, 0]}, 17),
        ({"place": "none", "craft": "none", "attack": np.int64(1)}, 4),
    ],
)
def test_the_nearest_row_by_hand(pressed, number):
    assert ActionTable().from_minerl({"camera": [0.0, 0.0], **pressed}) == number


@pytest.mark.parametrize("extra", [{"use": 1}, {"craft": "planks"}, {"inventory": 1}, {"hotbar.3": 1}, {"ESC": 1}])
@pytest.mark.parametrize("name", MAPPINGS)
def test_what_cannot_be_said_is_none(name, extra):
    mapping = MAPPINGS[name]
    assert mapping.from_minerl({"forward": 1, "camera": [0, 0], **extra}) is None
    numbers, said = mapping.nearest(
        read_rows(
            {
                "forward": [1, 1],
                **{key: [value, type(value)(0) if value == 1 else "none"] for key, value in extra.items()},
            }
        )
    )
    assert said.tolist() == [False, True]
    assert numbers[0] == numbers[1]  # the nearest leaves it away


def test_a_table_of_ones_own():
    table = ActionTable([TableAction(("forward", "sprint")), TableAction((), yaw=20.0)], overlooked=("jump", "sprint"))
    assert (table.keys, table.space) == (("forward", "sprint"), Discrete(2))
    assert table.overlooked == ("jump",)  # what a row presses is not overlooked
    pressed = table.to_minerl(1)
    np.testing.assert_array_equal(pressed.pop("camera"), np.array([0, 20], np.float32))
    assert pressed == {"forward": 0, "sprint": 0}
    assert table.from_minerl({"jump": 1, "camera": [0, 3]}) == 1  # no row is idle: the one without keys
    assert table.from_minerl({"sneak": 1}) is None


def test_the_standard_table_turns_both_ways():
    moves = {(row.keys, row.pitch, row.yaw) for row in STANDARD_TABLE}
    assert moves >= {(keys, 0.0, s * TURN_DEGREES) for keys in ((), ("forward",), ("forward", "jump")) for s in (-1, 1)}
    assert all((keys, -pitch, -yaw) in moves for keys, pitch, yaw in moves)


@pytest.mark.parametrize(
    "rows", [[], [TableAction(), TableAction()], [TableAction(("a", "b")), TableAction(("b", "a"))]]
)
def test_tables_without_or_with_equal_rows(rows):
    with pytest.raises(ValueError, match=r"given, expected one or more|are the same"):
        ActionTable(rows)


@pytest.mark.parametrize("row", [TableAction(yaw=181.0), TableAction(pitch=np.nan), TableAction(("camera",))])
def test_rows_that_minerl_could_not_take(row):
    with pytest.raises(ValueError, match="row 1 of the table"):
        ActionTable([TableAction(), row])


@given(count=st.integers(1, 10), largest=st.floats(0.5, 180), mu=st.floats(0, 50))
def test_bins_are_odd_even_about_zero_and_come_back(count, largest, mu):
    bins = CameraBins(2 * count + 1, largest, mu)
    moves = bins.moves()
    np.testing.assert_allclose(moves, -moves[::-1], atol=1e-12)
    np.testing.assert_allclose(moves[[0, count, -1]], [-largest, 0, largest])
    assert (np.diff(moves) > 0).all()
    np.testing.assert_array_equal(bins.find(moves), np.arange(2 * count + 1))
    np.testing.assert_array_equal(bins.find(moves.astype(np.float32).astype(np.float64)), np.arange(2 * count + 1))


def test_bins_by_hand():
    linear = CameraBins(5, 10.0, 0.0)
    np.testing.assert_allclose(linear.moves(), [-10, -5, 0, 5, 10])
    assert linear.find(np.array([-99.0, -7.4, -2.6, -2.4, 0, 2.4, 2.6, 7.6])).tolist() == [0, 1, 1, 2, 2, 2, 3, 4]
    # (1 + 8)^(1/2) = 3 and (3 - 1) / 8 = 1/4
    np.testing.assert_allclose(CameraBins(5, 12.0, 8.0).moves(), [-12, -3, 0, 3, 12])
    widths = np.diff(CameraBins().moves())
    assert (np.diff(widths[5:]) > 0).all()  # finer around zero


@pytest.mark.parametrize(
    "wrong", [{"count": 4}, {"count": 1}, {"largest": 0.0}, {"largest": 181.0}, {"mu": -1.0}, {"mu": np.inf}]
)
def test_bins_that_are_none(wrong):
    with pytest.raises(ValueError, match="given, expected"):
        CameraBins(**wrong)


def test_keys_and_camera_by_hand():
    mapping = KeysAndCamera(pitch=CameraBins(3, 10.0, 0.0), yaw=CameraBins(5, 10.0, 0.0))
    assert mapping.space == MultiDiscrete([3, 3, 2, 2, 3, 5])
    chosen = mapping.from_minerl({"back": 1, "right": 1, "jump": 1, "camera": [-9.0, 4.0]})
    assert chosen.tolist() == [2, 2, 1, 0, 0, 3]
    both = mapping.from_minerl({"forward": 1, "back": 1, "attack": 1, "camera": [0, 0]})
    assert both.tolist() == [0, 0, 0, 1, 1, 2]  # opposite keys cancel out
    assert mapping.to_minerl(np.array([1, 0, 0, 1, 2, 0]))["camera"].tolist() == [10.0, -10.0]


@pytest.mark.parametrize("groups", [[("jump",), ("jump", "attack")], [("camera",)]])
def test_groups_that_are_none(groups):
    with pytest.raises(ValueError, match="each key once"):
        KeysAndCamera(groups)


def test_too_many_combinations():
    with pytest.raises(ValueError, match="combinations"):
        KeysAndCamera(pitch=CameraBins(21), yaw=CameraBins(21))


@pytest.mark.parametrize("action", [18, -1, 1.5, None, [1]])
def test_actions_that_are_no_row(action):
    with pytest.raises(InvalidActionError, match="0 to 17"):
        ActionTable().to_minerl(action)


@pytest.mark.parametrize("action", [[3, 0, 0, 0, 0, 0], [0, 0, 0], 4, [0.5] * 6, None])
def test_actions_that_are_no_keys_and_camera(action):
    with pytest.raises(InvalidActionError, match="MultiDiscrete"):
        KeysAndCamera().to_minerl(action)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"vector": np.zeros(64)}, "VectorObf"),
        ({"camera": [0.0]}, "two finite numbers"),
        ({"camera": [np.nan, 0.0]}, "two finite numbers"),
        ({"camera": "none"}, "two finite numbers"),
        ({"forward": [1, 0]}, "'forward' is int"),
        ({"forward": None}, "'forward' is object"),
        ({}, "expected a dictionary"),
    ],
)
def test_dictionaries_that_are_not_minerl(action, words):
    with pytest.raises(InvalidActionError, match=words):
        ActionTable().from_minerl(action)
