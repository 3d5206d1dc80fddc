"""The whole story of dream_ppo.py in seconds, with a world model of random weights."""

import importlib.util
import json
import math
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from agents.dream_settings import options_of
from agents.run_lock import FolderInUseError, only_run_in
from experiments import dream_ppo
from experiments.dream_ppo import PRESETS, main, make_dreams, parse, prepared, watching
from wmgym.watched_mazes import REAL_STEPS, watched_maze

needs_maze = pytest.mark.skipif(importlib.util.find_spec("memory_maze") is None, reason="memory-maze is not installed")
SUMMARY = {"mean", "ci95", "episodes", "steps"}


@pytest.fixture(scope="session")
def checkpoint(micro_folder):
    """A checkpoint of random weights, in which actions matter and nothing terminates."""
    return str(micro_folder)


@pytest.fixture(scope="module")
def dreamed(checkpoint, tmp_path_factory):
    """A finished run that left the real maze out: its arguments and result."""
    output = tmp_path_factory.mktemp("dreamed") / "run"
    args = replace(PRESETS["tiny"], checkpoint=checkpoint, output=output, real_episodes=0)
    return args, main(args)


def numbers(values):
    if isinstance(values, dict | list):
        for each in values.values() if isinstance(values, dict) else values:
            yield from numbers(each)
    elif isinstance(values, int | float):
        yield values


def test_a_run_leaves_what_it_promises(dreamed):
    args, result = dreamed
    assert json.loads((args.output / "result.json").read_text()) == result
    assert set(result) == {"experiment", "config", "seed", "versions", "commit", "minutes", "metrics"}
    assert result["config"]["checkpoint"] == "micro"
    assert str(args.output) not in json.dumps(result)
    metrics = result["metrics"]
    assert all(math.isfinite(number) for number in numbers(metrics))
    assert [row["name"] for row in metrics["policies"]] == [
        "random policy", "random policy with bursts", "PPO trained in dreams"
    ]  # fmt: skip
    for row in metrics["policies"]:
        assert set(row["imagined"]) == SUMMARY
        assert (row["imagined"]["episodes"], row["imagined"]["steps"]) == (4, 20)
        assert "real" not in row
    assert metrics["verdicts"] == []
    assert metrics["training"]["steps"] >= 4
    assert metrics["training"]["horizon"] == 8
    parts = sum(metrics["training"]["parts"].values())
    assert 0.9 * metrics["training"]["seconds"] <= parts <= 60 * (result["minutes"] + 0.01)
    assert parts == pytest.approx(metrics["training"]["seconds"], abs=0.1)
    assert (args.output / "policy.zip").stat().st_size < 5_000_000
    with Image.open(args.output / "dream_ppo.png") as picture:
        assert picture.size[0] > 500
    assert list((args.output / "tensorboard").rglob("events.out.tfevents.*"))
    assert not list(args.output.glob("*partial*"))
    assert parse(shlex.split(" ".join(options_of(result["config"])))) == replace(
        args, checkpoint="runs/micro", output=PRESETS["tiny"].output
    )


def test_a_saved_policy_is_evaluated_again_to_the_same_returns(dreamed, capsys):
    args, result = dreamed
    policy = (args.output / "policy.zip").read_bytes()
    elsewhere = replace(args, evaluate=args.output, output=args.output / "unused", observation="latent")
    again = main(elsewhere)
    assert again["metrics"]["episode_returns"] == result["metrics"]["episode_returns"]
    assert again["config"]["observation"] == "features"  # what the policy was trained on
    assert again["config"]["evaluate"] == "run"
    assert result["config"]["evaluate"] is None
    assert (args.output / "policy.zip").read_bytes() == policy
    assert not (args.output / "unused").exists()
    assert "PPO trained in dreams - random policy" in capsys.readouterr().out


def test_policies_beside_are_measured_as_they_were_by_themselves(dreamed, tmp_path):
    args, before = dreamed
    own = replace(args, output=tmp_path / "own", beside=(str(args.output), "sticky@0.5"))
    result = main(own)
    found = result["metrics"]["episode_returns"]
    assert list(found) == [
        "random policy", "random policy with bursts", "run", "sticky@0.5", "PPO trained in dreams"
    ]  # fmt: skip
    assert found["run"] == before["metrics"]["episode_returns"]["PPO trained in dreams"]
    assert result["config"]["beside"] == ["run", "sticky@0.5"]
    assert "--beside runs/run sticky@0.5" in " ".join(options_of(result["config"]))


def test_policies_that_do_not_fit_are_refused_before_anything_is_done(checkpoint, tmp_path):
    args = replace(PRESETS["tiny"], checkpoint=checkpoint, output=tmp_path / "run", real_episodes=0)
    with pytest.raises(ValueError, match=r"pretrained-clone: its policy was trained with another world model"):
        main(replace(args, beside=("pretrained-clone",)))
    with pytest.raises(FileNotFoundError, match=r"policy 'nobody' given, .*pretrained-clone"):
        main(replace(args, beside=("nobody",)))
    assert not args.output.exists()


