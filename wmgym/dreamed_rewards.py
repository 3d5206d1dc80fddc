"""Does a dream pay when reality would: dreams along held-out recordings around their rewards, and without any."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.actions import without_first
from model.sampler import draw_noise
from model.world_model import WorldModel
from wmgym.clips import ClipBatch
from wmgym.codec import tensor_to_frames
from wmgym.errors import ContextError
from wmgym.fidelity import AT_ONCE, DreamComparison, observe_clips
from wmgym.recording import Episode
from wmgym.stepping import make_stepping

SLACK = 1
"""A dreamed reward counts for a real one so many frames earlier or later."""


@dataclass(frozen=True)
class RewardComparison:
    """Rewards of dreams beside those of the recordings they follow.

    Attributes:
        real: `(clips, horizon)`.
        dreamed: `(clips, horizon)`.
    """

    real: NDArray[np.float32]
    dreamed: NDArray[np.float32]

    def summary(self) -> dict[str, float | int]:
        """Recall and precision of rewards, and how far the returns of the clips are from the real ones, on average."""
        found, right = (
            sum(_matches(row, other) for row, other in zip(rows, others, strict=True))
            for rows, others in ((self.real, self.dreamed), (self.dreamed, self.real))
        )
        paid, pays = int((self.real != 0).sum()), int((self.dreamed != 0).sum())
        error = np.abs(self.dreamed.sum(1) - self.real.sum(1)).mean()
        return {
            "events": paid,
            "recall": found / max(1, paid),
            "precision": right / max(1, pays),
            "return_error": float(error),
            "return_real": float(self.real.sum(1).mean()),
            "return_dreamed": float(self.dreamed.sum(1).mean()),
        }

    def recall_ahead(self, parts: int = 4) -> list[dict[str, float | int]]:
        """How far a dream can be trusted to pay: recall of rewards by how many frames ahead they come.

        Args:
            parts: Into how many stretches the horizon is cut, as equal as can be; at most its frames.

        Returns:
            One dictionary a stretch: its `first` and `last` frame, counted from 1; how many rewards, `events`, really
            came there; and the share `recall` of them that was dreamed, `SLACK` frames earlier or later at most, in
            this stretch or the next; 0 where there are none.
        """
        found = []
        for stretch in np.array_split(np.arange(self.real.shape[1]), min(parts, self.real.shape[1])):
            here = np.zeros_like(self.real)
            here[:, stretch] = self.real[:, stretch]
            matched = sum(_matches(row, other) for row, other in zip(here, self.dreamed, strict=True))
            events = int((here != 0).sum())
            first, last = int(stretch[0]) + 1, int(stretch[-1]) + 1
            found.append({"first": first, "last": last, "events": events, "recall": matched / max(1, events)})
        return found


def rewarded_places(
    episodes: Sequence[Episode], context: int, horizon: int, rng: np.random.Generator
) -> list[tuple[Episode, int]]:
    """Choose clips: one around each reward, which comes at a random frame of the horizon, and as many without any.

    Args:
        episodes: Recordings.
        context: Frames before the horizon.
        horizon: Frames that will be dreamed.
        rng: Consumed for where clips begin.

    Returns:
        Episodes, and first frames in them.

    Raises:
        ContextError: No episode has a reward that a clip fits around.
    """
    paid, unpaid = [], []
    for episode in episodes:
        last = len(episode.image) - context - horizon
        for at in np.flatnonzero(episode.reward[1:]) + 1:
            start = int(at) - context - int(rng.integers(horizon))
            if 0 <= start <= last:
                paid.append((episode, start))
        starts = np.arange(max(0, last + 1))
        quiet = [s for s in starts if not episode.reward[s + context : s + context + horizon].any()]
        unpaid += [(episode, int(s)) for s in rng.permutation(quiet)[: len(paid)]]
    if not paid:
        raise ContextError(
            f"no reward in {len(episodes)} episodes with {context} frames before it and {horizon} around it; record "
            "more, or pass a smaller context or horizon."
        )
    return paid + [unpaid[i] for i in rng.permutation(len(unpaid))[: len(paid)]]


@torch.inference_mode()
def dream_clips(
    world: WorldModel,
    places: Sequence[tuple[Episode, int]],
    *,
    context: int,
    horizon: int,
    denoising_steps: Sequence[int],
    seed: int = 0,
    progress: Callable[..., Iterable[int]] = iter,
) -> dict[int, tuple[DreamComparison, RewardComparison]]:
    """Dream along clips of recordings under their actions, by several samplers from the same memories.

    Args:
        world: A model that can be stepped; dreams take its fast path if it has one.
        places: From `rewarded_places`, for the same context and horizon.
        context: Real frames observed before a dream starts.
        horizon: Frames dreamed.
        denoising_steps: Of the samplers.
        seed: Fixes the dreams' noise; clip i uses generator `seed + i` with every sampler.
        progress: Wraps what is gone through, as tqdm does.

    Returns:
        For each sampler, frames and rewards beside the real ones.
    """
    c, path = world.config.dynamics, make_stepping(world)
    length = context + horizon
    parts: dict[int, list[tuple[NDArray[np.uint8], NDArray[np.float32]]]] = {k: [] for k in denoising_steps}
    for first in progress(range(0, len(places), AT_ONCE)):
        part = places[first : first + AT_ONCE]
        images = np.stack([e.image[s : s + context] for e, s in part])
        actions = torch.from_numpy(np.stack([e.action[s : s + length] for e, s in part])).to(world.device)
        actions = without_first(actions)
        _, observed = observe_clips(world, ClipBatch(images, actions[:, :context], None))
        for k in denoising_steps:
            generators = [torch.Generator().manual_seed(seed + first + i) for i in range(len(part))]
            memory, frames, rewards = path.lay_out(observed), [], []
            for t in range(context, length):
                noise = draw_noise(generators, (c.latent_channels, c.latent_size, c.latent_size)).to(world.device)
                prediction, memory = path.imagine(memory, actions[:, t], noise, k)
                frames.append(tensor_to_frames(path.decode(prediction.latent)))
                rewards.append(prediction.reward.cpu().numpy())
            parts[k].append((np.stack(frames, 1), np.stack(rewards, 1)))
    before = np.stack([e.image[s : s + context] for e, s in places])
    real = np.stack([e.image[s + context : s + length] for e, s in places])
    paid = np.stack([e.reward[s + context : s + length] for e, s in places]).astype(np.float32)
    found = {k: tuple(map(np.concatenate, zip(*v, strict=True))) for k, v in parts.items()}
    return {
        k: (DreamComparison(before, real, frames), RewardComparison(paid, rewards.astype(np.float32)))
        for k, (frames, rewards) in found.items()
    }


def _matches(rewards: NDArray[np.float32], others: NDArray[np.float32]) -> int:
    """How many rewards of one row have one in the other row at most `SLACK` frames away."""
    at, near = np.flatnonzero(rewards), np.flatnonzero(others)
    return int(sum(bool((np.abs(near - i) <= SLACK).any()) for i in at))
