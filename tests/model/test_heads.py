"""Features are means over columns; heads pick the likeliest known reward and call an event."""

import math
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
        heads.reward[-1].bias.copy_(3 * torch.nn.functional.one_hot(torch.tensor(likeliest), 3))
    decided, _ = heads.decide(torch.randn(4, CONFIG.features))
    assert decided.tolist() == [reward] * 4


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_heads_that_learned_how_often_events_come_call_them_where_they_are_likelier_than_not(heads, share):
    """What minimises a loss that counts events ten times over is found by gradient descent on the losses themselves."""
    logits = torch.zeros(4, requires_grad=True)  # three rewards, and termination
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        none, half, other = torch.log_softmax(logits[:3], 0)
        rewards = (1 - share) * none + 10 * share * (0.9 * other + 0.1 * half)
        ends = 10 * share * torch.nn.functional.logsigmoid(logits[3])
        goes_on = (1 - share) * torch.nn.functional.logsigmoid(-logits[3])
        total = -(rewards + ends + goes_on)
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        for head, learned in ((heads.reward, logits[:3]), (heads.termination, logits[3:])):
            head[-1].weight.zero_()
            head[-1].bias.copy_(learned)
    reward, terminated = heads.decide(torch.randn(4, CONFIG.features))
    assert terminated.dtype == torch.bool
    assert terminated.tolist() == [share > 0.5] * 4
    assert reward.tolist() == [-0.5 if share > 0.55 else 0.0] * 4


def test_decides_row_by_row_what_the_logits_say(heads):
    features = 50 * torch.randn(50, CONFIG.features)
    reward_logits, termination_logit = heads(features[None])
    reward, terminated = heads.decide(features)
    events = math.log(10) * torch.tensor([0.0, 1.0, 1.0])
    assert torch.equal(reward, torch.tensor(CONFIG.reward_values)[(reward_logits[0] - events).argmax(-1)])
    assert torch.equal(terminated, termination_logit[0] > math.log(10))
    assert len(reward.unique()) > 1
