"""Features are means over columns; heads pick the likeliest known reward and call an event."""

from dataclasses import replace

import pytest
import torch

from model.config import PRESETS
from model.heads import Heads, frame_features

CONFIG = replace(PRESETS["micro"].dynamics, reward_values=(0.0, 1.0, -0.5))


@pytest.fixture
def heads():
    return Heads(CONFIG)


def test_features_average_each_column_of_the_token_grid():
    tokens = torch.randn(2, 3, 16, 32)
    features = frame_features(tokens, 4)
    assert features.shape == (2, 3, CONFIG.features)
    for column in range(4):
        normed = [torch.nn.functional.layer_norm(tokens[:, :, 4 * row + column], (32,)) for row in range(4)]
        expected = sum(normed) / 4
        torch.testing.assert_close(features[:, :, 32 * column : 32 * (column + 1)], expected)


def test_rewards_fall_in_the_nearest_known_class(heads):
    classes = heads.reward_classes(torch.tensor([[0.0, 1.0, -0.5, 0.4, 0.6, -0.3, 7.0]]))
    assert classes.tolist() == [[0, 1, 2, 0, 1, 2, 1]]


@pytest.mark.parametrize(("likeliest", "reward"), [(0, 0.0), (1, 1.0), (2, -0.5)])
def test_decides_for_the_likeliest_reward(heads, likeliest, reward):
    with torch.no_grad():
        heads.reward[-1].weight.zero_()
        heads.reward[-1].bias.copy_(torch.nn.functional.one_hot(torch.tensor(likeliest), 3))
    decided, _ = heads.decide(torch.randn(4, CONFIG.features))
    assert decided.tolist() == [reward] * 4


@pytest.mark.parametrize(("logit", "terminated"), [(0.1, True), (-0.1, False)])
def test_terminates_where_it_is_likelier_than_not(heads, logit, terminated):
    with torch.no_grad():
        heads.termination[-1].weight.zero_()
        heads.termination[-1].bias.fill_(logit)
    _, decided = heads.decide(torch.randn(4, CONFIG.features))
    assert decided.dtype == torch.bool
    assert decided.tolist() == [terminated] * 4


def test_decides_row_by_row_what_the_logits_say(heads):
    features = 5 * torch.randn(50, CONFIG.features)
    reward_logits, termination_logit = heads(features[None])
    reward, terminated = heads.decide(features)
    assert torch.equal(reward, torch.tensor(CONFIG.reward_values)[reward_logits[0].argmax(-1)])
    assert torch.equal(terminated, termination_logit[0] > 0)
    assert len(reward.unique()) > 1
