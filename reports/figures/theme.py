"""One look for every figure: colours that colour-blind readers can tell apart, light and dark."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import Column, plain, si

#: Okabe & Ito, "Color Universal Design" (2008), ordered so that neighbours differ most.
PALETTE = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#F0E442",
)  # fmt: skip
DIGITAL, ANALOG, ACCENT, MUTED = "#0072B2", "#E69F00", "#D55E00", "#8f98a3"
#: Error bars overlap where designs share a constant: together they stay lighter than the points.
ERROR = "rgba(143,152,163,0.55)"

#: Marker shapes beside the colours, so that no view depends on colour alone.
SYMBOLS = ("circle", "square", "diamond", "cross", "triangle-up", "x", "star", "hexagon")

#: Viridis without its darkest and brightest ends, which vanish on a dark or a white ground.
SEQUENTIAL = (
    (0.0, "#453781"), (0.25, "#33638d"), (0.5, "#20908d"), (0.75, "#4dc16b"), (1.0, "#c2df23"),
)  # fmt: skip

#: Selection scores keep their colour and shape in every figure.
SCORES = (
    "max_neuron_norm", "activation_frequency", "activation_weight", "router_norm", "random",
    "sensitivity",
)  # fmt: skip

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def _template(ground: str, text: str, faint: str, grid: str, veil: str) -> dict[str, Any]:
    axis = {
        "gridcolor": grid, "linecolor": faint, "zerolinecolor": grid, "tickcolor": faint,
        "tickfont": {"color": faint, "size": 12}, "title": {"font": {"color": text, "size": 13}},
        "automargin": True, "exponentformat": "SI", "minexponent": 3, "ticklabelstandoff": 4,
    }  # fmt: skip
    layout = {
        "font": {"family": FONT, "color": text, "size": 13},
        "paper_bgcolor": ground,
        "plot_bgcolor": ground,
        "colorway": list(PALETTE),
        "xaxis": axis,
        "yaxis": axis,
        "margin": {"l": 64, "r": 16, "t": 36, "b": 52},
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": FONT, "size": 12, "color": text}, "align": "left",
                       "bgcolor": ground, "bordercolor": faint},
        # Along the right edge, where it hides no legend.
        "modebar": {"orientation": "v"},
        "legend": {
            "orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0, "xanchor": "left",
            "font": {"size": 12, "color": text}, "bgcolor": "rgba(0,0,0,0)",
        },
        "coloraxis": {"colorbar": {"outlinewidth": 0, "tickfont": {"color": faint}}},
        "annotationdefaults": {
            "font": {"color": text, "size": 12}, "arrowcolor": faint, "bgcolor": veil,
        },
    }  # fmt: skip
    return {"layout": layout}


LIGHT = go.layout.Template(
    _template("#ffffff", "#1b2430", "#5b6672", "#e6e9ee", "rgba(255,255,255,0.7)")
)
DARK = go.layout.Template(
    _template("#171d26", "#e6ebf2", "#98a4b3", "#2b3441", "rgba(23,29,38,0.7)")
)


def themed(figure: go.Figure, height: int = 420) -> go.Figure:
    """The figure with the common look; returns the same figure."""
    return figure.update_layout(template=LIGHT, height=height, autosize=True)


def score_look(score: str) -> tuple[str, str]:
    """Colour and marker shape of a selection score."""
    place = SCORES.index(score) if score in SCORES else len(SCORES)
    return PALETTE[place], SYMBOLS[place]


def style_axis(spec: Column, values: pd.Series | None = None) -> dict[str, Any]:
    """Plotly settings of an axis that shows one column: title, scale and tick format.

    A logarithmic column gets a linear axis where its ``values`` span less than a factor of five.
    """
    axis: dict[str, Any] = {"title": {"text": plain(spec.title)}, "type": "linear", "dtick": None,
                            "tickformat": "", "ticksuffix": ""}  # fmt: skip
    if spec.kind == "percent":
        axis |= {"tickformat": ".3~%", "title": {"text": plain(spec.label)}}
    elif spec.kind == "si":
        axis |= {"tickformat": "~s", "ticksuffix": tick_unit(spec)}
    finite = values[values > 0] if values is not None else pd.Series(dtype=float)
    span = float(finite.max() / finite.min()) if len(finite) else 10.0
    if spec.log and span >= 5:
        # Ticks at 1, 2 and 5 of each decade; at the decades alone once there are many.
        axis |= {"type": "log", "dtick": "D2" if span < 1000 else 1, "tickformat": "~s"}
        if span < 1000:
            axis["ticksuffix"] = ""  # Plotly sets it at the decades alone
    return axis


def tick_unit(spec: Column) -> str:
    """What follows a tick's metric prefix: "m" alone could be minutes or metres."""
    return spec.unit.partition("/")[0] if spec.unit[:1] in ("J", "s") else ""


def numeric(table: pd.DataFrame, name: str) -> pd.Series:
    """A column as floats with NaN where it is missing; all NaN when the table lacks it."""
    if name not in table.columns:
        return pd.Series(np.nan, index=table.index, dtype=float)
    return pd.to_numeric(table[name], errors="coerce").astype(float)


def colour_scale(values: pd.Series, spec: Column) -> dict[str, Any]:
    """Marker settings that colour points by a column: log when it spans decades, labelled bar."""
    finite = values[np.isfinite(values)]
    log = spec.log and bool((finite > 0).all()) and len(finite) > 0
    shown = np.log10(values.where(values > 0)) if log else values
    low, high = (float(shown.min()), float(shown.max())) if len(finite) else (0.0, 1.0)
    bar: dict[str, Any] = {
        "title": {"text": plain(spec.title), "side": "bottom", "font": {"size": 12}},
        # Below the figure, where it takes none of a narrow page's width.
        "orientation": "h",
        "x": 0.5,
        "xanchor": "center",
        "y": -0.11,
        "yanchor": "top",
        "thickness": 12,
        "outlinewidth": 0,
        "len": 0.95,
    }
    if log:
        ticks = _log_ticks(10**low, 10**high)
        bar |= {"tickmode": "array", "tickvals": [math.log10(t) for t in ticks],
                "ticktext": [_tick(t, spec) for t in ticks]}  # fmt: skip
    elif spec.kind == "percent":
        bar["tickformat"] = ".3~%"
    return {
        "color": shown,
        "cmin": low,
        "cmax": high if high > low else low + 1.0,
        "colorscale": [list(stop) for stop in SEQUENTIAL],
        "colorbar": bar,
    }


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    ticks = [s * 10.0**d for d in decades for s in steps]
    inside = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
    return inside if len(inside) > 1 else [low, high]


def _tick(value: float, spec: Column) -> str:
    """A tick's label: with a metric prefix where the unit takes one, else as a plain number."""
    if spec.kind == "si":
        return f"{_short(value)}{tick_unit(spec)}"
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _short(value: float) -> str:
    text = si(value, "", 3).split(" ")
    return f"{float(text[0]):g}{text[1] if len(text) > 1 else ''}"


def empty_figure(message: str, height: int = 220) -> go.Figure:
    """A figure that says why there is nothing to show."""
    figure = themed(go.Figure(), height)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=plain(message), showarrow=False, x=0.5, y=0.5, xref="paper",
                          yref="paper")  # fmt: skip
    return figure
