"""What a world model is made of, as frozen dataclasses, and the presets named by the hardware they fit."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from model.poses import POSE_SIZE

BlockSize = tuple[int, int]
PresetName = Literal["micro", "small", "small64", "cpu", "gpu", "paper"]
Attention = Literal["window", "full", "bidirectional", "hybrid", "none"]

LARGEST = 65_536
"""No size is larger: far beyond any network that fits a machine, and small enough to be told before memory runs out."""
LARGEST_OF = {"layers": 256, "attention_window": 1000, "scan_chunk_tokens": 4096, "mlp_ratio": 1000}
NOT_COUNTS = ("max_denoising_steps", "pose_size", "sink_frames", "action_size")  # have checks of their own
ADDED_LATER = (
    "pose_size", "scan", "scan_activation", "attention", "attention_span", "sink_frames",
    "action_size", "action_low", "action_high",
)  # fmt: skip
"""Keys that configs of earlier releases lack; what is missing has its default."""
LARGEST_REWARD = LARGEST_ACTION = 1e30  # well within float32


@dataclass(frozen=True)
class TokenizerConfig:
    """Shape of the convolutional autoencoder between frames and latents."""

    frame_size: int = 64
    """Height and width of a frame, pixels."""
    downsampling: int = 8
    """Pixels per latent cell along each side."""
    latent_channels: int = 16
    encoder_channels: tuple[int, int] = (64, 128)
    """Channels at 1/4 and 1/8 of the frame's resolution."""
    decoder_channels: tuple[int] | tuple[int, int] = (128,)
    """Channels at 1/8 of the frame's resolution and, if there are two, at 1/4. A second stage of half the channels
    doubles the multiplications of decoding."""
    bottleneck_noise: float = 0.02
    """Standard deviation of the noise added to the tanh latents in training, in units of their range [-1, 1]."""

    def __post_init__(self) -> None:
        """Refuses what is no size, and a resolution the decoder cannot rebuild."""
        _check_whole_numbers(self)
        _check_pair("encoder_channels", self.encoder_channels)
        _check_sizes("decoder_channels", self.decoder_channels, (1, 2))
        if not _is_number(self.bottleneck_noise, 1.0) or self.bottleneck_noise < 0:
            raise ValueError(f"bottleneck_noise = {self.bottleneck_noise!r} given, expected a number from 0 to 1.")
        if self.downsampling != 8 or self.frame_size % 8:
            raise ValueError(
                f"TokenizerConfig got frame_size={self.frame_size}, downsampling={self.downsampling}; expected "
                "downsampling = 8 and a frame_size divisible by 8, because the encoder reduces the resolution by "
                "4 and by 2. Resize the frames before recording."
            )

    @property
    def latent_size(self) -> int:
        """Cells along each side of the latent grid."""
        return self.frame_size // self.downsampling


