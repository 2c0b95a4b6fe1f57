"""Converter ranges (kappa and lambda) of the shipped miniatures, chosen by sweeps.

The table converter_ranges.json is written by `python -m dse.simulation.converter_ranges`, which
runs the sweep of `dse calibrate`: kappa for every resolution of the DAC, lambda for every
resolution of the ADC and number of tile rows, because a column adds up as many products as the tile
has rows. Every command that simulates noise takes its ranges from here and says which; a run's
config.json holds the table. The paper calibrates both too and prints no values.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwmodels.nonideality import Noise

if TYPE_CHECKING:
    from dse.simulation.simulator import Simulator

FILE = Path(__file__).with_name("converter_ranges.json")
BITS = (4, 5, 6, 7, 8, 9, 10)
ROWS = (128, 256, 512, 1024)


@cache
def _table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def with_ranges(noise: Noise, miniature: str) -> Noise:
    """The noise with the ranges chosen for its converters and rows; unchanged for another model.

    Bits outside the table take its nearest entry, ideal converters the finest; rows the entry of
    the nearest ratio.
    """
    if miniature not in _table()["ranges"]:
        return noise
    chosen = _table()["ranges"][miniature]
    rows = min(ROWS, key=lambda known: abs(math.log(known / noise.tile_rows)))

    def entry(values: dict[str, float], bits: int | None) -> float:
        return values[str(min(max(bits or BITS[-1], BITS[0]), BITS[-1]))]

    return replace(
        noise,
        input_range_std=entry(chosen["input_range_std_by_dac_bits"], noise.dac_bits),
        output_range=entry(chosen["output_range_by_rows_and_adc_bits"][str(rows)], noise.adc_bits),
    )


def said(noise: Noise) -> str:
    """The ranges of a noise in words."""
    return f"kappa {noise.input_range_std:g}, lambda {noise.output_range:g}"


def record(miniature: str) -> dict[str, Any]:
    """What config.json says of the ranges: the values by resolution and where they come from."""
    if miniature in _table()["ranges"]:
        return {"source": _table()["source"], **_table()["ranges"][miniature]}
    default = Noise()
    return {
        "source": "defaults",
        "input_range_std": default.input_range_std,
        "output_range": default.output_range,
    }


def choose(simulator: Simulator, noise: Noise, name: str, values: Sequence[float]) -> float:
    """The value of one range with the lowest loss; the present one unless clearly worse.

    Clearly: by more than three standard errors of the paired difference, as many are compared.
    """
    from dse.simulation.calibration import sweep

    present = float(getattr(noise, name))
    if name == "input_range_std":
        result = sweep(simulator, noise, input_ranges=values, output_ranges=(noise.output_range,))
    else:
        kappa = (noise.input_range_std,)
        result = sweep(simulator, noise, input_ranges=kappa, output_ranges=values)
    table = result.table
    own = table[table[name] == present].iloc[0]
    if own["above_best_nats"] <= 3 * own["above_best_stderr"]:
        return present
    return float(table[table["chosen"]][name].iloc[0])


def main() -> None:
    """Sweep both miniatures and write the table."""
    from dse.simulation.calibration import INPUT_RANGES, OUTPUT_RANGES
    from dse.simulation.simulator import Simulator
    from workloads.architecture import load_model
    from workloads.checkpoint import load_miniature, miniature_names
    from workloads.tasks import benchmarks

    ranges = {}
    for name in miniature_names():
        miniature = load_miniature(name)
        sets = benchmarks(miniature, tokens=4096, split="calibration")
        simulator = Simulator(miniature, sets, load_model(name.removesuffix("-mini")), seeds=1)
        print(name, file=sys.stderr)
        base = Noise(magnitude=0.0)
        ranges[name] = {
            "input_range_std_by_dac_bits": {
                bits: choose(simulator, replace(base, dac_bits=bits), "input_range_std",
                             INPUT_RANGES)
                for bits in BITS
            },
            "output_range_by_rows_and_adc_bits": {
                rows: {
                    bits: choose(simulator, replace(base, adc_bits=bits, tile_rows=rows),
                                 "output_range", OUTPUT_RANGES)
                    for bits in BITS
                }
                for rows in ROWS
            },
        }  # fmt: skip
    source = (
        "python -m dse.simulation.converter_ranges: loss on 4,096 calibration tokens, all routed "
        "experts analog, the other converter at 8 bits (kappa: tiles of 512 rows); 12 and 2 unless "
        "worse by three standard errors"
    )
    FILE.write_text(json.dumps({"source": source, "ranges": ranges}, indent=1) + "\n")


if __name__ == "__main__":
    main()
