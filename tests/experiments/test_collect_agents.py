"""Recording what trained agents do: they see, and act, as where agents are judged."""

import importlib.util
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from agents.named_policies import named_policy
from agents.policy_walker import PolicyWalker
from agents.sb3 import make_ppo
from agents.time_budget import TrainingProgress
from agents.training_folder import save_training
from experiments import dream_ppo
from experiments.collect_episodes import Args, choose_seeds, file_of, main
from wmgym.checkpoint import fingerprint
from wmgym.recording import read_episode
from wmgym.watched_mazes import watched_maze

STEPS = 25


@pytest.fixture(params=["features", "latent"])
def agent(request, micro_folder, tmp_path):
    """A policy of random weights, which acts by what it sees, and nothing else."""
    args = dream_ppo.Args(checkpoint=str(micro_folder), observation=request.param)
    dreams = gymnasium.make_vec("LSSVWM-MemoryMaze-v0", 2, checkpoint=str(micro_folder), observation=request.param)
    with closing(dreams):
        learner = make_ppo(dreams, seed=0)
        for weight in learner.policy.action_net.parameters():
            weight.data *= 300  # or all actions are about as likely, whatever is seen
        folder = tmp_path / "agent"
        folder.mkdir()
        save_training(folder, dream_ppo.settings_of(args), learner, TrainingProgress())
    return folder


@pytest.mark.skipif(importlib.util.find_spec("memory_maze") is None, reason="memory-maze is not installed")
def test_an_agent_walks_as_it_does_where_it_is_judged(agent, micro_folder, tmp_path):
    args = Args(
        tmp_path / "walks", episodes=2, workers=1, max_steps=STEPS, agent=str(agent), checkpoint=str(micro_folder),
        bursts=0.1,
    )  # fmt: skip
    summary = main(args)
    assert (summary["episodes"], summary["failed_in_last_run"]) == (2, 0)
    assert summary["mixture"] == {"agent agent": 1.0}
    assert summary["policies"]["agent agent"]["episodes"] == 2
    assert (
        summary["agent"].items()
        > {"name": "agent agent", "bursts": 0.1, "world_model": fingerprint(micro_folder)}.items()
    )
    assert choose_seeds(replace(args, episodes=3)) == [2]
    with pytest.raises(ValueError, match=r"holds episodes of agent agent as it was: bursts 0\.1 there, 0\.2 now"):
        choose_seeds(replace(args, episodes=3, bursts=0.2))
    (args.output / "collection.json").unlink()
    for other, told in (({"agent": None, "checkpoint": None}, "no agent"), ({"agent": "random"}, "agent random")):
        with pytest.raises(ValueError, match=rf"in which agent agent walked, {told} asked for"):
            choose_seeds(replace(args, episodes=3, **other))
    policy = named_policy(str(agent), bursts=0.1, world_model=fingerprint(micro_folder))
    with closing(watched_maze(STEPS, checkpoint=str(micro_folder), observation=policy.observation)) as maze:
        for seed in (0, 1):
            acting = policy.make(maze.action_space, seed)
            seen, _ = maze.reset(seed=seed)
            frames, actions = [maze.render()], []
            for t in range(STEPS):
                actions.append(acting.act(seen[None], np.array([t == 0]))[0])
                seen, *_ = maze.step(actions[-1])
                frames.append(maze.render())
            episode = read_episode(file_of(args.output, seed))
            np.testing.assert_array_equal(episode.action[1:], actions)
            np.testing.assert_array_equal(episode.image, frames)
            assert len(set(actions)) > 1
            assert (episode.policy, episode.state["maze_layout"].shape) == ("agent agent", (STEPS + 1, 9, 9))


def test_what_walks_where_is_refused_before_anything_is_recorded(agent, micro_folder, relative, tmp_path):
    args = Args(tmp_path / "walks", episodes=1, agent=str(agent), checkpoint=relative)
    with pytest.raises(ValueError, match="its policy was trained with another world model"):
        choose_seeds(args)
    for other in ({"policy": "module:function"}, {"walkers": "explorer"}):
        with pytest.raises(ValueError, match="--agent and --policy or --walkers given, expected one of them"):
            choose_seeds(replace(args, **other))
    with pytest.raises(ValueError, match="--checkpoint given without --agent"):
        choose_seeds(replace(args, agent=None))
    for other in ({"env": "wmgym/TextureWorld-v0"}, {"frame_size": 32}):
        with pytest.raises(ValueError, match=r"an environment of Discrete\(.*given, expected Discrete\(6\) and 64x64"):
            choose_seeds(replace(args, agent=str(agent), checkpoint=str(micro_folder), **other))
    assert choose_seeds(replace(args, agent="random", env="wmgym/TextureWorld-v0")) == [0]  # who sees nothing
    with pytest.raises(FileNotFoundError, match="policy 'nowhere' given, but there is no such folder or file"):
        choose_seeds(replace(args, agent="nowhere"))
    with pytest.raises(ValueError, match="--bursts 2 given, expected 0 to 1"):
        choose_seeds(replace(args, bursts=2))


def test_who_records_without_an_agent_waits_for_no_torch():
    code = "import sys, experiments.collect_episodes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_a_walker_tells_what_led_to_each_frame():
    """Whose policy takes the number that it sees for its action."""
    told = []

    class Copying:
        def act(self, observations, is_first):
            told.append(bool(is_first[0]))
            return observations[:, 0]

    def see(frame, led, begins):
        told.append((int(frame[0, 0, 0]), led, begins))
        return frame[0, 0]

    walker = PolicyWalker(Copying(), see)
    acted = [walker.act(np.full((2, 2, 3), number, np.uint8), {}) for number in (7, 4)]
    assert acted == [7, 4]
    assert told == [(7, None, True), True, (4, 7, False), False]
