"""How far back the features of a frame reach: how much they change when earlier frames are another maze's."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from model.world_model import WorldModel
from wmgym.clips import cut_clips
from wmgym.errors import ContextError
from wmgym.fidelity import Frames, observe_clips
from wmgym.recording import Episode


def memory_reach(
    world: WorldModel,
    episodes: Sequence[Episode],
    ages: Iterable[int],
    *,
    clips_per_episode: int,
    context: int,
    and_all_before: bool = False,
) -> dict[int, float]:
    """Change of the features at the end of clips when the frame `age` steps back is that of another episode.

    As a share of the change when all frames of the clip are another episode's: 0 if the features do not depend on the
    frame, 1 if on nothing else. Frames beside each other show much the same, so one alone decides less than all before
    some time together: for that there is `and_all_before`. Actions stay as they are. Both changes are root mean squares
    over clips and features.

    Args:
        world: the model.
        episodes: recordings, at least two.
        ages: how many steps before the last frame; those beyond the clip are left out.
        clips_per_episode: clips cut from each, evenly spread.
        context: frames of a clip.
        and_all_before: replace the frame `age` steps back and all earlier ones of the clip.

    Returns:
        The share by age.

    Raises:
        ContextError: there are fewer than two episodes, one is shorter than a clip, or all look the same.
    """
    if len(episodes) < 2:
        raise ContextError(
            f"{len(episodes)} episode given, expected 2 or more: frames are replaced by those of another episode."
        )
    clips = cut_clips(world, episodes, clips_per_episode, context)
    others = np.roll(clips.images, clips_per_episode, axis=0)  # those of the episode before

    def features(frames: Frames) -> torch.Tensor:
        return observe_clips(world, replace(clips, images=frames))[0]

    as_they_are = features(clips.images)
    most = (features(others) - as_they_are).square().mean().sqrt()
    if not most > 0:
        raise ContextError(
            "the features are the same whichever episode is shown, expected some change. Most likely the episodes are "
            "copies of one another, or the model was never trained."
        )
    reach = {}
    for age in ages:
        if age < context:
            replaced, last = clips.images.copy(), context - age
            span = slice(0 if and_all_before else last - 1, last)
            replaced[:, span] = others[:, span]
            reach[age] = float((features(replaced) - as_they_are).square().mean().sqrt() / most)
    return reach
