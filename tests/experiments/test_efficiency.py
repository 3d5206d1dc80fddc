"""The script of efficiency on the smallest networks: what it writes, what it skips, and what it refuses."""

import json

import pytest
import torch

from experiments import efficiency
from model.backbones import count_parameters, with_backbone
from model.config import PRESETS

BACKBONES = ("lssvwm", "causal", "dfot")
KEYS = {"backbone", "parameters", "kind", "frames", "seconds", "bytes", "peak_bytes"}
TRAINING, INFERENCE = (4, 8), (2, 4, 30)
MICRO = PRESETS["micro"].dynamics


def args(output, **changes):
    settings = {"preset": "micro", "backbones": BACKBONES, "training_frames": TRAINING, "inference_frames": INFERENCE}
    return efficiency.Args(output, **settings | {"seconds": 0.0, "device": "cpu"} | changes)


def sizes(rows, name, kind):
    return {row["frames"]: row["bytes"] for row in rows if (row["backbone"], row["kind"]) == (name, kind)}


def test_the_script_measures_what_it_says(tmp_path):
    metrics = efficiency.main(args(tmp_path))["metrics"]
    rows = metrics["rows"]
    points = [(name, kind, n) for name in BACKBONES for kind, lengths in
              (("training", TRAINING), ("inference", INFERENCE)) for n in lengths]  # fmt: skip
    assert [(row["backbone"], row["kind"], row["frames"]) for row in rows] == points
    assert all(set(row) == KEYS and row["seconds"] > 0 and row["bytes"] > 0 for row in rows)
    assert {row["parameters"] for row in rows if row["backbone"] == "causal"} == {
        count_parameters(with_backbone(MICRO, "causal"))
    }
    assert (metrics["skipped"], metrics["threads"]) == ([], torch.get_num_threads())
    for name in BACKBONES:
        assert set(metrics["exponents"][name]) == {"training_seconds", "inference_bytes", "inference_seconds"}
        assert all(isinstance(exponent, float) for exponent in metrics["exponents"][name].values())
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == metrics
    page = (tmp_path / "result.md").read_text()
    assert all(page.count(f"\n| {name} | ") == 1 for name in BACKBONES)
    assert "skipped" not in page
    assert (tmp_path / "efficiency.png").stat().st_size > 0


def test_memory_is_flat_or_grows_and_all_of_it_is_counted(tmp_path):
    metrics = efficiency.main(args(tmp_path))["metrics"]
    clock, number = 8, 4  # bytes of the counter of frames, and of one float32
    ring = 2 * MICRO.tokens * MICRO.width * number  # keys and values of a frame in a layer
    blocks = sum(MICRO.tokens // (bh * bw) for bh, bw in map(MICRO.block_size, range(MICRO.layers)))
    scans = blocks * MICRO.width * MICRO.scan_state * number
    fixed = scans + MICRO.layers * MICRO.attention_window * ring + clock
    assert sizes(metrics["rows"], "lssvwm", "inference") == dict.fromkeys(INFERENCE, fixed)
    layers = with_backbone(MICRO, "causal").layers
    assert sizes(metrics["rows"], "causal", "inference") == {n: layers * n * ring + clock for n in INFERENCE}
    latent = MICRO.latent_channels * MICRO.latent_size**2 * number
    assert sizes(metrics["rows"], "dfot", "inference") == {2: 3 * latent, 4: 5 * latent, 30: 25 * latent}
    assert metrics["exponents"]["lssvwm"]["inference_bytes"] == 0
    assert metrics["exponents"]["causal"]["inference_bytes"] == pytest.approx(1, abs=1e-3)


def test_lengths_that_would_take_too_long_are_skipped_and_reported(tmp_path):
    metrics = efficiency.main(args(tmp_path, limit_seconds=0.0))["metrics"]
    assert {(row["kind"], row["frames"]) for row in metrics["rows"] if row["backbone"] != "dfot"} == {
        ("training", TRAINING[0]), ("inference", INFERENCE[0]),
    }  # fmt: skip
    assert {row["frames"] for row in metrics["skipped"] if row["backbone"] == "causal"} == {8, 4, 30}
    assert all("above --limit-seconds 0" in row["reason"] for row in metrics["skipped"])
    assert set(metrics["exponents"]["causal"].values()) == {None}
    page = (tmp_path / "result.md").read_text()
    assert "Skipped: causal, inference, 30 frames: about " in page
    assert page.count("| skipped |") > 0


def test_lengths_that_would_take_too_much_memory_are_skipped(tmp_path):
    metrics = efficiency.main(args(tmp_path, limit_gigabytes=5e-4, inference_frames=(30, 5)))["metrics"]
    assert set(sizes(metrics["rows"], "lssvwm", "inference")) == {5, 30}  # 45 KB, whatever it has seen
    assert set(sizes(metrics["rows"], "causal", "inference")) == {5}
    reasons = {row["kind"]: row["reason"] for row in metrics["skipped"] if row["backbone"] == "causal"}
    assert reasons["inference"] == "about 0.000737 GB, above --limit-gigabytes 0.0005"
    assert "GB, above --limit-gigabytes" in reasons["training"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"backbones": ("mamba3",)}, r"'mamba3' given, expected one of \['lssvwm', "),
        ({"backbones": ()}, "--backbones without a value given, expected one or more names, each once, such as"),
        ({"backbones": ("dfot", "dfot")}, "--backbones dfot dfot given, expected one or more names, each once"),
        ({"training_frames": (50, 1)}, "--training-frames 50 1 given, expected one or more lengths of 2 or more"),
        ({"inference_frames": (0,)}, "--inference-frames 0 given, expected .* such as --inference-frames 10 100"),
        ({"inference_frames": (9, 9)}, "--inference-frames 9 9 given, .* each once"),
        ({"seconds": -1.0}, "--seconds -1.0 given, expected 0 to 3600"),
        ({"limit_seconds": float("nan")}, "--limit-seconds nan given, expected 0 to 1000000"),
        ({"limit_gigabytes": float("inf")}, "--limit-gigabytes inf given, expected 0 to 1000000"),
        ({"seed": -1}, "--seed -1 given, expected 0 or more"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(changes, named, tmp_path):
    with pytest.raises(ValueError, match=named):
        efficiency.main(args(tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"--device cuda given, expected cpu: .* Pass --device auto"):
        efficiency.main(args(tmp_path, device="cuda"))


@pytest.mark.gpu
def test_on_a_gpu_the_peak_is_reported(tmp_path):
    rows = efficiency.main(args(tmp_path, device="auto"))["metrics"]["rows"]
    assert all(row["peak_bytes"] > row["bytes"] for row in rows)
