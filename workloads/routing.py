"""How often experts are used: by one token, and by a batch of tokens.

A `Routing` holds, for every MoE layer and expert, the chance that a token uses the expert and its
mean routing weight. Tokens of a batch are taken as independent; the k experts of one token are
drawn without replacement, so that experts of one layer are negatively correlated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from workloads.checkpoint import Miniature
    from workloads.decoder_config import DecoderConfig

Array = NDArray[np.float64]

LOAD_GRID = 160
"""Points at which the distribution of a load is evaluated; fewer tokens are summed exactly."""


@dataclass(frozen=True)
class Routing:
    """Use of the experts by one token.

    Attributes:
        probability: [moe_layers, experts], chance that a token uses the expert; each row adds up
            to the experts per token.
        weight: [moe_layers, experts], mean routing weight over all tokens, zero where unused.
        source: where the numbers come from, for reports.
    """

    probability: Array
    weight: Array
    source: str

    def __post_init__(self) -> None:
        p = self.probability
        if p.ndim != 2 or p.shape != self.weight.shape:
            raise ValueError(
                f"routing probability {p.shape} and weight {self.weight.shape} must both be "
                "[moe_layers, experts]"
            )
        if not np.all((p >= 0) & (p <= 1 + 1e-9)):
            raise ValueError("routing probabilities must lie between 0 and 1")

    @property
    def experts_per_token(self) -> float:
        """Mean number of experts that a token uses in a layer."""
        return float(self.probability.sum(axis=1).mean())


def _inclusion(popularity: Array, experts_per_token: float) -> Array:
    """Probabilities in proportion to popularity, none above one, that add up to k in each row."""
    popularity = np.maximum(popularity, 1e-12)
    probability = np.zeros_like(popularity)
    certain = np.zeros(popularity.shape, dtype=bool)
    for _ in range(popularity.shape[-1]):
        left = experts_per_token - certain.sum(axis=-1, keepdims=True)
        free = np.where(certain, 0.0, popularity)
        total = np.maximum(free.sum(axis=-1, keepdims=True), 1e-300)
        probability = np.where(certain, 1.0, free * (left / total))
        if not np.any(probability > 1):
            break
        certain |= probability >= 1
    return probability


def _check(moe_layers: int, experts: int, experts_per_token: int) -> None:
    if moe_layers < 1 or not 1 <= experts_per_token <= experts:
        raise ValueError(
            f"routing of {experts_per_token} of {experts} experts in {moe_layers} layers: "
            "needs at least one layer and 1 <= experts per token <= experts"
        )


def uniform(moe_layers: int, experts: int, experts_per_token: int) -> Routing:
    """Every expert alike: probability k / E, weight 1 / E (weights of a token add up to one)."""
    _check(moe_layers, experts, experts_per_token)
    shape = (moe_layers, experts)
    return Routing(
        np.full(shape, experts_per_token / experts), np.full(shape, 1 / experts), "uniform routing"
    )


def zipf(
    moe_layers: int, experts: int, experts_per_token: int, exponent: float = 1.0, seed: int = 0
) -> Routing:
    """Popularity of rank r in proportion to r**-exponent; the seed draws who has which rank.

    Probabilities above one are cut and the excess goes to the others. exponent 0 is uniform.
    """
    _check(moe_layers, experts, experts_per_token)
    if exponent < 0:
        raise ValueError(f"Zipf exponent {exponent:g} must not be negative")
    popularity = np.arange(1, experts + 1, dtype=float) ** -exponent
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(popularity) for _ in range(moe_layers)])
    probability = _inclusion(rows, experts_per_token)
    source = f"Zipf routing with exponent {exponent:g}"
    return Routing(probability, probability / experts_per_token, source)


def trace(miniature: Miniature, tokens: ArrayLike) -> Routing:
    """Routing observed in a real forward pass of a miniature.

    Args:
        miniature: what `workloads.checkpoint.load_miniature` returns.
        tokens: [sequences, length] token ids.
    """
    import torch

    from workloads.moe import forward

    counter = UseCounter(miniature.config)
    ids = torch.as_tensor(np.asarray(tokens), dtype=torch.long)
    with torch.no_grad():
        for part in ids.split(16):
            forward(miniature.config, miniature.weights, part, observe=counter)
    return counter.routing(miniature.source)


class UseCounter:
    """Counts which experts tokens use: the `observe` of a forward pass, then its routing."""

    def __init__(self, config: DecoderConfig) -> None:
        self.first = config.dense_layers
        shape = (config.layers - self.first, config.routed_experts)
        self.used, self.weight = np.zeros(shape), np.zeros(shape)
        self.seen = np.zeros(shape[0])

    def __call__(self, layer: int, probabilities: Any, indices: Any, weights: Any) -> None:
        row, experts = layer - self.first, self.used.shape[1]
        chosen = indices.reshape(-1).cpu().numpy()
        self.used[row] += np.bincount(chosen, minlength=experts)
        routing_weight = weights.detach().reshape(-1).double().cpu().numpy()
        self.weight[row] += np.bincount(chosen, routing_weight, minlength=experts)
        self.seen[row] += indices.shape[0]

    def routing(self, source: str) -> Routing:
        """What was observed; `source` names the model."""
        seen = self.seen[:, None]
        told = f"traced on {int(self.seen[0]):,} tokens of {source}"
        return Routing(self.used / seen, self.weight / seen, told)


def relative_positions(count: int, source_count: int) -> NDArray[np.int64]:
    """For each of `count` places the place among `source_count` at the same relative position."""
    places = ((np.arange(count) + 0.5) * source_count / count).astype(np.int64)
    return np.minimum(places, source_count - 1)


def resample(routing: Routing, moe_layers: int, experts: int, experts_per_token: int) -> Routing:
    """A miniature's routing for a full model: by relative depth and relative expert position.

    Equal numbers of experts keep theirs; probabilities are rescaled to add up to the full model's
    experts per token. Scores of experts are to be moved in the same way, so that an expert's score
    and load stay together.
    """
    _check(moe_layers, experts, experts_per_token)
    layers = relative_positions(moe_layers, routing.probability.shape[0])
    columns = relative_positions(experts, routing.probability.shape[1])
    picked = np.ix_(layers, columns)
    probability = _inclusion(routing.probability[picked], experts_per_token)
    weight = routing.weight[picked]
    scale = routing.weight.sum(axis=1)[layers] / np.maximum(weight.sum(axis=1), 1e-300)
    return Routing(probability, weight * scale[:, None], routing.source)


@dataclass(frozen=True)
class SuffixLoads:
    """Loads of a batch when the first 0, 1, ..., E experts of each layer are left out.

    All [layers, experts + 1]: expected largest load, its standard deviation, and the chance that
    any of the rest is used.
    """

    largest: Array
    deviation: Array
    used: Array


def suffix_loads(probability: Array, batch: int) -> SuffixLoads:
    """Largest loads when the first 0, 1, ..., E experts of each layer are left out.

    The load of one expert is binomial. For all experts below m, the logarithm of the joint
    probability is the sum of the binomial ones plus a pairwise term: experts e and f of one token
    have covariance -v_e v_f / D, v = p (1 - p), because exactly k are drawn, and the joint
    distribution changes by batch * covariance * product of the binomial probabilities (first order
    in the covariance). That none of them is used at all: `none_used`.

    Args:
        probability: [layers, experts], experts in the order in which they are left out.
        batch: tokens routed together.
    """
    if batch < 1:
        raise ValueError(f"batch {batch} must be at least 1")
    p = np.clip(probability, 0.0, 1.0)
    layers, experts = p.shape
    variance = p * (1 - p)
    spread = variance.sum(axis=1, keepdims=True) * (experts - 1) / max(experts, 1)
    factor = np.divide(batch, 2 * spread, out=np.zeros_like(spread), where=spread > 1e-12)
    loads, width = _load_points(p, batch)
    first, second = np.zeros((2, layers, experts + 1))
    used = np.zeros((layers, experts + 1))
    for point, step in zip(loads, width, strict=True):
        if point == 0:
            above = 1 - none_used(p, batch)
        else:
            above = 1 - _all_below(p, variance, factor, float(point), batch)
        first += step * above
        second += step * (2 * point + 1) * above
        if point == loads[0]:
            used = above if point == 0 else np.ones_like(above)
    used[:, -1] = 0.0
    deviation = np.sqrt(np.maximum(second - first**2, 0.0))
    return SuffixLoads(first, deviation, used)


def none_used(probability: Array, batch: int) -> Array:
    """Chance that no token draws any expert when the first 0, 1, ..., E are left out.

    [layers, experts + 1]. Of all draws of exactly k experts with these probabilities, the one of
    the largest entropy (conditional Poisson sampling: Chen, Dempster and Liu, Biometrika 1994): a
    set of experts is drawn in proportion to the product of its odds, which are found by iteration.
    """
    p = np.ascontiguousarray(np.clip(probability, 1e-12, 1 - 1e-9))
    return np.asarray(_none_drawn(p.tobytes(), p.shape) ** batch)


@lru_cache(maxsize=64)
def _none_drawn(probability: bytes, shape: tuple[int, ...]) -> Array:
    """`none_used` of one token; kept, for it takes longer than all else of the same routing."""
    p = np.frombuffer(probability).reshape(shape)
    k = max(round(float(p.sum() / max(len(p), 1))), 1)
    odds = p / (1 - p)
    for _ in range(20):  # leaves 0.6 % where nearly every token draws an expert, else less
        odds /= odds.mean(axis=1, keepdims=True)
        before, after = _sets(odds, k), _sets(odds[:, ::-1], k)[:, ::-1]
        others = np.einsum("lej,lej->le", before[:, :-1, :k], after[:, 1:, k - 1 :: -1])
        odds = p * before[:, -1:, k] / others
    ways = _sets(odds / odds.mean(axis=1, keepdims=True), k)[..., k]
    return np.asarray(ways / ways[:, -1:])


def _sets(odds: Array, most: int) -> Array:
    """Sum over sets of 0, 1, ..., `most` of the first experts of the products of their odds.

    [layers, experts + 1, most + 1] from [layers, experts].
    """
    layers, experts = odds.shape
    sums = np.zeros((layers, experts + 1, most + 1))
    sums[:, 0, 0] = 1.0
    for expert in range(experts):
        sums[:, expert + 1] = sums[:, expert]
        sums[:, expert + 1, 1:] += odds[:, expert, None] * sums[:, expert, :-1]
    return sums


def _load_points(p: Array, batch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Loads at which to evaluate the distribution, and how many loads each stands for."""
    if batch <= LOAD_GRID:
        return np.arange(batch), np.ones(batch, dtype=np.int64)
    mean = batch * p
    deviation = np.sqrt(mean * (1 - p))
    high = int(min(batch, np.ceil((mean + 7 * deviation + 7).max())))
    edges = np.unique(np.linspace(0, high, LOAD_GRID + 1).astype(np.int64))
    width = np.diff(edges)
    return edges[:-1] + (width - 1) // 2, width


