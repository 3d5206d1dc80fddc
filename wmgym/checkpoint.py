"""Open a checkpoint: a world model, and the real first frames that its dreams start from."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray

import model.checkpoint
from model.backbone import WHY_NOT_STEPPABLE
from model.config import WorldModelConfig
from model.world_model import WorldModel
from wmgym.action_spaces import action_count, same_actions
from wmgym.context import Context, first_frame
from wmgym.errors import CheckpointError, DependencyError
from wmgym.model_actions import action_space_of, bounds_of, described, outside, takes
from wmgym.recorded_world import WORLD_FILE, RecordedWorld, read_world
from wmgym.starts import Clips

DEFAULT_CHECKPOINT = Path(__file__).parent / "checkpoints" / "memory-maze-9x9"
"""The checkpoint that ships inside the package."""
STARTS_FILE = "contexts.safetensors"
"""As it is, or as `xz` compresses it, `contexts.safetensors.xz`: the one that ships is."""
STARTS = ("first_frames", "clips")
FIRST_FRAMES_KEY, CLIP_FRAMES_KEY, CLIP_ACTIONS_KEY = "frames", "clips.frames", "clips.actions"


@dataclass(frozen=True)
class Checkpoint:
    """A world model and what its dreams start from.

    Make one by `open_checkpoint`, or by hand around a model that is not saved yet. Environments take it in
    place of a name; those on the same device then share the weights, of which each has a copy laid out for its
    fast path.
    """

    world: WorldModel
    """Is used as it is: call `eval()` first if it was in training."""

    first_frames: NDArray[Any]
    """`[n H W c]` uint8: real first frames of episodes, 0 to 255."""

    name: str = "unsaved"
    """What error messages call it."""

    clips: Clips | None = None
    """Stretches of recorded episodes, another place to start from."""

    recorded: RecordedWorld | None = None
    """Which real world it was recorded from, if the checkpoint says so."""

    @property
    def action_space(self) -> Space[Any]:
        """Of the world that was recorded; where that is not known `Discrete` from 0, or a flat float32 `Box`."""
        if self.recorded is not None:
            return copy.deepcopy(self.recorded.action_space)
        return action_space_of(self.world.config.dynamics)

    def takes(self, actions: Space[Any]) -> bool:
        """Say whether the model was trained on such actions."""
        if isinstance(actions, Box):
            return takes(self.world.config.dynamics, actions)
        return same_actions(actions, self.action_space)

    def __post_init__(self) -> None:
        """Refuse frames that the model cannot take in.

        Raises:
            CheckpointError: Type, shape or number of the frames, or actions that do not fit.
        """
        _check_recorded(self.name, self.recorded, self.world.config)
        _check_first_frames(self.name, self.first_frames, self.world.config)
        if self.clips is not None:
            _check_clips(self.name, self.clips, self.world.config)

    def starts(self, kind: str) -> list[Context]:
        """Return what dreams start from.

        Args:
            kind: "first_frames" or "clips".

        Raises:
            CheckpointError: There are no clips.
            ValueError: `kind` is none of the two.
        """
        if kind not in STARTS:
            raise ValueError(f"starts = {kind!r}, expected one of {STARTS}.")
        if kind == "first_frames":
            return [first_frame(frame, self.world.config.dynamics) for frame in self.first_frames]
        if self.clips is None:
            raise CheckpointError(
                f"starts = 'clips', but checkpoint '{self.name}' has none: it was made before there were any. Start "
                "from 'first_frames' (on command lines: --starts first_frames), or add some with "
                "wmgym.checkpoint.save_starts."
            )
        return self.clips.contexts()


def refuse_unsteppable(world: WorldModel) -> None:
    """Refuse a model that no environment can step.

    Raises:
        CheckpointError: Each of its frames depends on later ones, or it is conditioned on poses.
    """
    if not world.config.dynamics.steppable:
        raise CheckpointError(WHY_NOT_STEPPABLE)
    if world.config.dynamics.pose_size:
        raise CheckpointError(
            "the model is conditioned on poses, expected one conditioned on actions: those are what is chosen in a "
            "dream, and only the real world knows the pose they lead to. Train one with train_world_model.py "
            "--conditioning action."
        )


def fingerprint(checkpoint: str | Path | None = None) -> str:
    """Return what tells a world model from all others, whatever its folder is called: 16 hexadecimal digits.

    Args:
        checkpoint: Folder or Hugging Face Hub id; None for the one that ships with wmgym.

    Raises:
        CheckpointError: It is missing, or is no checkpoint.
    """
    return _digest(checkpoint, model.checkpoint.weights_digest)[:16]


def tokenizer_fingerprint(checkpoint: str | Path | None = None) -> str:
    """Return what tells a tokenizer from all others, whatever model dreams its latents: 16 hexadecimal digits.

    World models of one tokenizer show a frame as the same `latent`.

    Args:
        checkpoint: Folder or Hugging Face Hub id; None for the one that ships with wmgym.

    Raises:
        CheckpointError: It is missing, damaged, or is no checkpoint.
    """
    return _digest(checkpoint, model.checkpoint.tokenizer_digest)[:16]


def _digest(checkpoint: str | Path | None, digest_of: Callable[[Path], str]) -> str:
    """Return what a function makes of the folder of a checkpoint."""
    try:
        folder = model.checkpoint.find_checkpoint(DEFAULT_CHECKPOINT if checkpoint is None else checkpoint)
        if not (folder / model.checkpoint.WEIGHTS_FILE).exists():
            raise CheckpointError(
                f"'{checkpoint}' has no {model.checkpoint.WEIGHTS_FILE}, expected the folder of a checkpoint. Most "
                "likely it is that of a training: pass the folder checkpoint in it."
            )
        return digest_of(folder)
    except model.checkpoint.CheckpointError as error:
        raise CheckpointError(str(error)) from error


def open_checkpoint(
    checkpoint: str | Path | Checkpoint | None = None, device: str | torch.device = "cpu"
) -> Checkpoint:
    """Load a checkpoint for dreaming. Nothing is unpickled and nothing that is loaded is executed.

    Args:
        checkpoint: A folder, the id of a Hugging Face Hub repository (`owner/name`), an open checkpoint, or
            None for the one that ships with wmgym. A folder that exists is never looked up on the network.
        device: Where the weights shall lie. An open checkpoint that lies elsewhere is copied.

    Raises:
        CheckpointError: It is missing, incomplete, damaged, of another format version, holds NaN, or is no checkpoint.
        DependencyError: The device needs CUDA and there is none.
        ValueError: It is no device, or none of this machine.
    """
    place = _usable(device)
    if not isinstance(checkpoint, str | Path | Checkpoint | None):
        raise CheckpointError(
            f"checkpoint is a {type(checkpoint).__name__}, expected a folder, a Hub id, an open Checkpoint or None. A "
            "world model that is not saved yet goes into one: wmgym.Checkpoint(world, first_frames)."
        )
    if not isinstance(checkpoint, Checkpoint):
        opened = _load(checkpoint)
        opened.world.to(place)
        return opened
    there = checkpoint.world.device
    if there.type == place.type and place.index in (None, there.index):
        return checkpoint
    return replace(checkpoint, world=copy.deepcopy(checkpoint.world).to(place))


def save_starts(folder: str | Path, first_frames: NDArray[np.uint8], clips: Clips | None = None) -> None:
    """Write what dreams start from beside the weights that `WorldModel.save_pretrained` wrote.

    Args:
        folder: The checkpoint.
        first_frames: `[n H W c]`: real first frames of episodes, 0 to 255.
        clips: Stretches of recorded episodes.
    """
    arrays = {FIRST_FRAMES_KEY: first_frames}
    if clips is not None:
        arrays |= {CLIP_FRAMES_KEY: clips.frames, CLIP_ACTIONS_KEY: clips.actions}
    tensors = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}
    path = Path(folder) / STARTS_FILE
    model.checkpoint.save_tensors(path, tensors)
    path.with_name(path.name + model.checkpoint.COMPRESSED).unlink(missing_ok=True)  # of before


def _load(name: str | Path | None) -> Checkpoint:
    """Read a checkpoint from disk or Hub."""
    if name is None and not DEFAULT_CHECKPOINT.is_dir():
        raise CheckpointError(
            f"This installation of wmgym has no checkpoint at {DEFAULT_CHECKPOINT}, where releases have one. "
            "Reinstall wmgym, or name another: gymnasium.make(..., checkpoint=FOLDER)."
        )
    try:
        folder = model.checkpoint.find_checkpoint(DEFAULT_CHECKPOINT if name is None else name)
        world = WorldModel.from_pretrained(folder)
        tensors = model.checkpoint.load_stored(folder / STARTS_FILE)
        recorded = read_world(folder)
    except model.checkpoint.CheckpointError as error:
        raise CheckpointError(str(error)) from error
    if FIRST_FRAMES_KEY not in tensors:
        raise CheckpointError(
            f"{folder / STARTS_FILE} holds {sorted(tensors) or 'nothing'}, expected "
            f"'{FIRST_FRAMES_KEY}'. Write it with wmgym.checkpoint.save_starts."
        )
    arrays = {key: _as_array(folder / STARTS_FILE, key, tensor) for key, tensor in tensors.items()}
    clip_keys = {CLIP_FRAMES_KEY, CLIP_ACTIONS_KEY}
    if missing := clip_keys - set(arrays) if clip_keys & set(arrays) else None:
        raise CheckpointError(
            f"{folder / STARTS_FILE} has clips, but no {sorted(missing)}, expected both {sorted(clip_keys)} or "
            "neither. Most likely it was not written by wmgym.checkpoint.save_starts: write it so."
        )
    clips = Clips(arrays[CLIP_FRAMES_KEY], arrays[CLIP_ACTIONS_KEY]) if clip_keys <= set(arrays) else None
    return Checkpoint(world, arrays[FIRST_FRAMES_KEY], str(folder), clips, recorded)


def _as_array(path: Path, key: str, tensor: torch.Tensor) -> NDArray[Any]:
    """Return a stored tensor as an array; numpy has no bfloat16 and no float8."""
    try:
        return tensor.numpy()
    except TypeError as error:
        raise CheckpointError(
            f"{path} holds '{key}' as {tensor.dtype}, expected uint8 frames and integer actions. Write them with "
            "wmgym.checkpoint.save_starts."
        ) from error


def _check_recorded(name: str, recorded: RecordedWorld | None, config: WorldModelConfig) -> None:
    if recorded is None or config.dynamics.pose_size:
        return
    space, size = recorded.action_space, config.tokenizer.frame_size
    same = takes(config.dynamics, space if isinstance(space, Box) else Discrete(action_count(space)))
    if not same or recorded.frame_size != size:
        raise CheckpointError(
            f"{WORLD_FILE} of checkpoint '{name}' tells of {space} and frames of {recorded.frame_size} pixels, the "
            f"model has {described(config.dynamics)} and {size}. Most likely it belongs to another model: copy it "
            "from the run that trained this one, or delete it."
        )


def _check_first_frames(name: str, frames: NDArray[np.generic], config: WorldModelConfig) -> None:
    size = config.tokenizer.frame_size
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or not len(frames):
        raise CheckpointError(
            f"The first frames of checkpoint '{name}' are {frames.dtype} {frames.shape}, expected uint8 "
            f"(n, {size}, {size}, 3) with n >= 1. Most likely they belong to another model: write them with "
            "wmgym.checkpoint.save_starts."
        )


def _check_clips(name: str, clips: Clips, config: WorldModelConfig) -> None:
    size, count, numbers = config.tokenizer.frame_size, config.dynamics.num_actions, config.dynamics.action_size
    frames, actions = clips.frames, clips.actions
    fits = frames.dtype == np.uint8 and frames.ndim == 5 and frames.shape[2:] == (size, size, 3) and frames.size > 0
    axes, kinds, told = ((numbers,), "f", f"floats (n, t, {numbers})") if numbers else ((), "iu", "integers (n, t)")
    if not fits or actions.shape != (*frames.shape[:2], *axes) or actions.dtype.kind not in kinds:
        raise CheckpointError(
            f"The clips of checkpoint '{name}' are {frames.dtype} {frames.shape} with {actions.dtype} actions "
            f"{actions.shape}, expected uint8 (n, t, {size}, {size}, 3) and {told}, n and t >= 1. Most likely "
            "they belong to another model: write them with wmgym.checkpoint.save_starts."
        )
    led = actions[:, 1:]
    if numbers:
        low, high = bounds_of(config.dynamics)
        if (wrong := outside(led, low, high)).any():
            raise CheckpointError(
                f"The clips of checkpoint '{name}' have the action {led[wrong][0].tolist()}, expected numbers from "
                f"{low.tolist()} to {high.tolist()}. Most likely they were recorded in another environment."
            )
        return
    if led.size and (led.min() < 0 or led.max() >= count):
        raise CheckpointError(
            f"The clips of checkpoint '{name}' have actions from {led.min()} to {led.max()}, expected 0 to "
            f"{count - 1}. Most likely they were recorded in another environment."
        )


def _usable(device: str | torch.device) -> torch.device:
    """Return the device, or say why it cannot be used.

    Raises:
        DependencyError: It needs CUDA and there is none.
        ValueError: It is no device, or none of this machine.
    """
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise _no_device(device, error) from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise DependencyError(
            f"device='{device}' was asked for, but torch {torch.__version__} finds no CUDA device. Use "
            "device='cpu', or install the driver and a torch built for CUDA "
            "(https://pytorch.org/get-started)."
        )
    try:
        torch.zeros(1, device=place).item()
    except (RuntimeError, AssertionError, ImportError) as error:  # as torch's backends say it
        raise _no_device(device, error) from error
    return place


def _no_device(device: Any, error: Exception) -> ValueError:
    reason = str(error).splitlines()[0].split(". ")[0]
    return ValueError(
        f"device = {device!r} given, expected a device of this machine as torch names it, such as 'cpu' or 'cuda:0'. "
        f"torch says: {reason}. Fix: pass device='cpu'."
    )
