"""WorldModel: a tokenizer and the LSSVWM of its latents, as one unit that is loaded, saved and dreamed with."""

from pathlib import Path

import torch
from torch import nn

from model.checkpoint import CONFIG_FILE, CheckpointError, check_fit, load_weights, save_weights
from model.conditioning import action_scale
from model.config import WorldModelConfig
from model.lssvwm import LSSVWM
from model.tokenizer import Tokenizer


class WorldModel(nn.Module):
    """Everything needed to dream: `tokenizer` turns frames into latents and back, `dynamics` imagines latents."""

    def __init__(self, config: WorldModelConfig) -> None:
        """Builds both networks with fresh weights from torch's default generator."""
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer(config.tokenizer)
        self.dynamics = LSSVWM(config.dynamics)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.dynamics.place.device

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, local_files_only: bool = False
    ) -> "WorldModel":
        """Loads a checkpoint, in evaluation mode on the CPU.

        Args:
            name: a folder with `config.json` and `*.safetensors`, or the id of a Hugging Face Hub repository. A folder
                that exists is never looked up on the network.
            revision: branch, tag or commit on the Hub.
            local_files_only: do not touch the network; use the Hub's local cache.

        Raises:
            CheckpointError: the folder is missing, incomplete, damaged or of another format version.
        """
        config, weights = load_weights(name, revision=revision, local_files_only=local_files_only)
        try:
            with torch.device("meta"):
                world = cls(config)
        except Exception as error:  # a config can be wrong in more ways than can be listed
            raise CheckpointError(
                f"no network can be built from the {CONFIG_FILE} of '{name}' ({type(error).__name__}: {error}). Most "
                "likely it was edited by hand: restore the checkpoint from its source."
            ) from error
        check_fit(name, world.state_dict(), weights)
        world.to_empty(device="cpu")
        world._initialise_unsaved()
        world.load_state_dict(weights)
        return world.eval().requires_grad_(False)

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Writes `config.json` and `model.safetensors`; `from_pretrained` reads back what is stored.

        Args:
            folder: made if it is not there.
            dtype: of the weights as they are stored, rounded; None for their own, bit-equal. They become float32 when
                they are read.
        """
        save_weights(folder, self.config, {key: v.to(dtype or v.dtype) for key, v in self.state_dict().items()})

    def _initialise_unsaved(self) -> None:
        """Fills the buffers that follow from the config and are therefore not stored."""
        values = torch.tensor(self.config.dynamics.reward_values)
        self.dynamics.heads.reward_values = values
        if self.config.dynamics.action_size:
            condition = self.dynamics.condition
            condition.middle, condition.half_width = action_scale(self.config.dynamics)
