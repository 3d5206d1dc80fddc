"""LSSVWM: predicts the next frame's latent from a fixed-size memory of all frames before."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.actions import check_actions, filled
from model.axes import Action, Actions, Features, Latent, Latents, NoiseLevels, Poses, Tokens
from model.backbone import Backbone
from model.conditioning import FrameConditioning
from model.config import LSSVWMConfig
from model.heads import Heads, frame_features
from model.memory import Memory
from model.sampler import sample

Streams = Float[Tensor, "b s t d h w"]


@dataclass(frozen=True)
class Prediction:
    """One imagined frame and what comes with it.

    Attributes:
        latent: `[b d h w]`: the frame, as the tokenizer encodes it.
        features: `[b f]`: what heads and agents see; carries memory.
        reward: `[b]`: one of the rewards that occurred in the recordings.
        terminated: `[b]`: whether the episode ended with this frame.
    """

    latent: Latent
    features: Float[Tensor, "b f"]
    reward: Float[Tensor, " b"]
    terminated: Bool[Tensor, " b"]


class LSSVWM(nn.Module):
    """Long-context state-space video world model (arXiv:2505.20171) over latents.

    Every layer is a block-wise state-space scan, frame-local attention and an MLP, modulated by noise level, sampler
    stride and action. `observe` takes in real frames, `imagine` dreams one more; only they advance a `Memory`, and
    they return a new one. The network predicts the clean latent (x-prediction); see `model.diffusion` for training.

    Deviations from the paper, where it is silent or made for offline video: frame-causal attention (Eq. 6) in place
    of chunks; few-step shortcut sampling; latents of our own tokenizer.
    """

    def __init__(self, config: LSSVWMConfig) -> None:
        """Builds the network with fresh weights from torch's default generator."""
        super().__init__()
        self.config = config
        cell = config.latent_channels * config.patch**2
        self.embed = nn.Linear(cell, config.width)
        self.place = nn.Parameter(torch.randn(config.tokens, config.width) * 0.3)
        self.condition = FrameConditioning(config)
        self.backbone = Backbone(config)
        self.final_modulation = nn.Linear(config.width, 2 * config.width)
        nn.init.zeros_(self.final_modulation.weight)
        nn.init.zeros_(self.final_modulation.bias)
        self.unembed = nn.Linear(config.width, cell)
        self.heads = Heads(config)

    def initial_memory(self, batch: int) -> Memory:
        """The memory of `batch` dreams that have seen nothing."""
        return self.backbone.initial_memory(batch, self.place.device)

    def forward(
        self,
        latents: Streams,
        actions: Actions,
        noise_levels: NoiseLevels,
        strides: NoiseLevels,
        memory: Memory,
        remember: bool = True,
        poses: Poses | None = None,
    ) -> tuple[Latents, Features, Memory]:
        """Runs the network over a sequence that follows on `memory`.

        Args:
            latents: stream 0 is remembered; stream 1, if present, sees stream 0's past and leaves no trace.
            actions: the action that led to each frame, or what `model.actions` has for none.
            noise_levels: `tau * max_denoising_steps` of each frame of each stream.
            strides: log2 of the sampler's stride for each frame of each stream; 0 for clean frames.
            memory: what came before; it is not changed.
            remember: without it the given memory is returned, and the work of making a new one is saved.
            poses: of each frame, relative to the first that memory has seen, if the model has poses.

        Returns:
            The predicted clean latents of the last stream, the features of stream 0, and the memory after stream 0.
        """
        conditioning = self.condition(actions, noise_levels, strides, poses)
        tokens, memory = self.backbone(self._tokens(latents), conditioning, memory, remember)
        shift, scale = self.final_modulation(conditioning[:, -1]).unsqueeze(-2).chunk(2, dim=-1)
        normed = nn.functional.layer_norm(tokens[:, -1], tokens.shape[-1:])
        predicted = latents_of(self.unembed(torch.addcmul(shift, normed, 1 + scale)), self.config)
        return predicted, frame_features(tokens[:, 0], self.config.tokens_per_side), memory

    def observe(
        self, memory: Memory, latents: Latents, actions: Actions, poses: Poses | None = None
    ) -> tuple[Features, Memory]:
        """Takes real frames into memory.

        Args:
            memory: what came before; it is not changed.
            latents: the frames, as the tokenizer encodes them.
            actions: the action that led to each frame, or what `model.actions` has for none.
            poses: of each frame, if the model has poses.

        Returns:
            The features of every frame, and the memory after the last.

        Raises:
            ValueError: an action is out of range, or the shapes do not fit.
        """
        self._check(latents[:, 0], actions)
        clean = filled(actions, self.config.max_denoising_steps)[:, None]
        _, features, memory = self(latents[:, None], actions, clean, torch.zeros_like(clean), memory, poses=poses)
        return features, memory

    def imagine(
        self,
        memory: Memory,
        action: Action,
        noise: Latent,
        denoising_steps: int,
        pose: Float[Tensor, "b pose"] | None = None,
    ) -> tuple[Prediction, Memory]:
        """Dreams the frame that the action leads to.

        The denoising passes read memory and leave it alone; then the finished frame is taken in once.

        Args:
            memory: what came before; it is not changed.
            action: the action taken, or what `model.actions` has for none to dream a first frame.
            noise: standard normal; all the randomness there is.
            denoising_steps: 1, 2, 4, ... up to the config's `max_denoising_steps`.
            pose: of the frame, if the model has poses.

        Raises:
            ValueError: an action is out of range, or `denoising_steps` is none of those.
        """
        actions, poses = action[:, None], None if pose is None else pose[:, None]
        self._check(noise, actions)

        def denoise(z: Latent, level: int, stride: int) -> Latent:
            levels, strides = (filled(actions, v)[:, None] for v in (level, stride))
            passed = self(z[:, None, None], actions, levels, strides, memory, remember=False, poses=poses)
            predicted: Latents = passed[0]
            return predicted[:, 0]

        latent = sample(denoise, noise, denoising_steps, self.config.max_denoising_steps)
        features, memory = self.observe(memory, latent[:, None], actions, poses)
        reward, terminated = self.heads.decide(features[:, 0])
        return Prediction(latent, features[:, 0], reward, terminated), memory

    def _tokens(self, latents: Streams) -> Tokens:
        tokens: Tokens = self.embed(cells_of(latents, self.config)) + self.place
        return tokens

    def _check(self, latent: Latent, actions: Actions) -> None:
        c = self.config
        expected = (c.latent_channels, c.latent_size, c.latent_size)
        if tuple(latent.shape[1:]) != expected:
            raise ValueError(f"latents of shape {tuple(latent.shape[1:])} given, this model works on {expected}.")
        check_actions(actions, c)


def cells_of(latents: Float[Tensor, "*batch d h w"], config: LSSVWMConfig) -> Float[Tensor, "*batch q cell"]:
    """What each token of a frame is made of: a patch of its latent."""
    size = config.patch
    cells: Tensor = rearrange(latents, "... d (h x) (w y) -> ... (h w) (d x y)", x=size, y=size)
    return cells


def latents_of(cells: Float[Tensor, "*batch q cell"], config: LSSVWMConfig) -> Float[Tensor, "*batch d h w"]:
    """The latents that `cells_of` cut."""
    size, side = config.patch, config.tokens_per_side
    latents: Tensor = rearrange(cells, "... (h w) (d x y) -> ... d (h x) (w y)", x=size, y=size, h=side)
    return latents
