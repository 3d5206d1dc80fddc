"""Play the real maze by planning in dreams: what is seen goes into the model's memory, and dreams go on from there.

    python experiments/plan_mpc.py
    python experiments/train_critic.py --recordings recordings/explorer --validation recordings/explorer_validation
    python experiments/plan_mpc.py --critic runs/critic --also-without-critic --real-episodes 20

Before every few steps the planner dreams how sequences of actions would go on from what was really seen, and takes the
beginning of the best. It plans for all mazes at once. The same agent plays dreams too, of which it sees the frames
only, as of the real maze, so that returns in both worlds can be compared. All policies meet the same mazes.

Writes into OUTPUT: `result.json`, `plan_mpc.gif` (each real frame beside the one imagined for it), and `rounds/`: the
episodes that are finished. Ctrl-C, or a crash, loses the round under way only: the same command goes on after it.
"""

import hashlib
import json
import math
import time
from contextlib import closing
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tyro
from gymnasium.spaces import Discrete

from agents.comparison import as_table, compare_worlds
from agents.critic_folder import WEIGHTS_FILE
from agents.evaluate import RandomPolicy
from agents.exploration import WithBursts
from agents.interfaces import Policy
from agents.plan_film import film_plans
from agents.planner_guides import PRIOR_ALONE, Guides, load_guides
from agents.planner_settings import NAMES, Planner, PlannerSettings
from agents.pretrained import folder_of
from agents.results import file_digest, told_checkpoint, write_result
from agents.rounds import MakePolicy, Measured, measure_in_rounds
from agents.run_lock import only_run_in
from agents.sb3 import SB3Policy
from agents.training_folder import policy_file
from agents.two_worlds import World
from agents.watching import ShownInstead, WatchingPolicy
from wmgym.arguments import SEEDS, Range, check_ranges
from wmgym.checkpoint import Checkpoint, fingerprint, open_checkpoint, tokenizer_fingerprint
from wmgym.followed import FollowedDreams
from wmgym.heap import keep_freed_memory
from wmgym.memory_maze_setup import import_memory_maze_tasks
from wmgym.plain_errors import plain_errors
from wmgym.recording import SEED_RANGES
from wmgym.vector_env import DreamVectorEnv
from wmgym.watched_mazes import REAL_STEPS, other_world, watched_maze, watched_mazes

COUNTS = ("horizon", "hold", "candidates", "iterations", "replan_every", "branches", "mazes_at_once")
RANGES: dict[str, Range] = dict.fromkeys(COUNTS, (1, math.inf)) | {
    "discount": (0, 1), "bursts": (0, 1), "planner_bursts": (0, 1), "temperature": (0, 100), "steps": (1, REAL_STEPS),
    "real_episodes": (0, math.inf), "dream_episodes": (0, math.inf), "film_steps": (0, REAL_STEPS), "seed": SEEDS,
}  # fmt: skip