def test_a_training_goes_on_where_it_ended_with_its_own_settings(dreamed, tmp_path, capsys):
    args, result = dreamed
    folder = tmp_path / "continued"
    shutil.copytree(args.output, folder)
    again = replace(args, resume=True, output=folder, num_envs=2, learning_rate=0.5, minutes=3 * args.minutes)
    resumed = main(again)  # long enough for an update on a busy machine
    before, after = result["metrics"]["training"], resumed["metrics"]["training"]
    assert after["steps"] > before["steps"]
    assert after["seconds"] > before["seconds"]
    assert all(after["parts"][name] > spent for name, spent in before["parts"].items())
    assert after["curve"][: len(before["curve"])] == before["curve"]
    assert resumed["config"]["num_envs"] == args.num_envs
    assert (result["config"]["resume"], resumed["config"]["resume"]) == (False, True)
    assert resumed["config"]["learning_rate"] == result["config"]["learning_rate"] == 7e-4
    assert (folder / "policy.zip").read_bytes() != (args.output / "policy.zip").read_bytes()
    assert "replaced" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes",
    [{"steps": 0}, {"steps": 1001}, {"minutes": 0.0}, {"horizon": 0}, {"rollout": 0}, {"num_envs": 0},
     {"dream_episodes": 0}, {"real_episodes": -1}, {"workers": 0}, {"bursts": 1.5}, {"save_every": math.nan},
     {"save_every": -1.0}, {"save_every": 0.0}, {"save_every": math.inf}, {"seed": -1}, {"seed": 2**32},
     {"entropy": math.inf}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused_before_anything_is_done(changes, checkpoint, tmp_path):
    args = replace(PRESETS["tiny"], checkpoint=checkpoint, output=tmp_path / "new", **changes)
    name = next(iter(changes)).replace("_", "-")
    with pytest.raises(ValueError, match=rf"--{name} \S+ given, expected"):
        main(args)
    assert not (tmp_path / "new").exists()


def test_only_what_was_asked_to_be_another_than_in_training_is_told(dreamed, tmp_path, capsys):
    args, _ = dreamed
    folder = tmp_path / "trained"
    shutil.copytree(args.output, folder)
    training = json.loads((folder / "training.json").read_text())
    training["config"] |= {"num_envs": 7, "discount": 0.5}
    (folder / "training.json").write_text(json.dumps(training))
    for changes in ({"evaluate": folder}, {"resume": True, "output": folder}):
        asked = replace(args, **changes)
        assert (prepared(asked).num_envs, prepared(asked).discount) == (7, 0.5)
        assert capsys.readouterr().out == ""  # nothing but the folder was given
        assert prepared(replace(asked, num_envs=2, rollout=5, discount=0.5)).num_envs == 7
        assert capsys.readouterr().out == f"As in the training in {folder}: rollout = 32, not 5, num_envs = 7, not 2\n"


@pytest.mark.parametrize(("recorded", "expected"), [("bfloat16", "bfloat16"), (None, "float32")])
def test_a_policy_goes_on_in_the_precision_it_learned_in(recorded, expected, dreamed, tmp_path):
    """In both worlds; trainings from before that was recorded were in float32."""
    args, _ = dreamed
    folder = tmp_path / "trained"
    shutil.copytree(args.output, folder)
    training = json.loads((folder / "training.json").read_text())
    del training["config"]["precision"]
    training["config"] |= {"precision": recorded} if recorded else {}
    (folder / "training.json").write_text(json.dumps(training))
    assert prepared(replace(args, evaluate=folder, precision="float32")).precision == expected


@pytest.mark.parametrize("file", ["training.json", "policy.zip"])
def test_a_damaged_training_is_named(file, dreamed, tmp_path):
    args, _ = dreamed
    folder = tmp_path / "damaged"
    shutil.copytree(args.output, folder)
    whole = (folder / file).read_bytes()
    (folder / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=file):
        main(replace(args, evaluate=folder))
    with pytest.raises(ValueError, match=file):
        main(replace(args, resume=True, output=folder))


def test_a_folder_in_which_a_run_goes_on_is_left_alone(dreamed, tmp_path):
    args, _ = dreamed
    new = replace(args, output=tmp_path)
    with only_run_in(tmp_path), pytest.raises(FolderInUseError, match=f"{tmp_path} given to write into, expected"):
        main(new)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with only_run_in(args.output), pytest.raises(FolderInUseError):
        main(replace(args, evaluate=args.output))


def test_an_earlier_policy_is_said_to_be_replaced_when_that_begins(dreamed, tmp_path, capsys):
    """Not before what is refused, and not before what fails; once it is so, it is said."""
    args, _ = dreamed
    folder = tmp_path / "earlier"
    shutil.copytree(args.output, folder)
    again = replace(args, output=folder, minutes=0.01, dream_episodes=2, steps=6)
    record = (folder / "training.json").read_text()
    with pytest.raises(ValueError, match="--rollout 1 and --num-envs 1 given"):
        main(replace(again, rollout=1, num_envs=1))
    with only_run_in(folder), pytest.raises(FolderInUseError):
        main(again)
    with pytest.raises(ValueError, match="no-such-device"):
        main(replace(again, device="no-such-device"))
    assert "replaced" not in capsys.readouterr().out
    assert (folder / "training.json").read_text() == record
    main(again)
    assert f"{folder} holds the policy of an earlier run: it is replaced" in capsys.readouterr().out
    assert (folder / "training.json").read_text() != record


@pytest.mark.parametrize("resume", [False, True])
def test_a_training_that_is_killed_leaves_no_result_of_the_policy_before(resume, dreamed, tmp_path, monkeypatch):
    """What is refused or fails before leaves all as it was."""
    args, _ = dreamed
    folder = tmp_path / "earlier"
    shutil.copytree(args.output, folder)
    (folder / "dream_beside_reality.gif").touch()  # as the real maze leaves it
    again = replace(args, output=folder, resume=resume)
    with pytest.raises(ValueError, match="no-such-device"):
        main(replace(again, device="no-such-device"))
    results = ["dream_beside_reality.gif", "dream_ppo.png", "result.json"]
    policy = {"policy.zip", "training.json"}
    assert {path.name for path in folder.glob("*.*")} - {".lock"} == policy.union(results)

    def killed(*_, **__):
        raise SystemExit

    monkeypatch.setattr(dream_ppo, "learn_for", killed)
    with pytest.raises(SystemExit):
        main(again)
    assert {path.name for path in folder.glob("*.*")} - {".lock"} == policy


def test_nothing_to_resume_is_said_so(checkpoint, tmp_path):
    args = replace(PRESETS["tiny"], checkpoint=checkpoint, output=tmp_path, real_episodes=0)
    with pytest.raises(FileNotFoundError, match=r"training\.json"):
        main(replace(args, resume=True))
    with pytest.raises(ValueError, match="expected one"):
        main(replace(args, resume=True, evaluate=tmp_path))


@pytest.mark.parametrize(
    "changes", [{"observation": "latent"}, {"observation": "pixels", "algorithm": "recurrent_ppo"}]
)
def test_other_observations_and_networks_run_too(changes, checkpoint, tmp_path):
    args = replace(
        PRESETS["tiny"], checkpoint=checkpoint, output=tmp_path, real_episodes=0, dream_episodes=2, steps=6,
        minutes=0.01, num_envs=2, **changes,
    )  # fmt: skip
    assert main(args)["metrics"]["training"]["steps"] >= 2


@needs_maze
def test_dream_and_reality_are_measured_and_drawn_side_by_side(dreamed):
    args, _ = dreamed
    metrics = main(replace(args, evaluate=args.output, real_episodes=1))["metrics"]
    for row in metrics["policies"]:
        assert set(row["real"]) == SUMMARY
        assert (row["real"]["episodes"], row["real"]["steps"]) == (1, 20)
    assert len(metrics["verdicts"]) == 3
    shown = []
    with Image.open(args.output / "dream_beside_reality.gif") as picture:
        assert picture.n_frames == 20
        assert picture.size == (260, 142)
        for i in (9, 15):
            picture.seek(i)
            frame = np.asarray(picture.convert("RGB"))[14:].astype(int)
            shown.append(np.abs(frame[:, :128] - frame[:, 132:]).mean())
    assert shown[0] < 1 < shown[1]  # both show the real frame first; a dream of random weights goes astray


@needs_maze
@pytest.mark.parametrize("observation", ["features", "latent", "pixels"])
def test_dream_and_reality_show_a_policy_the_same_kind_of_thing(observation, checkpoint):
    args = replace(PRESETS["tiny"], checkpoint=checkpoint, observation=observation)
    dreams, real = make_dreams(args, 2, 20), watched_maze(args.steps, **watching(args))
    assert dreams.single_observation_space == real.observation_space
    assert dreams.single_action_space == real.action_space


def test_dreams_have_the_precision_asked_for(checkpoint):
    """The same dream, but for some digits."""
    shown = []
    for precision in ("float32", "bfloat16"):
        dreams = make_dreams(replace(PRESETS["tiny"], checkpoint=checkpoint, precision=precision), 2, 20)
        dreams.reset(seed=0)
        shown.append(dreams.step(np.array([1, 2]))[0])
    assert 0 < np.sqrt(np.mean((shown[0] - shown[1]) ** 2)) < 0.06


def test_the_preset_decides_what_the_command_line_leaves_open():
    assert parse([]) == PRESETS["demo"]
    chosen = parse(["--preset", "full", "--seed", "3", "--algorithm", "a2c"])
    assert chosen == replace(PRESETS["full"], seed=3, algorithm="a2c")
    assert PRESETS["demo"].minutes < 10
    assert PRESETS["full"].steps == 2 * PRESETS["demo"].steps == REAL_STEPS
    assert PRESETS["demo"].mazes == PRESETS["full"].mazes == "test"


def test_mistakes_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no training\.json"):
        main(replace(PRESETS["tiny"], evaluate=tmp_path))
    with pytest.raises(ValueError, match="--steps 1001 given, expected 1 to 1000"):
        main(replace(PRESETS["tiny"], steps=1001))
