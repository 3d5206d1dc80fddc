"""Train PPO in dreams only, then measure it in dreams and in the real world: is the dream to be trusted?

    python experiments/dream_ppo.py --preset demo
    python experiments/dream_ppo.py --algorithm dqn --output runs/dream_dqn
    python experiments/dream_ppo.py --start-from runs/clone_behaviour --output runs/tuned_clone
    python experiments/dream_ppo.py --evaluate runs/dream_ppo
    python experiments/dream_ppo.py --resume --minutes 60

Writes into OUTPUT: `policy.zip` and `training.json` (once a minute while training, so a killed run can be evaluated or
go on), `result.json`, `dream_ppo.png`, `dream_beside_reality.gif` and TensorBoard events. Ctrl-C ends the training
early and goes on to the evaluation; SIGTERM saves and ends. Numbers that are not finite, or a policy that runs away,
end the training with a message, and what was saved before them stays. What was measured of an earlier policy in OUTPUT
is removed when training begins.

All policies, random and learned ones, are measured by the same code in both worlds, the real one being the maze or what
`world.json` of the checkpoint names: episodes of the same length, each from one real first frame, of seeds that no
recording for training has; `--bursts` of random actions keep them from standing at walls. `--beside pretrained-clone`
measures an agent that ships with wmgym, too: cloned from a teacher, it learned in no dream. Long dreams pay nobody
much, for they are soon without targets. `policy.zip` is SB3's format, with pickled parts: evaluate what you trust.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import tyro
from gymnasium.vector import VectorEnv
from tqdm import tqdm

import wmgym  # noqa: F401  (registers the ids)
from agents.algorithms import LABELS, as_sb3_names, check_rollout, with_defaults
from agents.comparison import as_table, compare_worlds
from agents.dream_settings import PRESETS as SETTINGS
from agents.dream_settings import DreamSettings, Preset
from agents.evaluate import RandomPolicy, estimate_seconds
from agents.exploration import WithBursts
from agents.fine_tuning import CriticWarmup, continue_policy, policy_to_continue
from agents.first_reward import EndAtReward
from agents.interfaces import Policy
from agents.learning_time import as_sentence, watch_learning
from agents.named_policies import NamedPolicy, told_policy
from agents.pessimism import Pessimism
from agents.pictures import dream_on, plot_learning_and_returns, record
from agents.policy_roster import NOT_ELSEWHERE, of_mazes, policies_beside
from agents.pretrained import folder_of
from agents.results import RESULT_FILE, file_digest, told_checkpoint, write_result
from agents.run_lock import only_run_in
from agents.sb3 import SB3Policy, load_learner, make_learner
from agents.time_budget import TimeBudget, TrainingProgress
from agents.training_folder import (
    POLICY_FILE,
    name_of_agent,
    policy_file,
    read_training,
    save_training,
    say_replaced,
    with_settings_of,
)
from agents.training_guard import learn_for
from agents.training_resume import resume_training
from agents.two_worlds import World, measure
from wmgym.arguments import SEEDS, Range, check_minutes, check_ranges
from wmgym.checkpoint import fingerprint, open_checkpoint, tokenizer_fingerprint
from wmgym.heap import keep_freed_memory
from wmgym.parts import DREAM_PARTS
from wmgym.plain_errors import plain_errors
from wmgym.recording import SEED_RANGES
from wmgym.watched_mazes import longest_episode, refuse_other_world, watched_maze, watched_mazes

DREAM = "LSSVWM-MemoryMaze-v0"
DISAGREEMENT_SAMPLES = 2  # enough, because a latent has a thousand numbers
PICTURE_FILE, FILM_FILE = "dream_ppo.png", "dream_beside_reality.gif"
RANDOM = ("random policy", "random policy with bursts")
RESERVE = 45.0  # seconds kept for starting processes, pictures, loading and saving
COUNTS = ("num_envs", "horizon", "rollout", "dream_episodes", "workers")
RANGES: dict[str, Range] = dict.fromkeys(COUNTS, (1, math.inf)) | {
    "real_episodes": (0, math.inf), "bursts": (0, 1), "learning_rate": (0, 1),
    "entropy": (0, 1_000), "discount": (0, 1), "critic_warmup": (0, math.inf), "pessimism": (0, 1_000),
    "save_every": (1, 86_400), "seed": SEEDS,
}  # fmt: skip
SEEN_BY_POLICY = ("observation", "algorithm", "denoising_steps", "precision")
CHOSEN_BY_ALGORITHM = ("learning_rate", "rollout", "entropy", "critic_warmup")
OF_DREAMS = ("num_envs", "horizon", "end_at_reward", "starts", "pessimism")
LEARNING = (*CHOSEN_BY_ALGORITHM, *OF_DREAMS, "discount", "start_from", "seed")


@dataclass(frozen=True)
class Args(DreamSettings):
    """Train PPO in dreams only, then measure it in dreams and in the real maze; settings: agents/dream_settings.py."""

    output: Path = Path("runs/dream_ppo")
    """Folder for everything that is written."""


PRESETS: dict[Preset, Args] = {name: Args(**vars(settings)) for name, settings in SETTINGS.items()}
PRESETS["tiny"] = replace(PRESETS["tiny"], output=Path("runs/dream_ppo_tiny"))


def main(args: Args) -> dict[str, Any]:
    """Train if asked to, evaluate, write and print; return the result."""
    started = time.monotonic()
    keep_freed_memory()
    args = prepared(args)
    with only_run_in(args.output):
        return train_and_judge(args, started)


def train_and_judge(args: Args, started: float) -> dict[str, Any]:
    """Do so in the folder of the output, which is there."""
    with closing(make_dreams(args, min(args.dream_episodes, 64), args.steps)) as dreams:
        space = dreams.single_action_space
        explore = partial(WithBursts, action_space=space, start=args.bursts, seed=args.seed)
        makers: dict[str, Callable[[], Policy]] = {RANDOM[0]: lambda: RandomPolicy(space, args.seed)}
        if args.bursts:
            makers[RANDOM[1]] = lambda: explore(RandomPolicy(space, args.seed))
        blind = replace(args, observation="pixels")  # what looks at nothing needs no model that watches the maze
        compared = partial(measure, steps=args.steps, seed=SEED_RANGES[args.mazes].start)
        found = {name: compared(name, make_policy, worlds_of(blind, dreams)) for name, make_policy in makers.items()}
        others = beside(args, lambda line: None)
        for policy in others:
            make = partial(policy.make, space, args.seed)
            found[policy.name] = compared(policy.name, make, seen_by(policy, args, dreams))
        if args.evaluate is None:
            left = 60 * args.minutes - RESERVE - evaluation_seconds(args, dreams) - (time.monotonic() - started)
            train(args, max(left, 60 * args.minutes / 4))
        learner = load_learner(args.output / POLICY_FILE, args.algorithm)
        training = read_training(args.output)
        agent = name_of_agent(training["config"])
        found[agent] = compared(agent, lambda: explore(SB3Policy(learner, args.seed)), worlds_of(args, dreams))
    metrics = compare_worlds(found)
    progress = training["progress"]
    known = {"minutes": round(progress["seconds"] / 60, 2), "horizon": training["config"]["horizon"]}
    metrics["training"] = progress | known
    plot_learning_and_returns(metrics, args.output / PICTURE_FILE)
    if args.real_episodes:
        save_side_by_side(args, explore(SB3Policy(learner, args.seed)), args.output / FILM_FILE)
    config = settings_of(args, training["config"]["start_from_policy"])
    config |= {"beside_are": {policy.name: policy.decides for policy in others}} if others else {}
    result = write_result(
        args.output, experiment="dream_ppo", config=config, seed=args.seed,
        minutes=(time.monotonic() - started) / 60, metrics=metrics,
    )  # fmt: skip
    if progress.get("parts"):
        print(f"{LABELS[args.algorithm]} made {as_sentence(progress['parts'], progress['steps'])}")
    print(f"\n{as_table(metrics)}\nEverything is in {args.output}; curves: tensorboard --logdir {args.output}")
    return result


def prepared(args: Args) -> Args:
    """Return arguments with what a training before decides; refuse now what would fail after long work."""
    check_minutes(args.minutes)
    args = args if args.start_from is None else replace(args, start_from=folder_of(args.start_from))
    args, usual = with_fitting_steps(args), PRESETS[args.preset]
    check_ranges(args, RANGES)
    world_model = fingerprint(args.checkpoint)
    if sum(map(bool, (args.evaluate, args.resume, args.start_from))) > 1:
        raise ValueError(
            "of --evaluate, --resume and --start-from several were given, expected one: the first trains nothing, the "
            "second goes on as before, the third begins a new training."
        )
    if args.evaluate is not None:
        args = replace(
            with_settings_of(args.evaluate, args, usual, world_model, SEEN_BY_POLICY + LEARNING), output=args.evaluate
        )
    elif args.resume:
        args = with_settings_of(args.output, args, usual, world_model, SEEN_BY_POLICY + LEARNING)
    elif args.start_from is not None:
        if args.start_from.resolve() == args.output.resolve():
            raise ValueError(f"--start-from and --output are both {args.output}, expected another folder to write to.")
        tokenizer = tokenizer_fingerprint(args.checkpoint)
        before = policy_to_continue(args.start_from, args.algorithm, world_model, tokenizer=tokenizer)
        args = with_settings_of(args.start_from, args, usual, world_model, ("observation",), tokenizer=tokenizer)
        args = replace(args, algorithm=before.algorithm)
    if args.evaluate is None and not args.resume:
        given = {name: getattr(args, name) for name in CHOSEN_BY_ALGORITHM}
        args = replace(args, **with_defaults(args.algorithm, given, fine_tuning=args.start_from is not None))
        check_rollout(args.algorithm, args.rollout or 1, args.num_envs)
    if args.resume or args.evaluate is not None:
        load_learner(args.output / POLICY_FILE, args.algorithm)  # if it is damaged, say so now
    beside(args, print)  # if one does not fit, say so now
    if args.evaluate is None:
        open_checkpoint(args.checkpoint).starts(args.starts)  # if there are none, say so now
    return args


def beside(args: Args, say: Callable[[str], object]) -> list[NamedPolicy]:
    """Return the policies to measure beside what learns; see `policies_beside` for what is refused."""
    models = {"world_model": fingerprint(args.checkpoint), "tokenizer": tokenizer_fingerprint(args.checkpoint)}
    begun = args.start_from and told_policy(str(args.start_from))
    names = (*RANDOM, name_of_agent({"algorithm": args.algorithm, "start_from": begun}))
    found = policies_beside(args.beside, names, bursts=args.bursts, say=say, **models)
    for text in of_mazes(args.beside):
        refuse_other_world(args.checkpoint, f"--beside {text}", NOT_ELSEWHERE)
    return found


def seen_by(policy: NamedPolicy, args: Args, dreams: VectorEnv[Any, Any, Any]) -> dict[str, World]:
    """Return both worlds as a policy sees them; dreams are shared with others that see the same, or look at nothing."""
    if policy.observation in (None, args.observation):
        return worlds_of(args if policy.observation else replace(args, observation="pixels"), dreams)
    other: Any = replace(args, observation=policy.observation)
    own = partial(make_dreams, other, dreams.num_envs, args.steps)
    return worlds_of(other, dreams) | {"imagined": World(lambda: closing(own()), args.dream_episodes)}


def with_fitting_steps(args: Args) -> Args:
    """Return arguments whose steps, if they were not chosen, are at most those of the real world's episodes."""
    limit, chosen = longest_episode(args.checkpoint), args.steps != PRESETS[args.preset].steps
    check_ranges(args, {"steps": (1, limit)} if chosen else {})
    return args if chosen else replace(args, steps=min(args.steps, limit))


