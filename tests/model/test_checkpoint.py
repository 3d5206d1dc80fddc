"""Whatever is wrong with a checkpoint folder is said in one error that names the file and the fix."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    CheckpointError,
    check_fit,
    find_checkpoint,
    load_tensors,
    load_weights,
    read_config,
    save_tensors,
    tensors_digest,
)
from model.world_model import WorldModel


class Landmine:
    """Executes something when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


@pytest.fixture
def folder(tmp_path, make_world):
    make_world().save_pretrained(tmp_path / "micro")
    return tmp_path / "micro"


def change_config(folder, part=None, **changes):
    values = json.loads((folder / CONFIG_FILE).read_text())
    (values if part is None else values[part]).update(changes)
    (folder / CONFIG_FILE).write_text(json.dumps(values))


def change_weights(folder, **changes):
    """Replaces tensors; those given as None are dropped."""
    weights = load_file(folder / WEIGHTS_FILE) | {k.replace("__", "."): v for k, v in changes.items()}
    save_file({k: v for k, v in weights.items() if v is not None}, folder / WEIGHTS_FILE)


def test_weights_and_config_survive_bit_for_bit(folder, make_world):
    world = make_world()
    world.save_pretrained(folder)
    config, weights = load_weights(folder)
    assert config == world.config
    state = world.state_dict()
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[key], value) for key, value in state.items())
    assert not list(folder.glob("*.partial"))


def test_saving_again_replaces(folder, make_world):
    other = make_world()
    other.dynamics.place.data += 1
    other.save_pretrained(str(folder))
    assert torch.equal(load_weights(str(folder))[1]["dynamics.place"], other.dynamics.place)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights(folder, keep):
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS_FILE} \(\d+ bytes\) is not a readable .*fetch it again"):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize("place", [3, 7, 20, 60])
def test_a_damaged_header(folder, place):
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"dynamics__place": torch.zeros(16, 31)}, r"'dynamics.place' with shape \(16, 31\), expected \(16, 32\)"),
        ({"dynamics__place": torch.zeros(32, 16)}, r"'dynamics.place' with shape \(32, 16\), expected \(16, 32\)"),
        ({"dynamics__place": None}, r"'dynamics.place' with shape None, expected \(16, 32\)"),
        ({"surplus": torch.zeros(2)}, r"'surplus' with shape \(2,\), expected None"),
    ],
)
def test_weights_that_do_not_fit_the_config(folder, changes, named):
    change_weights(folder, **changes)
    with pytest.raises(CheckpointError, match=rf"micro' do not fit its config.json: 1 tensors.*{named}.*different"):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(folder, poison):
    place = load_file(folder / WEIGHTS_FILE)["dynamics.place"]
    place[3, 4] = poison
    change_weights(folder, dynamics__place=place)
    with pytest.raises(CheckpointError, match=r"micro' hold NaN or infinity .*'dynamics.place'.*use an earlier"):
        WorldModel.from_pretrained(folder)


def test_weights_that_become_infinite_in_single_precision(folder):
    place = load_file(folder / WEIGHTS_FILE)["dynamics.place"].double()
    place[3, 4] = 1e300
    change_weights(folder, dynamics__place=place)
    with pytest.raises(CheckpointError, match=r"micro' hold NaN or infinity .*'dynamics.place'"):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize("scale", [0.0, -1.0])
def test_a_tokenizer_whose_frames_would_be_black(folder, scale):
    change_weights(folder, tokenizer__scale=torch.tensor(scale))
    with pytest.raises(CheckpointError, match=rf"tokenizer.scale = {scale}, expected a number above 0"):
        WorldModel.from_pretrained(folder)


def test_weights_of_eight_bits(folder):
    place = load_file(folder / WEIGHTS_FILE)["dynamics.place"]
    change_weights(folder, dynamics__place=place.to(torch.float8_e4m3fn))
    with pytest.raises(CheckpointError, match=r"torch.float8_e4m3fn in 'dynamics.place', expected floating point"):
        WorldModel.from_pretrained(folder)


def test_a_single_flipped_bit(folder):
    path = folder / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS_FILE} is damaged.*fetch it again"):
        WorldModel.from_pretrained(folder)


