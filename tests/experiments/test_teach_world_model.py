"""The script that teaches a world model: what it leaves, that a killed run goes on, and that mistakes are named."""

import json
import re
import shutil
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

import experiments.teach_world_model as script
from agents.explorer import Explorer
from agents.run_lock import FolderInUseError, only_run_in
from agents.teaching import NEEDED, teach
from experiments.teach_world_model import Args, main
from model.checkpoint import load_tensors
from model.training_state import TENSORS_FILE
from model.world_model import WorldModel
from tests.wmgym.maze_walks import write_walks
from wmgym.checkpoint import STARTS_FILE, fingerprint, open_checkpoint
from wmgym.errors import RecordingError
from wmgym.fidelity import encode
from wmgym.lessons import MIRRORED, state_in, usable_files
from wmgym.recording import read_episode
from wmgym.taught_walks import Walks


@pytest.fixture
def args(micro_folder, tmp_path):
    train = write_walks(tmp_path / "train", range(3), frames=70)
    validation = write_walks(tmp_path / "validation", range(1_000_000, 1_000_002), frames=70)
    return Args(
        recordings=(train,), validation=validation, output=tmp_path / "run", checkpoint=str(micro_folder), minutes=60.0,
        steps=3, episodes_at_once=2, stretch=40, rehearsal_window=8, cooldown=0.0, save_every=0.1, workers=1,
    )  # fmt: skip


