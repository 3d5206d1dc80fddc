"""Record episodes of a world with a mixture of scripted walks, one file each.

    python experiments/collect_episodes.py --output recordings/train --episodes 520 --workers 2

Run it again with a larger number to record on: seeds that are there are skipped, and files that cannot be used are
recorded anew. A run that is killed leaves whole files only. Each split has its own range of seeds (`SEED_RANGES`), so
held-out worlds are never trained on.

Who walks is drawn from the seed of the episode (`agents/mixtures.py`). In the mazes, 40 % walk to random points under
action noise (seeing all of it, in loops, as in the official offline data set); 30 % seek the targets, with anything
from no noise to half of all steps random (dense in rewards); 15 % repeat their last action with a probability of 0.5 to
0.95 and 15 % act uniformly at random, as fresh policies do. In the texture world, half walk up to 4 to 32 steps
at random and then exactly back, again and again, and half repeat their last action with a probability of 0.2 to 0.8.

Any other Gymnasium environment that shows or draws images is recorded too, in squares of --frame-size:

    python experiments/collect_episodes.py --env miniworld:MiniWorld-OneRoom-v0 --output recordings/rooms --episodes 500
    python experiments/collect_episodes.py --env CartPole-v1 --pixels render --output recordings/poles --episodes 500

There, half of the episodes are uniformly random and half repeat their last action with a probability of 0.5 to 0.95;
in worlds of continuous actions a quarter is uniform, and three eighths each repeat or follow smooth noise.

In any world you can choose who walks: `--policy module:function` any function of yours, `--agent FOLDER` what
dream_ppo.py or clone_behaviour.py trained. In mazes clone_behaviour.py then learns what to do where that went astray:
its teacher is asked about each step, whoever walked (DAgger).
"""

import json
import math
import os
import sys
import time
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import tyro
from tqdm import tqdm

import wmgym
from agents.mixtures import make_walker, mixture_of
from agents.policy_walker import PolicyWalker
from agents.results import write_json
from agents.space_walkers import load_policy_factory, make_random_walker, make_users_policy, random_mixture
from wmgym.arguments import check_ranges
from wmgym.collected_world import (
    AGENT,
    OWN_STEPS,
    drawn_size,
    look_at_world,
    recorded_seeds,
    refuse_mixed_frames,
    refuse_mixed_walkers,
    refuse_mixed_worlds,
    survey,
)  # fmt: skip
from wmgym.collection import JobFailed, Work, run_jobs
from wmgym.image_world import Pixels, Rewards
from wmgym.plain_errors import plain_errors
from wmgym.recorded_world import COLLECTION_FILE, RecordedWorld
from wmgym.recording import SEED_RANGES, record_episode, write_episode
from wmgym.smaller_frames import with_smaller_frames

Split = Literal["train", "validation", "test"]
SUMMARY_FILE = COLLECTION_FILE


@dataclass(frozen=True)
class Args:
    """Record episodes of a world, resumably, in several processes."""

    output: Path
    """Folder for the files; it is made if it is not there."""

    episodes: int | None = None
    """How many episodes the folder shall hold in the end, those there already included."""

    frames: int | None = None
    """How many frames it shall hold at least, instead of --episodes (1,001 to an episode of the 9x9 maze)."""

    split: Split = "train"
    """Which range of seeds to take: train from 0, validation from 1,000,000, test from 2,000,000."""

    first_seed: int | None = None
    """Start at this seed instead, within the range of the split; for sharing work between machines."""

    workers: int = os.cpu_count() or 1
    """Processes, one world each; as many as there are cores is best."""

    env: str = "wmgym/MemoryMaze-9x9-v0"
    """Id of the world to record, as gymnasium.make takes it: with the module that registers it in front (module:id) if
    it is not Gymnasium's own."""

    env_args: str = "{}"
    """Arguments of gymnasium.make, as JSON: '{"size": 6}'."""

    walkers: Literal["mixture", "explorer", "random"] = "mixture"
    """Who walks: the mixture that world models are trained on, explorers, to learn to act from, or who knows nothing of
    the world, which is the mixture in worlds without walkers of their own."""

    policy: str | None = None
    """Your own policy instead, module:function. function(env, rng) returns what is called with (observation, info) and
    returns an action; what the world itself shows is in env.last_observation."""

    agent: str | None = None
    """A trained or cloned policy walks: its FOLDER, FOLDER/stages/FILE.zip, pretrained-clone (which ships with wmgym),
    random, sticky, forward, still or random-with-bursts; FOLDER@0.2 acts at random in a fifth of all steps."""

    checkpoint: str | None = None
    """World model that the agent sees by: a folder or a Hugging Face Hub id; the shipped one by default."""

    bursts: float = 0.02
    """Probability, at a step of the agent, that one random action begins to be repeated 2 to 8 times; 0: never. Names
    with @SHARE have as many as that share takes, and random, sticky, forward and still have none, whatever is said
    here."""

    max_steps: int | None = None
    """End each episode after so many steps; needed where the world has no time limit."""

    frame_size: int | None = None
    """Scale frames to so many pixels along each side. Memory Maze and TextureWorld: down only, as drawn by default. All
    others: 64 by default, a multiple of 8; squashed to a square (wmgym/square_frames.py)."""

    pixels: Pixels = "observation"
    """Where frames come from: what the world shows, or what it draws (render_mode "rgb_array")."""

    image_key: str | None = None
    """Which entry of a dictionary of observations is the image; its only one by default."""

    rewards: Rewards = "real"
    """As the world pays them, or only their sign: -1, 0 or 1, for events that pay differently each time."""


