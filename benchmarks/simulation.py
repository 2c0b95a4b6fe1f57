"""Speed of the noisy simulation against plain torch, aihwkit's torch tiles and aihwkit-lightning.

    python benchmarks/simulation.py [--model deepseekmoe-mini] [--threads 2] [--json]

Everything runs in one process on the same tokens and threads; jobs take turns, and every entry is
the median of its repeats (fewer for a job that needs seconds). First the whole miniature (clean;
noisy with one and with eight seeds; a candidate of the search: 8,192 tokens and 4 seeds; the same
decoder with an aihwkit tile for every expert's matrix), then a bank of experts: 8 layers x 64
experts x 3 matrices of 64 inputs and 32 outputs that all get the same 16 rows, as a loop over
modules, as batched products and as the modules of the peers. In a real layer every expert has rows
of its own; that is measured too.
Times are seconds, wall clock and CPU: on a busy machine the ratios of CPU time still mean
something. The clean pass computes every layer that the noisy ones do; these take the attention
of the first one, which no noise reaches, from memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dse.simulation.placed_model import PlacedModel
from dse.simulation.simulator import Noise, Simulator
from hwmodels.analog_product import (
    analog_grouped_linear,
    analog_linear,
    laid_by_inputs,
    prepare,
)
from hwmodels.nonideality import ProgrammedMatrix, program

LAYERS, EXPERTS, MATRICES, INPUTS, OUTPUTS, ROWS = 8, 64, 3, 64, 32, 16
ENOUGH_S = 4.0

CLEAN = "clean pass"
ONE_BLOCK = "noisy, one seed, one row block"
ONE_SEED = "noisy, one seed, 512 rows"
EIGHT_SEEDS = "noisy, eight seeds, 512 rows"
CANDIDATE = "candidate: 8,192 tokens x 4 seeds"
PROGRAMMING = "programming all experts once"
OURS = "ours, noisy, one product a layer"
OWN_ROWS = "ours, noisy, each expert its rows"
AIHWKIT = "aihwkit torch tiles"
AIHWKIT_MODEL = "aihwkit tiles as experts, one row block"


class Timing(NamedTuple):
    """Median wall-clock and CPU time of a job."""

    wall_s: float
    cpu_s: float


class Aim(NamedTuple):
    """A measured value beside its aim (None: said without one); at_most: which side is wanted."""

    name: str
    measured: float | None
    limit: float | None
    at_most: bool


def median_times(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, Timing]:
    """Median times of each job; jobs take turns, after one unmeasured round.

    A job that has been measured for more than ENOUGH_S is not repeated again.
    """
    times: dict[str, list[Timing]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            if sum(one.wall_s for one in times[name]) > ENOUGH_S:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            job()
            if repeat:
                times[name].append(Timing(time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: Timing(*(sorted(column)[len(ones) // 2] for column in zip(*ones, strict=True)))
        for name, ones in times.items()
    }


def whole_model(model: str, repeats: int) -> tuple[dict[str, Timing | str], float]:
    """Clean and noisy passes of a miniature over its test tokens, all routed experts analog.

    Also the peak memory in MiB, before a peer is loaded.
    """
    from workloads.architecture import load_model
    from workloads.checkpoint import load_miniature
    from workloads.tasks import benchmarks

    miniature = load_miniature(model)
    full = load_model(model.removesuffix("-mini"))
    simulator = Simulator(miniature, benchmarks(miniature), full, 8)
    analog = ~simulator.all_digital()
    first = miniature.config.dense_layers
    clean = simulator.placed(Noise(), ~analog, frozenset(), 0, 1)

    def noisy(seeds: int, noise: Noise) -> None:
        simulator.seeds = seeds
        simulator.evaluate(noise, analog)

    one_block = Noise(tile_rows=full.hidden_size)
    experts = [tensor for name, tensor in miniature.weights.items() if ".experts." in name]
    generator = torch.Generator().manual_seed(0)
    jobs: dict[str, Callable[[], object]] = {
        CLEAN: lambda: simulator.score(clean, first, reuse=False),
        ONE_BLOCK: lambda: noisy(1, one_block),
        ONE_SEED: lambda: noisy(1, Noise()),
        EIGHT_SEEDS: lambda: noisy(8, Noise()),
        CANDIDATE: lambda: noisy(4, Noise()),
        PROGRAMMING: lambda: [
            program(tensor, (tensor.shape[-1],), Noise(), generator=generator) for tensor in experts
        ],
    }
    times: dict[str, Timing | str] = {**median_times(jobs, repeats)}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    try:
        peer = _aihwkit_model(simulator)
    except ImportError as error:
        times[AIHWKIT_MODEL] = f"not measured: {error}"
    else:
        times |= median_times({AIHWKIT_MODEL: lambda: simulator.score(peer, first)}, repeats)
    return times, memory


class _AihwkitModel(PlacedModel):
    """A model with a programmed aihwkit tile for every matrix of its routed experts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tiles = {
            name: [_aihwkit_tile(expert) for expert in weight]
            for name, weight in self.weights.items()
            if ".experts." in name
        }

    def grouped_linear(self, name: str, x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
        parts = zip(self.tiles[name], x.split(counts.tolist()), strict=True)
        return torch.cat([tile(rows) for tile, rows in parts if len(rows)])


def _aihwkit_model(simulator: Simulator) -> PlacedModel:
    """The miniature on aihwkit's tiles; its experts count as digital for our own."""
    digital = torch.from_numpy(simulator.all_digital())
    return _AihwkitModel(simulator.model, Noise(), digital, frozenset(), 0, 1)


class _Bank(nn.Module):
    """LAYERS x EXPERTS x MATRICES plain linear modules."""

    def __init__(self) -> None:
        super().__init__()
        count = LAYERS * EXPERTS * MATRICES
        self.layers = nn.ModuleList(nn.Linear(INPUTS, OUTPUTS, bias=False) for _ in range(count))


def expert_bank(repeats: int) -> dict[str, Timing | str]:
    """Times of a pass over the bank; a peer that is not installed gives its reason."""
    torch.manual_seed(0)
    bank = _Bank().eval()
    x = torch.randn(ROWS, INPUTS)
    weights = torch.stack([layer.weight.detach() for layer in bank.layers])
    stacked = weights.view(LAYERS, -1, INPUTS)
    jobs: dict[str, Callable[[], object]] = {
        "plain module loop": lambda: [layer(x) for layer in bank.layers],
        "plain, one product a layer": lambda: [x @ weight.T for weight in stacked],
        OURS: _shared_rows(stacked, x),
        OWN_ROWS: _own_rows(weights, x),
    }
    missing: dict[str, Timing | str] = {}
    for name, convert in ((AIHWKIT, _aihwkit_bank), ("aihwkit-lightning", _lightning_bank)):
        try:
            peer = convert(bank)
        except ImportError as error:
            missing[name] = f"not measured: {error}"
            continue
        jobs[name] = lambda peer=peer: [layer(x) for layer in peer]
    with torch.no_grad():
        return {**median_times(jobs, repeats), **missing}


def _shared_rows(stacked: Tensor, x: Tensor) -> Callable[[], object]:
    """The columns of a layer's experts side by side: same rows, one input range, one product."""
    generator = torch.Generator().manual_seed(0)
    programmed = [_programmed(weight, generator) for weight in stacked]
    matrices = [prepare(tiles, torch.tensor([3.0]), Noise()) for tiles in programmed]
    return lambda: [analog_linear(x, matrix) for matrix in matrices]


def _own_rows(weights: Tensor, x: Tensor) -> Callable[[], object]:
    """Rows sorted by expert, each expert with ranges of its own, as in a routed layer."""
    generator = torch.Generator().manual_seed(0)
    ranges = torch.full((EXPERTS, 1), 3.0)
    layers = weights.view(-1, EXPERTS, OUTPUTS, INPUTS)
    programmed = [laid_by_inputs(_programmed(weight, generator)) for weight in layers]
    matrices = [prepare(tiles, ranges, Noise()) for tiles in programmed]
    rows, counts = x.repeat(EXPERTS, 1), torch.full((EXPERTS,), ROWS)
    return lambda: [analog_grouped_linear(rows, matrix, counts) for matrix in matrices]


def _programmed(weight: Tensor, generator: torch.Generator) -> ProgrammedMatrix:
    """The tiles of weights [..., outputs, inputs], one row block each."""
    return program(weight, (INPUTS,), Noise(), generator=generator)


def _aihwkit_bank(bank: _Bank) -> list[Any]:
    return [_aihwkit_tile(layer.weight.detach()) for layer in bank.layers]


def _aihwkit_tile(weight: Tensor) -> Any:
    """A programmed analog layer [outputs, inputs] with 8-bit converters."""
    from aihwkit.inference.noise.pcm import PCMLikeNoiseModel
    from aihwkit.nn import AnalogLinear
    from aihwkit.simulator.configs import TorchInferenceRPUConfig
    from aihwkit.simulator.parameters.enums import BoundManagementType, NoiseManagementType

    config = TorchInferenceRPUConfig()
    config.noise_model = PCMLikeNoiseModel()
    config.drift_compensation = None
    config.forward.noise_management = NoiseManagementType.NONE
    config.forward.bound_management = BoundManagementType.NONE
    config.forward.inp_res = config.forward.out_res = 254
    config.forward.out_noise = 0.0
    layer = AnalogLinear(weight.shape[1], weight.shape[0], bias=False, rpu_config=config)
    layer.set_weights(weight)
    layer.eval()
    layer.program_analog_weights()
    return layer


def _lightning_bank(bank: _Bank) -> list[Any]:
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig

    config = TorchInferenceRPUConfig()
    config.forward.inp_res = config.forward.out_res = 254
    config.forward.out_bound = 10.0
    config.pre_post.input_range.enable = True
    layers = []
    for plain in bank.layers:
        layer = AnalogLinear(INPUTS, OUTPUTS, bias=False, rpu_config=config).eval()
        layer.weight.data.copy_(plain.weight.detach())
        layer.input_range.data.fill_(3.0)
        layers.append(layer)
    return layers


def aims(model: dict[str, Timing | str], bank: dict[str, Timing | str], threads: int) -> list[Aim]:
    """What the issue of this benchmark asks for; ratios are of CPU times."""

    def ratio(rows: dict[str, Timing | str], slow: str, fast: str) -> float | None:
        left, right = rows[slow], rows[fast]
        if isinstance(left, Timing) and isinstance(right, Timing):
            return left.cpu_s / right.cpu_s
        return None

    def wall(job: str) -> float | None:
        found = model[job]
        return found.wall_s if isinstance(found, Timing) else None

    eight = ratio(model, EIGHT_SEEDS, CLEAN)
    own = ratio(bank, AIHWKIT, OWN_ROWS)
    whole = ratio(model, AIHWKIT_MODEL, ONE_BLOCK)
    return [
        Aim("noisy over clean, one seed", ratio(model, ONE_SEED, CLEAN), 1.25, True),
        Aim("noisy over clean a seed, eight seeds", eight and eight / 8, 1.25, True),
        Aim("programming all experts (s)", wall(PROGRAMMING), 0.3, True),
        Aim(f"candidate, torch threads: {threads} (s)", wall(CANDIDATE), 1.5, True),
        Aim("bank: times faster than aihwkit's tiles", ratio(bank, AIHWKIT, OURS), 100.0, False),
        Aim("the same, each expert its rows", own, None, False),
        Aim("whole miniature: times faster than aihwkit", whole, None, False),
    ]


def _line(aim: Aim) -> str:
    measured = "not measured" if aim.measured is None else f"{aim.measured:9.3f}"
    if aim.limit is None:
        return f"{aim.name:45s} {measured}"
    limit = f"aim {'at most' if aim.at_most else 'at least'} {aim.limit:g}"
    if aim.measured is None:
        return f"{aim.name:45s} {measured}   {limit}"
    met = aim.measured <= aim.limit if aim.at_most else aim.measured >= aim.limit
    return f"{aim.name:45s} {measured}   {limit}: {'met' if met else 'missed'}"


def main() -> None:
    """Run both parts and print a table, or one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="deepseekmoe-mini")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    with torch.no_grad(), contextlib.redirect_stdout(sys.stderr):  # a peer prints when imported
        model, memory = whole_model(arguments.model, arguments.repeats)
        bank = expert_bank(arguments.repeats)
    results = aims(model, bank, arguments.threads)
    if arguments.json:
        parts = {"whole_model": model, "expert_bank": bank}
        document = {
            "model": arguments.model,
            "threads": arguments.threads,
            **{
                part: {k: v._asdict() if isinstance(v, Timing) else v for k, v in rows.items()}
                for part, rows in parts.items()
            },
            "aims": [aim._asdict() for aim in results],
            "peak_memory_whole_model_mib": memory,
        }
        print(json.dumps(document, indent=1))
        return
    print(f"{'':45s} {'wall s':>9s} {'CPU s':>9s}")
    for name, value in [*model.items(), *bank.items()]:
        times = value if isinstance(value, str) else f"{value.wall_s:9.4f} {value.cpu_s:9.4f}"
        print(f"{name:45s} {times}")
    for aim in results:
        print(_line(aim))
    print(f"{'peak memory with the whole model (MiB)':45s} {memory:9.0f}")


if __name__ == "__main__":
    main()
