"""What a record says of a run that went on with other settings."""

import json

import pytest

from agents.run_history import earlier_trainings, run_history

BEGAN = {"mode": "clean_past", "seed": 0, "minutes": 1.0, "stages": [[1.0, 16]], "start_from": "first"}


def go_on(path, step, **changes):
    """Go on with a run, write its record as training scripts do, and return it with what was said."""
    said = []
    record = run_history(path, BEGAN | changes, step, said.append)
    path.write_text(json.dumps(record))
    return record, said


@pytest.fixture
def path(tmp_path):
    record, said = go_on(tmp_path / "training.json", 0)
    assert (record, said) == ({"settings": BEGAN}, [])
    return tmp_path / "training.json"


def test_more_minutes_need_no_note(path):
    record, said = go_on(path, 10, minutes=2.0, start_from=None)
    assert (record, said) == ({"settings": BEGAN | {"minutes": 2.0}}, [])


def test_changes_are_noted_with_their_step_and_the_first_settings_stay(path):
    record, said = go_on(path, 10, mode="diffusion_forcing", seed=1)
    assert record["settings"] == BEGAN
    mode = {"step": 10, "setting": "mode", "from": "clean_past", "to": "diffusion_forcing"}
    seed = {"step": 10, "setting": "seed", "from": 0, "to": 1}
    assert record["changed_settings"] == [mode, seed]
    assert len(said) == 2
    assert "--mode was clean_past and is diffusion_forcing from step 10 on" in said[0]
    again, said = go_on(path, 20, mode="diffusion_forcing", seed=1)
    assert (again, said) == (record, [])
    back, _ = go_on(path, 30, mode="clean_past", seed=1)
    assert back["changed_settings"][2:] == [{"step": 30, "setting": "mode", "from": mode["to"], "to": mode["from"]}]


def test_a_setting_that_earlier_code_did_not_have_is_no_change(path):
    record, said = go_on(path, 10, new_one=3)
    assert (record, said) == ({"settings": BEGAN | {"new_one": 3}}, [])


def test_what_the_run_started_from_stays(path):
    path.write_text(json.dumps({"settings": BEGAN, "start_from": {"progress": {"step": 5}}}))
    assert go_on(path, 10)[0]["start_from"] == {"progress": {"step": 5}}


def test_what_a_run_is_made_of_is_told_as_far_as_it_is_recorded(tmp_path):
    records = {
        "tokenizer": {"settings": {"batch": 4}},
        "world": {"settings": {"seed": 1}, "tokenizer": {"settings": {}}},
    }
    for name, record in records.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "training.json").write_text(json.dumps(record))
    tokenizer, world = tmp_path / "tokenizer", tmp_path / "world"
    assert earlier_trainings(tokenizer=tokenizer, start_from=world) == {
        "tokenizer": records["tokenizer"], "start_from": records["world"]
    }  # fmt: skip
    assert earlier_trainings(tokenizer=world, start_from=None) == {"tokenizer": {"settings": {}}}
    assert earlier_trainings(tokenizer=tmp_path, start_from=tmp_path / "none") == {}


def test_a_damaged_record_is_named(path):
    path.write_text("{")
    with pytest.raises(ValueError, match=r"training\.json is not the record of a training run"):
        go_on(path, 10)
