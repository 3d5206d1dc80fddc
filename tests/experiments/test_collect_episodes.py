"""The collection script: resumable, split by seeds, honest in its summary."""

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from experiments.collect_episodes import MIXTURE, Args, choose_seeds, file_of, main, make_walker
from wmgym.recording import SEED_RANGES, read_episode


def test_seed_ranges_are_disjoint():
    ranges = sorted(SEED_RANGES.values(), key=lambda seeds: seeds.start)
    assert all(first.stop <= second.start for first, second in itertools.pairwise(ranges))


def test_the_mixture_is_what_is_documented():
    counts = Counter(make_walker(seed)[1].split()[0] for seed in range(2000))
    for kind, share in MIXTURE.items():
        assert counts[kind] / 2000 == pytest.approx(share, abs=0.05)  # over four standard deviations


def test_the_seed_decides_who_walks():
    assert [make_walker(seed)[1] for seed in range(20)] == [make_walker(seed)[1] for seed in range(20)]


def test_seeds_that_are_there_are_skipped(tmp_path):
    held_out, train = tmp_path / "validation", tmp_path / "train"
    held_out.mkdir()
    file_of(held_out, 1_000_001).touch()
    assert choose_seeds(Args(held_out, episodes=3, split="validation")) == [1_000_000, 1_000_002]
    assert choose_seeds(Args(train, frames=1002)) == [0, 1]
    assert choose_seeds(Args(train, episodes=2, first_seed=500)) == [500, 501]


def test_a_folder_of_another_split_is_refused(tmp_path):
    file_of(tmp_path, 7).touch()
    with pytest.raises(ValueError, match="such as seed 7;"):
        choose_seeds(Args(tmp_path, episodes=1, split="test"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "either --episodes or --frames"),
        ({"episodes": 1, "frames": 1}, "either --episodes or --frames"),
        ({"episodes": 1, "first_seed": 1_000_000}, "split train"),
        ({"episodes": 2, "first_seed": 1_999_999, "split": "validation"}, "split validation"),
    ],
)
def test_contradictions_are_named(arguments, named):
    with pytest.raises(ValueError, match=named):
        choose_seeds(Args(Path("unused"), **arguments))


def test_records_on_where_it_stopped(tmp_path):
    pytest.importorskip("dm_control")
    output = tmp_path / "recordings"
    first = main(Args(output, episodes=1, workers=1, max_steps=12))
    assert (first["episodes"], first["frames"], first["failed_in_last_run"]) == (1, 13, 0)
    untouched = file_of(output, 0).stat().st_mtime_ns
    (output / "broken.npz").write_bytes(b"not a zip file")
    second = main(Args(output, episodes=2, workers=1, max_steps=12))
    assert (second["episodes"], second["frames"]) == (2, 26)
    assert list(second["unusable"]) == ["broken.npz"]
    assert file_of(output, 0).stat().st_mtime_ns == untouched
    assert json.loads((output / "collection.json").read_text()) == second
    episode = read_episode(file_of(output, 1))
    assert (episode.seed, episode.policy, episode.steps) == (1, make_walker(1)[1], 12)
    assert episode.state["maze_layout"].shape == (13, 9, 9)
