"""Conditioning is a sum of three looked-up vectors; modulation starts silent."""

import torch

from model.conditioning import FrameConditioning, Modulation
from model.config import PRESETS

MICRO = PRESETS["micro"].dynamics


def test_adds_the_three_embeddings_of_each_frame_and_stream():
    condition = FrameConditioning(MICRO)
    actions = torch.tensor([[-1, 0, 5]])
    levels = torch.tensor([[[8, 8, 8], [0, 4, 7]]])
    strides = torch.tensor([[[0, 0, 0], [3, 2, 0]]])
    out = condition(actions, levels, strides)
    rows = [MICRO.num_actions, 0, 5]
    for s in range(2):
        for t in range(3):
            mixed = (
                condition.action.weight[rows[t]]
                + condition.noise_level.weight[levels[0, s, t]]
                + condition.stride.weight[strides[0, s, t]]
            )
            torch.testing.assert_close(out[0, s, t], mixed * torch.sigmoid(mixed))


def test_has_a_row_for_every_level_stride_and_action():
    condition = FrameConditioning(MICRO)
    assert condition.action.num_embeddings == MICRO.num_actions + 1
    assert condition.noise_level.num_embeddings == 9
    assert condition.stride.num_embeddings == 4
    torch.nn.init.normal_(condition.stride.weight)
    everything = torch.cartesian_prod(torch.arange(-1, MICRO.num_actions), torch.arange(9), torch.arange(4)).T
    out = condition(everything[0][None], everything[1][None, None], everything[2][None, None])[0, 0]
    assert len(out.detach().unique(dim=0)) == 7 * 9 * 4


def test_a_fresh_modulation_normalises_shifts_by_condition_alone_and_shuts_the_gate():
    tokens, conditioning = 3 + 2 * torch.randn(2, 1, 3, 4, 32), torch.randn(2, 1, 3, 32)
    modulation = Modulation(32)
    modulated, gate = modulation(tokens, conditioning)
    shift, _ = modulation(torch.zeros_like(tokens), conditioning)
    normed = modulated - shift
    torch.testing.assert_close(normed.mean(-1), torch.zeros(2, 1, 3, 4), rtol=0, atol=1e-5)
    torch.testing.assert_close(normed.std(-1, correction=0), torch.ones(2, 1, 3, 4), rtol=0, atol=1e-3)
    assert not gate.any()
    assert (shift[:, :, 0] - shift[:, :, 1]).abs().mean() > 0.1  # frames under other conditions are told apart


def test_shift_scale_and_gate_are_the_three_parts_of_one_projection():
    modulation = Modulation(2)
    with torch.no_grad():
        modulation.linear.bias.copy_(torch.tensor([10.0, 20.0, 1.0, 2.0, 0.5, 0.25]))
    tokens = torch.tensor([1.0, -1.0]).expand(1, 1, 1, 3, 2)
    modulated, gate = modulation(tokens, torch.zeros(1, 1, 1, 2))
    expected = torch.tensor([10 + 2 * 1.0, 20 + 3 * -1.0]).expand(1, 1, 1, 3, 2)
    torch.testing.assert_close(modulated, expected, rtol=0, atol=1e-4)
    assert gate[0, 0, 0, 0].tolist() == [0.5, 0.25]
