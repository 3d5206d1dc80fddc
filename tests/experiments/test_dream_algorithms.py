"""The algorithms of dream_ppo.py, and going on from a clone, with a world model of random weights."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.dream_settings import options_of
from agents.sb3 import load_learner, make_learner
from agents.time_budget import TrainingProgress
from agents.training_folder import save_training
from experiments.dream_ppo import LEARNING, PRESETS, main, make_dreams, make_training_dreams, prepared
from wmgym.checkpoint import fingerprint, tokenizer_fingerprint


@pytest.fixture
def args(micro_folder, tmp_path):
    return replace(
        PRESETS["tiny"], checkpoint=str(micro_folder), output=tmp_path / "run", real_episodes=0, dream_episodes=2,
        steps=6, minutes=0.01, num_envs=2,
    )  # fmt: skip


@pytest.fixture
def write_clone(args, tmp_path):
    """A function that writes the folder of a policy as clone_behaviour.py leaves it; returns the folder."""

    def write(recurrent=True, observation="latent", **changes):
        folder = tmp_path / "clone"
        folder.mkdir()
        with torch.random.fork_rng():
            dreams = make_dreams(replace(args, observation=observation), 2, 20)
            sizes = {"lstm_hidden_size": 16} if recurrent else {}
            algorithm = "recurrent_ppo" if recurrent else "ppo"
            learner = make_learner(algorithm, dreams, seed=7, policy_kwargs=sizes | {"net_arch": [12]})
        config = {"observation": observation, "recurrent": recurrent, "checkpoint": "micro", "teacher": "explorer"}
        known = {"world_model": fingerprint(args.checkpoint), "tokenizer": tokenizer_fingerprint(args.checkpoint)}
        save_training(folder, config | known | changes, learner, TrainingProgress(5, 1.0))
        return folder

    return write


def actor(path, algorithm):
    return [p.detach() for p in load_learner(path / "policy.zip", algorithm).policy.action_net.parameters()]


@pytest.mark.parametrize("algorithm", ["recurrent_ppo", "a2c", "dqn"])
def test_every_algorithm_learns_is_judged_and_goes_on(algorithm, args, capsys):
    """PPO does so in test_dream_ppo.py."""
    result = main(replace(args, algorithm=algorithm, observation="latent"))
    assert result["metrics"]["policies"][-1]["name"].endswith(" trained in dreams")
    assert result["config"]["algorithm"] == algorithm
    assert result["config"]["rollout"] > 0
    capsys.readouterr()
    resumed = main(replace(args, resume=True))
    assert resumed["config"]["algorithm"] == algorithm
    assert resumed["metrics"]["training"]["steps"] > result["metrics"]["training"]["steps"]
    told = capsys.readouterr()
    assert ("replay buffer is not kept" in told.out + told.err) == (algorithm == "dqn")


def test_pessimism_is_of_training_alone(args):
    env = make_training_dreams(replace(args, pessimism=100.0))
    env.reset(seed=0)
    rewards = env.step(np.array([1, 2]))[1]
    penalties = 100 * env.unwrapped.disagreement
    assert (penalties > 1).all()
    np.testing.assert_allclose(np.round(rewards + penalties), rewards + penalties, atol=1e-4)  # what is left is 0 or 1
    assert not hasattr(make_training_dreams(args).unwrapped, "disagreement")
    assert not hasattr(make_dreams(replace(args, pessimism=100.0), 2, 6).unwrapped, "disagreement")  # of evaluation
    assert "pessimism" in LEARNING


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "dqn", "entropy": 0.1}, "--entropy 0.1 given with --algorithm dqn, expected none"),
        ({"critic_warmup": 3}, "--critic-warmup 3 given without --start-from"),
        ({"learning_rate": -1.0}, "--learning-rate -1.0 given, expected 0 to 1"),
        ({"rollout": 1, "num_envs": 1}, r"--rollout 1 and --num-envs 1 given: 1 step\(s\) .* expected two or more"),
        ({"rollout": 1, "num_envs": 1, "algorithm": "a2c"}, "A2C compares the steps of a batch"),
        ({"rollout": 27, "num_envs": 19, "algorithm": "recurrent_ppo"}, "512 fill batches of 512 and one is left"),
    ],
)
def test_what_an_algorithm_has_not_is_refused(changes, message, args):
    with pytest.raises(ValueError, match=message):
        main(replace(args, **changes))
    assert not args.output.exists()


def test_the_largest_seed_is_good_for_a_training_and_for_going_on(args):
    assert main(replace(args, seed=2**32 - 1))["seed"] == 2**32 - 1
    assert main(replace(args, resume=True))["seed"] == 2**32 - 1


def test_trainings_of_before_there_were_algorithms_go_on(args):
    main(replace(args, algorithm="recurrent_ppo", observation="latent"))
    path = args.output / "training.json"
    training = json.loads(path.read_text())
    for name in ("algorithm", "start_from", "start_from_policy", "critic_warmup"):
        del training["config"][name]
    del training["progress"]["planned"]
    training["config"]["recurrent"] = True
    path.write_text(json.dumps(training))
    assert prepared(replace(args, resume=True)).algorithm == "recurrent_ppo"
    assert prepared(replace(args, evaluate=args.output)).algorithm == "recurrent_ppo"


@pytest.mark.parametrize("recurrent", [True, False])
def test_a_clone_is_gone_on_from_and_acts_as_it_did_while_its_critic_learns(recurrent, args, write_clone):
    clone = write_clone(recurrent)
    result = main(replace(args, start_from=clone, critic_warmup=10**6))
    algorithm = "recurrent_ppo" if recurrent else "ppo"
    assert result["config"]["algorithm"] == algorithm
    assert result["config"]["observation"] == "latent"
    assert result["config"]["start_from"] == "clone"
    assert (result["config"]["learning_rate"], result["config"]["entropy"]) == (1e-4, 0.001)
    assert result["metrics"]["policies"][-1]["name"].endswith(" trained in dreams, from clone")
    digest = result["config"]["start_from_policy"]
    assert digest == hashlib.sha256((clone / "policy.zip").read_bytes()).hexdigest()[:16]
    assert json.loads((args.output / "training.json").read_text())["config"]["start_from_policy"] == digest
    assert digest not in " ".join(options_of(result["config"]))
    for before, after in zip(actor(clone, algorithm), actor(args.output, algorithm), strict=True):
        assert torch.equal(before, after)
    shutil.rmtree(clone)  # what was recorded counts, whatever became of the folder
    again = main(replace(args, resume=True))
    assert again["config"]["critic_warmup"] == 10**6
    assert again["config"]["start_from"] == "clone"
    assert again["config"]["start_from_policy"] == digest
    assert main(replace(args, evaluate=args.output))["config"]["start_from_policy"] == digest


def test_a_clone_on_latents_goes_on_in_dreams_of_another_model_with_its_tokenizer(args, write_clone, relative):
    """And is that model's from then on: what it learns in its dreams is worth nothing in others."""
    clone = write_clone()
    result = main(replace(args, start_from=clone, checkpoint=relative))
    assert result["config"]["world_model"] == fingerprint(relative)
    for goes_on in ({"resume": True}, {"evaluate": args.output}):
        with pytest.raises(ValueError, match="another world model"):
            main(replace(args, **goes_on))
    with pytest.raises(ValueError, match="another world model"):
        main(replace(args, start_from=args.output, output=args.output / "next"))


