"""Watch agents in real mazes beside a teacher who remembers all it has seen: what do they fail at?

    python experiments/diagnose_agent.py --policies random runs/clone_behaviour --episodes 8

Policies are called as in imagined_vs_real.py. `--teachers 0 20` watches the teacher too: what memory is worth to one
who uses it fully. Tells, for each: how often the current target is in sight, was seen before, or never was; how often
the agent does then what the teacher would; how often it is stuck; how many targets that come into sight it reaches; how
much of the maze it visits. Writes `result.json` and `result.md` into OUTPUT.
"""

import math
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from gymnasium.spaces import Discrete
from tqdm import tqdm

from agents.evaluate import summarise
from agents.explorer import Explorer
from agents.named_policies import NamedPolicy
from agents.policy_roster import gather_policies
from agents.results import told_checkpoint, write_result
from agents.sb3_vec_env import split_infos
from agents.walk_report import SITUATIONS, WalkWatcher, mean_report
from wmgym.arguments import SEEDS, Range, check_ranges
from wmgym.checkpoint import fingerprint, tokenizer_fingerprint
from wmgym.memory_maze_setup import import_memory_maze_tasks
from wmgym.plain_errors import plain_errors
from wmgym.recording import SEED_RANGES
from wmgym.watched_mazes import REAL_MAZE, REAL_STEPS, refuse_other_world, watched_mazes

RANGES: dict[str, Range] = {
    "episodes": (1, math.inf), "steps": (1, REAL_STEPS), "bursts": (0, 1), "workers": (1, math.inf), "seed": SEEDS,
}  # fmt: skip

TEACHER_NOISE = 0.05
"""Share of the teacher's steps in bursts of random actions, which free it where it is stuck."""


@dataclass(frozen=True)
class Args:
    """Watch agents in real mazes beside a teacher who remembers all it has seen."""

    policies: tuple[str, ...]
    """Whom to watch; see imagined_vs_real.py for how policies are called."""
    output: Path = Path("runs/diagnose_agent")
    """Folder for everything that is written."""
    checkpoint: str | None = None
    """World model: a folder or a Hugging Face Hub id; the shipped one by default."""
    teachers: tuple[int, ...] = ()
    """Watch the teacher itself as well, once for each: steps after which it forgets all it has seen; 0 for never."""
    bursts: float = 0.02
    """Probability, at a step of a trained policy, that one random action begins to be repeated 2 to 8 times."""
    steps: int = REAL_STEPS
    """Steps of an episode; at most 1,000, the real maze's limit."""
    episodes: int = 8
    """Episodes to watch each in."""
    mazes: Literal["validation", "test"] = "validation"
    """Which held-out mazes; what is learned from watching in test mazes must choose nothing."""
    workers: int = os.cpu_count() or 1
    """Processes that run the real maze."""
    seed: int = 0
    """Fixes all actions."""


def main(args: Args) -> dict[str, Any]:
    """Watch, write and print; return the result."""
    started = time.monotonic()
    check_ranges(args, RANGES)
    if not args.policies and not args.teachers:
        raise ValueError("neither --policies nor --teachers given, expected whom to watch.")
    if min(args.teachers, default=0) < 0:
        raise ValueError(f"--teachers {min(args.teachers)} given, expected steps after which to forget; 0 for never.")
    advice = "only there it is told where things are. Fix: imagined_vs_real.py, which compares policies in any world."
    refuse_other_world(args.checkpoint, "diagnosis", advice, REAL_MAZE)
    import_memory_maze_tasks()  # if it is not installed, say so now
    world_model, tokenizer = fingerprint(args.checkpoint), tokenizer_fingerprint(args.checkpoint)
    policies = gather_policies(args.policies, (), bursts=args.bursts, world_model=world_model, tokenizer=tokenizer)
    agents = [agent_of(policy) for policy in policies] + [teacher(args, every) for every in args.teachers]
    rows = [{"name": agent.name} | watch(args, agent) for agent in agents]
    config = asdict(args) | {"policies": [policy.name for policy in policies], "world_model": world_model}
    del config["output"], config["workers"]
    if args.checkpoint is not None:
        config["checkpoint"] = told_checkpoint(args.checkpoint)
    result = write_result(
        args.output, experiment="diagnose_agent", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics={"rows": rows},
    )  # fmt: skip
    (args.output / "result.md").write_text(as_markdown(rows))
    print(f"\n{as_markdown(rows)}\nEverything is in {args.output}.")
    return result