@cache
def world_of(args: Args) -> RecordedWorld:
    """Return what is asked for; a world that is not wmgym's own is opened once."""
    return look_at_world(
        args.env, env_args=args.env_args, pixels=args.pixels, image_key=args.image_key, frame_size=args.frame_size,
        rewards=args.rewards, max_steps=args.max_steps,
    )  # fmt: skip


def start_worker(args: Args, world: RecordedWorld) -> Work:
    """Open the world of one process; return the function that records the episode of a seed in it."""
    wmgym.register_all()
    env = open_world(args, world)
    if args.agent is not None:
        import torch

        torch.set_num_threads(1)  # each process has a core

    def record(seed: int) -> int:
        act, name = who_walks(args, env, seed)
        episode = record_episode(env, act, seed=seed, policy_name=name, max_steps=world.max_episode_steps)
        write_episode(file_of(args.output, seed), episode)
        return len(episode.image)

    return record


def open_world(args: Args, world: RecordedWorld) -> gymnasium.Env[Any, Any]:
    """Open the world, with frames as they are recorded."""
    if args.env not in OWN_STEPS:
        return world.make()
    env = gymnasium.make(args.env, **({"global_observables": True} if "MemoryMaze" in args.env else {}))
    return with_smaller_frames(env, args.frame_size) if args.frame_size else env


def who_walks(args: Args, env: gymnasium.Env[Any, Any], seed: int) -> tuple[Any, str]:
    """Return what chooses the actions of an episode, and its name."""
    if args.policy is not None:
        return make_users_policy(args.policy, env, seed), args.policy
    if args.agent is not None:
        return agent_walker(args, env, seed)
    if args.env in OWN_STEPS and args.walkers != "random":
        maze_walker, name = make_walker(args.env, seed, args.walkers)
        return maze_walker.act, name
    walker, name = make_random_walker(env.action_space, seed)
    return walker.act, name


@cache
def load_agent(name: str, checkpoint: str | None, bursts: float) -> tuple[Any, Any]:
    """Return an agent, and the world model that it sees by and must fit, if it sees; loaded once a process."""
    from agents.named_policies import named_policy  # recording without an agent does not import torch
    from wmgym.checkpoint import fingerprint, open_checkpoint, tokenizer_fingerprint

    tokenizer = tokenizer_fingerprint(checkpoint)
    agent = named_policy(name, bursts=bursts, world_model=fingerprint(checkpoint), tokenizer=tokenizer)
    return agent, None if agent.observation is None else open_checkpoint(checkpoint)


def agent_walker(args: Args, env: gymnasium.Env[Any, Any], seed: int) -> tuple[Any, str]:
    """Return an agent that chooses the actions of an episode by what the world model shows it, and its name."""
    from wmgym.followed import follow_one

    agent, opened = load_agent(args.agent or "", args.checkpoint, args.bursts)
    see = follow_one(agent.observation or "pixels", opened)
    return PolicyWalker(agent.make(env.action_space, seed), see).act, AGENT + agent.name


def agent_of(args: Args) -> dict[str, Any] | None:
    """Return what tells the agent that walks from all others, and who sees for it; None if no agent walks.

    Raises:
        FileNotFoundError: There is no such agent.
        ValueError: It is damaged, of another world model, or that is of another world than the one to record.
    """
    if args.agent is None:
        return None
    from wmgym.checkpoint import fingerprint
    from wmgym.followed import refuse_other_spaces

    agent, opened = load_agent(args.agent, args.checkpoint, args.bursts)
    if opened is None:
        return {"name": AGENT + agent.name, **agent.decides}
    refuse_other_spaces(opened, world_of(args).action_space, world_of(args).frame_size)
    return {"name": AGENT + agent.name, **agent.decides, "world_model": fingerprint(args.checkpoint)}


def shares_of(args: Args) -> dict[str, float]:
    """Return the share of the episodes that each kind of walker gets.

    Raises:
        ValueError: There is no explorer in that world, or the policy cannot be imported.
    """
    if args.policy is not None:
        load_policy_factory(args.policy)
        return {args.policy: 1.0}
    if args.agent is not None:
        return {AGENT + load_agent(args.agent, args.checkpoint, args.bursts)[0].name: 1.0}
    if args.walkers == "explorer" or (args.env in OWN_STEPS and args.walkers == "mixture"):
        return mixture_of(args.env, args.walkers)
    return random_mixture(world_of(args).action_space)


def file_of(folder: Path, seed: int) -> Path:
    """Return where the episode of a seed is kept."""
    return folder / f"seed-{seed:08d}.npz"


