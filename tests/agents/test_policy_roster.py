"""Policies by their names: what a name means, who is the same, and that mistakes are named."""

import shutil

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode

from agents.behaviour_cloning import sharpen
from agents.exploration import start_for_share
from agents.named_policies import asked_policy, named_policy, told_policy
from agents.policy_roster import gather_policies, policies_beside
from agents.pretrained import PRETRAINED
from agents.sb3 import SB3Policy, load_ppo, make_ppo
from agents.time_budget import TrainingProgress
from agents.training_folder import save_training

SPACE = Discrete(2)
SETTINGS = {
    "observation": "latent", "recurrent": False, "denoising_steps": 2, "precision": "float32", "temperature": 0.5,
    "world_model": "here", "checkpoint": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The folder of a training like a clone's: two stages, and the second one sharpened."""
    folder = tmp_path_factory.mktemp("runs") / "clone"
    (folder / "stages").mkdir(parents=True)
    env = gymnasium.make_vec("CartPole-v1", 2, "sync", vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP})
    for epoch in (1, 2):
        learner = make_ppo(env, seed=epoch)
        learner.policy.action_net.bias.data += 0.3 * epoch
        learner.save(folder / "stages" / f"epoch-{epoch}.zip")
    sharpen(learner, SETTINGS["temperature"])
    save_training(folder, SETTINGS, learner, TrainingProgress())
    env.close()
    return folder


def gather(*texts, blend=(), world_model="here", tokenizer=None, say=print):
    models = {"world_model": world_model, "tokenizer": tokenizer}
    return gather_policies(list(map(str, texts)), blend, bursts=0.08, say=say, **models)


def actions(policy, seed=3):
    observations, never = np.random.default_rng(0).normal(size=(50, 4, 4)).astype(np.float32), np.zeros(4, bool)
    return np.stack([policy.act(each, never) for each in observations])


def test_names_say_what_acts_and_how_much_of_it_is_chance(clone):
    texts = ["random", "random-with-bursts", "sticky@0.5", clone, f"{clone}@0", clone / "stages" / "epoch-1.zip"]
    found = gather(*texts, blend=[0.25, 0.75])
    assert [policy.name for policy in found] == [
        "random", "random-with-bursts", "sticky@0.5", "clone", "clone@0", "clone/epoch-1", "clone/epoch-1@0.25",
        "clone/epoch-1@0.75",
    ]  # fmt: skip
    bursts = [policy.decides["bursts"] for policy in found]
    assert bursts == [0, 0.08, *map(start_for_share, (0.5,)), 0.08, 0, 0.08, *map(start_for_share, (0.25, 0.75))]
    assert [policy.observation for policy in found] == [None] * 3 + ["latent"] * 5
    assert found[3].trained_with["denoising_steps"] == 2


def test_a_trained_policy_acts_as_it_was_saved(clone):
    (bare,) = gather(f"{clone}@0")
    expected = actions(SB3Policy(load_ppo(clone / "policy.zip"), 3))
    assert (actions(bare.make(SPACE, 3)) == expected).all()
    assert (actions(bare.make(SPACE, 4)) != expected).any()
    (mixed,) = gather(f"{clone}@0.9")
    assert (actions(mixed.make(SPACE, 3)) != expected).any()


def test_a_stage_is_sharpened_as_the_clone_was_so_the_last_one_is_the_clone(clone):
    told = []
    stages = sorted((clone / "stages").iterdir())
    found = gather(clone, *stages, "random", "random", "random-with-bursts@0", say=told.append)
    assert [policy.name for policy in found] == ["clone", "clone/epoch-1", "random"]
    assert len(told) == 3
    assert told[0] == f"left out {stages[1]}: it is the same policy as {clone}"


def test_names_grow_until_they_differ(clone, tmp_path):
    elsewhere = tmp_path / "other" / "clone"
    shutil.copytree(clone, elsewhere)
    shutil.copy(clone / "stages" / "epoch-1.zip", elsewhere / "policy.zip")
    found = gather(clone, elsewhere, f"{elsewhere}@0.5", "random")
    assert [policy.name for policy in found] == [f"{clone.parent.name}/clone", "other/clone", "clone@0.5", "random"]


def test_what_a_policy_is_does_not_depend_on_where_it_lies(clone, tmp_path):
    shutil.copytree(clone, tmp_path / "moved")
    one, other = (named_policy(str(path), bursts=0.08, world_model="here") for path in (clone, tmp_path / "moved"))
    assert one.decides == other.decides
    assert one.name != other.name


CLONED = {"teacher": "explorer", "tokenizer": "eyes"}


