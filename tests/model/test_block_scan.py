"""A block-wise scan is a plain scan of every block, and the blocks know nothing of each other."""

from dataclasses import replace

import pytest
import torch

from model.block_scan import BlockScan
from model.config import PRESETS
from model.ssm import scan_reference

MICRO = PRESETS["micro"].dynamics  # 4 x 4 tokens
ONE_TOKEN = replace(MICRO, latent_size=MICRO.patch, block_sizes=((1, 1),))
BLOCK_SIZES = [(4, 4), (2, 2), (1, 1), (1, 4), (2, 1)]


def live_scan(block_size, config=MICRO):
    """A scan with time constants from one frame to tens, so that memory shows in the output."""
    scan = BlockScan(config, block_size)
    scan.step_bias.data = torch.linspace(-6, -1, scan.heads)
    return scan.eval()


def draw(scan, batch=2, streams=1, frames=5):
    tokens = torch.randn(batch, streams, frames, scan.side**2, MICRO.width)
    states = torch.randn(batch, scan.blocks, scan.heads, MICRO.scan_head_channels, MICRO.scan_state)
    return tokens, states


def cut(tokens, block_size, side):
    """Cuts out blocks by slicing; yields each block's tokens `[b s t m width]`, blocks row-major."""
    bh, bw = block_size
    grid = tokens.unflatten(3, (side, side))
    for top in range(0, side, bh):
        for left in range(0, side, bw):
            yield grid[:, :, :, top : top + bh, left : left + bw].flatten(3, 4)


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_every_block_is_a_plain_scan_of_its_tokens(block_size):
    """The plain scan is the same mixer on a grid of one token, the block's tokens in a row as its frames."""
    scan = live_scan(block_size)
    plain = live_scan((1, 1), ONE_TOKEN)
    plain.load_state_dict(scan.state_dict())
    tokens, states = draw(scan)
    mixed, after = scan(tokens, states)
    mixed_blocks = cut(mixed, block_size, scan.side)
    for i, (block, read) in enumerate(zip(cut(tokens, block_size, scan.side), mixed_blocks, strict=True)):
        expected, expected_after = plain(block.flatten(2, 3)[:, :, :, None], states[:, i : i + 1])
        torch.testing.assert_close(read.flatten(2, 3)[:, :, :, None], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after[:, i : i + 1], expected_after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("streams", [1, 2])
def test_blocks_of_one_token_are_independent_scans(streams):
    scan = live_scan((1, 1))
    plain = live_scan((1, 1), ONE_TOKEN)
    plain.load_state_dict(scan.state_dict())
    tokens, states = draw(scan, streams=streams)
    mixed, after = scan(tokens, states)
    for i in range(scan.blocks):
        expected, expected_after = plain(tokens[:, :, :, i : i + 1], states[:, i : i + 1])
        torch.testing.assert_close(mixed[:, :, :, i : i + 1], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after[:, i : i + 1], expected_after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("block_size", [(2, 2), (1, 4)])
def test_blocks_do_not_leak_into_each_other(block_size, streams):
    scan = live_scan(block_size)
    tokens, states = draw(scan, streams=streams)
    tokens.requires_grad_()
    mixed, _ = scan(tokens, states)
    first = next(cut(mixed, block_size, scan.side))
    (gradient,) = torch.autograd.grad(first.square().sum(), tokens)
    own, *others = cut(gradient, block_size, scan.side)
    assert own.all()
    assert not any(other.any() for other in others)


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_stepping_equals_the_sequence(block_size):
    scan = live_scan(block_size)
    tokens, states = draw(scan, frames=40)
    whole, after = scan(tokens, states)
    steps = []
    for t in range(tokens.shape[2]):
        step, states = scan(tokens[:, :, t : t + 1], states)
        steps.append(step)
    torch.testing.assert_close(torch.cat(steps, 2), whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(states, after, rtol=0, atol=1e-5)


def test_memory_reaches_the_output():
    scan = live_scan((2, 2))
    tokens, states = draw(scan)
    forgotten, _ = scan(tokens, torch.zeros_like(states))
    assert (scan(tokens, states)[0] - forgotten).abs().mean() > 1e-2


@pytest.mark.parametrize("block_size", [(4, 4), (2, 2), (1, 1)])
def test_fresh_time_constants_are_in_frames_whatever_the_block(block_size):
    """Silent tokens write nothing; a frame then decays the state by exp(-rate * step), 1e-3 to 1.6 in the exponent."""
    scan = BlockScan(MICRO, block_size)
    tokens, states = draw(scan, batch=1, frames=1)
    _, after = scan(torch.zeros_like(tokens), torch.ones_like(states))
    assert after.min().item() >= torch.tensor(-1.6).exp().item() - 1e-4
    assert after.max().item() <= torch.tensor(-1e-3).exp().item() + 1e-4


def test_with_activation_keys_span_more_directions_than_the_tokens_have():
    """What a state can keep apart is bounded by the rank of its keys: linear ones have at most `width`."""
    config = replace(MICRO, scan_state=4 * MICRO.width)
    tokens = torch.randn(400, MICRO.width)

    def keys(scan_activation):
        scan = BlockScan(replace(config, scan_activation=scan_activation), (1, 1))
        b_in = scan.project.split(scan.project(tokens))[2]
        return torch.linalg.matrix_rank(scan.activation(b_in))

    assert keys(False) == MICRO.width
    assert keys(True) == 4 * MICRO.width


def test_an_activation_is_on_keys_and_queries_alone():
    torch.manual_seed(0)
    plain, active = (live_scan((1, 1), replace(ONE_TOKEN, scan_activation=on)) for on in (False, True))
    active.load_state_dict(plain.state_dict())
    tokens = torch.randn(1, 1, 6, 1, MICRO.width)
    states = torch.zeros(1, 1, plain.heads, MICRO.scan_head_channels, MICRO.scan_state)
    z, x, b_in, c_out, step = active.project.split(active.project(tokens))
    step = torch.nn.functional.softplus(step + active.step_bias)
    x = x.unflatten(-1, (active.heads, -1))
    read, _ = scan_reference(
        x * step[..., None],
        -step * active.log_rate.exp(),
        torch.nn.functional.silu(b_in),
        torch.nn.functional.silu(c_out),
        states[:, 0],
    )
    expected = ((read + active.skip[:, None] * x).flatten(-2)) * torch.nn.functional.silu(z)
    mixed, _ = active(tokens, states)
    torch.testing.assert_close(mixed, active.out(active.norm(expected)), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(mixed, plain(tokens, states)[0], atol=1e-3)


def test_a_fresh_scan_reads_most_of_what_tokens_like_it_wrote():
    """Keys and queries start alike: of 12 frames, each token reads its own place first, whatever the weights drawn."""
    torch.manual_seed(0)
    scan = BlockScan(replace(MICRO, scan_state=64, scan_activation=True), (1, 1))
    tokens = torch.randn(12, MICRO.width)
    _, _, b_in, c_out, _ = scan.project.split(scan.project(tokens))
    assert torch.equal((scan.activation(c_out) @ scan.activation(b_in).T).argmax(1), torch.arange(12))
