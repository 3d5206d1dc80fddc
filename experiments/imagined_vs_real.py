"""Run many policies, good and bad, in dreams and in the real maze: are returns measured in dreams to be trusted?

    python experiments/imagined_vs_real.py --policies random random-with-bursts sticky forward still runs/dream_ppo
    python experiments/imagined_vs_real.py --policies random sticky runs/clone/stages/*.zip runs/clone --blend 0.5 0.8

A policy is called by

    random, sticky, forward, still   scripted and blind: each action by chance; the last one again, mostly; straight on,
                                     then a turn, by chance; nothing
    random-with-bursts               random, with --bursts, as dream_ppo.py measures it
    FOLDER                           what clone_behaviour.py or dream_ppo.py trained there, with --bursts
    pretrained-clone                 what ships with wmgym, cloned from a teacher, with --bursts
    FOLDER/stages/FILE.zip           the same at an earlier stage
    NAME@SHARE                       any of these, but at random in this share of all steps, such as 0.5, in bursts of 2
                                     to 8 and in place of --bursts (of which 0.08 makes a share of 0.3)

All run in the same worlds: episodes of the same length in mazes of seeds that no recording for training has, each from
one real first frame; or, with --starts, from the same moment in both worlds: a dream goes on from the frames of a
recorded walk, and the real maze from where that walk had led. What a policy scored in a world is kept in
OUTPUT/policies and not measured again as long as nothing changes that decides it: after Ctrl-C the same command goes
on, and --policies may grow. Writes `result.json` and `imagined_vs_real.png`. Policies are SB3's format, which has
pickled parts: give only folders that you trust.
"""

import math
import os
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gymnasium
import tyro
from gymnasium.vector import VectorEnv

import wmgym  # noqa: F401  (registers the ids)
from agents.agreement_plot import plot_agreement
from agents.agreement_report import agreement, as_table, check_count
from agents.comparison import WORLDS
from agents.evaluate import Evaluation
from agents.kept_evaluations import digest, is_kept, keep_or_make
from agents.named_policies import NamedPolicy
from agents.policy_roster import NOT_ELSEWHERE, gather_policies, of_mazes
from agents.results import told_checkpoint, write_result
from agents.run_lock import only_run_in
from agents.two_worlds import World, measure
from wmgym.arguments import SEEDS, Range, check_ranges
from wmgym.checkpoint import fingerprint, tokenizer_fingerprint
from wmgym.heap import keep_freed_memory
from wmgym.memory_maze_setup import import_memory_maze_tasks
from wmgym.moments import Moment, MomentsOfDreams, read_moments
from wmgym.plain_errors import plain_errors
from wmgym.recording import SEED_RANGES, scan
from wmgym.watched_mazes import REAL_MAZE, REAL_STEPS, other_world, refuse_other_world, watched_mazes

DREAM = "LSSVWM-MemoryMaze-v0"
RANGES: dict[str, Range] = {
    "steps": (1, REAL_STEPS), "dream_episodes": (1, math.inf), "real_episodes": (1, math.inf), "bursts": (0, 1),
    "workers": (1, math.inf), "context": (1, REAL_STEPS), "lead": (1, REAL_STEPS), "seed": SEEDS,
}  # fmt: skip
ADVISED = {"policies": 10, "real_episodes": 20}