def test_a_short_run_leaves_a_checkpoint_that_can_be_dreamed_with_and_its_record(args, micro_folder):
    metrics = main(args)
    assert {"action", "goal", "denoising", "reward", "validation/right", "validation/psnr_mean_4_steps"} <= set(metrics)
    assert 0 <= metrics["validation/right_emptied_every_20"] <= 1
    folder = args.output / "checkpoint"
    before, after = (WorldModel.from_pretrained(place) for place in (micro_folder, folder))
    assert all(
        torch.equal(a, b) for a, b in zip(before.tokenizer.parameters(), after.tokenizer.parameters(), strict=True)
    )
    changed = [
        not torch.equal(a, b) for a, b in zip(before.dynamics.parameters(), after.dynamics.parameters(), strict=True)
    ]
    assert np.mean(changed) > 0.9
    env = gymnasium.make("LSSVWM-MemoryMaze-v0", checkpoint=str(folder), observation="features")
    observation, _ = env.reset(seed=0)
    assert np.isfinite(observation).all()
    env.step(1)
    env.close()
    record = json.loads((folder / "training.json").read_text())
    assert record["settings"]["teacher"] == "explorer"
    assert record["episodes"] == 3
    assert record["recorded_frames"] == 3 * 70
    assert not re.search(r'"/[^"]', json.dumps(record))  # where things lie
    assert record["settings"]["checkpoint"] == micro_folder.name
    assert record["began_with"] == fingerprint(micro_folder)
    assert load_tensors(folder / STARTS_FILE).keys() == load_tensors(micro_folder / STARTS_FILE).keys()
    lines = [json.loads(line) for line in (args.output / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0
    assert lines[-1]["step"] >= 3
    for line in (lines[0], lines[-1]):
        assert line["validation/psnr_mean_1_steps"] > 0
    assert len(list((args.output / "watched").rglob("*.npy"))) == 3 + 3 + 2


@pytest.fixture
def unmeasured(monkeypatch):
    """Measuring while teaching takes longer than teaching does here, and changes nothing."""
    monkeypatch.setattr(script, "measured", lambda *_: {})


@pytest.mark.usefixtures("unmeasured")
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(args, tmp_path, capsys):
    """Two stretches or three make a round; a run ends with one."""
    main(replace(args, steps=5))
    whole = load_tensors(args.output / TENSORS_FILE)
    halves = replace(args, output=tmp_path / "halves")
    main(replace(halves, steps=2))
    part = load_tensors(halves.output / TENSORS_FILE)
    assert any(not torch.equal(whole[name], part[name]) for name in whole if name.startswith("model."))
    main(replace(halves, steps=5))
    parts = load_tensors(halves.output / TENSORS_FILE)
    assert whole.keys() == parts.keys()
    for name in whole.keys() - {"progress"}:
        assert torch.equal(whole[name], parts[name]), name
    assert main(replace(halves, steps=5)) == {}
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.usefixtures("unmeasured")
def test_a_loss_that_is_not_finite_ends_with_advice_and_keeps_what_was_saved(args, monkeypatch):
    main(args)
    saved = (args.output / TENSORS_FILE).read_bytes()
    loss = script.world_model_loss

    def broken(*given):
        found = loss(*given)
        return found._replace(total=found.total * torch.nan)

    monkeypatch.setattr(script, "world_model_loss", broken)
    with pytest.raises(FloatingPointError, match="learning-rate"):
        main(replace(args, steps=9))
    assert (args.output / TENSORS_FILE).read_bytes() == saved


def test_rehearsals_dream_as_much_and_are_paid_as_often_as_was_asked_for(args, micro_folder, monkeypatch):
    world, rng = WorldModel.from_pretrained(micro_folder), np.random.default_rng(0)
    assert script.rehearsal(replace(args, rehearsal_dreamed=0.0), world, rng).dreaming is None
    drawn = [script.rehearsal(replace(args, rehearsal_dreamed=0.9, rehearsal_frames=3), world, rng) for _ in range(50)]
    assert {each.dreaming.share for each in drawn} == {0.9}
    assert {each.dreaming.frames for each in drawn} == {1, 2, 3}
    asked = []
    windows = Walks.windows

    def listen(self, *given, **more):
        asked.append((*given[1:3], *more.values()))
        return windows(self, *given)  # these walks are paid nothing

    monkeypatch.setattr(Walks, "windows", listen)
    main(replace(args, rehearsal_paid=0.25, rehearsal_frames=3, rehearsal_rows=1, rehearse_every=1))
    assert set(asked) == {(1, 8, 0.25, 3)}


def test_mistakes_are_named_before_anything_is_made(args, toy_folder, tmp_path):
    wrong = {
        "minutes": (0.0, "--minutes 0.0 given"), "stretch": (1, "--stretch 1 given, expected 2 or more"),
        "rehearsal_dreamed": (1.5, "--rehearsal-dreamed 1.5 given, expected 0 to 1"),
        "rehearse_every": (0, "--rehearse-every 0 given"), "cooldown": (2.0, "--cooldown 2.0 given, expected 0 to 1"),
        "checkpoint": (str(toy_folder), r"^teaching given with a checkpoint of .*Toy-v0"),
    }  # fmt: skip
    for name, (value, told) in wrong.items():
        with pytest.raises(ValueError, match=told):
            main(replace(args, **{name: value}))
    with pytest.raises(RecordingError, match="no folder of recordings given"):
        main(replace(args, recordings=()))
    with pytest.raises(RecordingError, match="validation have seeds of held-out mazes"):
        main(replace(args, recordings=(args.validation,)))
    assert not args.output.exists()
    with only_run_in(args.output), pytest.raises(FolderInUseError):
        main(args)


@pytest.mark.usefixtures("unmeasured")
def test_a_run_is_not_gone_on_with_by_another_world_model_but_can_be_put_aside(args, tmp_path, capsys):
    main(args)
    with pytest.raises(ValueError, match=r"given, expected a checkpoint that this run does not write"):
        main(replace(args, checkpoint=str(args.output / "checkpoint")))
    shutil.copytree(args.output / "checkpoint", tmp_path / "other")
    other = replace(args, checkpoint=str(tmp_path / "other"))
    saved = (args.output / TENSORS_FILE).read_bytes()
    with pytest.raises(ValueError, match=r"world model .* given, expected .*, with which the run in .* or with --anew"):
        main(other)
    assert (args.output / TENSORS_FILE).read_bytes() == saved
    began = fingerprint(args.checkpoint)
    main(replace(other, anew=True))
    assert "this one begins anew" in capsys.readouterr().out
    assert (args.output / f"of-{began}" / TENSORS_FILE).read_bytes() == saved
    record = args.output / "checkpoint" / "training.json"
    assert json.loads(record.read_text())["began_with"] == fingerprint(other.checkpoint)
    assert main(replace(other, anew=True)) == {}  # it goes on with its own
    record.write_text("{")
    with pytest.raises(ValueError, match=r"training\.json: cannot be read .* another --output"):
        main(other)


def test_what_is_taught_are_the_walks_and_the_same_in_a_mirror(args):
    files = usable_files(args.recordings)
    answers = [teach(Explorer(np.random.default_rng(0)), state_in(file, NEEDED)) for file in files]
    world = open_checkpoint(args.checkpoint).world
    walks = script.walks_in(world, args.output, files, answers, mirror=True)
    lesson = walks.lesson(range(6), 0, 70)
    for i, file in enumerate(files):
        episode = read_episode(file)
        for row, images, turned, side in (
            (i, episode.image, range(6), 1),
            (i + 3, episode.image[:, :, ::-1], MIRRORED, -1),
        ):
            seen = encode(world, np.ascontiguousarray(images)[None])[0]
            torch.testing.assert_close(lesson.latents[row], seen.float(), atol=2e-3, rtol=0)
            turned = np.array(turned)
            np.testing.assert_array_equal(lesson.actions[row, 1:], turned[episode.action[1:]])
            np.testing.assert_array_equal(lesson.wanted[row], turned[answers[i].actions])
            np.testing.assert_allclose(lesson.goal[row], answers[i].targets * [1, side])
            np.testing.assert_array_equal(lesson.known[row], answers[i].known)


@pytest.mark.usefixtures("unmeasured")
def test_it_teaches_in_half_precision_too(args):
    metrics = main(replace(args, precision="bf16-mixed", steps=1))
    assert all(np.isfinite(value) for value in metrics.values())
