"""What becomes of a long dream: does it stay a world, or fade and stand still?"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.actions import no_actions
from model.sampler import draw_noise
from model.world_model import WorldModel
from wmgym.codec import frames_to_tensor, tensor_to_frames
from wmgym.recording import Episode
from wmgym.stepping import make_stepping


@torch.inference_mode()
def long_dreams(
    world: WorldModel,
    episodes: Sequence[Episode],
    frames: int,
    denoising_steps: int,
    seed: int,
    progress: Callable[..., Iterable[int]] = lambda steps, **_: steps,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Dream on from first frames under recorded actions.

    Args:
        world: A model that can be stepped; dreams take its fast path if it has one.
        episodes: Recordings, one a dream, longer than the dreams.
        frames: Of a dream.
        denoising_steps: Of the sampler.
        seed: Of the first dream's noise; the next has the next.
        progress: Wraps the steps, as tqdm does.

    Returns:
        `(dreams, frames, H, W, 3)` uint8, and `(dreams, frames)` rewards.
    """
    count, config = len(episodes), world.config.dynamics
    generators = [torch.Generator().manual_seed(seed + i) for i in range(count)]
    first = world.tokenizer.encode(frames_to_tensor(np.stack([e.image[0] for e in episodes]), world.device))
    start = no_actions(config, count, 1, world.device)
    _, observed = world.dynamics.observe(world.dynamics.initial_memory(count), first[:, None], start)
    path = make_stepping(world)
    memory, shown, rewards = path.lay_out(observed), [], []
    for t in progress(range(1, frames + 1), desc=f"long dream, {denoising_steps} denoising step(s)", unit="frame"):
        actions = torch.from_numpy(np.stack([e.action[t] for e in episodes])).to(world.device)
        noise = draw_noise(generators, (config.latent_channels, config.latent_size, config.latent_size))
        prediction, memory = path.imagine(memory, actions, noise.to(world.device), denoising_steps)
        shown.append(tensor_to_frames(path.decode(prediction.latent)))
        rewards.append(prediction.reward.float().cpu().numpy())
    return np.stack(shown, axis=1), np.stack(rewards, axis=1)


def drift(dreamed: NDArray[np.uint8], real: NDArray[np.uint8]) -> dict[str, Any]:
    """Compare statistics of dreamed frames, by quarter of the dream, with those of real ones.

    Args:
        dreamed: `(dreams, frames, H, W, 3)`, at least eight frames each.
        real: `(episodes, frames, H, W, 3)`.
    """
    quarters = np.array_split(np.arange(dreamed.shape[1]), 4)
    return {
        "frames": dreamed.shape[1],
        "real": frame_statistics(real),
        "dreamed_by_quarter": [frame_statistics(dreamed[:, q]) for q in quarters],
    }


def frame_statistics(frames: NDArray[np.uint8]) -> dict[str, float]:
    """Means over frames `(sequences, frames, H, W, 3)`, in grey levels of 256.

    Returns:
        Brightness; contrast, the deviation within a frame; edges, the change from a pixel to its neighbour; and change,
        from a frame to the next.
    """
    levels = frames.astype(np.float32)
    return {
        "brightness": float(levels.mean()),
        "contrast": float(levels.std(axis=(2, 3, 4)).mean()),
        "edges": float(np.abs(np.diff(levels, axis=3)).mean()),
        "change": float(np.abs(np.diff(levels, axis=1)).mean()),
    }
