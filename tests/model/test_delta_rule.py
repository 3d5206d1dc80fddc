"""The delta rule by matrix products against the loop that defines it, and both against what must be remembered."""

import pytest
import torch

from model.delta_rule import delta_reference, delta_states

NAMES = ("keys", "values", "log_decay", "beta", "state")
ROUTES = pytest.mark.parametrize("route", [delta_reference, delta_states])


def draw(frames, q, dtype=torch.float64, log_decay=-1.0, batch=2, heads=3, e=5, p=4):
    """Random inputs; log decays are uniform between `log_decay` and 0, betas between 0 and 1."""
    shape = (batch, frames, q, heads)
    inputs = (
        torch.nn.functional.normalize(torch.randn(*shape, e, dtype=dtype), dim=-1),
        torch.randn(*shape, p, dtype=dtype),
        log_decay * torch.rand(*shape, dtype=dtype),
        torch.rand(*shape, dtype=dtype),
        torch.randn(batch, heads, p, e, dtype=dtype),
    )
    return [v.requires_grad_() for v in inputs]


def gradients(states, inputs):
    """Gradients of a fixed random weighting of the states."""
    generator = torch.Generator().manual_seed(1)
    return torch.autograd.grad(
        (states * torch.randn(states.shape, generator=generator, dtype=states.dtype)).sum(), inputs
    )


