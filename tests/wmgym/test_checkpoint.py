"""Opening checkpoints: what is found, what is shared, and what is refused with which words."""

import json
import lzma
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import wmgym.checkpoint
from model.checkpoint import load_stored
from wmgym.checkpoint import STARTS_FILE, Checkpoint, fingerprint, open_checkpoint, save_starts, tokenizer_fingerprint
from wmgym.env import DreamEnv
from wmgym.errors import CheckpointError, DependencyError, WmgymError
from wmgym.taught_runs import copy_starts


@pytest.fixture
def folder(micro_folder, tmp_path):
    """A copy to damage."""
    return shutil.copytree(micro_folder, tmp_path / "copy")


def test_a_folder_is_read_whole(micro_folder):
    opened = open_checkpoint(str(micro_folder))
    stored = load_file(micro_folder / "model.safetensors")
    assert not opened.world.training
    assert {key: v.shape for key, v in opened.world.state_dict().items()} == {key: v.shape for key, v in stored.items()}
    assert opened.first_frames.shape == (5, 64, 64, 3)
    assert opened.first_frames.dtype == np.uint8


def test_an_open_checkpoint_shares_its_weights(micro):
    assert open_checkpoint(micro).world is micro.world


def test_the_shipped_checkpoint_is_the_default(micro_folder, monkeypatch):
    monkeypatch.setattr(wmgym.checkpoint, "DEFAULT_CHECKPOINT", micro_folder)
    assert open_checkpoint().name == str(micro_folder)


