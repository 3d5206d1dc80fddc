"""Episodes to learn from and to be judged on are kept apart, both ways."""

from pathlib import Path

import pytest

from tests.wmgym.maze_walks import write_walks
from wmgym.errors import RecordingError
from wmgym.lessons import keep_apart, refuse_other_lengths, usable_files

HELD_OUT = 1_000_000


@pytest.fixture
def walks(tmp_path):
    """Two episodes to learn from, and two of held-out mazes."""
    return [
        write_walks(tmp_path / name, range(first, first + 2), frames=5) for name, first in (("a", 0), ("b", HELD_OUT))
    ]


def test_what_is_apart_passes(walks):
    keep_apart(*(usable_files([folder]) for folder in walks))


def test_held_out_mazes_are_not_learned_from(walks):
    with pytest.raises(RecordingError, match=r"2 episodes in .*b have seeds of held-out mazes, such as 1000000"):
        keep_apart(usable_files(walks), usable_files([walks[1]]))


def test_nobody_is_judged_in_mazes_to_learn_from(walks):
    with pytest.raises(RecordingError, match=r"2 episodes in .*a have training seeds, such as 0"):
        keep_apart(usable_files([walks[0]]), usable_files([walks[0]]))


def test_what_cannot_be_read_is_told_and_nothing_is_refused(walks, tmp_path):
    (walks[0] / "seed-9.npz").write_bytes(b"none")
    said = []
    assert len(usable_files([walks[0]], said.append)) == 2
    assert len(said) == 1
    assert "seed-9.npz" in said[0]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="no episode in"):
        usable_files([tmp_path / "empty"])


def test_an_episode_of_each_length_is_named():
    a, b, c = map(Path, "abc")
    refuse_other_lengths({a: 5, b: 5}, "train")
    told = r"^held-out episodes of several lengths given: 2 have 7 frames \(such as a\), 1 have 5 frames \(such as b\);"
    with pytest.raises(RecordingError, match=told):
        refuse_other_lengths({a: 7, b: 5, c: 7}, "held-out")
    many = {Path(str(frames)): frames for frames in range(20)}
    with pytest.raises(RecordingError, match=r"have 1 frames \(such as 1\), others 18 more lengths; expected one"):
        refuse_other_lengths(many, "train")
    with pytest.raises(RecordingError, match=r"^no train episodes given, expected one or more"):
        refuse_other_lengths({}, "train")