def assert_equal_with_gradients(inputs, tolerance=1e-10):
    states, expected = delta_states(*inputs), delta_reference(*inputs)
    torch.testing.assert_close(states, expected, rtol=tolerance, atol=tolerance)
    for name, ours, theirs in zip(NAMES, gradients(states, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(
            ours, theirs, rtol=10 * tolerance, atol=10 * tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize(("e", "p"), [(5, 4), (1, 3), (3, 1), (8, 8)])
@pytest.mark.parametrize(("frames", "q"), [(1, 1), (6, 1), (1, 7), (4, 6), (3, 16)])
def test_products_equal_the_reference_with_every_gradient(frames, q, e, p):
    assert_equal_with_gradients(draw(frames, q, e=e, p=p))


@pytest.mark.parametrize("log_decay", [0.0, -1e-6, -50.0, -1e4])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_products_equal_the_reference_at_the_extremes(beta, log_decay):
    inputs = draw(frames=4, q=6, log_decay=log_decay)
    with torch.no_grad():
        inputs[3].fill_(beta)
        inputs[2][:, ::2] *= 1e-3  # strong and weak decays side by side
        inputs[3][:, :, ::3] = 0.5
    assert_equal_with_gradients(inputs)


def test_products_equal_the_reference_when_all_keys_are_one():
    """The triangular system is then as full as it can be."""
    inputs = draw(frames=3, q=32, log_decay=0.0)
    with torch.no_grad():
        inputs[0].copy_(inputs[0][:, :1, :1].expand_as(inputs[0]))
        inputs[3].fill_(1)
    assert_equal_with_gradients(inputs)


@ROUTES
def test_a_frame_at_a_time_is_the_whole_sequence(route):
    *sequence, state = draw(frames=5, q=4)
    whole = route(*sequence, state)
    torch.testing.assert_close(whole[:, 0], state, rtol=0, atol=0)
    for t in range(5):
        before, state = route(*(v[:, t : t + 1] for v in sequence), state).unbind(1)
        torch.testing.assert_close(before, whole[:, t], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(state, whole[:, t + 1], rtol=1e-12, atol=1e-12)


@ROUTES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_frame_of_skipped_tokens_leaves_the_state_bit_for_bit(route, dtype):
    inputs = [v.detach() for v in draw(frames=5, q=4, dtype=dtype)]
    inputs[2][:, 2:4], inputs[3][:, 2:4] = 0, 0
    states = route(*inputs)
    assert torch.equal(states[:, 3], states[:, 2])
    assert torch.equal(states[:, 4], states[:, 2])
    assert not torch.equal(states[:, 5], states[:, 4])


@ROUTES
def test_skipped_tokens_inside_a_frame_do_not_count(route):
    *sequence, state = (v.detach() for v in draw(frames=4, q=6))
    skipped = torch.tensor([0, 2, 5])
    for gate in sequence[2:]:
        gate[:, :, skipped] = 0
    without = [v[:, :, [1, 3, 4]] for v in sequence]
    torch.testing.assert_close(route(*sequence, state), route(*without, state), rtol=1e-12, atol=1e-12)


def write(frames, q, e=6, p=4):
    """One head that writes random values in full and forgets nothing; keys are still to be filled in."""
    keys, values, log_decay, beta, state = (v.detach() for v in draw(frames, q, batch=1, heads=1, e=e, p=p))
    return keys, values, torch.zeros_like(log_decay), torch.ones_like(beta), state


@ROUTES
@pytest.mark.parametrize(("frames", "q"), [(1, 2), (2, 1)])
def test_a_later_value_replaces_an_earlier_one_under_the_same_key(route, frames, q):
    """In closed form: S + (v2 - S k) k^T, whether both are written in one frame or in two."""
    keys, values, log_decay, beta, state = write(frames, q)
    keys[:] = keys[:, :1, :1].clone()
    key, second = keys[0, 0, 0, 0], values[0, -1, -1, 0]
    after = route(keys, values, log_decay, beta, state)[0, -1, 0]
    torch.testing.assert_close(after @ key, second, rtol=1e-12, atol=1e-12)
    expected = state[0, 0] + torch.outer(second - state[0, 0] @ key, key)
    torch.testing.assert_close(after, expected, rtol=1e-12, atol=1e-12)


@ROUTES
def test_values_under_orthogonal_keys_are_all_recalled(route):
    keys, values, log_decay, beta, state = write(frames=3, q=2)
    keys[:] = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q.reshape(keys.shape)
    after = route(keys, values, log_decay, beta, state)[0, -1, 0]
    recalled = keys.reshape(6, 6) @ after.mT
    torch.testing.assert_close(recalled, values.reshape(6, 4), rtol=1e-12, atol=1e-12)


@ROUTES
def test_without_writing_the_state_decays_by_the_sum(route):
    keys, values, log_decay, beta, state = (v.detach() for v in draw(frames=4, q=3))
    states = route(keys, values, log_decay, torch.zeros_like(beta), state)
    for t in range(5):
        expected = log_decay[:, :t].sum((1, 2)).exp()[..., None, None] * state
        torch.testing.assert_close(states[:, t], expected, rtol=1e-12, atol=1e-12)


def test_a_later_frame_never_changes_an_earlier_state():
    frame, inputs = 3, [v.detach() for v in draw(frames=6, q=4)]
    states = delta_states(*inputs)
    for name, v in zip(NAMES[:4], inputs[:4], strict=True):
        changed = {n: w.clone() for n, w in zip(NAMES, inputs, strict=True)}
        changed[name][:, frame:] = torch.rand_like(v[:, frame:]) * (-1 if name == "log_decay" else 1)
        others = delta_states(**changed)
        assert torch.equal(others[:, : frame + 1], states[:, : frame + 1]), name
        assert (others[:, frame + 1 :] != states[:, frame + 1 :]).all(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("log_decay", [-50.0, -1e4])
def test_strong_decays_stay_finite_and_do_not_swallow_weak_ones(log_decay, dtype):
    """Masked entries would be exp(+50 * 64) if they were exponentiated before they are masked."""
    *sequence, state = draw(frames=6, q=64, dtype=torch.float32)
    with torch.no_grad():
        sequence[2].fill_(-0.01)
        sequence[2][:, :, ::5] = log_decay
    inputs = [*(v.detach().to(dtype).requires_grad_() for v in sequence), state]
    states = delta_states(*inputs)
    assert states.dtype == torch.float32
    torch.testing.assert_close(states, delta_reference(*inputs), rtol=1e-5, atol=1e-5)
    assert all(v.isfinite().all() for v in gradients(states, inputs))


def test_a_decay_without_bound_forgets_all():
    inputs = draw(frames=3, q=4)
    with torch.no_grad():
        inputs[2][:, 1, 2] = -torch.inf
    states = delta_states(*inputs)
    torch.testing.assert_close(states, delta_reference(*inputs), rtol=1e-10, atol=1e-10)
    grads = gradients(states[:, 2:], inputs)
    assert all(v.isfinite().all() for v in grads)
    assert not grads[-1].any()


def test_bfloat16_inputs_keep_a_float32_state_also_under_autocast():
    *sequence, state = (v.detach() for v in draw(frames=20, q=4, dtype=torch.float32))
    rounded = [v.bfloat16() for v in sequence]
    expected = delta_reference(*(v.double() for v in (*rounded, state))).float()
    for route in (delta_reference, delta_states):
        states = route(*rounded, state)
        assert states.dtype == torch.float32
        torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(route(*rounded, state), states)


def test_float32_errors_do_not_add_up_over_a_long_sequence():
    inputs = [v.detach() for v in draw(frames=300, q=8, dtype=torch.float32, log_decay=-1e-3, e=16)]
    error = (delta_states(*inputs) - delta_reference(*(v.double() for v in inputs))).abs()
    assert error.max() < 1e-5


@ROUTES
def test_no_frame_leaves_the_state(route):
    *nothing, state = draw(frames=0, q=4)
    assert torch.equal(route(*nothing, state), state[:, None])