@dataclass(frozen=True)
class Args:
    """Play the real maze by planning in dreams."""

    planner: Planner = "cem"
    """cem learns which actions the best sequences have, mppi weighs all of them, shooting tries at random, tree grows
    the likeliest futures action by action."""
    horizon: int = 4
    """Actions of a plan: it looks horizon * hold steps ahead. Dreams are near reality for 10 to 20, and the further a
    dream has gone, the less a critic knows of its frames."""
    hold: int = 2
    """Steps that each action is taken for; a step is 18 degrees or a quarter of a cell, so one alone does little."""
    candidates: int = 64
    """Sequences that each iteration tries; of a tree, its simulations."""
    iterations: int = 1
    """How often cem and mppi draw, try and learn for one plan."""
    replan_every: int = 2
    """Actions of a plan that are taken before the next is made."""
    discount: float | None = None
    """Of a step; by default the critic's, and 0.97 without one."""
    critic: Path | None = None
    """Folder of train_critic.py: what a plan's last frame is worth. Without it, plans see only rewards within them."""
    also_without_critic: bool = False
    """Measure the same planner without its critic, too: what is the critic good for?"""
    prior: Path | None = None
    """Folder of a policy without an LSTM, trained or cloned, or pretrained-clone, which ships with wmgym: a tree tries
    first what it would do."""
    also_prior_alone: bool = False
    """Measure the policy of --prior without planning, too, with the planner's bursts. What differs is planning, and
    that a tree does not visit actions that the policy takes in less than one of --candidates steps."""
    temperature: float = 0.0
    """Of a tree: 0 takes the action that was visited most; else it is drawn in proportion to visits ** (1 /
    temperature)."""
    branches: int = 256
    """Dreams that are stepped at a time, which bounds the memory needed; told before anything begins."""
    planner_bursts: float = 0.0
    """Probability, at a step of the planner, that one random action begins to be repeated 2 to 8 times; for planners
    that stand still."""
    bursts: float = 0.08
    """The same of the random policy that it is compared with."""
    steps: int = REAL_STEPS
    """Steps of an episode, in both worlds."""
    real_episodes: int = 20
    """Episodes in the real maze; 0 leaves it out, and needs no memory-maze."""
    dream_episodes: int = 4
    """Episodes in dreams; 0 leaves them out."""
    mazes_at_once: int = 4
    """Episodes that are played at a time, real ones in a process each; a round of so many is kept when it is over."""
    mazes: Literal["validation", "test"] = "test"
    """Which held-out real mazes; choose settings on validation only."""
    film_steps: int = 120
    """Steps of the film, in the first maze; 0 for none."""
    output: Path = Path("runs/plan_mpc")
    """Folder for everything that is written."""
    checkpoint: str | None = None
    """World model: a folder or a Hugging Face Hub id; the shipped one by default."""
    denoising_steps: int = 1
    """Sampler steps for a dreamed frame; 1 stays nearest to reality for some steps, and is fastest."""
    device: str = "cpu"
    """Where to dream: cpu or cuda."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the dreams; bfloat16 is faster where the processor or GPU multiplies it natively."""
    compile: bool = False
    """Compile what dreams: faster, after a minute or two; takes a C++ compiler."""
    seed: int = 0
    """Fixes plans, bursts and dreams."""


def main(args: Args) -> dict[str, Any]:
    """Plan and play, write and print; return the result."""
    started = time.monotonic()
    guides = prepared(args)
    keep_freed_memory()
    with only_run_in(args.output):
        return play(args, guides, started)


def play(args: Args, guides: Guides, started: float) -> dict[str, Any]:
    """Do so in the folder of the output, which is there."""
    opened = open_checkpoint(args.checkpoint, args.device)
    places = guides.settings.places(args.branches, args.mazes_at_once)
    with closing(make_dreams(args, opened, places, guides.observation)) as scratch:
        scratch.reset(seed=args.seed)
        planning = told_memory(args, guides.settings, scratch.state_nbytes)
        random = partial(make_random, args, scratch)
        plan = partial(make_planner, args, opened, scratch)
        try:
            name = f"random policy{' with bursts' if args.bursts else ''}"
            found = {name: measure(args, opened, name, random, decisive(args))}
            if args.also_prior_alone:
                alone = partial(make_prior_alone, args, opened, scratch, guides)
                kept = decisive(args, guides)
                alike = decisive(args) | {key: kept[key] for key in ("prior", "planner_bursts")}
                del alike["bursts"]  # of the random policy
                found[PRIOR_ALONE] = measure(args, opened, PRIOR_ALONE, alone, alike)
            if args.also_without_critic:
                blind, name = replace(guides, critic=None), name_of_planner(args, critic=False)
                alike = decisive(args, guides) | {"critic": None}
                found[name] = measure(args, opened, name, lambda rows, seed: plan(blind, rows, seed)[0], alike)
            name = name_of_planner(args, critic=args.critic is not None)
            alike = decisive(args, guides)
            found[name] = measure(args, opened, name, lambda rows, seed: plan(guides, rows, seed)[0], alike)
            if args.real_episodes and args.film_steps:
                planning["film_mean_difference"] = save_film(args, opened, guides)
        except KeyboardInterrupt:
            print(f"\nInterrupted. Finished rounds are kept in {args.output / 'rounds'}: the same command goes on.")
            raise SystemExit(130) from None
    metrics = compare_worlds({name: {w: m.evaluation for w, m in worlds.items()} for name, worlds in found.items()})
    planning["dreamed_steps_per_step"] = guides.settings.dreamed_steps
    planning["seconds_per_act"] = {
        name: {world: m.seconds / m.acts for world, m in worlds.items()} for name, worlds in found.items()
    }
    minutes = (time.monotonic() - started) / 60
    result = write_result(
        args.output, experiment="plan_mpc", config=settings_of(args, guides), seed=args.seed, minutes=minutes,
        metrics=metrics | {"planning": planning},
    )  # fmt: skip
    print(f"\n{as_table(metrics)}\nEverything is in {args.output}.")
    return result


