"""Several projections of the same tokens, worked out as one matrix product."""

from collections.abc import Sequence

from torch import Tensor, nn


class JointLinear(nn.Linear):
    """Linear projections without bias that share one weight, each with rows of its own.

    Attributes:
        sizes: rows of each projection, in the order of the weight.
    """

    def __init__(self, width: int, sizes: Sequence[int]) -> None:
        """Fresh weights, drawn as those of `nn.Linear`.

        Args:
            width: of the tokens.
            sizes: of what each projection makes of them.
        """
        super().__init__(width, sum(sizes), bias=False)
        self.sizes = list(sizes)

    def split(self, projected: Tensor) -> tuple[Tensor, ...]:
        """What each projection made, from what `forward` returned."""
        parts: tuple[Tensor, ...] = projected.split(self.sizes, dim=-1)
        return parts

    def rows(self, index: int) -> Tensor:
        """The weight of one projection, a view."""
        part: Tensor = self.weight.split(self.sizes)[index]
        return part
