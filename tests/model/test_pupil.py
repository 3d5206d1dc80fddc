"""What a pupil learns to remember: a cue that no window of attention reaches."""

import itertools

import pytest
import torch

from model.actions import without_first
from model.axes import START_ACTION
from model.lssvwm import LSSVWM
from model.pupil import GOAL_SCALE, Lesson, Pupil
from model.training import make_optimizers, set_learning_rate
from tests.model.conftest import enliven

FRAMES = 20


@pytest.fixture
def pupil(layer_mixes):
    return Pupil(enliven(LSSVWM(layer_mixes["micro"])), hidden=16)


def cued(config, rows, generator):
    """The first frame says which of two actions is right, and where the goal lies; all later ones are the same."""
    shape = (rows, FRAMES, config.latent_channels, config.latent_size, config.latent_size)
    latents = torch.full(shape, 0.2)
    cue = torch.randint(0, 2, (rows,), generator=generator)
    latents[:, 0] = (2 * cue - 1).float()[:, None, None, None]
    wanted = (1 + cue)[:, None].expand(rows, FRAMES)
    actions = torch.zeros(rows, FRAMES, dtype=torch.int64)
    actions[:, 0] = START_ACTION
    goal = GOAL_SCALE * torch.stack([2.0 * cue - 1, 1 - 2.0 * cue], -1)[:, None].expand(rows, FRAMES, 2)
    return Lesson(latents, actions, wanted, goal, torch.ones(rows, FRAMES, dtype=torch.bool))


def stretches(lesson, *edges):
    return [Lesson(*(part[:, a:b] for part in lesson)) for a, b in itertools.pairwise(edges)]


def test_a_cue_is_learned_that_only_the_memory_of_the_scan_can_hold(pupil):
    """Frame 19 is 19 after the cue; attention sees 3 frames back, through two layers 6."""
    generator = torch.Generator().manual_seed(0)
    config = pupil.dynamics.config
    assert config.attention_window * config.layers < FRAMES - 10
    optimizers = make_optimizers(pupil, 3e-3, use_muon=True)
    set_learning_rate(optimizers, 3e-3)
    for _ in range(120):
        memory = pupil.dynamics.initial_memory(16)
        taught, _ = pupil(cued(config, 16, generator), memory)
        (taught.action + taught.goal).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    pupil.eval()
    lesson = cued(config, 64, generator)
    memory = pupil.dynamics.initial_memory(64)
    taught, _ = pupil(lesson, memory)
    assert taught.right[:, 10:].float().mean() > 0.95
    assert taught.goal < 0.1  # 1 for those who cannot tell which: the Huber loss of 1, twice
    half = [pupil(part, memory)[0].right for part in stretches(lesson, 0, 10, FRAMES)]  # memory emptied in between
    assert half[1].float().mean() < 0.8


def test_in_stretches_it_says_what_it_says_of_the_whole(pupil):
    lesson = cued(pupil.dynamics.config, 3, torch.Generator().manual_seed(1))
    pupil.eval()
    whole, end = pupil(lesson, pupil.dynamics.initial_memory(3))
    memory, told = pupil.dynamics.initial_memory(3), []
    for part in stretches(lesson, 0, 7, 8, FRAMES):
        taught, memory = pupil(part, memory)
        told.append((taught.action * part.wanted.numel(), taught.goal * part.wanted.numel(), taught.right))
    assert torch.equal(torch.cat([right for *_, right in told], 1), whole.right)
    for i, loss in enumerate((whole.action, whole.goal)):
        torch.testing.assert_close(sum(row[i] for row in told) / lesson.wanted.numel(), loss)
    for ours, theirs in zip(memory.to_dict().values(), end.to_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_losses_are_those_of_the_definition_and_unknown_goals_do_not_count(pupil):
    lesson = cued(pupil.dynamics.config, 2, torch.Generator().manual_seed(2))
    known = torch.zeros_like(lesson.known)
    known[1, 5:] = True
    pupil.eval()
    memory = pupil.dynamics.initial_memory(2)
    taught, _ = pupil(lesson._replace(known=known), memory)
    features, _ = pupil.dynamics.observe(memory, lesson.latents, lesson.actions)
    read = pupil.read(features)
    log_odds = pupil.choose(read).log_softmax(-1)
    torch.testing.assert_close(taught.action, -log_odds.gather(-1, lesson.wanted[..., None]).mean())
    off = (pupil.locate(read) - lesson.goal / GOAL_SCALE)[1, 5:].abs()
    torch.testing.assert_close(taught.goal, torch.where(off < 1, off**2 / 2, off - 0.5).sum(-1).mean())
    nothing, _ = pupil(lesson._replace(known=torch.zeros_like(known)), memory)
    assert nothing.goal == 0


def test_gradients_go_back_to_the_first_frame_of_a_stretch_and_no_further(pupil):
    lesson = cued(pupil.dynamics.config, 2, torch.Generator().manual_seed(3))
    first, second = stretches(lesson, 0, 10, FRAMES)
    seen = [part._replace(latents=part.latents.clone().requires_grad_()) for part in (first, second)]
    _, memory = pupil(seen[0], pupil.dynamics.initial_memory(2))
    assert not any(part.requires_grad for part in memory.to_dict().values())
    features, _ = pupil.dynamics.observe(memory, seen[1].latents, without_first(second.actions))
    features[:, -1].square().sum().backward()
    assert seen[0].latents.grad is None
    assert seen[1].latents.grad[:, 0].abs().sum() > 0
