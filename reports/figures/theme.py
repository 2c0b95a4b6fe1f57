"""One look for every figure: colours that colour-blind readers can tell apart, light and dark."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import Column, in_unit, plain

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


def style_axis(
    spec: Column, values: pd.Series | None = None, shown: pd.Series | None = None
) -> dict[str, Any]:
    """Plotly settings of an axis that shows one column: title, scale and ticks with their unit.

    Numbers stand in the unit of :func:`in_unit`: what is drawn is to be multiplied by its factor.
    A logarithmic column gets a linear axis where the ``shown`` of its ``values`` (all, unless
    given) span less than a factor of five.
    """
    values = pd.Series(dtype=float) if values is None else values
    shown = values if shown is None else shown
    scale, unit = in_unit(values, spec)
    axis: dict[str, Any] = {
        "title": {"text": plain(f"{spec.label} ({unit})" if unit else spec.label)},
        "type": "linear", "tickmode": "auto", "tickvals": None, "ticktext": None,
        "tickformat": "", "ticksuffix": f" {tick_unit(unit)}" if tick_unit(unit) else "",
    }  # fmt: skip
    if spec.kind == "percent":
        axis |= {"tickformat": ".3~%", "ticksuffix": "", "title": {"text": plain(spec.label)}}
    elif spec.kind == "si" and scale == 1:
        axis |= {"tickformat": "~s"}
    shown = shown[(shown > 0) & (shown < math.inf)] * scale
    if spec.log and len(shown) and shown.max() >= 5 * shown.min():
        ticks = log_ticks(float(shown.min()), float(shown.max()))
        axis |= {"type": "log", "tickmode": "array", "tickvals": ticks,
                 "ticktext": [f"{tick_text(t)}{axis['ticksuffix']}" for t in ticks]}  # fmt: skip
    return axis


def tick_unit(unit: str) -> str:
    """What follows a tick's number; that a cost is one of a token is in the title."""
    return unit.removesuffix("/token").replace("tokens/s", "tok/s")


def tick_text(value: float) -> str:
    """A tick's number: thousands as k, everything else as it is."""
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:,g}"


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
    factor, unit = in_unit(finite, spec)
    bar: dict[str, Any] = {
        "title": {
            "text": plain(f"{spec.label} ({unit})" if unit else spec.label),
            "side": "bottom",
            "font": {"size": 12},
        },
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
        ticks = log_ticks(10**low * factor, 10**high * factor)
        bar |= {
            "tickmode": "array",
            "tickvals": [math.log10(t / factor) for t in ticks],
            "ticktext": [f"{tick_text(t)} {tick_unit(unit)}".strip() for t in ticks],
        }
    elif spec.kind == "percent":
        bar["tickformat"] = ".3~%"
    return {
        "color": shown,
        "cmin": low,
        "cmax": high if high > low else low + 1.0,
        "colorscale": [list(stop) for stop in SEQUENTIAL],
        "colorbar": bar,
    }


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: 1, 2 and 5 of each decade, each decade alone where many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    # Exact decimals: 5 * 10**-3 is not 0.005.
    ticks = [float(f"{s}e{d}") for d in decades for s in steps]
    inside = [t for t in ticks if low * 0.999 <= t <= high * 1.001]
    return inside if len(inside) > 1 else [low, high]


def empty_figure(message: str, height: int = 220) -> go.Figure:
    """A figure that says why there is nothing to show."""
    figure = themed(go.Figure(), height)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=plain(message), showarrow=False, x=0.5, y=0.5, xref="paper",
                          yref="paper")  # fmt: skip
    return figure