def make_real_mazes(args: Args) -> VectorEnv[Any, Any, Any]:
    """Return the real mazes to evaluate in, one a process."""
    return watched_mazes(min(args.workers, args.real_episodes), args.steps, **watching(args))


def watching(args: Args) -> dict[str, Any]:
    """Return how real mazes are shown as dreams are."""
    return {name: getattr(args, name) for name in ("checkpoint", "observation", "precision")}


def make_dreams(
    args: Args, count: int, steps: int, starts: str = "first_frames", samples: int = 0
) -> VectorEnv[Any, Any, Any]:
    """Return dreams that end after so many steps."""
    return gymnasium.make_vec(
        DREAM, count, checkpoint=args.checkpoint, observation=args.observation, device=args.device, starts=starts,
        denoising_steps=args.denoising_steps, max_episode_steps=steps, precision=args.precision, compile=args.compile,
        disagreement_samples=samples,
    )  # fmt: skip


def worlds_of(args: Args, dreams: VectorEnv[Any, Any, Any]) -> dict[str, World]:
    """Return dreams and the real maze, to be measured in."""
    return {
        "imagined": World(lambda: nullcontext(dreams), args.dream_episodes),
        "real": World(lambda: closing(make_real_mazes(args)), args.real_episodes),
    }


def evaluation_seconds(args: Args, dreams: VectorEnv[Any, Any, Any]) -> float:
    """Return about how long it takes to evaluate a policy in all worlds."""
    seconds = estimate_seconds(dreams, episodes=args.dream_episodes, steps=args.steps)
    if args.real_episodes:
        with closing(make_real_mazes(args)) as env:
            seconds += estimate_seconds(env, episodes=args.real_episodes, steps=args.steps)
    return seconds


