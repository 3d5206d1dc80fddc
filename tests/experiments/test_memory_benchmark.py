"""The memory benchmark from trained runs to rows, table and plots, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments import memory_benchmark
from experiments.memory_benchmark import Args
from model.backbones import with_backbone
from model.config import PRESETS
from model.world_model import WorldModel
from tests.model.conftest import enliven
from wmgym.errors import CheckpointError, ContextError
from wmgym.memory_runs import open_runs, told_of

SYSTEMS = {"lssvwm": "clean_past", "causal": "clean_past", "dfot": "diffusion_forcing"}


def save_run(folder, backbone, mode="clean_past", seed=0, pose_size=4, tokenizer_seed=0, **settings):
    micro = PRESETS["micro"]
    torch.manual_seed(tokenizer_seed)
    dynamics = replace(with_backbone(micro.dynamics, backbone), num_actions=5, pose_size=pose_size)
    enliven(WorldModel(replace(micro, dynamics=dynamics)), strength=0.3).save_pretrained(folder / "checkpoint")
    settings = {"backbone": backbone, "mode": mode, "seed": seed, "steps": 3} | settings
    record = {"settings": settings, "progress": {"step": 3, "frames": 96, "seconds": 6.0}}
    (folder / "checkpoint" / "training.json").write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def walks(record_walks):
    """Two short held-out walks over textures."""
    return record_walks(2, first_seed=2_000_000, steps=20)


def args_for(runs, walks, output, **changes):
    small = {"retrieval": (8, 8), "reasoning": (9, 4), "clips_per_episode": 2}
    return Args(tuple(runs), walks, output, **small | changes)


@pytest.fixture(scope="module")
def found(walks, tmp_path_factory):
    output = tmp_path_factory.mktemp("benchmark")
    runs = [save_run(output / name, name, mode) for name, mode in SYSTEMS.items()]
    runs.append(save_run(output / "lssvwm-1", "lssvwm", seed=1))
    runs.append(save_run(output / "no_clean", "lssvwm", "diffusion_forcing", clean_prefix=0.0))
    return memory_benchmark.main(args_for(runs, walks, output / "out")), output / "out"


def rows_of(result, **wanted):
    return [row for row in result["metrics"]["rows"] if all(row.get(key) == v for key, v in wanted.items())]


def test_every_system_has_a_row_for_each_task_and_seed(found):
    result, output = found
    assert json.loads(json.dumps(result)) == json.loads((output / "result.json").read_text())
    for task, context, generated in (("retrieval", 8, 8), ("reasoning", 9, 4)):
        rows = rows_of(result, task=task, context=context, generated=generated)
        names = sorted(row["backbone"] for row in rows)
        floors = ["last frame", "mean frame", "nearest by pose", "tokenizer"]
        systems = ["causal", "dfot", *["lssvwm", "lssvwm, scan cleared"] * 2, "lssvwm_no_clean"]
        assert names == sorted(systems + floors)
        for row in rows:
            assert len(row["by_frame"]) == generated
            assert 0 < row["psnr"] <= 60
            if row["backbone"] not in floors:
                assert (row["frames_trained"], row["minutes_trained"], row["steps_trained"]) == (96, 0.1, 3)
    assert {row["seed"] for row in rows_of(result, backbone="lssvwm")} == {0, 1}


def test_the_way_back_is_known_to_a_lookup(found):
    lookup = rows_of(found[0], backbone="nearest by pose", task="retrieval")[0]
    assert lookup["psnr"] == 60
    assert (lookup["new"], lookup["turned"]) == (0, 0)
    assert lookup["by_age"][0]["age"] == 1
    assert sum(age["frames"] for age in lookup["by_age"]) == lookup["revisited"] == 4 * 8


def test_references_have_every_key_of_a_row_and_nothing_trained(found):
    rows = found[0]["metrics"]["rows"]
    assert len({frozenset(row) for row in rows}) == 1
    for row in rows_of(found[0], backbone="tokenizer"):
        assert (row["seed"], row["parameters"], row["frames_trained"]) == (None, None, None)


def test_the_number_in_the_table_is_the_one_the_interval_is_of(found):
    result, output = found
    both = result["metrics"]["intervals"]["TextureWorld"]["retrieval"]["lssvwm"]
    errors = [10 ** (-row["psnr"] / 10) for row in rows_of(result, backbone="lssvwm", task="retrieval")]
    assert both["psnr"] == pytest.approx(-10 * np.log10(np.mean(errors)))
    assert both["ci95"][0] <= both["psnr"] <= both["ci95"][1]
    assert f"{both['psnr']:.2f} ({both['ci95'][0]:.2f} to {both['ci95'][1]:.2f})" in (output / "result.md").read_text()


def test_clearing_the_scan_changes_the_dream(found):
    with_scan, without = (rows_of(found[0], backbone=n, task="retrieval", seed=0)[0]
                          for n in ("lssvwm", "lssvwm, scan cleared"))  # fmt: skip
    assert with_scan["psnr"] != without["psnr"]


def test_reasoning_is_also_judged_where_memory_can_know(found):
    """By hand: the pooled number of revisited frames is that of the rows, which count them apart."""
    result, output = found
    pooled = result["metrics"]["intervals"]["TextureWorld"]["reasoning, revisited"]
    row = rows_of(result, backbone="causal", task="reasoning")[0]
    assert 0 < row["revisited"] < 16
    assert pooled["causal"]["psnr"] == pytest.approx(row["psnr_revisited"])
    assert "Expected order, reasoning, revisited, dB ahead" in (output / "result.md").read_text()


def test_what_was_trained_differently_is_told_above_the_table(walks, tmp_path):
    runs = [save_run(tmp_path / "a", "lssvwm", learning_rate=0.1, stages=[[1.0, 48]]),
            save_run(tmp_path / "b", "causal", learning_rate=0.2, stages=[[1.0, 13]])]  # fmt: skip
    memory_benchmark.main(args_for(runs, walks, tmp_path / "out"))
    table = (tmp_path / "out" / "result.md").read_text()
    assert "**Trained differently**, which the order below does not know: " in table
    assert "`learning_rate` is 0.1 (lssvwm 0); 0.2 (causal 0)." in table
    assert "stages" not in table


def start(run, *before):
    """Note in the record of a run that it went on from trainings of so many steps, the last one first."""
    path = run / "checkpoint" / "training.json"
    record = found = json.loads(path.read_text())
    for steps in before:
        found["start_from"] = {"progress": {"step": steps}}
        found = found["start_from"]
    path.write_text(json.dumps(record))
    return run


def test_what_was_learned_elsewhere_is_told_above_the_table(walks, tmp_path):
    plain = save_run(tmp_path / "plain", "causal")
    metrics = memory_benchmark.main(args_for([plain], walks, tmp_path / "out"))["metrics"]
    assert metrics["notes"] == {"TextureWorld": ["Frames of 64x64 pixels."]}
    before = {"start_from": "elsewhere/checkpoint", "transfer": True}
    moved = start(save_run(tmp_path / "moved", "lssvwm", **before), 1200)
    assert told_of(open_runs([moved]))[0] == (
        "Frames of 64x64 pixels. Each training went on from weights that the same system had learned on another world, "
        "in 1,200 steps that are not counted here."
    )
    again = start(save_run(tmp_path / "again", "mamba2", start_from="earlier"), 1000, 200)
    assert " 2 of 3 trainings went on from " in told_of(open_runs([moved, plain, again]))[0]
    assert " learned before, in 1,200 steps " in told_of(open_runs([again]))[0]
    silent = save_run(tmp_path / "silent", "lssvwm", **before)
    assert " in unknown steps " in told_of(open_runs([silent]))[0]


def test_too_long_a_walk_is_refused_before_anything_is_dreamed(walks, tmp_path, monkeypatch):
    run = save_run(tmp_path / "run", "lssvwm")
    monkeypatch.setattr(memory_benchmark, "dream_along", None)
    with pytest.raises(ContextError, match="too short for clips of 30"):
        memory_benchmark.main(args_for([run], walks, tmp_path / "out", reasoning=(20, 10)))
    with pytest.raises(ContextError, match="9 frames to be retrieved of 8 shown"):
        memory_benchmark.main(args_for([run], walks, tmp_path / "out", retrieval=(8, 9)))


def test_table_order_and_plots_are_written(found):
    result, output = found
    table = (output / "result.md").read_text()
    assert "| lssvwm | 2 | " in table
    assert "30.8 / 0.898" in table
    assert "lssvwm > lssvwm_no_clean: " in table
    assert "too few seeds (1)" in table
    order = result["metrics"]["order"]["TextureWorld"]
    assert set(order["retrieval"]) == set(order["reasoning, revisited"]) == {
        "causal > lssvwm", "lssvwm > lssvwm_no_clean", "lssvwm > lssvwm, scan cleared",
    }  # fmt: skip
    assert (output / "TextureWorld_retrieval.png").stat().st_size > 1000
    assert (output / "TextureWorld_reasoning.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"runs": ()}, "--runs given without a folder"),
        ({"retrieval": (0, 4)}, r"--retrieval \(0, 4\) given, expected two numbers"),
        ({"clips_per_episode": 0}, "--clips-per-episode 0 given, expected 1 or more"),
        ({"border": -1}, "--border -1 given, expected 0 to 1000"),
        ({"world": "Maze/9x9"}, "--world 'Maze/9x9' given, expected a name that can be part"),
    ],
)
def test_numbers_that_leave_nothing_to_measure_are_refused(changes, says, walks, tmp_path):
    with pytest.raises(ValueError, match=says):
        memory_benchmark.main(replace(args_for([tmp_path], walks, tmp_path), **changes))


def test_a_model_of_actions_is_refused(walks, tmp_path):
    run = save_run(tmp_path / "run", "lssvwm", pose_size=0)
    with pytest.raises(ContextError, match="expected one conditioned on poses"):
        memory_benchmark.main(args_for([run], walks, tmp_path))


def test_a_border_that_leaves_too_little_is_refused(walks, tmp_path):
    run = save_run(tmp_path / "run", "lssvwm")
    with pytest.raises(ValueError, match="--border 27 given, expected at most 26 for frames of 64 pixels"):
        memory_benchmark.main(args_for([run], walks, tmp_path / "out", border=27))


def test_no_recordings_and_no_run_are_told_by_name(walks, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ContextError, match="no episode to cut clips from"):
        memory_benchmark.main(args_for([tmp_path], tmp_path / "empty", tmp_path / "out"))
    with pytest.raises(CheckpointError, match=r"nowhere/run: there is no such folder"):
        memory_benchmark.main(args_for([tmp_path / "nowhere/run"], walks, tmp_path / "out"))


def test_training_walks_are_refused(record_walks, tmp_path):
    with pytest.raises(ValueError, match="training seeds, expected held-out ones"):
        memory_benchmark.main(args_for([tmp_path], record_walks(1, first_seed=7, steps=20), tmp_path))


def test_rows_of_another_world_stay_beside_these(found, walks, tmp_path):
    result, output = found
    run = save_run(tmp_path / "mamba2", "mamba2")
    both = memory_benchmark.main(
        args_for([run], walks, tmp_path / "out", world="Elsewhere", beside=output / "result.json")
    )
    assert rows_of(both, world="TextureWorld") == result["metrics"]["rows"]
    assert {row["backbone"] for row in rows_of(both, world="Elsewhere")} >= {"mamba2", "tokenizer"}
    table = (tmp_path / "out" / "result.md").read_text()
    assert "**TextureWorld**: retrieval 8 + 8 frames" in table
    assert "**Elsewhere**: " in table
    again = memory_benchmark.main(
        args_for([run], walks, tmp_path / "again", world="Elsewhere", beside=tmp_path / "out" / "result.json")
    )
    assert len(again["metrics"]["rows"]) == len(both["metrics"]["rows"])


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({"steps": 2}, r"both lssvwm, but were trained with different steps \(2 and 3\)"),
        ({"start_from": "a/checkpoint"}, r"were trained with different start_from \(True and None\)"),
        ({"steps": 4}, "has been trained for 3 steps, 0.1 minutes, and 4 steps were asked for"),
        ({"steps": None, "minutes": 5.0}, "0.1 minutes, and 5 minutes were asked for"),
        ({"seed": 0}, "a second lssvwm of seed 0, expected each seed once"),
    ],
)
def test_runs_that_are_not_of_one_system_are_refused(second, says, walks, tmp_path):
    runs = [save_run(tmp_path / "a", "lssvwm"), save_run(tmp_path / "b", "lssvwm", **{"seed": 1} | second)]
    with pytest.raises(CheckpointError, match=says):
        memory_benchmark.main(args_for(runs, walks, tmp_path / "out"))


def test_a_bad_run_is_told_before_the_first_is_measured(walks, tmp_path):
    good, bad = save_run(tmp_path / "good", "lssvwm"), save_run(tmp_path / "bad", "causal")
    (bad / "checkpoint" / "training.json").write_text("{}")
    with pytest.raises(CheckpointError, match="does not say how it was trained"):
        memory_benchmark.main(args_for([good, bad], walks, tmp_path / "out"))
    save_run(bad, "causal", tokenizer_seed=5)
    with pytest.raises(CheckpointError, match="another tokenizer than"):
        memory_benchmark.main(args_for([good, bad], walks, tmp_path / "out"))
    with pytest.raises(ValueError, match=r"--beside .* given, expected a result.json of this script"):
        memory_benchmark.main(args_for([good], walks, tmp_path / "out", beside=tmp_path / "nothing.json"))
