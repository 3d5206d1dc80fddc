"""The script that decides the default sampler: a row for each, and what cannot be measured is refused first."""

import pytest

from experiments import denoising_steps
from experiments.denoising_steps import Args, main


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(denoising_steps, "TIMED_STEPS", 2)


def test_every_sampler_has_a_row(micro_folder, recordings, tmp_path):
    metrics = main(Args(recordings, tmp_path, micro_folder, context=10, horizon=4, batch=2, long_dream=8))["metrics"]
    assert [row["denoising_steps"] for row in metrics["rows"]] == [1, 2, 4, 8]
    assert len({row["events"] for row in metrics["rows"]}) == 1
    assert metrics["clips"] == 2 * (metrics["clips"] // 2) > 0
    for row in metrics["rows"]:
        assert 0 <= row["recall"] <= 1
        assert row["step_ms"] > 0
        assert row["change_share"] > 0
        assert row["contrast_share"] > 0
        assert [(each["first"], each["last"]) for each in row["recall_ahead"]] == [(1, 1), (2, 2), (3, 3), (4, 4)]
        assert sum(each["events"] for each in row["recall_ahead"]) == row["events"]
    first, ahead = (tmp_path / "result.md").read_text().split("Recall of rewards by how many frames after")
    assert first.count("\n| ") == ahead.count("\n| ") == 5
    assert "| denoising steps | 1 (of " in ahead
    assert (tmp_path / "quality.png").stat().st_size > 0


@pytest.mark.parametrize(
    "changes", [{"context": 0}, {"horizon": 0}, {"episodes": -1}, {"batch": 0}, {"long_dreams": 0}]
)
def test_numbers_that_leave_nothing_to_measure_are_refused(changes, micro_folder, recordings, tmp_path):
    name = next(iter(changes)).replace("_", "-")
    with pytest.raises(ValueError, match=f"--{name} .* given, expected 1 or more"):
        main(Args(recordings, tmp_path / "out", micro_folder, **changes))
    assert not (tmp_path / "out").exists()


def test_dreams_longer_than_the_recordings_are_refused(micro_folder, recordings, tmp_path):
    with pytest.raises(ValueError, match=r"--long-dream 5000 given, but the longest of the \d+ episodes"):
        main(Args(recordings, tmp_path / "out", micro_folder, context=10, horizon=4, long_dream=5000))
    assert not (tmp_path / "out").exists()
