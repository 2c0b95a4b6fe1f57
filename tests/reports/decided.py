"""What a run adds that states a recommendation: columns, answers, what would change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: Of the made-up technologies, which is measured silicon.
KINDS = {"pcm-14nm": "silicon", "pcm-3d": "projection", "rram-22nm": "projection"}

DESCRIBED = [
    {"column": "energy_j_per_token", "name": "energy per token", "unit": "J/token",
     "direction": "lower", "scale": "log", "help": "Energy of all parts for one token."},
    {"column": "full_points", "name": "accuracy against digital", "unit": "points",
     "direction": "higher", "scale": "linear", "help": "Mean of eight benchmarks."},
    {"column": "tiers", "name": "tiers", "unit": "", "direction": "", "scale": "log",
     "help": "Layers of cells of one tile."},
]  # fmt: skip

FLIPS = [
    ("tiers that can be built", 256.0, "", 140.0, "no analog tiles",
     "Below 140 tiers, build no tiles."),
    ("memory energy", 5e-11, "J/byte", 2e-11, "no analog tiles",
     "Below 20 pJ/byte of memory, build no tiles."),
    ("sequences at a time", 32.0, "", np.nan, "", "The number of sequences does not change it."),
]  # fmt: skip


def decide(table: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    """The made-up designs with the columns of a run that decides, and what config.json says."""
    rng = np.random.default_rng(7)
    table = table.copy()
    loss, error = table["delta_loss_nats"], table["delta_loss_stderr"]
    table["full_loss_nats"], table["full_loss_stderr"] = loss, error
    # Worked by hand: 31 points a nat.
    table["full_points"] = -31 * loss
    table["full_points_low"] = -31 * (loss + error)
    table["full_points_high"] = -31 * (loss - error)
    table["technology_kind"] = table["technology"].map(KINDS).fillna("none")
    for name in ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2"):
        table[f"{name}_low"], table[f"{name}_high"] = 0.8 * table[name], 1.25 * table[name]
    table["time_per_output_token_s"] = table["latency_s_per_token"]
    table["cost_usd"] = 30 + table["area_mm2"]
    table["cost_usd_low"], table["cost_usd_high"] = 0.7 * table["cost_usd"], 2 * table["cost_usd"]
    table["memory"], table["dies"], table["concurrency"] = "hbm2e", 1, 32
    table["digital_weight_bits"] = rng.choice([4, 8, 16], len(table))
    table["ties"] = 1
    table["peak_macs_per_s"], table["memory_bytes_per_s"] = 60e12, 1e12
    table["beyond_source"] = np.where(
        table["technology"] == "pcm-3d", "more than 128 tiers were never built", ""
    )
    table.loc[table["reference_name"] == "all analog", "reason"] = "area 81,916 mm² > 200 mm²"
    complete = table[table["state"] == "complete"]
    silicon = complete[complete["technology_kind"] == "silicon"]["energy_j_per_token"].idxmin()
    best = complete[complete["technology_kind"] == "projection"]["energy_j_per_token"].idxmin()
    table["is_recommended"] = table.index == best
    table["recommended_of"] = ""
    table.loc[[silicon, best], "recommended_of"] = ["silicon", "all"]
    trial, other = (int(table.loc[place, "trial"]) for place in (best, silicon))
    config["recommended_trial"] = trial
    config["counts"] = {"designs_costed": 102_465, "simulations": 44,
                        "designs_in_table": len(table),
                        "designs_on_front": int(table["on_front"].sum())}  # fmt: skip
    config["recommendation"] = {
        "sentence": f"Build design {trial}: tiles of 3D memory for the routed experts.",
        "rule": "least energy per token among designs that lose at most 1 point",
        "why": ["It takes 5 times less energy than the best digital machine."],
        "how_sure": ["No chip of this technology has been measured."],
        "silicon": {"design": other, "sentence": "In measured silicon, build planar tiles."},
        "projection": {"design": trial, "sentence": "With projections, build 3D tiles.",
                       "must_deliver": "140 tiers at 38 fJ a MAC"},
        "at_bounds": [{"parameter": "tiers", "value": 256, "next": 512, "gives": "4 % less area"}],
        "references": [{"name": "all analog", "trial": -2,
                        "text": "81,916 mm², 410 times the budget"}],
    }  # fmt: skip
    return table


def write_decision(folder: Path, columns_json: str) -> None:
    """Columns as the run describes them, and what would change the recommendation."""
    (folder / "columns.json").write_text(columns_json)
    names = ["question", "value now", "unit", "flips_at", "becomes", "sentence"]
    pd.DataFrame(FLIPS, columns=names).to_parquet(folder / "flips.parquet")