def make_training_dreams(args: Args) -> VectorEnv[Any, Any, Any]:
    """Return the dreams to train in."""
    samples = DISAGREEMENT_SAMPLES if args.pessimism else 0
    dreams = make_dreams(args, args.num_envs, args.horizon, args.starts, samples)
    env = EndAtReward(dreams) if args.end_at_reward else dreams
    return Pessimism(env, args.pessimism) if args.pessimism else env


def train(args: Args, seconds: float) -> None:
    """Train in dreams for so long, and save."""
    label = f"{LABELS[args.algorithm]} in dreams"
    with closing(make_training_dreams(args)) as env, tqdm(total=round(seconds), unit="s", desc=label) as bar:

        def show(progress: TrainingProgress) -> None:
            bar.update(min(round(progress.seconds - earlier.seconds), bar.total) - bar.n)
            if progress.curve:
                imagined_return = f"{progress.curve[-1]['return']:.2f}"
                bar.set_postfix(steps=progress.steps, imagined_return=imagined_return, refresh=False)

        learner, earlier = learner_of(args, env, bar.write)
        save = partial(save_training, args.output, settings_of(args, policy_begun_with(args)))
        warmup = CriticWarmup(args.critic_warmup or 0)
        with watch_learning(learner, DREAM_PARTS) as parts:
            budget = TimeBudget(seconds, save=save, show=show, save_every=args.save_every, earlier=earlier, parts=parts)
            if not args.resume:
                say_replaced(args.output, bar.write)
            for stale in (RESULT_FILE, PICTURE_FILE, FILM_FILE):
                (args.output / stale).unlink(missing_ok=True)  # of the policy before
            learn_for(learner, budget, also=[warmup], goes_on=args.resume, name=args.algorithm, say=bar.write)


