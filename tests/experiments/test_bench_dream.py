"""The benchmark of steps: what it counts, and that episodes do not run out."""

import pytest

from experiments import bench_dream
from experiments.bench_dream import STEPS_OF_EPISODE, Args, main


def test_episodes_start_anew_before_they_end_and_off_the_clock(monkeypatch):
    clock, left, starts = [0.0], [STEPS_OF_EPISODE + 3], []

    def step():
        assert left[0] > 0, "the episode is over"
        left[0] -= 1
        clock[0] += 0.5

    def restart():
        left[0] = STEPS_OF_EPISODE
        clock[0] += 100.0
        starts.append(clock[0])

    monkeypatch.setattr(bench_dream.time, "perf_counter", lambda: clock[0])
    latencies = bench_dream._time(step, 2000.0, restart)
    assert len(starts) == 3
    assert latencies == [0.5] * len(latencies)


def test_a_short_run_leaves_a_row_a_system(micro_folder, tmp_path):
    pytest.importorskip("dm_control")
    args = Args(output=tmp_path, checkpoint=micro_folder, seconds=0.05, denoising_steps=(1,), processes=1)
    rows = main(args)["metrics"]["rows"]
    assert {row["system"] for row in rows} == {"stock_maze", "wmgym_maze", "dream"}
    assert all(row["steps_per_s"] > 0 and row["latency_ms"] > 0 for row in rows)
    assert (tmp_path / "result.md").read_text().count("| dream |") == len(rows) - 2
