"""What queries read in the states of the delta rule, against a loop over the states of its definition."""

import itertools

import pytest
import torch

from model import delta_rule
from model.delta_rule import delta_read, delta_reference
from tests.model.test_delta_rule import NAMES, draw


def ask(inputs, streams=2):
    """Random queries `[b s t q heads e]` of the inputs' sizes, which need gradients."""
    keys = inputs[0]
    return torch.randn(keys.shape[0], streams, *keys.shape[1:], dtype=keys.dtype, requires_grad=True)


def loop_read(queries, states):
    """Every query of every stream on its own, in the state before its frame."""
    read = queries.new_zeros(*queries.shape[:-1], states.shape[-2])
    for b, s, t, q, h in itertools.product(*map(range, queries.shape[:-1])):
        read[b, s, t, q, h] = states[b, t, h] @ queries[b, s, t, q, h]
    return read


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize(("frames", "q"), [(1, 1), (1, 5), (3, 1), (4, 3)])
def test_what_is_read_is_the_reference_before_each_frame_with_every_gradient(frames, q, streams):
    inputs = draw(frames, q)
    queries, states = ask(inputs, streams), delta_reference(*inputs)
    expected = loop_read(queries, states)
    read, final = delta_read(queries, *inputs)
    torch.testing.assert_close(read, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(final, states[:, -1], rtol=1e-10, atol=1e-10)
    named = list(zip(("queries", *NAMES), (queries, *inputs), strict=True))
    ours = torch.autograd.grad(read.square().sum() + final.square().sum(), [v for _, v in named])
    theirs = torch.autograd.grad(expected.square().sum() + states[:, -1].square().sum(), [v for _, v in named])
    for (name, _), v, w in zip(named, ours, theirs, strict=True):
        torch.testing.assert_close(v, w, rtol=1e-9, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("frames", [0, 1, 4])
def test_without_remembering_the_same_is_read_and_the_state_stays(frames):
    inputs = draw(frames, 3)
    queries = ask(inputs)
    expected, _ = delta_read(queries, *inputs)
    read, final = delta_read(queries, *inputs, remember=False)
    assert final is inputs[-1]
    torch.testing.assert_close(read, expected, rtol=1e-12, atol=1e-12)


def test_one_frame_that_is_not_remembered_costs_one_product(monkeypatch):
    monkeypatch.setattr(delta_rule, "delta_states", None)
    inputs = draw(1, 3)
    delta_read(ask(inputs), *inputs, remember=False)


@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize("frames", [1, 4])
def test_bfloat16_queries_read_in_float32_also_under_autocast(frames, remember):
    *sequence, state = (v.detach() for v in draw(frames, 3, dtype=torch.float32))
    rounded = [v.bfloat16() for v in (ask(sequence).detach(), *sequence)]
    read, final = delta_read(*rounded, state, remember)
    assert read.dtype == final.dtype == torch.float32
    exact = delta_reference(*(v.double() for v in (*rounded[1:], state)))
    torch.testing.assert_close(read.double(), loop_read(rounded[0].double(), exact), rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(delta_read(*rounded, state, remember)[0], read)