def learner_of(args: Args, env: VectorEnv[Any, Any, Any], say: Callable[[str], Any]) -> tuple[Any, TrainingProgress]:
    """Return what learns, and how far it has come."""
    if args.resume:
        return resume_training(args.output, args.algorithm, env, seed=args.seed, say=say)
    settings = as_sb3_names(
        args.algorithm, learning_rate=args.learning_rate, rollout=args.rollout, entropy=args.entropy,
        discount=args.discount,
    )  # fmt: skip
    settings |= {"seed": args.seed, "tensorboard": args.output / "tensorboard"}
    if args.start_from is None:
        return make_learner(args.algorithm, env, **settings), TrainingProgress()
    world_model, tokenizer = fingerprint(args.checkpoint), tokenizer_fingerprint(args.checkpoint)
    before = policy_to_continue(args.start_from, args.algorithm, world_model, tokenizer=tokenizer)
    return continue_policy(before, env, **settings), TrainingProgress()


def save_side_by_side(args: Args, policy: Policy, path: Path, context: int = 40, horizon: int = 120) -> None:
    """Draw a dream beside reality: from the same real frames, under the actions a policy took in reality."""
    context, horizon = min(context, args.steps // 2), min(horizon, args.steps // 2)
    kwargs = {"checkpoint": args.checkpoint, "denoising_steps": args.denoising_steps, "device": args.device}
    with closing(watched_maze(args.steps, **watching(args))) as real, closing(gymnasium.make(DREAM, **kwargs)) as dream:
        frames, actions = record(real, policy, context + horizon, seed=SEED_RANGES[args.mazes].start)
        context = min(context, len(frames) // 2)  # where the episode was over before
        dream_on(dream, frames, actions, context=context, seed=args.seed, path=path)


def policy_begun_with(args: Args) -> str | None:
    """Return the digest of the policy that a training goes on from, if there is one; with --resume the recorded one."""
    if args.resume:
        recorded: str | None = read_training(args.output)["config"]["start_from_policy"]
        return recorded
    return None if args.start_from is None else file_digest(policy_file(args.start_from))


def settings_of(args: Args, begun_with: str | None = None) -> dict[str, Any]:
    """Return what decides the result, without where things lie on this machine."""
    chosen = asdict(args)
    del chosen["output"]
    if args.checkpoint is not None:
        chosen["checkpoint"] = told_checkpoint(args.checkpoint)
    chosen["beside"] = [told_policy(text) for text in args.beside]
    folders = {name: getattr(args, name) for name in ("start_from", "evaluate")}
    chosen |= {name: folder and told_policy(str(folder)) for name, folder in folders.items()}
    known = {"world_model": fingerprint(args.checkpoint), "tokenizer": tokenizer_fingerprint(args.checkpoint)}
    return chosen | {"start_from_policy": begun_with} | known


def parse(arguments: list[str]) -> Args:
    """Read the command line: first the preset, then what differs from it."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(PRESETS), default="demo")
    preset = first.parse_known_args(arguments)[0].preset
    return tyro.cli(Args, args=arguments, default=PRESETS[preset], description=__doc__)


if __name__ == "__main__":
    with plain_errors():
        main(parse(sys.argv[1:]))