@dataclass(frozen=True)
class Args:
    """Run many policies in dreams and in the real maze: are returns measured in dreams to be trusted?"""

    policies: tuple[str, ...]
    """What to run, as said above: three or more, better ten, spread in skill."""
    blend: tuple[float, ...] = ()
    """Shares of random steps: runs the last trained policy given with each of them, too."""
    output: Path = Path("runs/imagined_vs_real")
    """Folder for everything that is written."""
    starts: Path | None = None
    """Folder of held-out episodes (collect_episodes.py --split test): go on from a moment in each, in both worlds."""
    lead: int | None = 12
    """Moments lie at most so many steps before a reward of the recorded walk; None: anywhere."""
    context: int = 32
    """Frames until that moment that a dream is shown."""
    checkpoint: str | None = None
    """World model: a folder or a Hugging Face Hub id; the shipped one by default."""
    denoising_steps: int = 1
    """Sampler steps for a dreamed frame, for all policies."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the dreams, and of the model that watches the real maze."""
    device: str = "cpu"
    """Where to dream: cpu or cuda."""
    bursts: float = 0.08
    """Probability, at a step of a trained policy, that one random action begins to be repeated 2 to 8 times."""
    steps: int = REAL_STEPS
    """Steps of an episode in both worlds; at most 1,000, the real maze's limit."""
    horizons: tuple[int, ...] = (25, 50, 100, 250, 500, 1000)
    """Steps after which to compare what has been collected until then."""
    dream_episodes: int = 20
    """Episodes of each policy in dreams."""
    real_episodes: int = 20
    """Episodes of each policy in the real maze."""
    mazes: Literal["validation", "test"] = "test"
    """Which held-out real mazes; choose settings on validation only."""
    workers: int = os.cpu_count() or 1
    """Processes that run the real maze."""
    seed: int = 0
    """Fixes all actions."""


def main(args: Args) -> dict[str, Any]:
    """Measure what is not measured yet, compare, write and print; return the result."""
    started = time.monotonic()
    keep_freed_memory()
    policies, moments = prepared(args)
    with only_run_in(args.output):
        metrics = agreement(measure_all(args, policies, moments), args.horizons)
        plot_agreement(metrics, args.output / "imagined_vs_real.png")
        result = write_result(
            args.output, experiment="imagined_vs_real", config=settings_of(args, policies, moments), seed=args.seed,
            minutes=(time.monotonic() - started) / 60, metrics=metrics,
        )  # fmt: skip
    print(f"\n{as_table(metrics)}\nEverything is in {args.output}.")
    return result


def prepared(args: Args) -> tuple[list[NamedPolicy], list[Moment]]:
    """Return the policies to run and where from; refuse what would fail after long work, say what a report may lack."""
    check_ranges(args, RANGES)
    if min(args.horizons, default=1) < 1:
        raise ValueError(f"--horizons {' '.join(map(str, args.horizons))} given, expected steps of 1 or more.")
    if other_world(args.checkpoint) is None:
        import_memory_maze_tasks()  # if it is not installed, say so now
    if args.starts is not None:
        advice = "only there recorded walks can be taken again. Fix: leave --starts away."
        refuse_other_world(args.checkpoint, "--starts", advice, REAL_MAZE)
    for name in of_mazes(args.policies):
        refuse_other_world(args.checkpoint, f"--policies {name}", NOT_ELSEWHERE)
    known = {"world_model": fingerprint(args.checkpoint), "tokenizer": tokenizer_fingerprint(args.checkpoint)}
    found = gather_policies(args.policies, args.blend, bursts=args.bursts, **known)
    check_count(len(found))
    for policy in found:
        for name in ("denoising_steps", "precision"):
            if policy.trained_with.get(name, getattr(args, name)) != getattr(args, name):
                print(f"{policy.given}: trained with {name} = {policy.trained_with[name]}, measured like all others")
    for name, count in (("policies", len(found)), ("real_episodes", args.real_episodes)):
        if count < ADVISED[name]:
            print(f"{count} {name.replace('_', ' ')}: a report to rely on has {ADVISED[name]} or more.")
    return found, moments_of(args)


def moments_of(args: Args) -> list[Moment]:
    """Return a moment for each episode; none if episodes begin as the maze does."""
    if args.starts is None:
        return []
    count, latest = max(args.dream_episodes, args.real_episodes), REAL_STEPS - args.steps
    return read_moments(scan(args.starts).usable, count, args.context, args.lead, latest=latest)


def measure_all(args: Args, policies: list[NamedPolicy], moments: list[Moment]) -> dict[str, dict[str, Evaluation]]:
    """Return what every policy scored in both worlds, kept or measured now; say what is kept when interrupted."""
    with closing(make_dreams(args, "latent", 1)) as dreams:
        space = dreams.single_action_space

    def count_kept() -> str:
        decided = [decides(args, each, world, moments) for each in policies for world in WORLDS]
        kept = [is_kept(args.output / "policies", settings) for settings in decided]
        return f"{sum(kept)} of {len(kept)} measurements"

    found: dict[str, dict[str, Evaluation]] = {}
    print(f"{count_kept()} are in {args.output / 'policies'}.")
    try:
        for i, policy in enumerate(policies, start=1):
            told = f"{i}/{len(policies)} {policy.name}"
            found[policy.name] = {world: measured(args, policy, world, moments, space, told) for world in WORLDS}
    except KeyboardInterrupt:
        print(f"\nInterrupted: {count_kept()} are kept. The same command goes on with the others.")
        raise SystemExit(130) from None
    return found


