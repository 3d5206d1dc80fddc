"""The world that a command line asks to record, looked at before any of it is recorded."""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gymnasium.spaces import Discrete

from wmgym.errors import ImageWorldError, RecordingError
from wmgym.recorded_world import RecordedWorld, make_image_world, time_limit
from wmgym.recording import read_frame_size, read_summary, scan

OWN_STEPS = {
    "wmgym/MemoryMaze-9x9-v0": 1000,
    "wmgym/MemoryMaze-11x11-v0": 2000,
    "wmgym/MemoryMaze-13x13-v0": 3000,
    "wmgym/MemoryMaze-15x15-v0": 4000,
    "wmgym/TextureWorld-v0": 1000,
}
"""Steps of an episode in the worlds that have walkers of their own, and are recorded as they are drawn."""
AGENT = "agent "
"""How the names of agents begin in recordings, before their own."""
FRAME_SIZE = 64
"""Of the frames of all others, unless told otherwise."""


def drawn_size(env: str) -> int:
    """Return how many pixels the frames of a world have along each side, unless told otherwise."""
    return 32 if "TextureWorld" in env else FRAME_SIZE


def look_at_world(
    env: str,
    *,
    env_args: str = "{}",
    pixels: str = "observation",
    image_key: str | None = None,
    frame_size: int | None = None,
    rewards: str = "real",
    max_steps: int | None = None,
) -> RecordedWorld:
    """Return what will be recorded; a world that is not wmgym's own is made once, to see that it can be.

    Args:
        env: Id, or `module:id`.
        env_args: Arguments of `gymnasium.make`, as JSON.
        pixels: See `wmgym.image_world.ImageWorld`, as of the next three.
        image_key: Likewise.
        frame_size: None for the default.
        rewards: Likewise.
        max_steps: End episodes after so many steps.

    Raises:
        ImageWorldError: It cannot be made, shows no images, or has no time limit and none is given.
        ValueError: Another argument does not fit.
    """
    size = frame_size or drawn_size(env)
    if env in OWN_STEPS:
        if (env_args, pixels, image_key, rewards) != ("{}", "observation", None, "real"):
            raise ValueError(
                f"--env-args, --pixels, --image-key or --rewards given with {env}, which is recorded as it is: leave "
                "them away."
            )
        actions = Discrete(5 if "TextureWorld" in env else 6)
        return RecordedWorld(env, actions, min(OWN_STEPS[env], max_steps or OWN_STEPS[env]), frame_size=size)
    kwargs = read_env_args(env_args)
    made = make_image_world(
        env, kwargs, pixels=pixels, image_key=image_key, frame_size=size, rewards=rewards, max_episode_steps=max_steps
    )
    try:
        limits = [limit for limit in (max_steps, time_limit(made)) if limit is not None]
        if not limits:
            raise ImageWorldError(
                f"{env} tells no time limit, expected one: an episode might never end. Fix: --max-steps 500, say."
            )
        made.reset(seed=0)  # a first frame of the wrong kind shows now
        return RecordedWorld(env, made.action_space, min(limits), kwargs, pixels, image_key, size, rewards)
    finally:
        made.close()


def read_env_args(text: str) -> dict[str, Any]:
    """Return keyword arguments.

    Raises:
        ValueError: The text is no JSON object.
    """
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ValueError(f"--env-args {text} given, expected JSON such as '{{\"size\": 6}}': {error}.") from error
    if not isinstance(given, dict):
        raise ValueError(f"--env-args {text} given, expected a JSON object such as '{{\"size\": 6}}'.")
    return given


def other_facts(before: RecordedWorld, now: RecordedWorld) -> list[str]:
    """Return by what two recordings of one environment differ, apart from when episodes are ended; nothing if not."""
    was, is_now = before.to_json(), now.to_json()
    return [
        f"{key} {was[key]!r} there, {is_now[key]!r} asked for"
        for key in was
        if key != "max_episode_steps" and was[key] != is_now[key]
    ]


