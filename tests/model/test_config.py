"""Configs refuse what cannot be built and survive JSON."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from model.config import PRESETS, LSSVWMConfig, TokenizerConfig, WorldModelConfig


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"latent_size": 9}, "latent_size = 9 is not divisible by patch = 2"),
        ({"block_sizes": ((2, 2), (3, 1))}, r"block size \(3, 1\) does not tile the 4 x 4 token grid"),
        ({"block_sizes": ((8, 8),)}, r"block size \(8, 8\) does not tile"),
        ({"attention_heads": 5}, "must be divisible by attention_heads = 5"),
        ({"scan_head_channels": 50}, "scan_head_channels = 50"),
        ({"max_denoising_steps": 6}, "max_denoising_steps = 6 must be a power of two"),
        ({"max_denoising_steps": 0}, "max_denoising_steps = 0 must be a power of two"),
    ],
)
def test_refuses_shapes_that_do_not_fit(changes, named):
    with pytest.raises(ValueError, match=named):
        LSSVWMConfig(**changes)


@pytest.mark.parametrize("changes", [{"frame_size": 60}, {"downsampling": 4}])
def test_refuses_frames_the_tokenizer_cannot_rebuild(changes):
    (name, value), *_ = changes.items()
    with pytest.raises(ValueError, match=f"{name}={value}.*divisible by 8"):
        TokenizerConfig(**changes)


def test_refuses_a_pair_of_different_latents():
    with pytest.raises(ValueError, match=r"emits latents of .* \(8, 8\), the dynamics expects \(16, 8\)"):
        WorldModelConfig(tokenizer=TokenizerConfig(latent_channels=8))
    with pytest.raises(ValueError, match=r"\(16, 10\), the dynamics expects \(16, 8\)"):
        WorldModelConfig(tokenizer=TokenizerConfig(frame_size=80))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    values = json.loads(json.dumps(PRESETS[name].to_dict()))
    assert WorldModelConfig.from_dict(values) == PRESETS[name]


@pytest.mark.parametrize("channels", [(128,), (128, 64)], ids=str)
def test_a_decoder_has_one_stage_or_two(channels):
    config = replace(PRESETS["cpu"], tokenizer=TokenizerConfig(decoder_channels=channels))
    values = json.loads(json.dumps(config.to_dict()))
    assert values["tokenizer"]["decoder_channels"] == list(channels)
    assert WorldModelConfig.from_dict(values) == config


def test_derived_sizes():
    config = PRESETS["micro"].dynamics
    assert (config.tokens_per_side, config.tokens, config.scan_heads) == (4, 16, 2)
    assert config.features == 128
    assert [config.block_size(i) for i in range(3)] == [(2, 2), (1, 1), (2, 2)]
    assert TokenizerConfig(frame_size=128).latent_size == 16


@pytest.mark.parametrize("part", ["tokenizer", "dynamics"])
def test_refuses_unknown_missing_and_ill_typed_keys(part):
    for spoil in (
        lambda v: v[part].update(colour=3),
        lambda v: v[part].pop("latent_channels"),
        lambda v: v.update({part: None}),
        lambda v: v.update({part: [1]}),
        lambda v: v.pop(part),
    ):
        values = json.loads(json.dumps(PRESETS["micro"].to_dict()))
        spoil(values)
        with pytest.raises(ValueError, match="expects exactly the keys"):
            WorldModelConfig.from_dict(values)


@pytest.mark.parametrize("size", [-4, 1, 7, False])
def test_poses_have_the_size_that_is_made_or_none(size):
    with pytest.raises(ValueError, match="expected 0 or 4"):
        replace(PRESETS["micro"].dynamics, pose_size=size)


def test_configs_written_before_there_were_poses_are_read():
    values = json.loads(json.dumps(PRESETS["micro"].to_dict()))
    del values["dynamics"]["pose_size"]
    assert WorldModelConfig.from_dict(values) == PRESETS["micro"]


@pytest.mark.parametrize(("name", "least", "most"), [("micro", 1e4, 1e5), ("cpu", 1e6, 10e6), ("paper", 150e6, 250e6)])
def test_presets_have_about_the_size_they_are_named_for(name, least, most):
    from model.world_model import WorldModel

    with torch.device("meta"):
        world = WorldModel(PRESETS[name])
    assert least < sum(p.numel() for p in world.parameters()) < most


def test_configs_are_values():
    config = PRESETS["micro"]
    assert hash(config) == hash(replace(config))
    with pytest.raises(AttributeError):
        config.dynamics.width = 3


# Away from pytest: its type-checking hook would refuse most of them before the config does.
WRONG_CONFIGS = """
import json, sys
from pathlib import Path
from model.checkpoint import CheckpointError
from model.world_model import WorldModel

file = Path(sys.argv[1]) / "config.json"
values = json.loads(file.read_text())
for part, name, wrong in [
    *(("dynamics", "layers", v) for v in (10**9, True, 2.0)),
    *(("dynamics", name, 10**15) for name in ("attention_window", "scan_chunk_tokens", "mlp_ratio", "num_actions")),
    *(("dynamics", "reward_values", v) for v in ([float("nan"), 1.0], ["a", "b"], [None, 1], [[0], [1]], "ab")),
    ("dynamics", "reward_values", [1e300]),
    *(("dynamics", "block_sizes", v) for v in ([[4.0, 4.0]], [1, 2], 5, "ab", [[1, 2, 4]])),
    *(("dynamics", "max_denoising_steps", v) for v in ("8", 8.0, 2**70)),
    *(("dynamics", "pose_size", v) for v in (4.0, None, "4", True, [4])),
    *(("tokenizer", "bottleneck_noise", v) for v in ("x", float("nan"), -1.0, None)),
    *(("tokenizer", "encoder_channels", v) for v in ([64], 5, [64.0, 128], [-1, 2], [10**9, 8])),
    *(("tokenizer", "decoder_channels", v) for v in ([8, "8"], [], [8, 8, 8], [0], [8.0], [True], 8, None, "ab")),
    *(("tokenizer", "frame_size", v) for v in (64.0, "64", None)),
]:
    file.write_text(json.dumps(values | {part: values[part] | {name: wrong}}))
    try:
        WorldModel.from_pretrained(file.parent)
    except CheckpointError as error:
        told = str(error).replace("a block size", "block_sizes")
        assert name in told and ("expected" in told or "must be" in told), told
        assert name != "decoder_channels" or "expected one or two whole numbers" in told, told
        assert name != "encoder_channels" or "expected two whole numbers" in told, told
    else:
        raise AssertionError(f"accepted {name} = {wrong!r}")
"""


def test_values_that_are_no_sizes_and_no_rewards(tmp_path, make_world):
    make_world().save_pretrained(tmp_path)
    subprocess.run([sys.executable, "-c", WRONG_CONFIGS, str(tmp_path)], check=True, timeout=120)
