"""Training the systems LSSVWM is compared with, for a number of steps, on walks there and back."""

import json

import pytest

from experiments import train_world_model
from model.backbones import with_backbone
from model.config import PRESETS
from model.world_model import WorldModel
from tests.experiments.test_pose_training import pose_args


def run(walks, walk_tokenizer, output, **changes):
    settings = {"minutes": 5.0, "steps": 2, "dreamed_share": 0.0, "there_and_back": 0.5}
    return train_world_model.main(pose_args(walks, walk_tokenizer, output, **settings | changes))


def progress_of(output):
    return json.loads((output / "checkpoint" / "training.json").read_text())["progress"]


@pytest.mark.parametrize(
    ("backbone", "mode"), [("causal", "clean_past"), ("videossm", "clean_past"), ("dfot", "diffusion_forcing")]
)
def test_a_backbone_is_trained_and_saved_as_what_it_is(backbone, mode, walks, walk_tokenizer, tmp_path):
    metrics = run(walks, walk_tokenizer, tmp_path / "run", backbone=backbone, mode=mode, clean_prefix=0.0)
    assert metrics["validation/psnr_first_1_steps"] > 0
    config = WorldModel.from_pretrained(tmp_path / "run" / "checkpoint").config.dynamics
    expected = with_backbone(PRESETS["micro"].dynamics, backbone)
    assert (config.scan, config.attention, config.layers) == (expected.scan, expected.attention, expected.layers)


def test_so_many_steps_are_trained_and_a_larger_number_goes_on(walks, walk_tokenizer, tmp_path, capsys):
    output = tmp_path / "run"
    run(walks, walk_tokenizer, output)
    assert progress_of(output)["step"] == 2
    assert run(walks, walk_tokenizer, output) == {}
    assert "nothing to do: 2 steps are done; raise --steps" in capsys.readouterr().out
    run(walks, walk_tokenizer, output, steps=3)
    assert progress_of(output)["step"] == 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"backbone": "dfot"}, r"--mode clean_past given with --backbone dfot.*Pass --mode diffusion_forcing"),
        ({"conditioning": "action"}, r"--there-and-back 0.5 given with --conditioning action.*poses do"),
        ({"there_and_back": 1.5}, "--there-and-back 1.5 given, expected 0 to 1"),
        ({"clean_prefix": -0.1}, "--clean-prefix -0.1 given, expected 0 to 1"),
        ({"steps": 0}, "--steps 0 given, expected 1 or more"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(changes, says, walks, walk_tokenizer, tmp_path):
    with pytest.raises(ValueError, match=says):
        run(walks, walk_tokenizer, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()
