"""Muon (momentum, orthogonalised) for networks whose projections are joined in larger matrices."""

from collections.abc import Iterable, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from model.joint_linear import JointLinear


class Muon(torch.optim.Muon):
    """torch's Muon, which orthogonalises each projection of a `JointLinear` by itself.

    The update of a matrix spreads over all its rows alike. Of a matrix that joins a scan's gate, values, keys, queries
    and rates, each would get a part of one update, and the largest gradient decides for all. Moments are kept under the
    whole weight, so that what is saved does not depend on how it is split.
    """

    def __init__(self, params: Iterable[Tensor], modules: Iterable[nn.Module], lr: float, weight_decay: float) -> None:
        """Takes over matrices.

        Args:
            params: the matrices to train.
            modules: those whose weights are joined are looked for here.
            lr: the update is scaled to the root mean square of AdamW's (arXiv:2502.16982), so that its rate serves.
            weight_decay: as AdamW's.
        """
        super().__init__(params, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
        self._sizes = {id(m.weight): m.sizes for m in modules if isinstance(m, JointLinear)}

    def _init_group(
        self,
        group: MutableMapping[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        muon_momentum_bufs: list[Tensor],
    ) -> bool:
        """What torch's step works on: here views of the parts of joined weights, in place of the weights."""
        complex_numbers: bool = super()._init_group(group, params_with_grad, grads, muon_momentum_bufs)
        sizes = [self._sizes.get(id(p), [len(p)]) for p in params_with_grad]
        for tensors in (params_with_grad, grads, muon_momentum_bufs):
            tensors[:] = [part for v, rows in zip(tensors, sizes, strict=True) for part in v.split(rows)]
        return complex_numbers
