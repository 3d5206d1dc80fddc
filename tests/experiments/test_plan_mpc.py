"""The whole story of plan_mpc.py in seconds, with a world model of random weights."""

import importlib.util
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from agents.critic_folder import save_critic
from agents.evaluate import evaluate
from agents.return_critic import CriticSettings, ReturnCritic
from agents.run_lock import FolderInUseError, only_run_in
from agents.sb3 import SB3Policy
from experiments import dream_ppo, plan_mpc
from experiments.plan_mpc import Args, main
from tests.wmgym.dot_world import small_checkpoint
from tests.wmgym.image_worlds import ACTIONS, TOY
from tests.wmgym.test_wrappers import Noisy
from wmgym.checkpoint import fingerprint, open_checkpoint, save_starts
from wmgym.observations import observation_space
from wmgym.recorded_world import WORLD_FILE, RecordedWorld
from wmgym.recording import SEED_RANGES
from wmgym.wrappers import WorldModelObservation

needs_maze = pytest.mark.skipif(importlib.util.find_spec("memory_maze") is None, reason="memory-maze is not installed")


@pytest.fixture
def args(micro_folder, tmp_path):
    return Args(
        checkpoint=str(micro_folder), output=tmp_path / "run", horizon=2, candidates=6, steps=6, real_episodes=0,
        dream_episodes=3, mazes_at_once=2, film_steps=5, planner_bursts=0.0,
    )  # fmt: skip


def write_critic(folder, checkpoint, observation="features", discount=0.9, seen=None):
    """Write a critic that learned nothing; `seen` is another width of what it sees."""
    shape = observation_space(open_checkpoint(checkpoint).world.config, observation).shape
    critic = ReturnCritic(CriticSettings(shape if seen is None else (seen,), hidden=8))
    known = {"discount": discount, "observation": observation, "world_model": fingerprint(checkpoint)}
    save_critic(folder, critic.eval(), known)
    return folder


@pytest.mark.parametrize("planner", ["cem", "mppi", "shooting", "tree"])
def test_a_run_leaves_what_it_promises_and_is_not_run_again(planner, args, capsys, monkeypatch):
    args = replace(args, planner=planner)
    result = main(args)
    assert json.loads((args.output / "result.json").read_text()) == result
    assert str(args.output) not in json.dumps(result)
    random, planned = result["metrics"]["policies"]
    assert (random["name"], planned["name"]) == ("random policy with bursts", plan_mpc.NAMES[planner])
    for row in (random, planned):
        assert (row["imagined"]["episodes"], row["imagined"]["steps"]) == (3, 6)
        assert "real" not in row
    planning = result["metrics"]["planning"]
    told = capsys.readouterr().out
    assert f"{planning['branches']} branches in flight" in told
    assert planning["most_bytes_of_states"] > planning["branches"] * planning["state_nbytes"] > 0
    assert math.isfinite(planning["seconds_per_act"][planned["name"]]["imagined"])
    assert len(list((args.output / "rounds").iterdir())) == 2

    def refuse(*_, **__):
        raise AssertionError("was run again")

    monkeypatch.setattr("agents.rounds.evaluate", refuse)
    assert main(args)["metrics"]["episode_returns"] == result["metrics"]["episode_returns"]
    with pytest.raises(AssertionError, match="was run again"):
        main(replace(args, hold=1))


def test_it_is_the_critic_that_is_asked_and_its_discount_that_counts(args, tmp_path):
    """The planner with and without it in one run, on the same episodes; what it sees decides what is dreamed."""
    folder = write_critic(tmp_path / "critic", args.checkpoint, "latent", discount=0.5)
    result = main(replace(args, critic=folder, also_without_critic=True))
    names = [row["name"] for row in result["metrics"]["policies"]]
    assert names == ["random policy with bursts", "CEM planner without critic", "CEM planner with critic"]
    assert result["config"]["discount"] == 0.5
    assert result["config"]["critic"].startswith("critic ")
    guides = plan_mpc.prepared(replace(args, critic=folder))
    assert guides.observation == "latent"
    assert guides.settings.discount == 0.5
    opened = open_checkpoint(args.checkpoint)
    asked = []

    def spy(observations):
        asked.append(observations.shape)
        return guides.critic(observations)

    with plan_mpc.closing(plan_mpc.make_dreams(args, opened, 6, guides.observation)) as scratch:
        policy, _ = plan_mpc.make_planner(args, opened, scratch, replace(guides, critic=spy), 1, 0)
        policy.act(np.zeros((1, 64, 64, 3), np.uint8), np.ones(1, bool))
    assert asked == [scratch.observation_space.shape]


