"""Evaluations that are kept are not made again, unless something that decides them changed."""

import pytest

from agents.evaluate import Evaluation
from agents.kept_evaluations import is_kept, keep_or_make

FOUND = Evaluation(3, (1.5, 0.0), (10, 9), (((2, 1.0), (9, 0.5)), ()))
SETTINGS = {"weights": "ab", "episodes": 2, "bursts": 0.08}


def never():
    raise AssertionError("made again")


def test_what_is_kept_is_given_back_as_it_was(tmp_path):
    assert not is_kept(tmp_path / "new", SETTINGS)
    assert keep_or_make(tmp_path / "new", "runs/clone @0.5", SETTINGS, lambda: FOUND) is FOUND
    (path,) = (tmp_path / "new").iterdir()
    assert path.name.startswith("runs-clone-@0.5-")
    again = dict(reversed(SETTINGS.items()))
    assert is_kept(tmp_path / "new", again)
    assert keep_or_make(tmp_path / "new", "another name", again, never) == FOUND


@pytest.mark.parametrize("change", [{"weights": "ac"}, {"episodes": 3}, {"bursts": 0.0}, {"more": 1}])
def test_other_settings_are_another_evaluation(change, tmp_path):
    keep_or_make(tmp_path, "a", SETTINGS, lambda: FOUND)
    other = Evaluation(3, (7.0,), (10,), (((1, 7.0),),))
    assert not is_kept(tmp_path, SETTINGS | change)
    assert keep_or_make(tmp_path, "a", SETTINGS | change, lambda: other) == other
    assert keep_or_make(tmp_path, "a", SETTINGS, never) == FOUND


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError, match="made again"):
        keep_or_make(tmp_path, "a", SETTINGS, never)
    assert not is_kept(tmp_path, SETTINGS)


def test_a_damaged_one_is_named(tmp_path):
    keep_or_make(tmp_path, "a", SETTINGS, lambda: FOUND)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=rf"{path.name}: cannot be read.*Delete it"):
        keep_or_make(tmp_path, "a", SETTINGS, never)
