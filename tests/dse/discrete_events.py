"""A discrete-event simulation of a placed model, against which the closed forms are checked.

It knows nothing of `dse`: tokens draw their experts, wait for tiles and for the accelerator, and
steps follow one another. What it shares with the cost model is the description of the hardware.
"""

import itertools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy
from numpy.typing import NDArray

Event = Generator[Any, Any, Any]


@dataclass(frozen=True)
class Design:
    """A small system in seconds: everything the simulation needs.

    Attributes:
        logits: [layers, experts], popularity of the experts.
        digital: [layers, experts], True where the expert is digital.
        tokens: of a micro-batch's step on average; each step has a whole number around it.
        micro_batches: that follow one another through the layers, each again and again.
        blocks: of gate and up together, and of down.
        dense_s, head_s: accelerator time of a layer before its experts, and of the LM head.
        expert_byte_s, expert_mac_s: accelerator time of one expert's weights and of one token.
        stage_s: fixed time of a stage on the accelerator.
    """

    logits: NDArray[np.float64]
    digital: NDArray[np.bool_]
    experts_per_token: int
    tokens: float
    micro_batches: int
    tiles: int
    blocks: tuple[int, int]
    slot_s: float
    dense_s: float
    head_s: float
    expert_byte_s: float
    expert_mac_s: float
    stage_s: float


def top_k(
    logits: NDArray[np.float64], k: int, tokens: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """[tokens, k] experts drawn without replacement (Gumbel top-k)."""
    noisy = logits + rng.gumbel(size=(tokens, len(logits)))
    return np.argpartition(-noisy, k - 1, axis=1)[:, :k]


class Tile:
    """A tile serves its requests in the order of arrival, one slot each."""

    def __init__(self) -> None:
        self.free_at = 0.0

    def work(self, now: float, slot_s: float) -> float:
        """When a request made now is done."""
        self.free_at = max(self.free_at, now) + slot_s
        return self.free_at


class Machine:
    """Tiles, one accelerator, and where every analog expert's blocks lie."""

    def __init__(self, design: Design, popularity: NDArray[np.float64], seed: int) -> None:
        self.design, self.rng = design, np.random.default_rng(seed)
        self.env = simpy.Environment()
        self.accelerator = simpy.Resource(self.env)
        layers = len(design.logits)
        self.stage = [simpy.Resource(self.env) for _ in range(layers)]
        self.places: dict[tuple[int, int], list[list[Tile]]] = {}
        analog = (~design.digital).sum(axis=1)
        blocks = sum(design.blocks)
        sharing = max(analog.sum() * blocks / max(design.tiles, 1), 1.0)
        tiles = [Tile() for _ in range(max(design.tiles, 1))]
        start = 0.0
        for layer in range(layers):
            experts = np.flatnonzero(~design.digital[layer])
            busy_first = experts[np.argsort(-popularity[layer][experts])]
            if len(experts) >= sharing:
                self._groups(layer, busy_first, int(len(experts) / sharing))
            elif len(experts):
                end = start + len(experts) * blocks / sharing
                own = tiles[round(start) : max(round(end), round(start) + 1)]
                alone = end - start >= 1
                self._deal(layer, experts, own if alone else [tiles[int((start + end) / 2)]])
            start += len(experts) * blocks / sharing

    def _groups(self, layer: int, experts: NDArray[np.int64], groups: int) -> None:
        """Experts dealt to groups of tiles, back and forth; blocks of one kind work in step."""
        stations = [[[Tile()], [Tile()]] for _ in range(groups)]
        for place, expert in enumerate(experts):
            turn, column = divmod(place, groups)
            station = column if turn % 2 == 0 else groups - 1 - column
            self.places[layer, int(expert)] = stations[station]

    def _deal(self, layer: int, experts: NDArray[np.int64], tiles: list[Tile]) -> None:
        """Blocks dealt one by one to the layer's tiles."""
        turn = itertools.cycle(tiles)
        for expert in experts:
            halves = [list(itertools.islice(turn, count)) for count in self.design.blocks]
            self.places[layer, int(expert)] = halves

    def _hold(self, resource: simpy.Resource, seconds: float) -> Event:
        with resource.request() as turn:
            yield turn
            yield self.env.timeout(seconds)

    def _token(self, halves: list[list[Tile]]) -> Event:
        """One token through one expert: gate and up at once, then down."""
        for half in halves:
            ends = [tile.work(self.env.now, self.design.slot_s) for tile in half]
            yield self.env.timeout(max(ends) - self.env.now)

    def _analog(self, layer: int, chosen: NDArray[np.int64]) -> Event:
        with self.stage[layer].request() as turn:
            yield turn
            tokens = [
                self.env.process(self._token(self.places[layer, int(expert)]))
                for expert in chosen
                if not self.design.digital[layer, expert]
            ]
            yield self.env.all_of(tokens)

    def _layer(self, layer: int, tokens: int) -> Event:
        design = self.design
        yield from self._hold(self.accelerator, design.dense_s)
        chosen = top_k(design.logits[layer], design.experts_per_token, tokens, self.rng)
        flat = chosen.reshape(-1)
        digital = flat[design.digital[layer][flat]]
        waiting = [self.env.process(self._analog(layer, flat))]
        if design.digital[layer].any():
            unique = len(np.unique(digital))
            seconds = max(unique * design.expert_byte_s, len(digital) * design.expert_mac_s)
            work = self._hold(self.accelerator, seconds + design.stage_s)
            waiting.append(self.env.process(work))
        yield self.env.all_of(waiting)

    def _steps(self, micro_batch: int, finished: list[float]) -> Event:
        """Steps of one micro-batch, for ever; all of them together have the tokens of a round."""
        design = self.design
        for step in itertools.count():
            turn = step * design.micro_batches + micro_batch
            tokens = int((turn + 1) * design.tokens + 1e-9) - int(turn * design.tokens + 1e-9)
            for layer in range(len(design.logits)):
                yield from self._layer(layer, tokens)
            yield from self._hold(self.accelerator, design.head_s)
            finished.append(self.env.now)

    def run(self, steps: int, warm_up: int) -> float:
        """Mean time between finished steps of all micro-batches (s)."""
        finished: list[float] = []
        for micro_batch in range(self.design.micro_batches):
            self.env.process(self._steps(micro_batch, finished))
        while len(finished) < warm_up + steps:
            self.env.step()
        return (finished[-1] - finished[warm_up - 1]) / (len(finished) - warm_up)
