"""What dreams would have shown of recorded episodes, kept on disk: what is judged in dreams should be learned there.

Dreamed frames are paler than real ones, and the further a dream has gone, the more. Whoever learns from observed frames
alone takes that for something the maze did.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.world_model import WorldModel
from wmgym.context import Context, first_frame
from wmgym.dream import Dreams
from wmgym.fidelity import read_all, refuse_other_worlds
from wmgym.recording import Episode
from wmgym.watched_recordings import mirrored, name_of

TOGETHER = 32
"""Episodes that are dreamed along at a time."""


def dream_recordings(
    world: WorldModel,
    files: Sequence[Path],
    folder: Path,
    observation: str,
    steps: int,
    mirror: Sequence[int] | None = None,
    progress: Callable[[int], object] = lambda frames: None,
) -> list[Path]:
    """Write what dreams show that begin again and again in recorded episodes, and return the files, in the same order.

    Of each `steps + 1` frames the first is observed, and the others are dreamed on from it under the recorded actions.

    Args:
        world: The model.
        files: Episodes of one length.
        folder: Where to, of this model, observation and number of steps only; made if it is not there.
        observation: "latent" or "features", as `wmgym.observations` has them.
        steps: How far each dream goes.
        mirror: See `wmgym.watched_recordings.watch_recordings`.
        progress: Is told how many frames more were dreamed or observed.

    Raises:
        RecordingError: A file cannot be read.
        ContextError: An episode is of another world than the model.

    Randomness: a generator an episode, of fixed seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ending = "" if mirror is None else "-mirrored"
    targets = {path: folder / f"{name_of(path)}{ending}.npy" for path in files}
    missing = [path for path, target in targets.items() if not target.exists()]
    for first in range(0, len(missing), TOGETHER):
        some = missing[first : first + TOGETHER]
        episodes = read_all(some)
        refuse_other_worlds(episodes, world.config.dynamics, world.config.tokenizer.frame_size)
        if mirror is not None:
            episodes = [mirrored(episode, mirror) for episode in episodes]
        for path, shown in zip(some, dream_along(world, episodes, observation, steps, progress), strict=True):
            partial = targets[path].with_suffix(f".{os.getpid()}.partial")
            with partial.open("wb") as file:
                np.save(file, shown)
            partial.replace(targets[path])
    return list(targets.values())


def dream_along(
    world: WorldModel,
    episodes: Sequence[Episode],
    observation: str,
    steps: int,
    progress: Callable[[int], object] = lambda frames: None,
) -> NDArray[np.float16]:
    """Return `[episodes t ...]` what such dreams show; see `dream_recordings`.

    Args:
        world: The model.
        episodes: Of one length.
        observation: "latent" or "features".
        steps: How far each dream goes.
        progress: Is told how many frames more were dreamed or observed.
    """
    images, actions = np.stack([e.image for e in episodes]), np.stack([e.action for e in episodes])
    rows = list(range(len(episodes)))
    real, dreamed = Dreams(world, [], len(rows)), Dreams(world, [], len(rows))
    for row in rows:
        real.seed(row, row)
    shown = []
    for t in range(images.shape[1]):
        if t == 0:
            real.start(rows, [first_frame(image, world.config.dynamics) for image in images[:, 0]])
        else:
            real.observe([Context(images[row, t : t + 1], actions[row, t : t + 1]) for row in rows])
        if t % (steps + 1) == 0:
            dreamed.restore(real.clone())
        else:
            dreamed.step(actions[:, t])
        shown.append(dreamed.observations(observation).astype(np.float16))
        progress(len(rows))
    return np.stack(shown, axis=1)