def test_a_policy_learned_in_dreams_is_a_trees_prior(args, tmp_path):
    learned = tmp_path / "ppo"
    dream_ppo.main(
        replace(
            dream_ppo.PRESETS["tiny"], checkpoint=args.checkpoint, output=learned, real_episodes=0, dream_episodes=1,
            steps=4, minutes=0.01, observation="latent",
        )
    )  # fmt: skip
    tree = replace(args, planner="tree", prior=learned, dream_episodes=1, also_prior_alone=True, temperature=1.0)
    names = [row["name"] for row in main(tree)["metrics"]["policies"]]
    assert names == ["random policy with bursts", "prior alone", "tree planner with prior"]
    critic = write_critic(tmp_path / "of_latents", args.checkpoint, "latent")
    helped = main(replace(tree, critic=critic, also_without_critic=True, output=tmp_path / "helped"))
    names = [row["name"] for row in helped["metrics"]["policies"]]
    assert names[2:] == ["tree planner with prior, without critic", "tree planner with prior and critic"]
    features = write_critic(tmp_path / "critic", args.checkpoint, "features")
    with pytest.raises(ValueError, match="--critic sees features, --prior latent, expected the same"):
        main(replace(tree, critic=features))


def test_the_prior_is_asked_about_what_was_really_seen_and_alone_it_acts_as_where_it_is_judged(args, tmp_path):
    """Without bursts it takes the actions of the policy in an environment that is watched by the world model."""
    learned = tmp_path / "ppo"
    dream_ppo.main(
        replace(
            dream_ppo.PRESETS["tiny"], checkpoint=args.checkpoint, output=learned, real_episodes=0, dream_episodes=1,
            steps=4, minutes=0.01,
        )
    )  # fmt: skip
    guides = plan_mpc.prepared(replace(args, planner="tree", hold=1, prior=learned))
    opened = open_checkpoint(args.checkpoint)
    watched = WorldModelObservation(Noisy(), opened)
    policy = SB3Policy(guides.learner, 7)
    asked = []

    def spy(observations):
        asked.append(np.array(observations))
        return guides.prior(observations)

    with plan_mpc.closing(plan_mpc.make_dreams(args, opened, 2, guides.observation)) as scratch:
        alone = plan_mpc.make_prior_alone(args, opened, scratch, guides, 1, 7)
        planner, _ = plan_mpc.make_planner(args, opened, scratch, replace(guides, prior=spy), 1, 7)
        plain = Noisy()
        frame, seen = plain.reset(seed=3)[0], watched.reset(seed=3)[0]
        for step in range(6):
            begins = np.array([step == 0])
            expected = policy.act(seen[None], begins)
            assert alone.act(frame[None], begins).tolist() == expected.tolist()
            asked.clear()
            planner.act(frame[None], begins)
            np.testing.assert_array_equal(asked[0], seen[None])
            action = int(expected[0])
            frame, seen = plain.step(action)[0], watched.step(action)[0]
            planner._actions[:] = action  # as if it had been its own


def test_ctrl_c_keeps_the_rounds_that_are_finished(args, monkeypatch, capsys):
    whole = main(replace(args, output=args.output / "whole"))
    calls = []

    def breaking(*given, **settings):
        calls.append(settings["seed"])
        if len(calls) == 4:  # the planner's second round
            raise KeyboardInterrupt
        return evaluate(*given, **settings)

    monkeypatch.setattr("agents.rounds.evaluate", breaking)
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 130
    assert "Finished rounds are kept" in capsys.readouterr().out
    calls.clear()
    calls.extend(range(10))
    again = main(args)
    assert len(calls) == 11  # one round was left
    assert again["metrics"]["episode_returns"] == whole["metrics"]["episode_returns"]


@needs_maze
def test_the_real_maze_is_played_and_filmed(args):
    """And seen alike whatever is planned in: frame for frame, the first one imagined follows from the same past."""
    result = main(replace(args, real_episodes=2, dream_episodes=2))
    for row in result["metrics"]["policies"]:
        assert (row["real"]["episodes"], row["real"]["steps"]) == (2, 6)
    assert len(result["metrics"]["verdicts"]) == 1
    assert 0 < result["metrics"]["planning"]["film_mean_difference"] < 255
    with Image.open(args.output / "plan_mpc.gif") as film:
        assert film.n_frames == 5
        assert film.size == (260, 142)


