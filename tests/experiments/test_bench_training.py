"""The benchmark of training: a row a setting, growth from the rows, and refusals before the work."""

from dataclasses import replace

import pytest

from experiments import bench_training
from experiments.bench_training import Args, growth_of, main


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A short run: its folder and result."""
    output = tmp_path_factory.mktemp("bench")
    args = Args(
        output=output, preset="micro", windows=(8, 4), frames_per_step=16, batch=2, seconds=0.0, long_run=4,
    )  # fmt: skip
    return output, main(args)


def test_a_short_run_leaves_a_row_a_setting(measured):
    output, result = measured
    metrics = result["metrics"]
    found = [(r["model"], r["precision"], r["window"], r["frames"]) for r in metrics["rows"]]
    assert found == [
        (model, precision, window, frames)
        for precision in ("32-true", "bf16-mixed")
        for model, window, frames in (("tokenizer", None, 2), ("world model", 4, 16), ("world model", 8, 16))
    ]
    assert all(0 < row["share"] < 1 for row in metrics["rows"])
    assert set(metrics["operations"]) == {"32-true", "bf16-mixed"}
    assert "output" not in result["config"]
    text = (output / "result.md").read_text()
    assert text.count("| world model |") == 4
    assert "Resident memory grew by" in text
    assert (output / "training.png").stat().st_size > 0


def test_growth_is_that_of_one_window():
    """16 frames a step: two windows of 8 in one second, one of 16 in one second: linear."""
    rows = [{"window": w, "precision": "32-true", "seconds": 1.0, "frames": 16} for w in (8, 16)]
    assert growth_of(rows, "32-true") == pytest.approx(1)
    rows[1]["seconds"] = 2.0
    assert growth_of(rows, "32-true") == pytest.approx(2)
    assert growth_of(rows, "bf16-mixed") is None


def test_memory_that_grows_is_told(monkeypatch):
    """By the last three quarters: what the first steps take is not growth."""
    steps = []
    monkeypatch.setattr(bench_training, "resident_bytes", lambda: len(steps) << 20)
    training = type("Growing", (), {"step": lambda self: steps.append(1)})()
    assert bench_training.grow_old(training, 8) == 5


@pytest.mark.parametrize(
    "changes",
    [{"windows": ()}, {"windows": (1,)}, {"windows": (64,), "frames_per_step": 32}, {"precisions": ()}],
    ids=["none", "one frame", "longer than a step", "no precision"],
)
def test_what_cannot_be_measured_is_refused(changes):
    with pytest.raises(ValueError, match="expected a precision or more"):
        replace(Args(), **changes).check()
