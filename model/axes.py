"""The alphabet: every axis name and symbol used in this package, spelled once.

| axis    | meaning                                                    | note                                       |
|---------|------------------------------------------------------------|--------------------------------------------|
| `b`     | batch; in the environments, the dreams                     |                                            |
| `s`     | streams: 0 writes memory, 1 (if present) only reads it     | `clean_past` training runs two             |
| `t`     | frames                                                     | never the diffusion time                   |
| `c H W` | pixels                                                     | capitals: the pixel grid                   |
| `d h w` | latent channels and latent grid                            | lower case: what the tokenizer emits       |
| `q`     | tokens of one frame, row-major over the token grid         | latent grid / patch                        |
| `m`     | tokens of one frame inside one scan block                  | `bh * bw`                                  |
| `g`     | scan blocks of the whole batch (batch folded with blocks)  |                                            |
| `width` | channels of a token inside the backbone                    |                                            |
| `heads` | heads of the scan or of the attention                      | never `h`                                  |
| `p`     | channels of one scan head                                  | Mamba-2's P, `headdim`                     |
| `n`     | size of the scan state per head channel                    | Mamba-2's N, `d_state`                     |
| `e`     | channels of one attention head                             |                                            |
| `k`     | frames before the current one that attention sees          | the paper's k (Eq. 6)                      |
| `pose`  | numbers of a pose: see `model.poses`                       | 0 or 4                                     |
| `a`     | numbers of a continuous action                             | 0 where actions are whole numbers          |
| `f`     | features handed to heads and agents                        |                                            |

Diffusion symbols (arXiv:2210.02747, arXiv:2410.12557): a latent `x` and noise `eps` are mixed to
`z = tau * x + (1 - tau) * eps`. `tau = 0` is pure noise, `tau = 1` is clean. The `noise_level` the network is
conditioned on is the integer `tau * max_denoising_steps`; the `stride` is the log2 of the number of
finest steps one denoising step jumps over.
"""

from jaxtyping import Float, Int
from torch import Tensor

Latents = Float[Tensor, "b t d h w"]
Latent = Float[Tensor, "b d h w"]
Tokens = Float[Tensor, "b s t q width"]
Conditioning = Float[Tensor, "b s t width"]
Actions = Int[Tensor, "b t"] | Float[Tensor, "b t a"]
"""Whole numbers, or vectors in the units of the environment (`model.actions`)."""
Action = Int[Tensor, " b"] | Float[Tensor, "b a"]
Poses = Float[Tensor, "b t pose"]
NoiseLevels = Int[Tensor, "b s t"]
Features = Float[Tensor, "b t f"]

START_ACTION = -1
"""Stands where no action led to the frame: the first frame of an episode or of a context. Among continuous actions a
vector of NaN does."""
