"""The benchmark of steps: what it counts, and that episodes do not run out."""

import os
from pathlib import Path

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


def test_both_lines_go_through_the_default():
    args = Args(batches=(1, 32, 64), denoising_steps=(1, 2, 8))
    settings = bench_dream._settings(args)
    assert {b for b, k in settings if k == bench_dream.DEFAULT_DENOISING_STEPS} >= {1, 32, 64}
    assert {k for b, k in settings if b == 32} >= {1, 2, 8}
    assert len(settings) == len(set(settings))


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("plain", (False, "float32", False)),
        ("fast", (True, "float32", False)),
        ("fast-bfloat16", (True, "bfloat16", False)),
        ("compiled", (True, "float32", True)),
        ("compiled-bfloat16", (True, "bfloat16", True)),
    ],
)
def test_a_name_says_how_dreams_are_stepped(name, engine):
    assert tuple(bench_dream.engine_of(name)) == engine


def test_headlines_are_each_engine_alone_and_at_its_best():
    default = bench_dream.DEFAULT_DENOISING_STEPS

    def row(system, batch, speed, steps=default, **more):
        return {"system": system, "observation": "pixels", "batch": batch, "denoising_steps": steps,
                "steps_per_s": speed} | more  # fmt: skip

    mazes = [row("stock_maze", 2, 40.0, None), row("wmgym_maze", 2, 700.0, None)]
    unets = [row("unet_env", 1, 9.0, 3), row("unet_env", 32, 15.0, 3)]
    plain = [row("dream", b, v, engine="plain") for b, v in ((1, 20.0), (32, 300.0), (64, 250.0))]
    fast = [row("dream", b, v, engine="fast") for b, v in ((1, 60.0), (32, 500.0))]
    other = row("dream", 32, 900.0, 2 * default, engine="fast")
    found = bench_dream.headlines([*mazes, *unets, *plain, *fast, other])
    assert found == [*mazes, unets[1], plain[0], plain[1], fast[0], fast[1]]
    assert bench_dream.headlines([*mazes, *unets, plain[0]]) == [*mazes, unets[1], plain[0]]


@pytest.mark.parametrize("before", [None, "/somewhere"])
def test_first_steps_find_nothing_compiled(before, monkeypatch):
    monkeypatch.delenv(bench_dream.COMPILED, raising=False)
    if before:
        monkeypatch.setenv(bench_dream.COMPILED, before)
    with bench_dream.nothing_compiled():
        folder = Path(os.environ[bench_dream.COMPILED])
        assert not list(folder.iterdir())
    assert not folder.exists()
    assert os.environ.get(bench_dream.COMPILED) == before


def test_a_short_run_leaves_a_row_a_setting(micro_folder, tmp_path, monkeypatch):
    pytest.importorskip("dm_control")
    monkeypatch.setattr(bench_dream, "SMALLEST_BATCH", 2)
    args = Args(
        output=tmp_path, checkpoint=micro_folder, seconds=0.05, batches=(1, 2), denoising_steps=(1,), processes=1,
        engines=("plain", "fast"), frames=5,
    )  # fmt: skip
    metrics = main(args)["metrics"]
    rows = metrics["rows"]
    dreams = [row for row in rows if row["system"] == "dream"]
    assert {row["system"] for row in rows} == {"stock_maze", "wmgym_maze", "unet_env", "dream"}
    assert {(row["engine"], row["observation"]) for row in dreams} == {
        (engine, shown) for engine in ("plain", "fast") for shown in ("pixels", "features")
    }
    assert all(row["steps_per_s"] > 0 and row["latency_ms"] > 0 for row in rows)
    assert all(0 < row["floor_ratio"] < 1 for row in dreams)
    assert max(row["against_unet"] for row in rows if row["system"] == "unet_env") == 1
    assert metrics["age"]["frames"] == 5
    assert metrics["age"]["old_ms"] > 0
    assert metrics["age"]["young_ms"] > 0
    assert (tmp_path / "result.md").read_text().count("| dream, ") == len(dreams)
    summary = (tmp_path / "summary.md").read_text()
    assert summary.count("| stock_maze |") == summary.count("| wmgym_maze |") == 1
    assert (tmp_path / "speed.png").stat().st_size > 0
