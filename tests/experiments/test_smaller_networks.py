"""A smaller network for what there is: a decoder for the latents of a tokenizer, some layers of a world model."""

import json
from dataclasses import replace

import pytest
import torch

from experiments import train_tokenizer, train_world_model
from model.checkpoint import CheckpointError, load_tensors
from model.config import PRESETS
from model.start_weights import open_tokenizer
from model.world_model import WorldModel

MICRO = PRESETS["micro"]
ONE_STAGE = replace(MICRO, tokenizer=replace(MICRO.tokenizer, decoder_channels=(12,)))
ONE_LAYER = replace(MICRO, dynamics=replace(MICRO.dynamics, layers=1, block_sizes=((1, 1),)))


@pytest.fixture
def micro(monkeypatch):
    """Makes the preset `micro` another network."""
    return lambda config: monkeypatch.setitem(PRESETS, "micro", config)


def train_decoder(walks, encoder_of, output, **changes):
    settings = {"validation": walks, "preset": "micro", "minutes": 0.02, "batch": 4, "encoder_of": encoder_of}
    return train_tokenizer.main(train_tokenizer.Args(walks, output=output, **settings | changes))


def train(walks, tokenizer, output, **changes):
    settings = {"preset": "micro", "minutes": 0.02, "stages": ((1.0, 8),), "frames_per_step": 16, "save_every": 10.0}
    settings |= {"recordings": walks, "validation": walks, "tokenizer": tokenizer, "output": output}
    return train_world_model.main(
        train_world_model.Args(**settings | {"dreamed_frames": 2, "dream_after": 1.0, "contexts": 1} | changes)
    )


def last_metrics(run):
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def trained_latents(folder):
    """What of a tokenizer makes latents."""
    weights = open_tokenizer(folder).state_dict()
    return {name: value for name, value in weights.items() if not name.startswith("decoder.")}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(other[name], value), name


@pytest.fixture(scope="module")
def source(walks, walk_tokenizer, tmp_path_factory):
    """A checkpoint of a world model trained for a moment on the latents of `walk_tokenizer`."""
    output = tmp_path_factory.mktemp("runs") / "source"
    train(walks, walk_tokenizer, output)
    return output / "checkpoint"


def test_a_decoder_is_trained_for_the_latents_of_a_tokenizer(walks, walk_tokenizer, micro, tmp_path):
    """Bit for bit the same encoder and scale, when the run goes on too."""
    micro(ONE_STAGE)
    decoders = []
    for longer in (False, True):
        minutes = last_metrics(tmp_path / "run")["seconds"] / 60 + 0.02 if longer else 0.02
        train_decoder(walks, walk_tokenizer, tmp_path / "run", minutes=minutes)
        assert_same(trained_latents(walk_tokenizer), trained_latents(tmp_path / "run"))
        tokenizer = open_tokenizer(tmp_path / "run")
        assert tokenizer.config.decoder_channels == (12,)
        decoders.append(tokenizer.decoder.state_dict()["0.weight"])
    assert not torch.equal(*decoders)
    weights = load_tensors(tmp_path / "run" / "training_state.safetensors")
    moments = {name for name in weights if name.startswith("optimizer.")}
    assert any("decoder" in name for name in moments)
    assert not any("encoder" in name for name in moments)
    record = json.loads((tmp_path / "run" / "training.json").read_text())
    assert record["settings"]["encoder_of"]


def test_a_world_model_goes_on_with_another_decoder_for_its_latents(walks, source, micro, tmp_path):
    micro(ONE_STAGE)
    train_decoder(walks, source, tmp_path / "tokenizer")
    train(walks, tmp_path / "tokenizer", tmp_path / "run", start_from=source, learning_rate=0.0)
    ours, theirs = (WorldModel.from_pretrained(f) for f in (tmp_path / "run" / "checkpoint", source))
    assert_same(open_tokenizer(tmp_path / "tokenizer").state_dict(), ours.tokenizer.state_dict())
    for name, value in theirs.dynamics.state_dict().items():
        torch.testing.assert_close(ours.dynamics.state_dict()[name], value, rtol=0, atol=1e-6)


def test_an_encoder_of_another_preset_is_refused(walks, walk_tokenizer, micro, tmp_path):
    micro(replace(MICRO, tokenizer=replace(MICRO.tokenizer, encoder_channels=(8, 24))))
    with pytest.raises(CheckpointError, match="encoder of another shape than --preset makes"):
        train_decoder(walks, walk_tokenizer, tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"no tokenizer at .*nowhere"):
        train_decoder(walks, tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_smaller_world_model_starts_as_a_layer_of_a_larger_one(walks, walk_tokenizer, source, micro, tmp_path):
    """And goes on by itself: what it started from is not looked at again."""
    micro(ONE_LAYER)
    train(walks, walk_tokenizer, tmp_path / "run", start_from=source, keep_layers=(1,), learning_rate=0.0)
    ours, theirs = (WorldModel.from_pretrained(f).dynamics for f in (tmp_path / "run" / "checkpoint", source))
    assert (ours.config.layers, ours.config.block_sizes) == (1, ((1, 1),))
    kept = theirs.backbone.layers[1].state_dict()
    for name, value in ours.backbone.layers[0].state_dict().items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.embed.weight, theirs.embed.weight, rtol=0, atol=1e-6)
    record = json.loads((tmp_path / "run" / "checkpoint" / "training.json").read_text())
    assert record["settings"]["keep_layers"] == [1]
    done = last_metrics(tmp_path / "run")
    settings = {"minutes": done["seconds"] / 60 + 0.02, "start_from": tmp_path / "gone", "keep_layers": (7,)}
    train(walks, walk_tokenizer, tmp_path / "run", **settings)
    assert last_metrics(tmp_path / "run")["step"] > done["step"]


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        ((2,), "--keep-layers 2 given, expected numbers from 0 to 1"),
        ((0,), "network of another shape"),
        ((0, 1), "network of another shape"),
    ],
    ids=str,
)
def test_layers_that_are_not_there_or_do_not_fit_are_refused(
    keep, words, walks, walk_tokenizer, source, micro, tmp_path
):
    micro(ONE_LAYER)
    with pytest.raises(CheckpointError, match=words):
        train(walks, walk_tokenizer, tmp_path / "run", start_from=source, keep_layers=keep)


@pytest.mark.parametrize(
    ("start", "how"),
    [
        ({}, "alone"),
        ({"transfer": True}, "with --transfer"),
        ({"start_from": True, "transfer": True}, "with --transfer"),
    ],
    ids=str,
)
def test_layers_of_nothing_or_of_another_world_are_refused_at_once(start, how, walks, walk_tokenizer, tmp_path):
    if "start_from" in start:
        start = start | {"start_from": tmp_path}
    with pytest.raises(ValueError, match=rf"--keep-layers 0 2 given {how}, expected it with --start-from"):
        train(walks, walk_tokenizer, tmp_path / "run", keep_layers=(0, 2), **start)
    assert not (tmp_path / "run").exists()