def choose_seeds(args: Args) -> list[int]:
    """Return the seeds that are asked for and not yet recorded, or whose files cannot be used.

    Raises:
        ValueError: The arguments contradict each other, or leave the range of the split.
    """
    if (args.episodes is None) == (args.frames is None):
        raise ValueError("Give either --episodes or --frames.")
    check_ranges(
        args, dict.fromkeys(("episodes", "frames", "max_steps", "workers"), (1, math.inf)) | {"bursts": (0, 1)}
    )
    if args.agent is not None and (args.policy is not None or args.walkers != "mixture"):
        raise ValueError("--agent and --policy or --walkers given, expected one of them: who walks?")
    if args.agent is None and args.checkpoint is not None:
        raise ValueError("--checkpoint given without --agent, expected both: it is what an agent sees by.")
    shares_of(args)  # refuses walkers that the world does not have
    if args.env in OWN_STEPS:
        check_ranges(args, {"frame_size": (1, drawn_size(args.env))}, {"frame_size": "Frames are only scaled down."})
    world = world_of(args)
    agent = agent_of(args)
    refuse_mixed_worlds(args.output / SUMMARY_FILE, args.env, world, agent)
    steps = world.max_episode_steps or 1
    count = args.episodes if args.episodes is not None else math.ceil((args.frames or 0) / (steps + 1))
    allowed = SEED_RANGES[args.split]
    first = allowed.start if args.first_seed is None else args.first_seed
    if first not in allowed or first + count > allowed.stop:
        raise ValueError(
            f"Seeds {first} to {first + count - 1} leave the range of split {args.split}, "
            f"{allowed.start} to {allowed.stop - 1}. Likely cause: --first-seed of another split."
        )
    found = recorded_seeds(args.output, partial(print, file=sys.stderr))
    foreign = sorted(seed for seed in found if seed not in allowed)
    if foreign:
        raise ValueError(
            f"{args.output} holds {len(foreign)} episodes of another split, such as seed {foreign[0]}; expected seeds "
            f"{allowed.start} to {allowed.stop - 1}, of split {args.split}. Give each split its own --output: mixed, "
            "held-out worlds would be trained on."
        )
    sound, _ = survey(args.output)
    refuse_mixed_walkers(args.output, (policy for _, _, policy in sound.values()), agent and agent["name"])
    refuse_mixed_frames(sound, args.frame_size or drawn_size(args.env))
    return [seed for seed in range(first, first + count) if file_of(args.output, seed) not in sound]


def summarise(args: Args) -> dict[str, object]:
    """Count what the folder holds, by policy; unusable files are named and not counted."""
    sound, unusable = survey(args.output)
    returns: dict[str, list[float]] = {}
    for _, total, policy in sound.values():
        name = policy if policy.startswith(AGENT) else policy.partition(" ")[0]
        returns.setdefault(name, []).append(total)
    return {
        "env": args.env,
        "frame_size": args.frame_size or drawn_size(args.env),
        "world": world_of(args).to_json(),
        "split": args.split,
        "seeds": [SEED_RANGES[args.split].start, SEED_RANGES[args.split].stop - 1],
        "mixture": shares_of(args),
        "agent": agent_of(args),
        "episodes": sum(map(len, returns.values())),
        "frames": sum(frames for frames, _, _ in sound.values()),
        "policies": {
            name: {"episodes": len(values), "mean_return": float(np.mean(values)), "max_return": max(values)}
            for name, values in sorted(returns.items())
        },
        "unusable": {path.name: reason for path, reason in unusable.items()},
    }


def main(args: Args) -> dict[str, object]:
    """Record what is missing, write `collection.json`, and return what it says."""
    args.output.mkdir(parents=True, exist_ok=True)
    seeds = choose_seeds(args)
    write_json(args.output / SUMMARY_FILE, summarise(args))  # says which world it is, should this run be killed
    if args.workers > 1:  # each process draws on its own core; read when a worker opens its GL context
        os.environ.setdefault("LP_NUM_THREADS", "0")
    failed = recorded = 0
    started = time.perf_counter()
    world = world_of(args)
    total = len(seeds) * ((world.max_episode_steps or 0) + 1)  # at most: some end early
    with tqdm(total=total, unit="frame", desc=args.split, unit_scale=True, mininterval=1.0) as bar:
        for result in run_jobs(partial(start_worker, args, world), seeds, args.workers):
            if isinstance(result, JobFailed):
                failed += 1
                bar.write(f"seed {result.job} failed: {result.reason}")
            else:
                recorded += result
                bar.update(result)
    summary = summarise(args)
    summary["failed_in_last_run"] = failed
    summary["frames_per_second_in_last_run"] = round(recorded / (time.perf_counter() - started), 1)
    write_json(args.output / SUMMARY_FILE, summary)
    return summary


if __name__ == "__main__":
    with plain_errors():
        collected = main(tyro.cli(Args, description=__doc__))
    print(json.dumps(collected, indent=2))
    if collected["failed_in_last_run"]:
        sys.exit(f"{collected['failed_in_last_run']} episodes were not recorded, see above. Run again to retry them.")