@pytest.fixture
def write_training(clone, tmp_path):
    """A function that writes the folder of a training with these settings besides."""

    def write(**more):
        folder = shutil.copytree(clone, tmp_path / "copy")
        save_training(folder, SETTINGS | more, load_ppo(folder / "policy.zip"), TrainingProgress())
        return folder

    return write


def test_a_clone_on_latents_fits_every_world_model_of_its_tokenizer(write_training):
    (policy,) = gather(write_training(**CLONED), world_model="there", tokenizer="eyes")
    assert policy.observation == "latent"


@pytest.mark.parametrize(("more", "tokenizer", "why"), [
    (CLONED, "others", r"of another tokenizer \(eyes, not others\)"),
    (CLONED, None, "here only its own one will do"),
    (CLONED | {"observation": "features"}, "eyes", "it sees features"),
    ({"tokenizer": "eyes"}, "eyes", "it learned in that one's dreams"),
    ({"teacher": "explorer"}, "eyes", "before it was recorded which tokenizer"),
])  # fmt: skip
def test_other_policies_do_not_and_it_is_told_why(more, tokenizer, why, write_training):
    message = rf"another world model .*weights here\).*chosen now \(there\), and .*{why}.* Fix: the same --checkpoint"
    with pytest.raises(ValueError, match=message):
        gather(write_training(**more), world_model="there", tokenizer=tokenizer)


def test_mistakes_are_named(clone, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"policy 'runs/none' given.*expected one of random, .*FOLDER/stages"):
        gather("runs/none")
    with pytest.raises(FileNotFoundError, match=r"there is no training\.json"):
        gather(tmp_path)
    with pytest.raises(ValueError, match="another world model"):
        gather(clone, world_model="there")
    for text in ("random@2", "random@-0.5", "random@much", "random@nan", "random@"):
        with pytest.raises(ValueError, match=rf"policy '{text}' given, expected a share .* as in random@0\.5"):
            gather(text)
    with pytest.raises(ValueError, match=r"0\.5 to blend with given, expected a trained policy among random, sticky"):
        gather("random", "sticky", blend=[0.5])
    with pytest.raises(ValueError, match="expected a share"):
        gather(clone, blend=[1.5])
    shutil.copytree(clone, tmp_path / "damaged")
    (tmp_path / "damaged" / "policy.zip").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"policy\.zip: cannot be read"):
        gather(tmp_path / "damaged")


@pytest.mark.parametrize(
    ("given", "told", "asked"),
    [
        ("somewhere/runs/clone", "clone", "runs/clone"),
        ("runs/clone/stages/epoch-1.zip", "clone/stages/epoch-1.zip", "runs/clone/stages/epoch-1.zip"),
        ("runs/clone@0.5", "clone@0.5", "runs/clone@0.5"),
        ("runs/clone/policy.zip", "clone", "runs/clone"),
        ("runs/random", "./random", "runs/random"),
        ("a@b/clone@0.5", "clone@0.5", "runs/clone@0.5"),
        ("elsewhere/pretrained-clone/policy.safetensors", "./pretrained-clone", "runs/pretrained-clone"),
        ("elsewhere/pretrained-clone@0.5", "./pretrained-clone@0.5", "runs/pretrained-clone@0.5"),
        ("random-with-bursts", "random-with-bursts", "random-with-bursts"),
        ("sticky@0.5", "sticky@0.5", "sticky@0.5"),
        ("pretrained-clone", "pretrained-clone", "pretrained-clone"),
        ("pretrained-clone@0.1", "pretrained-clone@0.1", "pretrained-clone@0.1"),
    ],
)
def test_results_tell_policies_without_places_and_commands_ask_for_them_again(given, told, asked):
    assert told_policy(given) == told
    assert asked_policy(told) == asked
    assert told_policy(asked) == told


def test_what_is_measured_anyway_or_called_as_something_else_is_not_measured_beside(clone):
    said = []
    settings = {"bursts": 0.08, "world_model": "here", "say": said.append}
    texts = ["random", "sticky", "random-with-bursts", "random@0.5", str(clone)]
    found = policies_beside(texts, ("random policy",), **settings)
    assert [policy.name for policy in found] == ["sticky", "random@0.5", "clone"]
    assert said == ["left out random: it is measured anyway", "left out random-with-bursts: it is measured anyway"]
    with pytest.raises(ValueError, match="--beside clone given, a name that another policy has"):
        policies_beside([str(clone)], ("random policy", "clone"), **settings)
    with pytest.raises(ValueError, match=r"--beside .*clone given: .*another world model.*nothing after it"):
        policies_beside([str(clone)], (), **settings | {"world_model": "there"})


def test_the_folder_of_what_ships_is_told_by_its_name():
    assert told_policy(str(PRETRAINED["pretrained-clone"])) == "pretrained-clone"