@dataclass(frozen=True)
class LSSVWMConfig:
    """Shape of the long-context state-space video world model (arXiv:2505.20171), or of one it is compared with.

    The paper leaves width, depth, block sizes and Mamba-2 settings open; the numbers here are our own. The systems it
    compares differ in `scan`, `block_sizes` and `attention`: see `model.backbones`.
    """

    latent_channels: int = 16
    latent_size: int = 8
    patch: int = 2
    """Latent cells per token along each side."""
    width: int = 128
    layers: int = 4
    block_sizes: tuple[BlockSize, ...] = ((4, 4), (2, 2), (2, 2), (1, 1))
    """The paper's (b_h, b_w), in tokens; layers take them in turn. Large blocks mix space, small ones remember long."""
    scan_head_channels: int = 32
    """Mamba-2's P."""
    scan_state: int = 64
    """Mamba-2's N: numbers kept per scan channel and block."""
    scan_chunk_tokens: int = 32
    """Tokens that the chunked scan handles in one matrix product."""
    attention_heads: int = 4
    attention_window: int = 6
    """The paper's k: frames before the current one that frame-local attention sees."""
    mlp_ratio: int = 3
    num_actions: int = 6
    """Discrete actions; 1 if they are continuous."""
    max_denoising_steps: int = 8
    """The finest sampler; a power of two. One model samples in any power of two up to it."""
    reward_values: tuple[float, ...] = (0.0, 1.0)
    """Rewards that occur in the recordings; the reward head picks one of them."""
    pose_size: int = 0
    """Numbers of the pose that conditions each frame in place of its action (`model.poses`); 0 for actions."""
    scan: bool = True
    """Whether layers have a state-space scan."""
    scan_activation: bool = False
    """SiLU on what a token writes under and asks for in the scan (B and C), as Mamba-2 has it. Without it the keys of a
    state span no more than `width` directions, and memories mix. Configs of earlier releases had none."""
    attention: Attention = "window"
    """What frames see: `window` those of Eq. 6; `full` all before; `bidirectional` all, later ones too; `hybrid` the
    window, the first `sink_frames` and a compressed memory of the rest (arXiv:2512.04519); `none` nothing, not even
    themselves."""
    attention_span: int = 16
    """Frames over which the head that looks farthest loses interest by a factor of e."""
    sink_frames: int = 0
    """`hybrid`: first frames that stay in sight for ever."""
    action_size: int = 0
    """Numbers of a continuous action; 0 for discrete ones."""
    action_low: tuple[float, ...] = ()
    """Least value of each number of a continuous action, in the environment's units: inside the network it is -1."""
    action_high: tuple[float, ...] = ()
    """Greatest value: inside the network it is 1."""

    def __post_init__(self) -> None:
        """Refuses what is no size or no reward, and shapes that do not divide."""
        _check_whole_numbers(self)
        self._check_lists()
        side = self.latent_size // self.patch
        if self.latent_size % self.patch:
            raise ValueError(f"latent_size = {self.latent_size} is not divisible by patch = {self.patch}.")
        for bh, bw in self.block_sizes:
            if side % bh or side % bw:
                raise ValueError(
                    f"block size ({bh}, {bw}) does not tile the {side} x {side} token grid; use divisors of {side}."
                )
        if self.width % self.attention_heads or self.width % self.scan_head_channels:
            raise ValueError(
                f"width = {self.width} must be divisible by attention_heads = {self.attention_heads} and by "
                f"scan_head_channels = {self.scan_head_channels}."
            )
        if (self.width // self.attention_heads) % 4:
            raise ValueError(f"width / attention_heads = {self.width / self.attention_heads} must be divisible by 4.")
        if type(self.pose_size) is not int or self.pose_size not in (0, POSE_SIZE):
            raise ValueError(f"pose_size = {self.pose_size!r} given, expected 0 or {POSE_SIZE}; see model.poses.")
        self._check_actions()
        self._check_mixers()
        steps = self.max_denoising_steps
        if not _is_size(steps, LARGEST) or steps & (steps - 1):
            raise ValueError(f"max_denoising_steps = {steps!r} must be a power of two, and at most {LARGEST}.")

    def _check_actions(self) -> None:
        size = self.action_size
        bounds: Any = self.action_low, self.action_high
        if type(size) is not int or not 0 <= size <= LARGEST:
            raise ValueError(f"action_size = {size!r} given, expected a whole number from 0 to {LARGEST}.")
        if size and (self.num_actions != 1 or self.pose_size):
            raise ValueError(
                f"action_size = {size} given with num_actions = {self.num_actions} and pose_size = {self.pose_size}, "
                "expected 1 and 0: frames are conditioned on continuous actions, or on discrete ones, or on poses."
            )
        numbers = all(isinstance(v, tuple) and all(_is_number(n, LARGEST_ACTION) for n in v) for v in bounds)
        if not numbers or {len(v) for v in bounds} != {size} or any(a > b for a, b in zip(*bounds, strict=True)):
            raise ValueError(
                f"action_low = {bounds[0]!r} and action_high = {bounds[1]!r} given, expected action_size = {size} "
                f"numbers each, none beyond {LARGEST_ACTION:g}, and none lower in action_high."
            )

    def _check_mixers(self) -> None:
        if self.attention not in get_args(Attention):
            raise ValueError(f"attention = {self.attention!r} given, expected one of {list(get_args(Attention))}.")
        for name in ("scan", "scan_activation"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} = {getattr(self, name)!r} given, expected true or false.")
        if not self.scan and self.attention == "none":
            raise ValueError("a model without scan and without attention has no past; leave it one of them.")
        if self.scan and self.attention in ("bidirectional", "hybrid"):
            raise ValueError(f"attention = {self.attention!r} is made to go without a scan; pass scan = False.")
        most = self.attention_window if self.attention == "hybrid" else 0
        if type(self.sink_frames) is not int or not 0 <= self.sink_frames <= most:
            raise ValueError(
                f"sink_frames = {self.sink_frames!r} given, expected a whole number from 0 to {most}, the attention "
                "window of a `hybrid`; other kinds of attention have none."
            )

    def _check_lists(self) -> None:
        sizes: Any = self.block_sizes
        rewards: Any = self.reward_values
        if not isinstance(sizes, tuple) or not sizes:
            raise ValueError(f"block_sizes = {sizes!r} given, expected at least one pair of sides of 1 or more.")
        for size in sizes:
            _check_pair("a block size", size)
        if not isinstance(rewards, tuple) or not rewards or not all(_is_number(v, LARGEST_REWARD) for v in rewards):
            raise ValueError(
                f"reward_values = {rewards!r} given, expected the rewards that occur in the recordings: at least one "
                f"number, none beyond {LARGEST_REWARD:g}, such as (0, 1)."
            )

    @property
    def tokens_per_side(self) -> int:
        """Tokens along each side of a frame."""
        return self.latent_size // self.patch

    @property
    def tokens(self) -> int:
        """Tokens of one frame."""
        return self.tokens_per_side**2

    @property
    def scan_heads(self) -> int:
        """Heads of the state-space scan."""
        return self.width // self.scan_head_channels

    @property
    def features(self) -> int:
        """Length of the feature vector handed to heads and agents."""
        return self.tokens_per_side * self.width

    @property
    def steppable(self) -> bool:
        """Whether the past can be kept as a memory, so that an environment can step."""
        return self.attention != "bidirectional"

    def block_size(self, layer: int) -> BlockSize:
        """The (b_h, b_w) of a layer, in tokens."""
        return self.block_sizes[layer % len(self.block_sizes)]


@dataclass(frozen=True)
class WorldModelConfig:
    """A tokenizer and the model of its latents: all that is needed to rebuild the network of a checkpoint."""

    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    dynamics: LSSVWMConfig = field(default_factory=LSSVWMConfig)

    def __post_init__(self) -> None:
        """Refuses a pair whose latents differ in shape."""
        emitted = (self.tokenizer.latent_channels, self.tokenizer.latent_size)
        expected = (self.dynamics.latent_channels, self.dynamics.latent_size)
        if emitted != expected:
            raise ValueError(
                f"the tokenizer emits latents of (channels, size) = {emitted}, the dynamics expects {expected}. Most "
                "likely they were made with different presets: use one for both."
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able nested dictionary; `from_dict` reverses it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "WorldModelConfig":
        """Rebuilds a config from `to_dict`'s output after JSON.

        Raises:
            ValueError: a key is unknown or missing, or the shapes do not fit each other.
        """
        if set(values) != {"tokenizer", "dynamics"}:
            raise ValueError(
                f"{cls.__name__} expects exactly the keys ['dynamics', 'tokenizer'], got {sorted(values)}."
            )
        return cls(
            tokenizer=_from_json(TokenizerConfig, values.get("tokenizer")),
            dynamics=_from_json(LSSVWMConfig, values.get("dynamics")),
        )


def _from_json(cls: type[Any], values: Any) -> Any:
    """Builds a dataclass from JSON, turning lists back into tuples."""
    names = {f.name for f in fields(cls)}
    if not isinstance(values, dict) or not names - set(ADDED_LATER) <= set(values) <= names:
        given = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{cls.__name__} expects exactly the keys {sorted(names)}, got {given}.")
    return cls(**{name: _as_tuple(value) for name, value in values.items()})


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list) else value


def _check_whole_numbers(config: TokenizerConfig | LSSVWMConfig) -> None:
    """Refuses fields that should be whole numbers and are not, or are out of range."""
    for f in fields(config):
        value, most = getattr(config, f.name), LARGEST_OF.get(f.name, LARGEST)
        if f.type is int and f.name not in NOT_COUNTS and not _is_size(value, most):
            raise ValueError(f"{f.name} = {value!r} given, expected a whole number of at least 1 and at most {most}.")


def _check_pair(name: str, value: Any) -> None:
    """Refuses what is not two sizes."""
    _check_sizes(name, value, (2,))


def _check_sizes(name: str, value: Any, counts: tuple[int, ...]) -> None:
    """Refuses what is not one of these numbers of sizes."""
    sizes = isinstance(value, tuple) and len(value) in counts and all(_is_size(v, LARGEST) for v in value)
    if not sizes:
        told = " or ".join(["one", "two"][n - 1] for n in counts)
        raise ValueError(
            f"{name} = {value!r} given, expected {told} whole numbers of at least 1 and at most {LARGEST}."
        )


def _is_size(value: Any, most: int) -> bool:
    """Whether it is a whole number from 1 to `most`; True is not."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_number(value: Any, most: float) -> bool:
    """Whether it is a finite number no farther from 0 than `most`; True is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= most


PRESETS: dict[PresetName, WorldModelConfig] = {
    "micro": WorldModelConfig(
        TokenizerConfig(encoder_channels=(8, 16), decoder_channels=(16, 8), latent_channels=4),
        LSSVWMConfig(
            latent_channels=4, width=32, layers=2, block_sizes=((2, 2), (1, 1)), scan_head_channels=16, scan_state=8,
            scan_chunk_tokens=16, attention_heads=2, attention_window=3, mlp_ratio=2,
        ),
    ),
    "small": WorldModelConfig(
        TokenizerConfig(frame_size=32, encoder_channels=(32, 64), decoder_channels=(64, 32)),
        LSSVWMConfig(
            latent_size=4, width=64, layers=4, block_sizes=((2, 2), (1, 1)), scan_head_channels=16, scan_state=128,
            scan_activation=True, attention_window=4,
        ),
    ),
    "small64": WorldModelConfig(
        TokenizerConfig(),
        LSSVWMConfig(
            width=64, layers=4, block_sizes=((2, 2), (1, 1)), scan_head_channels=16, scan_state=128,
            scan_activation=True, attention_window=4,
        ),
    ),
    "cpu": WorldModelConfig(),
    "gpu": WorldModelConfig(
        TokenizerConfig(encoder_channels=(96, 192), decoder_channels=(256, 128)),
        LSSVWMConfig(
            patch=1, width=512, layers=12, block_sizes=((8, 8), (4, 4), (2, 2), (1, 1)), scan_head_channels=64,
            scan_activation=True, attention_heads=8, attention_window=10, mlp_ratio=4,
        ),
    ),
    "paper": WorldModelConfig(
        TokenizerConfig(encoder_channels=(128, 256), decoder_channels=(384, 192)),
        LSSVWMConfig(
            patch=1, width=768, layers=14, block_sizes=((8, 8), (4, 4), (2, 2), (1, 1)), scan_head_channels=64,
            scan_state=128, scan_activation=True, attention_heads=16, attention_window=10, mlp_ratio=4,
        ),
    ),
}  # fmt: skip
"""`micro` trains in seconds (tests), `small` in minutes on frames of 32x32 (TextureWorld), `small64` is the same on
frames of 64x64 with the tokenizer of `cpu`, `cpu` is the shipped size, `gpu` fits one large card, `paper` has about
200M."""