def test_the_world_that_was_recorded_is_played_and_no_maze(args, tmp_path, monkeypatch):
    """What each of its episodes pays, whoever acts, its seed tells."""
    folder = tmp_path / "toy"
    shutil.copytree(args.checkpoint, folder)
    (folder / WORLD_FILE).write_text(json.dumps(RecordedWorld(TOY, ACTIONS["six"], 9, {"actions": "six"}).to_json()))
    monkeypatch.setattr(plan_mpc, "import_memory_maze_tasks", lambda: pytest.fail("the maze is not needed"))
    result = main(
        replace(args, checkpoint=str(folder), real_episodes=2, dream_episodes=0, candidates=2, mazes_at_once=1)
    )
    seeds = [SEED_RANGES["test"].start + i for i in range(2)]
    ends = [int(np.random.Generator(np.random.PCG64(seed)).integers(2, 12)) for seed in seeds]
    expected = [0.5 * args.steps if end > args.steps else 0.5 * (end - 1) - 2 for end in ends]
    assert len(set(expected)) > 1
    for returns in result["metrics"]["episode_returns"].values():
        assert returns["real"] == expected
    assert (args.output / "plan_mpc.gif").exists()


@pytest.mark.parametrize("kind", ["pairs", "box"])
@pytest.mark.parametrize("planner", ["cem", "tree"])
def test_actions_that_no_planner_knows_are_refused_before_anything_is_done(kind, planner, args, tmp_path):
    folder = tmp_path / "other"
    if kind == "box":
        dots = small_checkpoint()
        dots.world.save_pretrained(folder)
        save_starts(folder, dots.first_frames)
    else:
        shutil.copytree(args.checkpoint, folder)
        (folder / WORLD_FILE).write_text(json.dumps(RecordedWorld(TOY, ACTIONS[kind], 9, {}).to_json()))
    with pytest.raises(ValueError, match=r"other given, a model of (MultiDiscrete|Box)\(.*expected one of Discrete"):
        main(replace(args, planner=planner, checkpoint=str(folder)))
    assert not args.output.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"steps": 1001}, "--steps 1001 given, expected 1 to 1000"), ({"branches": 0}, "--branches 0 given"),
     ({"dream_episodes": 0}, "--dream-episodes 0 given"), ({"discount": 1.5}, r"--discount 1\.5 given"),
     ({"replan_every": 3}, "replan_every = 3, expected at most horizon = 2"),
     ({"also_without_critic": True}, "--also-without-critic given, expected --critic with it"),
     ({"seed": -1}, "--seed -1 given, expected 0 to 4294967295"), ({"seed": 2**32}, "--seed 4294967296 given"),
     ({"prior": "here"}, "--prior given with --planner cem, expected tree"),
     ({"temperature": 1.0}, "--temperature given with --planner cem, expected tree"),
     ({"temperature": -1.0}, r"--temperature -1\.0 given, expected 0 to 100"),
     ({"also_prior_alone": True}, "--also-prior-alone given, expected --prior with it")],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_is_done(changes, message, args, tmp_path):
    if "prior" in changes:
        changes = {"prior": tmp_path}
    with pytest.raises(ValueError, match=message):
        main(replace(args, **changes))
    assert not args.output.exists()


def test_a_folder_in_which_a_run_goes_on_is_left_alone(args):
    with only_run_in(args.output), pytest.raises(FolderInUseError, match=f"{args.output} given to write into"):
        main(args)
    assert [path.name for path in args.output.iterdir()] == [".lock"]


def test_critics_that_do_not_fit_are_named(args, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(FileNotFoundError, match=r"there is no critic\.json"):
            main(replace(args, critic=folder))
    folder = write_critic(tmp_path / "critic", args.checkpoint)
    with pytest.raises(ValueError, match=r"--discount 0\.8 given with a critic of discount 0\.9"):
        main(replace(args, critic=folder, discount=0.8))
    main(replace(args, critic=folder, discount=0.9, dream_episodes=1, steps=1))
    wrong = write_critic(tmp_path / "wrong", args.checkpoint, seen=3)
    with pytest.raises(ValueError, match=r"observations of shape .* given, expected \[b, 3\]"):
        main(replace(args, critic=wrong, dream_episodes=1, steps=1))