def recorded_seeds(folder: Path, say: Callable[[str], object]) -> set[int]:
    """Return the seeds that the names of a folder's files tell.

    Args:
        folder: Of episodes; it need not be there.
        say: Told of each file whose name tells none; it is ignored.
    """
    seeds = set()
    for path in sorted(folder.glob("seed-*.npz")):
        if re.fullmatch(r"seed-[0-9]+", path.stem):
            seeds.add(int(path.stem.removeprefix("seed-")))
        else:
            say(f"ignored {path}: its name tells no seed, expected one such as seed-00000007.npz")
    return seeds


def survey(folder: Path) -> tuple[dict[Path, tuple[int, float, str]], dict[Path, str]]:
    """Return frames, return and policy of each sound episode of a folder, and why the other files cannot be used."""
    if not folder.is_dir():
        return {}, {}
    found = scan(folder)
    sound, unusable = {}, dict(found.unusable)
    for path in found.usable:
        try:
            sound[path] = read_summary(path)
        except RecordingError as error:
            unusable[path] = str(error)
    return sound, unusable


def refuse_mixed_worlds(
    summary_file: Path, env: str, asked: RecordedWorld, agent: dict[str, Any] | None = None
) -> None:
    """Refuse a folder whose summary says that it holds episodes of another world, or recorded in another way.

    So are those of one agent when it is another by now: trained again, say.

    Args:
        summary_file: Of the folder; none of a new one.
        env: Id of the world asked for.
        asked: What is asked for.
        agent: What tells the agent that shall walk from all others; None if another walks.

    Raises:
        ValueError: It does, or the summary is damaged.
    """
    if not summary_file.exists():
        return
    try:
        summary = json.loads(summary_file.read_text())
        there = summary["env"] if "env" in summary else summary["maze"]  # as earlier releases called it
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{summary_file} cannot be read ({type(error).__name__}: {error}), expected the summary of this folder. "
            "Delete it: it is written anew."
        ) from error
    folder = summary_file.parent
    if there != env:
        raise ValueError(
            f"{folder} holds episodes of {there}, --env asks for {env}; expected one world a folder, since models are "
            "trained on all of it. Pass the same --env, or another --output."
        )
    before = summary.get("agent") or {}
    if agent is not None and summary.get("episodes") and before.get("name") == agent["name"] and before != agent:
        others = [key for key in agent if before.get(key) != agent[key]]
        apart = [f"{key} {before.get(key)!r} there, {agent[key]!r} now" for key in others]
        raise ValueError(
            f"{folder} holds episodes of {agent['name']} as it was: {'; '.join(apart)}. Expected one agent a folder, "
            "since these could not be told apart. Likely cause: it was trained again, or has other --bursts or another "
            "--checkpoint. Pass another --output."
        )
    if "world" in summary and env not in OWN_STEPS:
        other = other_facts(RecordedWorld.from_json(summary["world"]), asked)
        if other:
            raise ValueError(
                f"{folder} holds episodes of {there} recorded in another way: {'; '.join(other)}. Expected one way a "
                "folder, since models are trained on all of it. Pass the same arguments, or another --output."
            )


def refuse_mixed_walkers(folder: Path, walked: Iterable[str], agent: str | None) -> None:
    """Refuse to mix what an agent does with what others do.

    Args:
        folder: Of the episodes.
        walked: Who walked in each of its sound episodes, as they say.
        agent: Who shall walk, if it is an agent.

    Raises:
        ValueError: An agent walked there and another shall, or the other way round.
    """
    names = sorted({name for name in walked if name != agent and (agent or name.startswith(AGENT))})
    if names:
        raise ValueError(
            f"{folder} holds episodes in which {names[0]} walked, {agent or 'no agent'} asked for; expected an agent "
            "to have a folder to itself, since its collection.json tells of one. Pass another --output."
        )


def refuse_mixed_frames(recorded: Iterable[Path], asked: int) -> None:
    """Refuse to mix frames of two sizes in a folder.

    Args:
        recorded: Its sound episodes.
        asked: Pixels along each side of the frames to come.

    Raises:
        ValueError: A recorded episode has frames of another size.
    """
    for path in recorded:
        if (size := read_frame_size(path)) != asked:
            raise ValueError(
                f"{path} has frames of {size}x{size}, {asked}x{asked} asked for; expected one size in a folder, since "
                "models are trained on all of it. Likely cause: it was recorded with another --frame-size. Pass "
                f"--frame-size {size}, or another --output."
            )