def measured(args: Args, policy: NamedPolicy, world: str, moments: list[Moment], space: Any, told: str) -> Evaluation:
    """Return what a policy scored in a world: what is kept, or measured now."""
    worlds, first_seed = {world: world_of(args, policy, world, moments)}, first_seed_of(args)
    run = partial(measure, told, partial(policy.make, space, args.seed), worlds, steps=args.steps, seed=first_seed)
    decided, name = decides(args, policy, world, moments), f"{policy.name}-{world}"
    return keep_or_make(args.output / "policies", name, decided, lambda: run()[world])


def first_seed_of(args: Args) -> int:
    """Return the seed of the first episode: that of a maze, or the number of a moment."""
    return 0 if args.starts is not None else SEED_RANGES[args.mazes].start


def decides(args: Args, policy: NamedPolicy, world: str, moments: list[Moment]) -> dict[str, Any]:
    """Return all that decides what a policy scores in a world; of a real one, the world model only if it watches."""
    chosen = {"world": world, "steps": args.steps, "seed": args.seed, "first_seed": first_seed_of(args)}
    if moments:
        run = moments[: args.dream_episodes if world == "imagined" else args.real_episodes]
        chosen |= {
            "moments": digest({"of": [moment.digest for moment in run]}),
            "context": args.context,
            "lead": args.lead,
        }
    watching = {"world_model": fingerprint(args.checkpoint), "precision": args.precision}
    if world == "imagined":
        chosen |= watching | {"denoising_steps": args.denoising_steps, "device": args.device}
        return chosen | policy.decides | {"episodes": args.dream_episodes}
    return chosen | policy.decides | {"episodes": args.real_episodes} | (watching if policy.observation else {})


def world_of(args: Args, policy: NamedPolicy, world: str, moments: list[Moment]) -> World:
    """Return dreams, or the real maze, as the policy will see it; what looks at nothing gets what is cheapest."""
    if world == "imagined":
        dreams = partial(make_dreams, args, policy.observation or "latent", min(args.dream_episodes, 64))
        return World(lambda: closing(MomentsOfDreams(dreams(), moments) if moments else dreams()), args.dream_episodes)
    mazes = partial(
        watched_mazes, min(args.workers, args.real_episodes), args.steps, checkpoint=args.checkpoint,
        observation=policy.observation or "pixels", precision=args.precision, moments=moments,
    )  # fmt: skip
    return World(lambda: closing(mazes()), args.real_episodes)


def make_dreams(args: Args, observation: str, count: int) -> VectorEnv[Any, Any, Any]:
    """Return dreams that start from real first frames, as the real maze does."""
    return gymnasium.make_vec(
        DREAM, count, checkpoint=args.checkpoint, observation=observation, device=args.device, starts="first_frames",
        denoising_steps=args.denoising_steps, max_episode_steps=args.steps, precision=args.precision,
    )  # fmt: skip


def settings_of(args: Args, policies: list[NamedPolicy], moments: list[Moment]) -> dict[str, Any]:
    """Return what decides the result, without where things lie on this machine."""
    chosen = asdict(args)
    del chosen["output"], chosen["workers"], chosen["blend"]
    chosen["horizons"] = list(args.horizons)
    chosen["starts"] = None if args.starts is None else args.starts.name
    if moments:
        del chosen["mazes"]
        chosen["first_and_last_maze"] = [moments[0].seed, moments[-1].seed]
    chosen["policies"] = [{"name": policy.name, **policy.decides} for policy in policies]
    if args.checkpoint is not None:
        chosen["checkpoint"] = told_checkpoint(args.checkpoint)
    return chosen | {"world_model": fingerprint(args.checkpoint)}


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
