"""What comes before the first layer of LSSVWM and after the last one, for one frame of every dream, frozen.

latents -> `enter` -> tokens -> layers -> tokens -> `leave` -> the frame denoised, `see` -> features of one taken in
"""

import copy
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from model.axes import Latent
from model.heads import frame_features
from model.lssvwm import LSSVWM, cells_of, latents_of

FrameTokens = Float[Tensor, "b q width"]


class FrameEnds:
    """Both ends of the network, compiled each as one region where that is asked for."""

    def __init__(self, dynamics: LSSVWM, dtype: torch.dtype, shapes: int | None = None) -> None:
        """Copies the weights.

        Args:
            dynamics: whose ends.
            dtype: of weights and tokens; latents and features are float32.
            shapes: for how many shapes to compile; None to leave it.
        """
        self.config, self.dtype = dynamics.config, dtype
        self._embed, self._unembed = (copy.deepcopy(part).to(dtype) for part in (dynamics.embed, dynamics.unembed))
        self._place = dynamics.place.detach().to(dtype, copy=True)
        self.enter, self.leave, self.see = self._enter, self._leave, self._see
        if shapes is not None:
            whole = partial(torch.compile, dynamic=False, fullgraph=True, recompile_limit=shapes)
            self.enter, self.leave, self.see = whole(self._enter), whole(self._leave), whole(self._see)

    def _enter(self, latent: Latent) -> FrameTokens:
        """Tokens before the first layer."""
        tokens: Tensor = self._embed(cells_of(latent.to(self.dtype), self.config)) + self._place
        return tokens

    def _leave(self, tokens: FrameTokens, modulation: Float[Tensor, "b 2 1 width"]) -> Latent:
        """The clean frame that tokens after the last layer tell.

        Args:
            tokens: of the frame that is denoised.
            modulation: shift and 1 + scale before the output, for each dream.
        """
        shift, scale = modulation.unbind(1)
        normed = functional.layer_norm(tokens, (self.config.width,))
        return latents_of(self._unembed(torch.addcmul(shift, normed, scale)).float(), self.config)

    def _see(self, tokens: FrameTokens) -> Float[Tensor, "b f"]:
        """Features of the frame that was taken in."""
        return frame_features(tokens.float()[:, None], self.config.tokens_per_side)[:, 0]
