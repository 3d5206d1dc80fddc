"""A checkpoint is a folder: `config.json`, `model.safetensors`, and whatever else its user lays beside them.

Loading reads JSON and safetensors, which may be compressed by `xz`, and nothing else: it cannot execute what it loads.
"""

import hashlib
import json
import lzma
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from model.config import WorldModelConfig

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
DIGEST_KEY = "sha256"
"""Under this key the header of a safetensors file keeps the digest of its tensors; older files have none."""
TOKENIZER = "tokenizer."
SCALE = f"{TOKENIZER}scale"
COMPRESSED = ".xz"
"""What `xz` appends to the name of a file that it compresses; frames take a fifth then."""
MOST_BYTES = 2**31
"""Of a compressed file, once it is not: more would be an attack on whoever opens it."""
WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class CheckpointError(Exception):
    """A checkpoint is missing, incomplete, damaged or of another format version."""


def save_weights(folder: str | Path, config: WorldModelConfig, weights: dict[str, Tensor]) -> None:
    """Writes config and weights; each file appears whole or not at all.

    Args:
        folder: made if it is not there.
        config: what rebuilds the network.
        weights: the network's state dict.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    values = {"format_version": FORMAT_VERSION, **config.to_dict()}
    _replace(path / CONFIG_FILE, lambda p: p.write_text(json.dumps(values, indent=2) + "\n"))
    save_tensors(path / WEIGHTS_FILE, weights)


def load_weights(
    name: str | Path, *, revision: str | None = None, local_files_only: bool = False
) -> tuple[WorldModelConfig, dict[str, Tensor]]:
    """Reads config and weights; `check_fit` then says whether they belong together.

    Args:
        name: a folder, or a Hugging Face Hub id.
        revision: branch, tag or commit on the Hub.
        local_files_only: do not touch the network.

    Raises:
        CheckpointError: see `find_checkpoint`, `read_config` and `load_tensors`.
    """
    folder = find_checkpoint(name, revision=revision, local_files_only=local_files_only)
    return read_config(folder / CONFIG_FILE), load_tensors(folder / WEIGHTS_FILE)


def weights_digest(folder: str | Path) -> str:
    """What tells the weights in a folder from all others: their SHA-256, in hexadecimal digits."""
    return hashlib.sha256((Path(folder) / WEIGHTS_FILE).read_bytes()).hexdigest()


def tokenizer_digest(folder: str | Path) -> str:
    """What tells the tokenizer in a folder from all others, in whatever precision its weights are stored.

    Raises:
        CheckpointError: there is none, or see `load_tensors`.
    """
    path = Path(folder) / WEIGHTS_FILE
    tensors = {key: v.float() for key, v in load_tensors(path).items() if key.startswith(TOKENIZER)}
    if not tensors:
        raise CheckpointError(f"{path} has no tokenizer in it, expected the weights of a world model.")
    return tensors_digest(tensors)


def tensors_digest(tensors: dict[str, Tensor]) -> str:
    """What tells these tensors from others: the SHA-256 of names, types, shapes and values, as hexadecimal digits."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        v = tensors[key].detach().cpu().contiguous()
        digest.update(f"{key} {v.dtype} {tuple(v.shape)} ".encode())
        digest.update(v.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def find_checkpoint(name: str | Path, *, revision: str | None = None, local_files_only: bool = False) -> Path:
    """The local folder of a checkpoint, downloaded from the Hugging Face Hub if it is not a folder here.

    Args:
        name: a folder, or a Hub id of the form `owner/name`.
        revision: branch, tag or commit on the Hub.
        local_files_only: do not touch the network.

    Raises:
        CheckpointError: there is no such folder, and no such repository or no way to reach it.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if str(name).count("/") != 1 or str(name).startswith((".", "/", "~")):
        raise CheckpointError(
            f"no checkpoint at '{name}': there is no such folder. Expected a folder with {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}, or a Hub id of the form 'owner/name'. Check the path (relative to {os.getcwd()})."
        )
    from huggingface_hub import snapshot_download

    try:
        patterns = ["*.json", "*.safetensors", f"*.safetensors{COMPRESSED}", "*.md"]
        found = snapshot_download(
            str(name), revision=revision, local_files_only=local_files_only, allow_patterns=patterns
        )
    except Exception as error:  # the hub raises a dozen kinds: http, not found, gated, offline, cache
        raise CheckpointError(
            f"no checkpoint '{name}': no such folder here, and the Hugging Face Hub gave none "
            f"({type(error).__name__}: {error}). Check the name, the network, or pass a local folder."
        ) from error
    return Path(found)


def read_config(path: Path) -> WorldModelConfig:
    """Reads `config.json`.

    Raises:
        CheckpointError: the file is missing, unreadable, no JSON, of another format version, or describes no network.
    """
    try:
        values: dict[str, Any] = json.loads(path.read_text())
        version = values.pop("format_version", None)
    except FileNotFoundError as error:
        inside = path.parent / "checkpoint"
        hint = f" Did you mean {inside}?" if (inside / CONFIG_FILE).exists() else ""
        raise CheckpointError(
            f"{path} is missing; a checkpoint folder needs {CONFIG_FILE} and {WEIGHTS_FILE}.{hint}"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); expected a file of JSON. Most likely it is a folder, a broken link or "
            "somebody else's: restore the checkpoint from its source, or mend the permissions."
        ) from error
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a JSON object ({error}); restore the checkpoint from its source."
        ) from error
    if isinstance(version, bool) or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version = {version}, this wmgym reads {FORMAT_VERSION}. "
            "Most likely the checkpoint was made by another release: install that one, or train again."
        )
    try:
        return WorldModelConfig.from_dict(values)
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} describes no network this wmgym knows: {error}") from error


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Writes a safetensors file whole or not at all, with the digest of the tensors in its header."""
    kept = {key: v.detach().cpu().contiguous() for key, v in tensors.items()}
    _replace(path, lambda p: save_file(kept, p, {DIGEST_KEY: tensors_digest(kept)}))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        CheckpointError: it is missing, truncated, no safetensors file, or its tensors are not those that were written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            written = (file.metadata() or {}).get(DIGEST_KEY)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing; the download or the training run is incomplete.") from error
    except (SafetensorError, OSError, ValueError) as error:
        size = path.stat().st_size if path.is_file() else 0
        raise CheckpointError(
            f"{path} ({size} bytes) is not a readable safetensors file ({error}). "
            "Most likely a copy or download broke off: fetch it again."
        ) from error
    return _undamaged(path, tensors, written)


def stored_file(path: Path) -> Path:
    """Where a file is kept that may be compressed: where it should be, or beside that, if it is only there.

    Raises:
        CheckpointError: it is there twice, and nobody knows which is meant.
    """
    compressed = path.with_name(path.name + COMPRESSED)
    if compressed.exists() and path.exists():
        raise CheckpointError(
            f"{path.parent} has both {path.name} and {compressed.name}, expected one of them. Most likely one is of an "
            "earlier checkpoint, or was only unpacked: delete that one."
        )
    return compressed if compressed.exists() else path


def load_stored(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file, or what `xz` made of it.

    Raises:
        CheckpointError: see `stored_file` and `load_tensors`; or it would be of more than `MOST_BYTES`.
    """
    if (there := stored_file(path)) == path:
        return load_tensors(path)
    try:
        unpacker = lzma.LZMADecompressor()
        raw = unpacker.decompress(there.read_bytes(), max_length=MOST_BYTES)
        if not unpacker.eof:
            raise EOFError("it breaks off" if unpacker.needs_input else f"it holds more than {MOST_BYTES} bytes")
        header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        return _undamaged(there, load(raw), header.get("__metadata__", {}).get(DIGEST_KEY))
    except (SafetensorError, lzma.LZMAError, EOFError, OSError, ValueError, AttributeError, MemoryError) as error:
        raise CheckpointError(
            f"{there} cannot be read ({error}), expected a safetensors file that xz compressed. Most likely a copy or "
            "download broke off: fetch it again."
        ) from error


def _undamaged(path: Path, tensors: dict[str, Tensor], written: str | None) -> dict[str, Tensor]:
    """Returns the tensors if they have the digest that was written with them, if any was."""
    found = tensors_digest(tensors)
    if written not in (None, found):
        raise CheckpointError(
            f"{path} is damaged: its tensors have the digest {found[:16]}, expected {written[:16]}. Most likely bytes "
            "were changed on the disk or on the way: fetch it again."
        )
    return tensors


def check_fit(name: str | Path, expected: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Refuses weights that are not those of the network, or that it cannot compute with.

    Args:
        name: what to call the checkpoint in the message.
        expected: the network's state dict; only shapes are looked at.
        weights: what was read.

    Raises:
        CheckpointError: a tensor is missing, superfluous, of another shape or type, holds NaN or infinity once it is
            float32, or is the tokenizer's scale and not above 0.
    """
    wanted = {key: tuple(v.shape) for key, v in expected.items()}
    given = {key: tuple(v.shape) for key, v in weights.items()}
    wrong = sorted(k for k in wanted.keys() | given.keys() if wanted.get(k) != given.get(k))
    if wrong:
        key = wrong[0]
        raise CheckpointError(
            f"the weights of '{name}' do not fit its {CONFIG_FILE}: {len(wrong)} tensors differ, the first is '{key}' "
            f"with shape {given.get(key)}, expected {wanted.get(key)}. The two files come from different checkpoints."
        )
    odd = sorted(key for key, v in weights.items() if v.dtype not in WEIGHT_TYPES)
    if odd:
        raise CheckpointError(
            f"the weights of '{name}' hold {weights[odd[0]].dtype} in '{odd[0]}', expected floating point. Quantised "
            "checkpoints are not supported: save the weights as float32, float16 or bfloat16."
        )
    bad = sorted(key for key, v in weights.items() if not v.float().isfinite().all())
    if bad:
        raise CheckpointError(
            f"the weights of '{name}' hold NaN or infinity in {len(bad)} tensors, the first is '{bad[0]}'. Training "
            "diverged before they were saved, or the file was damaged: use an earlier checkpoint."
        )
    scale = weights.get(SCALE)
    if scale is not None and not scale.float() > 0:
        raise CheckpointError(
            f"the weights of '{name}' have {SCALE} = {float(scale)}, expected a number above 0: the standard deviation "
            "of the latents. Most likely the tokenizer was never trained: train it, or use another checkpoint."
        )


def _replace(path: Path, write: Any) -> None:
    """Writes beside the target, then moves into place."""
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.chmod(0o644)  # safetensors makes files that only their owner can read
    partial.replace(path)
