"""Speed of the noisy simulation against plain torch, aihwkit's torch tiles and aihwkit-lightning.

    python benchmarks/simulation.py [--model deepseekmoe-mini] [--threads 2] [--json]

Everything runs in one process on the same tokens and threads, and every entry is the median of
the repeats, taken in turn. First the whole miniature (clean; noisy with one and with eight seeds;
a candidate of the search: 8,192 tokens and 4 seeds), then the expert bank that environment
studies use for comparison: 8 layers x 64 experts x 3 matrices of 64 inputs and 32 outputs, with
16 rows an expert, as one batched product, as a loop over modules, and as the modules of the peers.
Times are wall-clock seconds; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dse.simulation import Noise, Simulator
from hwmodels.nonideality import multiply, prepare, program, to_codes

LAYERS, EXPERTS, MATRICES, INPUTS, OUTPUTS, ROWS = 8, 64, 3, 64, 32, 16


def median_times(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median wall time of each job in seconds; jobs take turns, after one unmeasured round."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: sorted(values)[len(values) // 2] for name, values in times.items()}


def whole_model(model: str, repeats: int) -> dict[str, float]:
    """Clean and noisy passes of a miniature over its test tokens, all routed experts analog."""
    from workloads.architecture import load_model
    from workloads.checkpoint import load_miniature
    from workloads.tasks import benchmarks

    miniature = load_miniature(model)
    full = load_model(model.removesuffix("-mini"))
    sets = benchmarks(miniature)
    by_seeds = {seeds: Simulator(miniature, sets, full, seeds) for seeds in (1, 4, 8)}
    simulator = by_seeds[1]
    analog = ~simulator.all_digital()
    first = miniature.config.dense_layers
    clean = simulator._placed(Noise(), ~analog, frozenset(), 0, 1)
    one_block = Noise(tile_rows=full.hidden_size)
    modules = sum(
        tensor.numel() for name, tensor in miniature.weights.items() if ".experts." in name
    )
    start = time.perf_counter()
    simulator.evaluate(Noise(magnitude=1.01), analog)
    cold = time.perf_counter() - start
    jobs: dict[str, Callable[[], object]] = {
        "clean pass": lambda: simulator._score(clean, first),
        "noisy, one seed, one row block": lambda: simulator.evaluate(one_block, analog),
        "noisy, one seed, 512 rows": lambda: simulator.evaluate(Noise(), analog),
        "noisy, eight seeds, 512 rows": lambda: by_seeds[8].evaluate(Noise(), analog),
        "candidate: 8,192 tokens x 4 seeds": lambda: by_seeds[4].evaluate(Noise(), analog),
    }
    times = median_times(jobs, repeats)
    times["programming all experts once"] = _programming(miniature.weights, repeats)
    times["first candidate of a noise, one seed"] = cold
    times["analog weights (millions)"] = modules / 1e6
    return times


def _programming(weights: dict[str, Tensor], repeats: int) -> float:
    experts = [tensor for name, tensor in weights.items() if ".experts." in name]
    generator = torch.Generator().manual_seed(0)

    def job() -> None:
        for tensor in experts:
            program(tensor, (tensor.shape[-1],), Noise(), generator=generator)

    return median_times({"programming": job}, repeats)["programming"]


class _Bank(nn.Module):
    """LAYERS x EXPERTS x MATRICES plain linear modules."""

    def __init__(self) -> None:
        super().__init__()
        count = LAYERS * EXPERTS * MATRICES
        self.layers = nn.ModuleList(nn.Linear(INPUTS, OUTPUTS, bias=False) for _ in range(count))


def expert_bank(repeats: int) -> dict[str, float | str]:
    """Seconds a pass over the bank; a peer that is not installed gives its reason."""
    torch.manual_seed(0)
    bank = _Bank().eval()
    x = torch.randn(ROWS, INPUTS)
    jobs: dict[str, Callable[[], object]] = {
        "plain module loop": lambda: [layer(x) for layer in bank.layers],
        "ours, clean, batched": _batched_clean(bank, x),
        "ours, noisy, batched": _batched_noisy(bank, x),
    }
    missing: dict[str, str] = {}
    for name, convert in (
        ("aihwkit torch tiles", _aihwkit_bank),
        ("aihwkit-lightning", _lightning_bank),
    ):
        try:
            peer = convert(bank)
        except ImportError as error:
            missing[name] = f"not measured: {error}"
            continue
        jobs[name] = lambda peer=peer: [layer(x) for layer in peer]
    with torch.no_grad():
        times = median_times(jobs, repeats)
    return {**times, **missing}


def _weights(bank: _Bank) -> list[Tensor]:
    stacked = torch.stack([layer.weight.detach() for layer in bank.layers])
    return list(stacked.view(LAYERS * MATRICES, EXPERTS, OUTPUTS, INPUTS))


def _batched_clean(bank: _Bank, x: Tensor) -> Callable[[], object]:
    weights = [weight.transpose(1, 2).contiguous() for weight in _weights(bank)]
    rows = x.expand(EXPERTS, ROWS, INPUTS).contiguous()
    return lambda: [torch.bmm(rows, weight) for weight in weights]


def _batched_noisy(bank: _Bank, x: Tensor) -> Callable[[], object]:
    """Converters at 8 bit and programmed weights; every expert has its own ranges."""
    generator = torch.Generator().manual_seed(0)
    noise = Noise()
    ranges = torch.full((EXPERTS, 1), 3.0)
    matrices = [
        prepare(program(weight, (INPUTS,), noise, generator=generator), ranges, noise)
        for weight in _weights(bank)
    ]
    rows = x.repeat(EXPERTS, 1)
    expert = torch.arange(EXPERTS).repeat_interleave(ROWS)

    def product(left: Tensor, right: Tensor) -> Tensor:
        batched = left.view(EXPERTS, ROWS, -1)
        return torch.bmm(batched, right.transpose(1, 2)).flatten(0, 1)

    def job() -> list[Tensor]:
        return [multiply(to_codes(rows, m, expert), m, product, expert) for m in matrices]

    return job


def _aihwkit_bank(bank: _Bank) -> list[Any]:
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
    layers = []
    for plain in bank.layers:
        layer = AnalogLinear(INPUTS, OUTPUTS, bias=False, rpu_config=config)
        layer.set_weights(plain.weight.detach())
        layer.eval()
        layer.program_analog_weights()
        layers.append(layer)
    return layers


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
    with torch.no_grad():
        model = whole_model(arguments.model, arguments.repeats)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bank = expert_bank(arguments.repeats)
    document = {
        "model": arguments.model,
        "threads": arguments.threads,
        "whole_model_s": model,
        "noisy_over_clean_one_row_block": model["noisy, one seed, one row block"]
        / model["clean pass"],
        "noisy_over_clean_512_rows": model["noisy, eight seeds, 512 rows"]
        / model["clean pass"]
        / 8,
        "expert_bank_s": bank,
        "peak_memory_whole_model_mib": memory,
    }
    if arguments.json:
        print(json.dumps(document, indent=1))
        return
    for name, seconds in model.items():
        print(f"{name:45s} {seconds:9.4f}   {seconds / model['clean pass']:7.2f} x clean")
    ours = bank["ours, noisy, batched"]
    for name, value in bank.items():
        if isinstance(value, str):
            print(f"{name:45s} {value}")
        elif isinstance(ours, float):
            print(f"{name:45s} {value:9.5f}   {value / ours:7.1f} x ours, noisy")
    print(f"peak memory with the whole model: {memory:.0f} MiB")


if __name__ == "__main__":
    main()