def name_of_planner(args: Args, *, critic: bool) -> str:
    """Return what to call the planner, by what helps it; its critic may be left out."""
    helpers = [name for name, helps in (("prior", args.prior is not None), ("critic", critic)) if helps]
    name = NAMES[args.planner] + (f" with {' and '.join(helpers)}" if helpers else "")
    left_out = args.critic is not None and not critic
    return f"{name}{',' if helpers else ''} without critic" if left_out else name


def prepared(args: Args) -> Guides:
    """Return what the planner goes by; refuse now what would fail after long work.

    Raises:
        DependencyError: The real maze is to be played, and not installed.
        FileNotFoundError: There is no critic or policy.
        ValueError: Settings do not fit together, or a critic or policy is damaged or of another world model.
    """
    check_ranges(args, RANGES)
    if not args.real_episodes and not args.dream_episodes:
        raise ValueError("--real-episodes 0 --dream-episodes 0 given, expected one of them to be more: nothing to do.")
    if args.real_episodes and other_world(args.checkpoint) is None:
        import_memory_maze_tasks()  # if it is not installed, say so now
    if not isinstance(space := open_checkpoint(args.checkpoint).action_space, Discrete):
        raise ValueError(
            f"--checkpoint {args.checkpoint} given, a model of {space}, expected one of Discrete actions: so are the "
            "plans of --planner. Fix: dream_ppo.py for other actions, or agents.mpc with GaussianCEM for a Box."
        )
    if args.also_without_critic and args.critic is None:
        raise ValueError("--also-without-critic given, expected --critic with it: there is none to leave out.")
    if args.also_prior_alone and args.prior is None:
        raise ValueError("--also-prior-alone given, expected --prior with it: there is no policy to measure.")
    for name in ("prior", "temperature"):
        if getattr(args, name) and args.planner != "tree":
            raise ValueError(f"--{name} given with --planner {args.planner}, expected tree: only trees have such.")
    settings = {f.name: getattr(args, f.name) for f in fields(PlannerSettings)}
    known = {"world_model": fingerprint(args.checkpoint), "tokenizer": tokenizer_fingerprint(args.checkpoint)}
    return load_guides(settings, critic=args.critic, prior=args.prior, **known)


def make_dreams(args: Args, opened: Checkpoint, count: int, observation: str, **settings: Any) -> DreamVectorEnv:
    """Return dreams, to plan or to play in."""
    return DreamVectorEnv(
        count, checkpoint=opened, observation=observation, device=args.device, precision=args.precision,
        denoising_steps=args.denoising_steps, **{"compile": args.compile} | settings,
    )  # fmt: skip


def told_memory(args: Args, settings: PlannerSettings, state_nbytes: int) -> dict[str, Any]:
    """Say, and return, what states take at most."""
    states = settings.states_at_once(args.branches, args.mazes_at_once)
    places = settings.places(args.branches, args.mazes_at_once)
    print(
        f"{places} branches in flight; a state takes {state_nbytes / 1e6:.2f} MB, the {states} that there are at a "
        f"time {states * state_nbytes / 1e6:.0f} MB at most. --branches bounds it."
    )
    return {"branches": places, "state_nbytes": state_nbytes, "most_bytes_of_states": states * state_nbytes}


def make_random(args: Args, scratch: DreamVectorEnv, rows: int, seed: int) -> Policy:
    """Return the baseline: random actions, and bursts of them."""
    space, own = scratch.single_action_space, args.seed + seed
    return WithBursts(RandomPolicy(space, own), space, start=args.bursts, seed=own)


def make_planner(
    args: Args, opened: Checkpoint, scratch: DreamVectorEnv, guides: Guides, rows: int, seed: int
) -> tuple[Policy, FollowedDreams]:
    """Return a planner for so many environments, and what tells it where they stand."""
    own = args.seed + seed
    followed = FollowedDreams(rows, opened, device=args.device, precision=args.precision, seed=own)
    agent = guides.settings.agent(
        scratch, rows=rows, seed=own, root=followed.states, critic=guides.critic, prior=guides.prior,
        root_observations=lambda: followed.observations(guides.observation),
    )  # fmt: skip
    return bursting(args, scratch, agent, own, followed), followed