def _all_below(p: Array, variance: Array, factor: Array, load: float, batch: int) -> Array:
    """Chance that none of the last experts has more than `load` tokens: [layers, experts + 1]."""
    from scipy.special import bdtr, betaln, xlog1py, xlogy

    certain = p >= 1
    below = np.where(certain, float(load >= batch), bdtr(load, batch, p))
    below = np.clip(below, 1e-300, 1.0)
    # Binomial probability of `load` in batch - 1 trials, through logarithms for large batches.
    log_choose = -np.log(batch) - betaln(batch - load, load + 1)
    exactly = np.exp(log_choose + xlogy(load, p) + xlog1py(batch - 1 - load, -np.minimum(p, 1)))
    push = np.where(certain, 0.0, variance * exactly / below)

    def suffix(values: Array) -> Array:
        sums = np.cumsum(values[:, ::-1], axis=1)[:, ::-1]
        return np.concatenate([sums, np.zeros((len(values), 1))], axis=1)

    pairs = suffix(push) ** 2 - suffix(push**2)
    joint = np.exp(np.minimum(suffix(np.log(below)) - factor * np.maximum(pairs, 0.0), 0.0))
    # All experts together have k tokens of each token: not all of them can be below the mean.
    joint[load * p.shape[1] < batch * p.sum(axis=1) * (1 - 1e-9), 0] = 0.0
    return joint
