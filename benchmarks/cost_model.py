"""Designs per second of the cost model: one at a time, as arrays, and how it grows.

    python benchmarks/cost_model.py [--model deepseekmoe] [--designs 1000000] [--json]

Random designs over technology, tile, tiers, converters, tiles, accelerator, placement; every
breakdown included. Beside it zigzag-dse's in-memory-computing model on the same tile, where that
package is installed.
"""

import argparse
import dataclasses
import importlib
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.cost.evaluate import evaluate
from dse.cost.hardware import System
from dse.placement.experts import digital_order
from hwmodels.digital import load_accelerator
from hwmodels.tile import Tile, load_technology, stack_technologies
from workloads import load_model
from workloads.architecture import MoEArchitecture
from workloads.routing import Routing, zipf

DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "num_attention_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "first_k_dense_replace": 3,
    "vocab_size": 129280,
}
Orders = dict[tuple[str, str], NDArray[np.int64]]


def random_designs(
    model: MoEArchitecture, orders: Orders, count: int, mixed: bool, seed: int = 0
) -> tuple[System, NDArray[np.int64], NDArray[np.int64]]:
    """Systems and placements; `mixed` draws the technology too, else all are pcm-3d."""
    rng = np.random.default_rng(seed)
    names = ("pcm-14nm", "pcm-3d", "rram-22nm")
    index = rng.integers(0, 3, count) if mixed else np.ones(count, dtype=np.int64)
    technologies = [load_technology(name) for name in names]
    technology = stack_technologies(technologies, index) if mixed else technologies[1]
    tile = Tile(
        technology,
        rows=2 ** rng.integers(7, 11, count),
        cols=2 ** rng.integers(7, 11, count),
        tiers=np.where(index == 1, 2 ** rng.integers(0, 11, count), 1),
        dac_bits=rng.integers(5, 9, count),
        adc_bits=rng.integers(5, 11, count),
        columns_per_adc=2 ** rng.integers(0, 7, count),
    )
    accelerator = dataclasses.replace(
        load_accelerator("edge-7nm"),
        mac_units=2 ** rng.integers(8, 17, count),
        sram_bytes=2.0 ** rng.integers(20, 26, count),
        hbm_stacks=rng.integers(1, 9, count),
    )
    system = System(tile, rng.integers(0, 400, count), accelerator)
    experts = model.moe_layers * model.routed_experts
    return system, rng.integers(0, len(orders), count), rng.integers(0, experts + 1, count)


def placements(model: MoEArchitecture) -> tuple[Routing, Orders]:
    """Zipf routing and ten orders, as a search has."""
    routing = zipf(model.moe_layers, model.routed_experts, model.experts_per_token, 0.5)
    scores = [np.random.default_rng(seed).random(routing.probability.shape) for seed in range(5)]
    return routing, {
        (f"score {number}", scope): digital_order(score, scope)
        for number, score in enumerate(scores)
        for scope in ("global", "per_layer")
    }


def arrays(model: MoEArchitecture, count: int, mixed: bool) -> dict[str, Any]:
    """Seconds and designs per second of one call, tables of the orders included."""
    routing, orders = placements(model)
    system, which, experts = random_designs(model, orders, count, mixed)
    start, cpu = time.perf_counter(), time.process_time()
    costs = evaluate(model, routing, orders, system, which, experts)
    wall, busy = time.perf_counter() - start, time.process_time() - cpu
    columns = costs.to_frame().shape[1] if count <= 300_000 else None
    return {
        "model": model.name,
        "technologies": "three, mixed" if mixed else "one",
        "designs": count,
        "wall_s": wall,
        "cpu_s": busy,
        "designs_per_s": count / wall,
        "designs_per_cpu_s": count / busy,
        "columns": columns,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def one_at_a_time(model: MoEArchitecture, calls: int = 20) -> dict[str, Any]:
    """Calls of one design each with one order."""
    routing, orders = placements(model)
    first = dict(list(orders.items())[:1])
    tile = Tile(load_technology("pcm-3d"), 512, 512, 256)
    system = System(tile, 100, load_accelerator("edge-7nm"))
    evaluate(model, routing, first, system, 0, 0)
    start = time.perf_counter()
    for count in range(calls):
        evaluate(model, routing, first, system, 0, count)
    seconds = (time.perf_counter() - start) / calls
    return {"model": model.name, "seconds_per_design": seconds, "designs_per_s": 1 / seconds}


def deepseek_v3() -> MoEArchitecture:
    """256 experts in 58 layers, from its config.json."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(DEEPSEEK_V3), encoding="utf-8")
        return load_model(path)


def peer(calls: int = 2000) -> dict[str, Any]:
    """zigzag-dse's model of a 512 x 512 analog in-memory-computing array, one after another."""
    try:
        imc_array = importlib.import_module("zigzag.hardware.architecture.imc_array")
        dimension = importlib.import_module("zigzag.datatypes").OADimension
    except ModuleNotFoundError as error:
        return {"skipped": f"zigzag-dse is not installed ({error}): pip install '.[benchmark]'"}
    sizes = {dimension("D1"): 512, dimension("D2"): 512}

    def tile() -> Any:
        return imc_array.ImcArray(
            is_analog_imc=True,
            bit_serial_precision=8,
            input_precision=[8, 8],
            adc_resolution=8,
            cells_size=8,
            cells_area=0.614e-6,
            dimension_sizes=sizes,
        )

    tile()
    start = time.perf_counter()
    for _ in range(calls):
        tile()
    seconds = (time.perf_counter() - start) / calls
    return {"seconds_per_tile": seconds, "tiles_per_s": 1 / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="deepseekmoe")
    parser.add_argument("--designs", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    try:
        model = load_model(options.model)
        if options.designs < 1:
            raise ValueError(f"--designs {options.designs} must be at least 1")
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    quarter = max(options.designs // 4, 1)
    result: dict[str, Any] = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "one_at_a_time": one_at_a_time(model),
        "arrays": [
            arrays(model, options.designs, mixed=False),
            arrays(model, options.designs, mixed=True),
            arrays(load_model("olmoe"), quarter, mixed=True),
            arrays(deepseek_v3(), quarter, mixed=True),
        ],
        "zigzag_dse": peer(),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"one design a call: {result['one_at_a_time']['designs_per_s']:,.0f} designs/s")
    for row in result["arrays"]:
        print(
            f"{row['model']:>12}  {row['designs']:>9,} designs, technologies: "
            f"{row['technologies']:<12}  {row['designs_per_s']:>9,.0f} designs/s "
            f"({row['designs_per_cpu_s']:,.0f} a CPU second), "
            f"{row['peak_memory_gib']:.2f} GiB so far"
        )
    other = result["zigzag_dse"]
    if "skipped" in other:
        print(other["skipped"])
        return
    ratio = result["arrays"][0]["designs_per_s"] / other["tiles_per_s"]
    print(
        f"zigzag-dse: {other['tiles_per_s']:,.0f} tiles/s; a whole placed model here, tile, "
        f"accelerator and layers, takes {1 / ratio:.2f} of the time of one tile there"
    )


if __name__ == "__main__":
    main()
