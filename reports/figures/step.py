"""One step of a design over its layers: which stage waits for which, and how long each takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import (
    TOTALS,
    Column,
    breakdown_columns,
    in_unit,
    is_missing,
    plain,
    si,
    term,
    tokens_per_s,
)
from reports.figures.breakdown import NOT_KEPT, colour_of
from reports.figures.theme import MUTED, PALETTE, empty_figure, numeric, themed
from reports.run_folder import design

#: Where the two resources of a layer stand in its row, and the height of their bars.
OFFSETS = {"accelerator": -0.21, "tiles": 0.21}
THICKNESS = 0.4
#: How many following steps are drawn behind the first.
FOLLOWING = 3

#: Times of steps and stages.
SECONDS = Column("time_s", "Time", "s", "si")

#: The stages of a decoder in the order of a token's way.
STAGES = (
    "embedding", "attention", "mamba", "router", "shared_expert", "routed_expert", "dense_ffn",
    "lm_head", "overhead",
)  # fmt: skip


def modules(layers: pd.DataFrame) -> list[str]:
    """Modules of a table of layers, in the order of a token's way."""
    return list(dict.fromkeys(layers["module"].astype(str))) if len(layers) else []


def step_bars(layers: pd.DataFrame, trial: int) -> pd.DataFrame:
    """One row a stage of every layer of a design: module, resource, layer, start and length (s)."""
    rows: list[dict[str, Any]] = []
    now = 0.0
    own = layers[layers["trial"] == trial]
    for _, stretch in own.groupby("first_layer", sort=True):
        first, last = int(stretch["first_layer"].iloc[0]), int(stretch["last_layer"].iloc[0])
        for layer in range(first, last + 1):
            rows += [
                {"module": row["module"], "resource": row["resource"], "layer": layer,
                 "start_s": now + row["start_s"], "busy_s": row["busy_s"]}
                for _, row in stretch.iterrows()
            ]  # fmt: skip
            now += float(stretch["layer_s"].iloc[0])
    columns = ["module", "resource", "layer", "start_s", "busy_s"]
    return pd.DataFrame(rows, columns=columns)


