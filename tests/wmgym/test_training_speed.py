"""How fast training is: what is counted is what is known of a model that is one matrix, and a step is a step."""

import pytest
import torch
from torch import nn

from model.config import PRESETS
from wmgym.training_speed import (
    ELEMENTWISE,
    Training,
    kind_of,
    random_store,
    tokenizer_training,
    world_model_training,
)

ROWS, WIDE, NARROW = 64, 48, 16
PARTS = ["reading", "forward", "backward", "optimizers"]


class OneMatrix:
    """A training of one matrix, which shall become the first rows of the unit matrix, and what it saw."""

    def __init__(self, precision="32-true"):
        self.model = nn.Linear(WIDE, NARROW, bias=False)
        self.losses, self.dtypes = [], set()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.training = Training(lambda: torch.randn(ROWS, WIDE), self.loss, self.model, [optimizer], precision)

    def loss(self, batch):
        out = self.model(batch)
        self.dtypes.add(out.dtype)
        loss = (out.float() - batch[:, :NARROW]).square().mean()
        self.losses.append(float(loss.detach()))
        return loss


def test_operations_are_those_of_the_matrix_products():
    """Forward, and backward for the weights alone: inputs need no gradient."""
    speed = OneMatrix().training.measure(ROWS, 0.0)
    assert speed.operations == 2 * (2 * ROWS * WIDE * NARROW)


def test_shares_and_frames_follow_from_the_seconds():
    speed = OneMatrix().training.measure(ROWS, 0.0)
    assert list(speed.parts) == PARTS
    assert min(speed.parts.values()) > 0
    assert sum(speed.parts.values()) == pytest.approx(speed.seconds)
    assert speed.frames_per_second == pytest.approx(ROWS / speed.seconds)
    assert speed.share(speed.operations / speed.seconds) == pytest.approx(1)


def test_a_step_learns():
    one = OneMatrix()
    for _ in range(60):
        one.training.step()
    assert one.losses[-1] < 0.1 * one.losses[0]


@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)])
def test_precision_is_what_was_asked_for(precision, dtype):
    one = OneMatrix(precision)
    one.training.step()
    assert one.dtypes == {dtype}


def test_a_slow_reader_is_told():
    one = OneMatrix()
    training = Training(
        lambda: torch.linalg.svd(torch.randn(300, 300))[0][:ROWS, :WIDE], one.loss, one.model, [], "32-true"
    )
    speed = training.measure(ROWS, 0.0)
    assert speed.parts["reading"] > 0.5 * speed.seconds


def test_all_time_is_of_some_kind():
    shares = OneMatrix().training.operations()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["matrix products"] > 0


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mkldnn_convolution", "matrix products"),
        ("aten::_softmax_backward_data", "attention, softmax"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention, softmax"),
        ("aten::copy_", "copies"),
        ("aten::native_layer_norm_backward", "normalisation"),
        ("aten::mul", ELEMENTWISE),
        ("aten::normal_", ELEMENTWISE),
    ],
)
def test_kinds_of_operations(operation, kind):
    assert kind_of(operation) == kind


def test_both_models_can_be_stepped_and_count_the_same_in_both_precisions(tmp_path):
    """On windows as they are stored; attention is a fused kernel in one and matrix products in the other."""
    config = PRESETS["micro"]
    store = random_store(tmp_path, config.dynamics, 2, 20)
    counted = {"tokenizer": set(), "world model": set()}
    for precision in ("32-true", "bf16-mixed"):
        world_model = world_model_training(config.dynamics, store, 8, 2, precision)
        counted["world model"].add(world_model.measure(16, 0.0).operations)
        counted["tokenizer"].add(tokenizer_training(config.tokenizer, 2, precision).measure(2, 0.0).operations)
    assert all(len(found) == 1 and min(found) > 0 for found in counted.values())