def test_a_file_without_a_digest_is_read(folder, make_world):
    """As older releases and other programs write it."""
    save_file(load_file(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE)
    assert WorldModel.from_pretrained(folder).config == make_world().config


def test_a_digest_tells_names_types_shapes_and_values():
    known = {"a": torch.arange(4.0), "b": torch.tensor(1).bfloat16()}
    others = [
        {"a": known["a"], "c": known["b"]},
        {"a": known["a"], "b": known["b"].half()},
        {"a": known["a"].view(2, 2), "b": known["b"]},
        {"a": known["a"] + 1, "b": known["b"]},
    ]
    assert tensors_digest(known) == tensors_digest({"b": known["b"].clone(), "a": torch.arange(4.0)})
    assert len({tensors_digest(one) for one in (known, *others)}) == 5


@pytest.mark.parametrize("version", [0, 2, "1", None, True])
def test_another_format_version(folder, version):
    change_config(folder, format_version=version)
    with pytest.raises(CheckpointError, match=rf"{CONFIG_FILE} has format_version = {version}, .* reads 1. .*install"):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing; "):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '"text"', "\x00\xff"])
def test_a_config_that_is_no_json_object(folder, content):
    (folder / CONFIG_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=CONFIG_FILE):
        WorldModel.from_pretrained(folder)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        (None, {"surplus": 1}),
        (None, {"dynamics": None}),
        ("dynamics", {"surplus": 1}),
        ("tokenizer", {"surplus": 1}),
        ("dynamics", {"width": 33}),
        ("dynamics", {"block_sizes": [[3, 3]]}),
        ("dynamics", {"latent_channels": 5}),
        ("dynamics", {"width": "32"}),
        ("dynamics", {"width": 32.0}),
        ("dynamics", {"width": 0}),
        ("dynamics", {"width": -32}),
        ("dynamics", {"layers": -1}),
        ("dynamics", {"patch": 0}),
        ("dynamics", {"attention_heads": 0}),
        ("dynamics", {"attention_window": 0}),
        ("dynamics", {"block_sizes": []}),
        ("dynamics", {"block_sizes": [[0, 1]]}),
        ("dynamics", {"reward_values": []}),
        ("dynamics", {"reward_values": ["a"]}),
        ("dynamics", {"num_actions": 0}),
        ("tokenizer", {"encoder_channels": [8]}),
        ("tokenizer", {"decoder_channels": 8}),
    ],
    ids=lambda v: str(v),
)
def test_a_config_that_describes_no_network(folder, part, changes):
    change_config(folder, part, **changes)
    with pytest.raises(CheckpointError, match=CONFIG_FILE):
        WorldModel.from_pretrained(folder)


def test_whatever_building_raises_is_told(folder, monkeypatch):
    def fail(*args):
        raise RuntimeError("too large")

    monkeypatch.setattr("model.world_model.LSSVWM", fail)
    with pytest.raises(CheckpointError, match=rf"{CONFIG_FILE} of .* \(RuntimeError: too large\)"):
        WorldModel.from_pretrained(folder)


def make_folder(path):
    path.mkdir()


def make_loop(path):
    path.symlink_to(path)


def make_nested(path):
    path.write_text("[" * 200_000)


@pytest.mark.parametrize("make", [make_folder, make_loop, make_nested])
def test_a_config_that_cannot_be_read(folder, make):
    (folder / CONFIG_FILE).unlink()
    make(folder / CONFIG_FILE)
    with pytest.raises(CheckpointError, match=CONFIG_FILE):
        WorldModel.from_pretrained(folder)


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at '.*none': there is no such folder.*Check the path"):
        WorldModel.from_pretrained(tmp_path / "none")
    for name in ("memory-maze", "./memory-maze", "~/memory-maze", "a/b/c"):
        with pytest.raises(CheckpointError, match=f"no checkpoint at '{name}'"):
            find_checkpoint(name)


def test_a_hub_id_that_cannot_be_fetched(monkeypatch):
    def offline(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"'nobody/nothing'.*ConnectionError: no route.*Check the name, the"):
        find_checkpoint("nobody/nothing")


def test_a_hub_id_fetches_nothing_executable(folder, monkeypatch):
    asked = {}

    def download(name, **options):
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert find_checkpoint("some/world", revision="v1", local_files_only=True) == folder
    assert (asked["name"], asked["revision"], asked["local_files_only"]) == ("some/world", "v1", True)
    assert set(asked["allow_patterns"]) == {"*.json", "*.safetensors", "*.safetensors.xz", "*.md"}


def test_a_folder_wins_over_the_hub(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: pytest.fail("asked the hub"))
    name = f"{folder.parent.name}/{folder.name}"
    assert find_checkpoint(name).resolve() == folder.resolve()


def test_pickles_in_the_folder_are_never_read(folder, monkeypatch):
    mine = pickle.dumps(Landmine())
    for name in ("model.bin", "pytorch_model.bin", "model.pt", "model.pkl", "config.pkl", "training_state.pt"):
        (folder / name).write_bytes(mine)
    import torch._dynamo  # noqa: F401  (torch imports it at the first meta tensor, and it subclasses what is patched here)

    for target in ("pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load"):
        monkeypatch.setattr(target, lambda *a, **k: pytest.fail("something was unpickled"))
    WorldModel.from_pretrained(folder)


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_pickle_in_the_place_of_a_file_is_refused(folder, name):
    (folder / name).write_bytes(pickle.dumps(Landmine()))
    with pytest.raises(CheckpointError, match=name):
        WorldModel.from_pretrained(folder)


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / WEIGHTS_FILE).unlink()
    (folder / WEIGHTS_FILE).mkdir()
    with pytest.raises(CheckpointError, match=WEIGHTS_FILE):
        WorldModel.from_pretrained(folder)


def test_tensors_of_any_layout_survive(tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {"turned": torch.randn(3, 4).T, "half": torch.randn(5).bfloat16(), "bytes": torch.arange(9).byte()}
    save_tensors(path, tensors)
    again = load_tensors(path)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[key], value) and again[key].dtype == value.dtype for key, value in tensors.items())


def test_check_fit_accepts_what_fits_and_counts_what_does_not():
    expected = {"a": torch.zeros(2), "b": torch.zeros(3, 1)}
    check_fit("x", expected, {"a": torch.ones(2), "b": torch.ones(3, 1)})
    with pytest.raises(CheckpointError, match="3 tensors differ, the first is 'a'"):
        check_fit("x", expected, {"c": torch.ones(2), "b": torch.ones(1, 3)})


def test_reads_a_config_without_weights(folder):
    (folder / WEIGHTS_FILE).unlink()
    assert read_config(folder / CONFIG_FILE).dynamics.width == 32