@dataclass(frozen=True)
class Agent:
    """Whom to watch.

    Attributes:
        name: To show.
        observation: What it sees; None if it looks at nothing but `info`.
        begin: Makes it act anew, by a seed: observations, which are first, and what each maze tells, to actions.
    """

    name: str
    observation: str | None
    begin: Callable[[int], Callable[[Any, Any, list[dict[str, Any]]], Any]]


def agent_of(policy: NamedPolicy) -> Agent:
    """Return a policy as someone to watch."""

    def begin(seed: int) -> Callable[[Any, Any, list[dict[str, Any]]], Any]:
        acting = policy.make(Discrete(6), seed)
        return lambda seen, begins, infos: acting.act(seen, begins)

    return Agent(policy.name, policy.observation, begin)


def teacher(args: Args, forget_every: int) -> Agent:
    """Return the teacher, who forgets what it saw after so many steps; 0 for never."""

    def begin(seed: int) -> Callable[[Any, Any, list[dict[str, Any]]], Any]:
        generators = np.random.default_rng(seed).spawn(min(args.workers, args.episodes))
        teachers = [Explorer(rng, TEACHER_NOISE, forget_every=forget_every or None) for rng in generators]
        return lambda seen, begins, infos: [each.act(None, info) for each, info in zip(teachers, infos, strict=True)]

    return Agent(f"teacher{f', memory emptied every {forget_every} steps' if forget_every else ''}", None, begin)


def watch(args: Args, policy: Agent) -> dict[str, Any]:
    """Run an agent in the real maze, and return what it did on average."""
    places = min(args.workers, args.episodes)
    mazes = watched_mazes(
        places, args.steps, checkpoint=args.checkpoint, observation=policy.observation or "pixels",
        global_observables=True,
    )  # fmt: skip
    reports: list[dict[str, Any]] = []
    first = SEED_RANGES[args.mazes].start
    with closing(mazes), tqdm(total=args.episodes * args.steps, unit="step", desc=policy.name) as bar:
        while len(reports) < args.episodes:
            act = policy.begin(args.seed + len(reports))  # no round draws like another
            watchers, begins = [WalkWatcher() for _ in range(places)], np.ones(places, np.bool_)
            seen, infos = mazes.reset(seed=first + len(reports))
            for _ in range(args.steps):
                told = split_infos(infos, places)
                for watcher, info in zip(watchers, told, strict=True):
                    watcher.see(info)
                actions = np.asarray(act(seen, begins, told))
                seen, rewards, *_, infos = mazes.step(actions)
                for watcher, action, reward in zip(watchers, actions, rewards, strict=True):
                    watcher.did(int(action), float(reward))
                begins = np.zeros(places, np.bool_)
                bar.update(min(places, args.episodes - len(reports)))
            reports += [watcher.report() for watcher in watchers][: args.episodes - len(reports)]
    returns = [report["return"] for report in reports]
    return mean_report(reports) | {"return": summarise(returns, [args.steps] * len(returns))}


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table that people read."""
    titles = [f"{name}: steps, as the teacher" for name in SITUATIONS]
    head = ["agent", "return", *titles, "stuck", "sightings", "reached", "cells visited"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        mean, (low, high) = row["return"]["mean"], row["return"]["ci95"]
        where = [f"{percent(row[f'share, {name}'])}, {percent(row[f'agrees, {name}'])}" for name in SITUATIONS]
        others = [percent(row["stuck"]), f"{row['sightings']:.1f}", percent(row["reached"]), percent(row["cells"])]
        lines.append([row["name"], f"{mean:.2f} [{low:.2f}, {high:.2f}]", *where, *others])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def percent(share: float | None) -> str:
    """Return a share as people read it."""
    return "-" if share is None else f"{share:.0%}"


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