def step_timeline(layers: pd.DataFrame, trial: int, interval_s: float | None = None) -> go.Figure:
    """Every layer of one step: above what the accelerator does, below what the layer's tiles do.

    With ``interval_s``, the time after which the next step can enter, the following steps stand
    behind in grey: layers hold their weights, so that steps follow one another through them.
    """
    if layers.empty:
        return empty_figure("This run holds no table of layers.")
    bars = step_bars(layers, trial)
    if bars.empty:
        return empty_figure(NOT_KEPT)
    factor, unit = in_unit(layers["layer_s"], SECONDS)
    bars[["start_s", "busy_s"]] *= factor
    place = bars["layer"] + bars["resource"].map(OFFSETS)
    figure = go.Figure()
    later = (
        [k * factor * (interval_s or 0.0) for k in range(1, FOLLOWING + 1)] if interval_s else []
    )
    figure.add_bar(
        y=np.concatenate([place] * len(later)) if later else [],
        x=np.concatenate([bars["busy_s"]] * len(later)) if later else [],
        base=np.concatenate([bars["start_s"] + shift for shift in later]) if later else [],
        orientation="h", width=THICKNESS, name="following steps", hoverinfo="skip",
        marker={"color": MUTED, "opacity": 0.35},
        meta={"stage": "next", "following": FOLLOWING, "offsets": OFFSETS, "factor": factor},
    )  # fmt: skip
    for index, name in enumerate(modules(layers)):
        own = bars[bars["module"] == name]
        figure.add_bar(
            y=place[own.index], x=own["busy_s"], base=own["start_s"], orientation="h",
            width=THICKNESS, name=plain(term(name)),
            marker={"color": colour_of(name, index)},
            customdata=own["resource"], meta={"stage": name, "offsets": OFFSETS, "factor": factor},
            hovertemplate=f"{plain(term(name))} on %{{customdata}}<br>from %{{base:.3~g}} {unit} "
            f"for %{{x:.3~g}} {unit}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(barmode="overlay", legend={"traceorder": "normal"})
    figure.update_xaxes(title_text=f"Time since the step entered ({unit})", ticksuffix=f" {unit}")
    figure.update_yaxes(title_text="Layer (after the last: LM head)", autorange="reversed",
                        zeroline=False)  # fmt: skip
    return themed(figure, 560)


#: What may set the pace.
RESOURCES = {
    "accelerator": "the accelerator, which all layers share",
    "tiles": "the tiles of the busiest layer",
    "sequences": "the way of each sequence, cut into {batches}",
}


@dataclass(frozen=True)
class Pace:
    """Times of a step from end to end, on the accelerator, and until the next can enter (s).

    ``resource``: what sets the pace.
    """

    latency_s: float
    accelerator_s: float
    interval_s: float
    step_tokens: float
    resource: str

    @property
    def steps(self) -> float:
        """Steps under way at full throughput; 1 where hardly more than one is."""
        steps = self.latency_s / self.interval_s
        return steps if steps > 1.05 else 1.0

    @property
    def in_words(self) -> str:
        """What a reader must know of several steps under way: none can wait for another."""
        return (
            f"{self.steps:.2g} micro-batches under way at a time; one alone "
            f"gets {tokens_per_s(self.step_tokens / self.latency_s)}"
        )


def pace(layers: pd.DataFrame, row: pd.Series, round_tokens: int) -> Pace | None:
    """The pace of a design's steps, each with its share of the tokens of a round.

    None where its layers were not kept.
    """
    apart: dict[str, Any] = {name: row.get(f"interval_resource_{name}_s") for name in RESOURCES}
    rate: Any = row.get("throughput_tokens_per_s")
    if layers.empty or is_missing(rate) or any(is_missing(value) for value in apart.values()):
        return None
    bars = step_bars(layers, int(row["trial"]))
    if bars.empty:
        return None
    end = float((bars["start_s"] + bars["busy_s"]).max())
    cut = int(row["micro_batches"])
    resource = RESOURCES[max(apart, key=lambda name: float(apart[name]))]
    named = resource.format(batches=f"{cut} micro-batch{'es' if cut > 1 else ''}")
    outputs = round_tokens / cut
    return Pace(end, float(apart["accelerator"]), outputs / float(rate), outputs, named)


def step_words(layers: pd.DataFrame, row: pd.Series, round_tokens: int) -> str:
    """How long a step of a design takes, when the next can enter, and what sets that pace."""
    found = pace(layers, row, round_tokens)
    if found is None:
        return NOT_KEPT
    text = (
        f"A step takes {si(found.latency_s, 's')} from end to end, of which the accelerator works "
        f"{si(found.accelerator_s, 's')}. The next step can enter after "
        f"{si(found.interval_s, 's')}; the pace is set by {found.resource}."
    )
    return f"{text} That is with {found.in_words}." if found.steps > 1 else text


def decode_timeline(candidates: pd.DataFrame, trial: Any) -> go.Figure:
    """One token's way through a design: each stage starts where the one before it ends."""
    parts = in_order(breakdown_columns(candidates, "latency", "module"))
    row = design(candidates, trial)
    if not parts:
        return empty_figure("This run holds no latency by module.")
    taken = {part: float(row[source]) for part, source in parts.items() if row[source] > 0}
    total = sum(taken.values())
    factor, unit = in_unit(numeric(candidates, TOTALS["latency"].name), SECONDS)
    lengths = [factor * seconds for seconds in taken.values()]
    figure = go.Figure(
        go.Bar(
            # The numbers stand beside the names, where no bar is too short for them.
            y=[f"{plain(term(part))}<br>{si(x, 's')} ({x / total:.1%})".replace("%", " %")
               for part, x in taken.items()],
            x=lengths, base=np.cumsum([0.0, *lengths])[:-1], orientation="h",
            marker={"color": PALETTE[0]},
            hovertemplate=f"%{{y}}<br>starts at %{{base:.3~g}} {unit}<extra></extra>",
            meta={"factor": factor,
                  "timeline": [{"name": term(p), "column": c} for p, c in parts.items()]},
        )
    )  # fmt: skip
    figure.update_xaxes(title_text=f"Time of a token ({unit})", ticksuffix=f" {unit}")
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(margin={"t": 12})
    return themed(figure, max(240, 44 * len(parts) + 70))


def in_order(parts: dict[str, str]) -> dict[str, str]:
    """Stages in the order in which a token passes them; unknown ones after the experts."""
    place = {part: index for index, part in enumerate(STAGES)}
    unknown = place["dense_ffn"]
    return dict(sorted(parts.items(), key=lambda item: place.get(item[0], unknown)))
