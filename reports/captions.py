"""Alternative texts: what each figure shows, in a sentence with its numbers."""

from __future__ import annotations

import pandas as pd

from reports.columns import column, show, term
from reports.decision import flips
from reports.figures.theme import numeric
from reports.figures.tornado import constant
from reports.run_folder import Run, recommended_row
from reports.why import largest


def captions(run: Run) -> dict[str, str]:
    """One sentence for each figure of the report, for readers who do not see it."""
    table = run.candidates
    complete = table[table["state"] == "complete"]
    front = complete[complete["on_front"]]
    spread = "; ".join(
        text
        for name in (
            "energy_j_per_token",
            "full_points",
            "delta_loss_nats",
            "throughput_tokens_per_s",
        )
        if (text := _range(front, name))
    )
    return {
        "pareto": f"Scatter plot of {len(complete)} simulated designs, {len(front)} on the Pareto "
        f"front. {spread}.",
        "share": f"Accuracy of {len(complete)} simulated designs against the share of routed "
        "experts computed digitally, one colour and marker for each selection score.",
        "parallel": f"{len(complete)} simulated designs as lines across their parameters and "
        "results.",
        "icicle": f"Drill-down of the selected design's total into its parts. {_largest(run)}",
        "bars": "The selected design and the reference designs side by side, stacked by part.",
        "step": "Bars of every layer of one step over time: above what the accelerator does, below "
        "what the layer's tiles do; following steps in grey.",
        "timeline": "Stages of one token's way through the selected design, end to end.",
        "utilisation": "Shares of cells that hold weights in the selected design and the reference "
        "designs, of the blocks in use and of all tiles and tiers.",
        "map": f"Map of {len(run.experts)} routed experts by layer, digital in blue and analog in "
        "orange, darker for a higher value.",
        "coverage": "Share of expert calls served digitally against the share of digital experts, "
        "one curve for each selection score.",
        "budget": "The design that each smaller budget would have bought. "
        f"{_range(complete, 'area_mm2')}.",
        "tornado": _tornado(run.tornado),
        "flips": _flips(run),
        "importance": "Share of the variance of loss, energy and throughput among the simulated "
        "designs that each parameter alone explains.",
        "roofline": "Multiply-accumulates a second over multiply-accumulates a byte of each stage "
        "of the selected design, under the roof of its accelerator.",
        "fidelity": f"Loss increase of {len(run.checkpoint)} placements on the checkpoint against "
        "that on the miniature, with standard errors.",
        "hypervolume": _hypervolume(run.progress),
        "time": "Wall time of the search by what it was spent on.",
    }


def _largest(run: Run) -> str:
    """The largest component of energy and of area of the recommended design."""
    row = recommended_row(run)
    if row is None:
        return "No design is recommended."
    parts = [
        f"{quantity} {term(part)} ({share:.0%})".replace("%", " %")
        for quantity in ("energy", "area")
        for part, share in largest(run.candidates, row, quantity, "component")
    ]
    return f"Largest parts of the recommended design: {', '.join(parts) or 'not recorded'}."


def _range(rows: pd.DataFrame, name: str) -> str:
    values = numeric(rows, name).dropna()
    if values.empty:
        return ""
    low, high = (show(pd.Series({name: end, column(name).stderr or "": 0.0}), name) for end in
                 (values.min(), values.max()))  # fmt: skip
    return f"{column(name).label} from {low} to {high}".replace(" ± 0", "")


def _flips(run: Run) -> str:
    told = flips(run)
    return f"{len(told)} of {len(run.flips)} questions change the answer. {' '.join(told[:2])}"


def _hypervolume(progress: pd.DataFrame) -> str:
    values = numeric(progress, "hypervolume").dropna()
    if values.empty:
        return "No search progress was recorded."
    return (
        f"Hypervolume over {len(progress)} trials, ending at {values.iloc[-1]:.4g}; half way it "
        f"was {values.iloc[len(values) // 2]:.4g}."
    )


def _tornado(table: pd.DataFrame) -> str:
    names = [name for name in table.columns if str(name).startswith("energy_j_per_token_change_")]
    if table.empty or not names:
        return "No constant was moved."
    most = table.iloc[int(table[names].abs().max(axis=1).to_numpy().argmax())]
    low, high = (100 * float(most[name]) for name in names)
    return (
        f"Change of the recommended design's energy, throughput and area with each of "
        f"{len(table)} constants at the ends of its published range. Energy moves most with "
        f"{constant(str(most['constant']))}: {low:+.3g} % and {high:+.3g} %."
    )
