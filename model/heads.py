"""Reward and termination, read from the features of a remembered frame."""

import math

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from model.axes import Features
from model.config import LSSVWMConfig

EVENT_WEIGHT = 10.0
"""How much more a frame with a termination, or a reward other than the most frequent one, counts in training."""


def frame_features(tokens: Float[Tensor, "b t q width"], side: int) -> Features:
    """One vector a frame: normalised last-layer tokens, averaged over each column of the token grid.

    Columns stay apart because where a thing stands left to right decides how to steer towards it.
    """
    normed = nn.functional.layer_norm(tokens, tokens.shape[-1:])
    return rearrange(normed, "b t (h w) width -> b t h w width", h=side).mean(2).flatten(2)


class Heads(nn.Module):
    """Classifies which of the known rewards came with a frame, and whether the episode terminated there."""

    reward_values: Float[Tensor, " rewards"]

    def __init__(self, config: LSSVWMConfig) -> None:
        """Makes one small network a head."""
        super().__init__()
        self.register_buffer("reward_values", torch.tensor(config.reward_values), persistent=False)
        hidden = config.width
        self.reward = nn.Sequential(
            nn.Linear(config.features, hidden), nn.SiLU(), nn.Linear(hidden, len(config.reward_values))
        )
        last = nn.Linear(hidden, 1)
        nn.init.constant_(last.bias, -5.0)  # ends are rare; a head that has seen none must not invent them
        self.termination = nn.Sequential(nn.Linear(config.features, hidden), nn.SiLU(), last)

    def forward(self, features: Features) -> tuple[Float[Tensor, "b t rewards"], Float[Tensor, "b t"]]:
        """Logits over `reward_values`, and the logit of termination, with the odds of events as they were trained."""
        return self.reward(features), self.termination(features).squeeze(-1)

    def reward_classes(self, rewards: Float[Tensor, "b t"]) -> Int[Tensor, "b t"]:
        """The index of the known reward nearest to each given one."""
        return (rewards[..., None] - self.reward_values).abs().argmin(-1)

    def decide(self, features: Float[Tensor, "b f"]) -> tuple[Float[Tensor, " b"], Tensor]:
        """The likeliest reward, and whether termination is likelier than not.

        Training on losses that count events `EVENT_WEIGHT` times raises their odds by that factor: deciding takes it
        back, or the frames around every event would be called events too.
        """
        raised = math.log(EVENT_WEIGHT)
        reward_logits, termination_logit = self(features[:, None])
        likeliest = torch.cat([reward_logits[:, 0, :1] + raised, reward_logits[:, 0, 1:]], dim=-1).argmax(-1)
        return self.reward_values[likeliest], termination_logit[:, 0] > raised
