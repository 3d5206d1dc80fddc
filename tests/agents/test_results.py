"""The record that experiments leave."""

import json
from pathlib import Path

import pytest

from agents.results import is_of, told_checkpoint, write_json, write_result


def test_a_result_has_the_keys_that_all_results_have(tmp_path):
    config = {"minutes": 1.5, "checkpoint": Path("some/where")}
    written = write_result(
        tmp_path / "new", experiment="demo", config=config, seed=3, minutes=1.23456, metrics={"x": [1.0]}
    )
    read = json.loads((tmp_path / "new" / "result.json").read_text())
    assert read == written
    assert list(read) == ["experiment", "config", "seed", "versions", "commit", "minutes", "metrics"]
    assert read["config"] == {"minutes": 1.5, "checkpoint": "some/where"}
    assert {"python", "torch", "gymnasium", "stable_baselines3"} <= set(read["versions"])


def test_numbers_that_are_none_are_refused_and_the_old_file_stays(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1.0})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1.0}


@pytest.mark.parametrize(
    ("given", "told"),
    [(None, None), ("owner/name", "name"), ("/a/b/mine", "mine"), ("runs/taught/checkpoint", "taught/checkpoint"),
     ("runs/taught/checkpoint/", "taught/checkpoint"), ("checkpoint", "checkpoint")],
)  # fmt: skip
def test_a_checkpoint_is_told_by_its_name_and_one_in_a_run_by_both(given, told):
    assert told_checkpoint(given) == told


def test_a_checkpoint_told_by_a_relative_path_is_named_all_the_same(tmp_path, monkeypatch):
    folder = tmp_path / "taught" / "checkpoint"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert told_checkpoint(".") == told_checkpoint("../checkpoint") == "taught/checkpoint"


@pytest.mark.parametrize(("config", "expected"), [
    ({"world_model": "abcd"}, True), ({"world_model": "ab"}, True), ({"world_model": "bcd"}, False),
    ({"world_model": ""}, False), ({"world_model": None}, False), ({}, False),
])  # fmt: skip
def test_a_result_is_of_the_world_model_that_it_names(config, expected):
    assert is_of({"config": config}, "abcdef") is expected