def test_a_missing_default_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(wmgym.checkpoint, "DEFAULT_CHECKPOINT", tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*absent.*checkpoint=FOLDER"):
        open_checkpoint()


@pytest.mark.parametrize("name", ["/nowhere/at/all", "no-such-folder", "nobody/no-such-model"])
def test_unknown_checkpoints(name):
    with pytest.raises(CheckpointError, match=f"no checkpoint .*{name}"):
        DreamEnv(checkpoint=name)


def test_truncated_weights(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors .*not a readable safetensors file"):
        open_checkpoint(folder)


def test_weights_with_nan(folder):
    weights = load_file(folder / "model.safetensors")
    weights["dynamics.embed.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"NaN or infinity.*dynamics\.embed\.weight"):
        open_checkpoint(folder)


def test_weights_of_another_network(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["dynamics.place"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"do not fit.*dynamics\.place"):
        open_checkpoint(folder)


def test_config_of_another_version(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    with pytest.raises(CheckpointError, match="format_version = 99"):
        open_checkpoint(folder)


def test_config_that_is_no_json(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json is not a JSON object"):
        open_checkpoint(folder)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "contexts.safetensors"])
def test_missing_files(folder, file):
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=f"{file} is missing"):
        open_checkpoint(folder)


def compress(folder):
    """As `xz contexts.safetensors` does."""
    plain = folder / "contexts.safetensors"
    compressed = folder / "contexts.safetensors.xz"
    compressed.write_bytes(lzma.compress(plain.read_bytes()))
    plain.unlink()
    return compressed


def test_compressed_starts_are_those_that_were_compressed(folder):
    before = open_checkpoint(folder)
    compress(folder)
    after = open_checkpoint(folder)
    np.testing.assert_array_equal(after.first_frames, before.first_frames)
    np.testing.assert_array_equal(after.clips.frames, before.clips.frames)
    np.testing.assert_array_equal(after.clips.actions, before.clips.actions)


@pytest.mark.parametrize("change", [lambda b: b[:-9], lambda b: b[:40] + b"?" + b[41:], lambda b: b""])
def test_damaged_compressed_starts(folder, change):
    compressed = compress(folder)
    compressed.write_bytes(change(compressed.read_bytes()))
    with pytest.raises(CheckpointError, match=r"contexts\.safetensors\.xz cannot be read"):
        open_checkpoint(folder)


def test_starts_are_written_in_place_of_compressed_ones(folder):
    frames = open_checkpoint(folder).first_frames
    compressed = compress(folder)
    save_starts(folder, frames[:1])
    assert not compressed.exists()
    np.testing.assert_array_equal(open_checkpoint(folder).first_frames, frames[:1])


def test_starts_that_are_there_twice_are_not_guessed_at(folder):
    plain = (folder / "contexts.safetensors").read_bytes()
    compress(folder)
    (folder / "contexts.safetensors").write_bytes(plain)
    with pytest.raises(CheckpointError, match=r"has both contexts\.safetensors and contexts\.safetensors\.xz"):
        open_checkpoint(folder)


def test_what_was_changed_before_it_was_compressed_is_found(folder):
    plain = folder / "contexts.safetensors"
    changed = bytearray(plain.read_bytes())
    changed[-1] ^= 1
    plain.write_bytes(changed)
    compress(folder)
    with pytest.raises(CheckpointError, match="is damaged: its tensors have the digest"):
        open_checkpoint(folder)


def test_a_small_file_cannot_fill_the_memory(folder, monkeypatch):
    compress(folder)
    monkeypatch.setattr("model.checkpoint.MOST_BYTES", 1000)
    with pytest.raises(CheckpointError, match=r"cannot be read \(it holds more than 1000 bytes\)"):
        open_checkpoint(folder)


@pytest.mark.parametrize("compressed", [False, True])
def test_starts_are_copied_as_they_are(folder, tmp_path, compressed):
    target = tmp_path / "target"
    copy_starts(folder, target)
    save_starts(target, open_checkpoint(folder).first_frames[:1])  # of another checkpoint, say
    if compressed:
        compress(folder)
    copy_starts(folder, target)
    assert {path.name for path in target.iterdir()} == {f"contexts.safetensors{'.xz' if compressed else ''}"}
    found, expected = (load_stored(each / STARTS_FILE) for each in (target, folder))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_first_frames_under_another_key(folder):
    save_file({"images": torch.zeros(1)}, folder / "contexts.safetensors")
    with pytest.raises(CheckpointError, match=r"holds \['images'\], expected 'frames'"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((0, 64, 64, 3), np.uint8),
        np.zeros((2, 32, 32, 3), np.uint8),
        np.zeros((2, 3, 64, 64), np.uint8),
        np.zeros((2, 64, 64, 3), np.float32),
    ],
    ids=["none", "small", "channels-first", "float"],
)
def test_first_frames_that_do_not_fit(folder, frames):
    save_file({"frames": torch.from_numpy(frames)}, folder / "contexts.safetensors")
    with pytest.raises(CheckpointError, match=r"expected uint8 \(n, 64, 64, 3\)"):
        open_checkpoint(folder)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("key", ["frames", "clips.frames", "clips.actions"])
def test_starts_of_a_type_that_numpy_does_not_have(folder, key, kind):
    tensors = load_file(folder / "contexts.safetensors")
    save_file(tensors | {key: tensors[key].to(kind)}, folder / "contexts.safetensors")
    with pytest.raises(CheckpointError, match=f"'{key}' as {kind}, expected uint8 frames and integer actions"):
        open_checkpoint(folder)


@pytest.mark.parametrize("key", ["clips.frames", "clips.actions"])
def test_half_the_clips(folder, key):
    tensors = load_file(folder / "contexts.safetensors")
    del tensors[key]
    save_file(tensors, folder / "contexts.safetensors")
    with pytest.raises(CheckpointError, match=rf"has clips, but no \['{key}'\], expected both"):
        open_checkpoint(folder)


def test_first_frames_are_checked_by_hand_made_checkpoints_too(micro):
    with pytest.raises(CheckpointError, match="'unsaved'"):
        Checkpoint(micro.world, np.zeros((2, 64, 64), np.uint8))


def test_saved_first_frames_come_back(folder):
    frames = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    save_starts(folder, frames)
    np.testing.assert_array_equal(open_checkpoint(folder).first_frames, frames)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_cuda(micro_folder):
    with pytest.raises(DependencyError, match="finds no CUDA device"):
        DreamEnv(checkpoint=micro_folder, device="cuda")


def test_every_error_is_one_of_the_tree():
    assert issubclass(CheckpointError, WmgymError)
    assert issubclass(DependencyError, ImportError)


def test_what_tells_models_apart_is_asked_of_checkpoints_only(micro_folder, tmp_path):
    assert len(fingerprint(micro_folder)) == len(tokenizer_fingerprint(micro_folder)) == 16
    for place, message in (
        (tmp_path, r"has no model\.safetensors.*folder checkpoint in it"),
        ("a/b/c", "no such folder"),
    ):
        with pytest.raises(CheckpointError, match=message):
            fingerprint(place)
        with pytest.raises(CheckpointError, match=message):
            tokenizer_fingerprint(place)


@pytest.mark.parametrize(("part", "same"), [("dynamics.", True), ("tokenizer.", False)])
def test_what_tells_tokenizers_apart_is_theirs_alone(part, same, micro_folder, folder):
    weights = load_file(folder / "model.safetensors")
    name = next(key for key, value in weights.items() if key.startswith(part) and value.numel() > 1)
    weights[name].view(-1)[0] += 1
    save_file(weights, folder / "model.safetensors")
    assert fingerprint(folder) != fingerprint(micro_folder)
    assert (tokenizer_fingerprint(folder) == tokenizer_fingerprint(micro_folder)) is same


def test_a_tokenizer_is_the_same_in_whatever_precision_its_weights_are_stored(folder):
    world = open_checkpoint(folder).world
    weights = {key: value.half().float() for key, value in world.state_dict().items()}
    world.load_state_dict(weights)
    found = []
    for dtype in (torch.float32, torch.float16):
        world.save_pretrained(folder, dtype=dtype)
        found.append((fingerprint(folder), tokenizer_fingerprint(folder)))
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1]


def test_a_tokenizer_that_is_damaged_or_missing_is_told(folder):
    weights, file = load_file(folder / "model.safetensors"), folder / "model.safetensors"
    save_file({key: value for key, value in weights.items() if not key.startswith("tokenizer.")}, file)
    with pytest.raises(CheckpointError, match="has no tokenizer in it"):
        tokenizer_fingerprint(folder)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        tokenizer_fingerprint(folder)
