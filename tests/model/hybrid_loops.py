"""VideoSSM's hybrid memory (arXiv:2512.04519) as plain loops, frame by frame and token by token, with lists of frames.

Written from the equations and the deviations that `model.hybrid_attention` declares; nothing of it is called.
"""

import torch

HEADS, E, TOKENS, SPAN = 2, 4, 3, 16
WIDTH = HEADS * E


def norm(x, weight, centre, eps):
    """Layer norm without bias if `centre`, else RMS norm."""
    x = x - x.mean() if centre else x
    return weight * x / (x.square().mean() + eps).sqrt()


def unit(x):
    return x / x.square().sum().sqrt()


def project(p, token):
    """What one token asks, offers and writes, head by head, and what gates its output."""
    q, k, v, gate, beta, step = (p["project.weight"] @ token).split([WIDTH] * 4 + [HEADS] * 2)
    heads = [slice(h * E, (h + 1) * E) for h in range(HEADS)]
    return {
        "q": [norm(q[h], p["query_norm.weight"], True, 1e-5) for h in heads],
        "k": [norm(k[h], p["key_norm.weight"], True, 1e-5) for h in heads],
        "v": [v[h] for h in heads],
        "gate": gate,
        "a": -p["log_rate"].exp() * torch.log(1 + torch.exp(step + p["step_bias"])),
        "beta": 1 / (1 + torch.exp(-beta)),
    }


def read(p, token, sights, state, router):
    """One token's output: a softmax over all tokens of the frames in sight, and what the state holds under its key."""
    local, recalled = [], []
    for h in range(HEADS):
        slope = SPAN ** -(h / (HEADS - 1))
        scores = [(token["q"][h] @ k["k"][h]) / E**0.5 - slope * age for age, frame in sights for k in frame]
        values = [v["v"][h] for _, frame in sights for v in frame]
        weights = torch.stack(scores).exp()
        local.append(sum(w * v for w, v in zip(weights / weights.sum(), values, strict=True)))
        eps = torch.finfo(torch.float32).eps
        recalled.append(norm(state[h] @ unit(token["q"][h]), p["read_norm.weight"], False, eps))
    gated = token["gate"] * torch.cat(recalled)
    return p["out.weight"] @ (torch.cat(local) + router * gated / (1 + torch.exp(-gated)))


def live(p, tokens, window, sinks):
    """One life `[s t q width]`: what all streams put out, and in the end the sinks, the last frames and the state."""
    state = [torch.zeros(E, E, dtype=torch.float64) for _ in range(HEADS)]
    first, recent, out = [], [], []  # frames of stream 0: the sinks, and those within the window with their numbers
    for t in range(tokens.shape[1]):
        router = 1 / (1 + torch.exp(-(p["router_slope"] * torch.tensor((t + 1) / window).log() + p["router_bias"])))
        came = [[project(p, token) for token in tokens[s, t]] for s in range(len(tokens))]
        for own in came:
            sights = [(window + 1, frame) for place, frame in first if t - place > window]
            sights += [(t - place, frame) for place, frame in recent] + [(0, own)]
            out.append(torch.stack([read(p, token, sights, state, router) for token in own]))
        if t < sinks:
            first.append((t, came[0]))
        recent.append((t, came[0]))
        if len(recent) > window:
            place, left = recent.pop(0)
            for token in left if place >= sinks else []:
                for h in range(HEADS):
                    key, decayed = unit(token["k"][h]), token["a"][h].exp() * state[h]
                    missing = token["v"][h] - decayed @ key
                    state[h] = decayed + token["beta"][h] * missing[:, None] * key[None, :]
    out = torch.stack(out).unflatten(0, (-1, len(tokens))).transpose(0, 1) if out else tokens
    return out, [frame for _, frame in first], [frame for _, frame in recent], torch.stack(state)


def as_ring(first, recent, window, sinks):
    """Keys, values and gates in the layer's order; where no frame was seen stands what must not count."""
    made = [torch.full((sinks + window, TOKENS, HEADS, size), 7.0, dtype=torch.float64) for size in (E, E, 2)]
    placed = [*enumerate(first), *((sinks + window - len(recent) + i, frame) for i, frame in enumerate(recent))]
    for place, frame in placed:
        for i, token in enumerate(frame):
            made[0][place, i], made[1][place, i] = torch.stack(token["k"]), torch.stack(token["v"])
            made[2][place, i] = torch.stack([token["a"], token["beta"]], -1)
    return made
