"""The only table from id to environment. Entry points are strings, so `import wmgym` imports none of them."""

from pathlib import Path

import gymnasium
from gymnasium.envs.registration import EnvSpec

from wmgym.errors import CheckpointError

_SPECS = [
    EnvSpec(
        id="LSSVWM-MemoryMaze-v0",
        entry_point="wmgym.env:DreamEnv",
        vector_entry_point="wmgym.vector_env:DreamVectorEnv",
        max_episode_steps=1000,
    ),
    EnvSpec(
        id="LSSVWM-Minecraft-v0",
        entry_point="wmgym.minecraft:make_dream",
        vector_entry_point="wmgym.minecraft:make_dreams",
        max_episode_steps=1000,
    ),
    *(
        EnvSpec(
            id=f"wmgym/MemoryMaze-{size}-v0",
            entry_point="wmgym.memory_maze:MemoryMazeEnv",
            kwargs={"size": size},
        )
        for size in ("9x9", "11x11", "13x13", "15x15")
    ),
    EnvSpec(id="wmgym/MineRL-v0", entry_point="wmgym.minerl:MineRLEnv", kwargs={"task": "MineRLTreechop-v0"}),
    EnvSpec(id="wmgym/TextureWorld-v0", entry_point="wmgym.texture_world:TextureWorldEnv", max_episode_steps=1000),
]
_DREAM = _SPECS[0]


def register_all() -> None:
    """Make every id known to `gymnasium.make`. Calling it again changes nothing."""
    for spec in _SPECS:
        gymnasium.registry.setdefault(spec.id, spec)


def register_dream(id: str, checkpoint: str | Path, max_episode_steps: int | None = None) -> None:
    """Make a trained model known to `gymnasium.make` and `gymnasium.make_vec` under an id, in this process.

    Other processes (`AsyncVectorEnv` with "spawn") register it for themselves; best in a module of yours that the id
    names: `gymnasium.make("my_worlds:Rooms-v0")`.

    Args:
        id: Of the form `[namespace/]Name[-v0]`.
        checkpoint: Its folder, or a Hugging Face Hub id, which is looked up when a dream is made.
        max_episode_steps: When dreams are truncated; None for the limit of the world that was recorded, or 1000 if
            that is not known; -1 for never.

    Raises:
        CheckpointError: The folder holds no checkpoint, or nothing there is.
        ValueError: The id is malformed, or taken by something else, or the limit is none.
    """
    name, recorded_limit = str(checkpoint), None
    if Path(checkpoint).is_dir():
        from wmgym.recorded_world import read_world  # only now: `import wmgym` is cheap

        folder = Path(checkpoint).resolve()
        _refuse_no_checkpoint(folder)
        recorded = read_world(folder)
        name, recorded_limit = str(folder), None if recorded is None else recorded.max_episode_steps
    elif isinstance(checkpoint, Path) or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise CheckpointError(
            f"no checkpoint at '{name}': there is no such folder. Expected RUN/checkpoint of train_world_model.py, or "
            "a Hub id of the form 'owner/name'."
        )
    limit = max_episode_steps if max_episode_steps is not None else recorded_limit or _DREAM.max_episode_steps
    if limit is None or (limit < 1 and limit != -1):
        raise ValueError(f"max_episode_steps = {limit!r} given, expected 1 or more, None, or -1 for no limit.")
    try:
        spec = EnvSpec(
            id=id, entry_point=_DREAM.entry_point, vector_entry_point=_DREAM.vector_entry_point,
            max_episode_steps=None if limit == -1 else limit, kwargs={"checkpoint": name},
        )  # fmt: skip
    except gymnasium.error.Error as error:
        raise ValueError(f"id = {id!r} given, expected a name such as 'Rooms-v0' or 'me/Rooms-v0': {error}") from error
    taken = gymnasium.registry.get(id)
    if taken is not None and taken != spec:
        what = (taken.kwargs or {}).get("checkpoint", taken.entry_point)
        raise ValueError(
            f"id = {id!r} given, which is taken by {what} with max_episode_steps = {taken.max_episode_steps}; expected "
            "a free one. Fix: another name or version, or gymnasium.registry.pop(id) if it is yours to replace."
        )
    gymnasium.registry[id] = spec


def _refuse_no_checkpoint(folder: Path) -> None:
    missing = [name for name in ("config.json", "model.safetensors") if not (folder / name).is_file()]
    if missing:
        inside = folder / "checkpoint"
        hint = f" Did you mean {inside}?" if (inside / "config.json").is_file() else ""
        raise CheckpointError(f"{folder} lacks {' and '.join(missing)}, expected the folder of a checkpoint.{hint}")