def test_what_cannot_be_gone_on_from_is_refused_before_long_work(args, write_clone, tmp_path):
    clone = write_clone()
    with pytest.raises(ValueError, match=r"--algorithm dqn has no actor.*recurrent_ppo"):
        main(replace(args, start_from=clone, algorithm="dqn"))
    with pytest.raises(ValueError, match=r"has an LSTM. Fix: --algorithm recurrent_ppo"):
        main(replace(args, start_from=clone, algorithm="a2c"))
    with pytest.raises(ValueError, match="expected another folder"):
        main(replace(args, start_from=clone, output=clone))
    with pytest.raises(ValueError, match="several were given, expected one"):
        main(replace(args, start_from=clone, resume=True))
    with pytest.raises(FileNotFoundError, match=r"there is no training\.json"):
        main(replace(args, start_from=tmp_path))
    with pytest.raises(ValueError, match="another world model"):
        main(replace(args, start_from=clone, checkpoint=None))
    (clone / "policy.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"policy\.zip: cannot be read"):
        main(replace(args, start_from=clone))
    assert not args.output.exists()


def test_a_policy_without_memory_is_not_gone_on_from_by_one_with(args, write_clone):
    with pytest.raises(ValueError, match=r"has no LSTM. Fix: --algorithm ppo, or a2c"):
        main(replace(args, start_from=write_clone(recurrent=False), algorithm="recurrent_ppo"))


def test_policies_of_all_algorithms_act_alike_in_every_world(args):
    """The same object, given the same observations, from one environment or another."""
    from agents.sb3 import SB3Policy

    dreams = make_dreams(args, 2, 20)
    observations, _ = dreams.reset(seed=0)
    for algorithm in ("ppo", "recurrent_ppo", "a2c", "dqn"):
        learner = make_learner(algorithm, dreams, seed=0)
        first, second = (SB3Policy(learner, 3).act(observations, np.ones(2, bool)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert dreams.action_space.contains(first)