def make_prior_alone(
    args: Args, opened: Checkpoint, scratch: DreamVectorEnv, guides: Guides, rows: int, seed: int
) -> Policy:
    """Return the policy that leads the planner as it is, seeing what the planner shows it."""
    own = args.seed + seed
    followed = FollowedDreams(rows, opened, device=args.device, precision=args.precision, seed=own)
    assert guides.learner is not None
    alone: Policy = SB3Policy(guides.learner, own)
    if guides.observation != "pixels":  # which it is given, as they are
        alone = ShownInstead(alone, lambda: followed.observations(guides.observation))
    return bursting(args, scratch, alone, own, followed)


def bursting(args: Args, scratch: DreamVectorEnv, agent: Policy, seed: int, followed: FollowedDreams) -> Policy:
    """Return an agent with the planner's bursts, of which what follows the environments is told."""
    acting = WithBursts(agent, scratch.single_action_space, start=args.planner_bursts, seed=seed)
    return WatchingPolicy(acting, followed.observe)


def measure(
    args: Args, opened: Checkpoint, name: str, make: MakePolicy, settings: dict[str, Any]
) -> dict[str, Measured]:
    """Measure a policy in both worlds, of which it sees frames; rounds that were finished before are not run again."""
    sizes = {"imagined": args.dream_episodes, "real": args.real_episodes}
    found = {}
    for where, episodes in sizes.items():
        if not episodes:
            continue
        rows = min(args.mazes_at_once, episodes)
        worlds = {
            "imagined": partial(make_dreams, args, opened, rows, "pixels", max_episode_steps=args.steps, compile=False),
            "real": partial(watched_mazes, rows, args.steps, checkpoint=args.checkpoint, observation="pixels"),
        }
        kept = settings | {"policy": name, "world": where, "rows": rows}
        digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]
        found[where] = measure_in_rounds(
            f"{name}, {where}", make, World(partial(opening, worlds[where]), episodes), steps=args.steps,
            seed=SEED_RANGES[args.mazes].start, file=args.output / "rounds" / f"{where}-{digest}.json", settings=kept,
        )  # fmt: skip
    return found


def opening(make: Any) -> Any:
    """Return what makes environments and closes them."""
    return closing(make())


def save_film(args: Args, opened: Checkpoint, guides: Guides) -> float:
    """Draw what the planner imagined in the first real maze beside what happened; return how far they are apart."""
    branches = guides.settings.places(args.branches, 1)
    with (
        closing(make_dreams(args, opened, branches, guides.observation, compile=False)) as scratch,
        closing(make_dreams(args, opened, 1, "pixels", compile=False)) as dream,
        closing(watched_maze(args.steps, checkpoint=args.checkpoint, observation="pixels")) as real,
    ):
        policy, followed = make_planner(args, opened, scratch, guides, 1, SEED_RANGES[args.mazes].start)
        return film_plans(
            real, policy, dream, followed.states, steps=min(args.film_steps, args.steps), every=guides.settings.every,
            seed=SEED_RANGES[args.mazes].start, path=args.output / "plan_mpc.gif",
        )  # fmt: skip


def settings_of(args: Args, guides: Guides) -> dict[str, Any]:
    """Return what decides the result, without where things lie on this machine."""
    chosen = asdict(args) | {"discount": guides.settings.discount}
    del chosen["output"]
    if args.critic is not None:
        chosen["critic"] = f"{args.critic.name} {file_digest(args.critic / WEIGHTS_FILE)}"
    if args.prior is not None:
        chosen["prior"] = f"{args.prior.name} {file_digest(policy_file(folder_of(args.prior)))}"
    if args.checkpoint is not None:
        chosen["checkpoint"] = told_checkpoint(args.checkpoint)
    return chosen | {"world_model": fingerprint(args.checkpoint)}


def decisive(args: Args, guides: Guides | None = None) -> dict[str, Any]:
    """Return what decides the returns of a planner, or, without one, of the baseline."""
    if guides is None:
        names = ("seed", "steps", "bursts", "mazes", "denoising_steps", "precision")
        return {name: getattr(args, name) for name in names} | {"world_model": fingerprint(args.checkpoint)}
    chosen = settings_of(args, guides)
    for name in ("real_episodes", "dream_episodes", "mazes_at_once", "bursts", "film_steps"):
        del chosen[name]
    del chosen["also_without_critic"], chosen["also_prior_alone"]
    if not chosen["temperature"]:  # as it was before there was any: rounds of then go on
        del chosen["temperature"]
    return chosen


if __name__ == "__main__":
    with plain_errors():
        main(tyro.cli(Args, description=__doc__))
