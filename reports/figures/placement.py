"""Which experts are digital: a map of layers and experts, and the load they carry."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from reports.columns import plain, term
from reports.figures.theme import ACCENT, MUTED, empty_figure, numeric, score_look, themed

#: Light for a low value, dark for a high one; blue where digital, orange where analog.
DIGITAL_SCALE = [[0.0, "#c6dff0"], [1.0, "#004a78"]]
ANALOG_SCALE = [[0.0, "#fbe6bd"], [1.0, "#a35f00"]]


def rank_column(experts: pd.DataFrame, score: object, scope: object) -> str | None:
    """Name of the column that orders the experts for a selection score and scope, if there."""
    name = f"rank_{score}_{scope}"
    return name if name in experts.columns else None


def value_columns(experts: pd.DataFrame) -> list[str]:
    """Columns of the experts' table that a map can be coloured by."""
    return [
        str(name)
        for name in experts.columns
        if name not in ("layer", "expert")
        and not str(name).startswith("rank_")
        and pd.api.types.is_numeric_dtype(experts[name])
    ]


def value_range(experts: pd.DataFrame, name: str) -> tuple[float, float]:
    """Lowest and highest value of a column of the experts' table, never the same."""
    low, high = numeric(experts, name).min(), numeric(experts, name).max()
    if not np.isfinite(low):
        return 0.0, 1.0
    return float(low), float(high) if high > low else float(low) + 1.0


def like_layers(experts: pd.DataFrame) -> str:
    """Why neighbouring layers of a map look alike, where they do: they were measured on fewer."""
    if experts.empty or "load" not in experts.columns:
        return ""
    rows = experts.pivot(index="layer", columns="expert", values="load")
    different = len(rows.drop_duplicates())
    if different == len(rows):
        return ""
    return (
        f"Loads and scores were measured on {different} layers of the miniature; each stands for "
        "the layers at its depth, so that these look alike."
    )


def placement_map(
    experts: pd.DataFrame, digital: pd.Series | np.ndarray, colour: str = "load"
) -> go.Figure:
    """Layer by expert: hue says digital or analog, darkness the value of column ``colour``.

    ``digital`` marks each row of ``experts``. A missing value leaves its cell empty.
    """
    if experts.empty or colour not in experts.columns:
        return empty_figure("This run holds no table of experts.")
    values = numeric(experts, colour)
    mask = np.asarray(digital, dtype=bool)
    low, high = value_range(experts, colour)
    figure = go.Figure()
    layers = experts["layer"].nunique()
    height = min(760, max(300, 200 + 12 * layers))
    for name, chosen, scale, place in (
        ("digital", mask, DIGITAL_SCALE, 0.24),
        ("analog", ~mask, ANALOG_SCALE, 0.76),
    ):
        grid = experts.assign(value=values.where(chosen)).pivot(
            index="layer", columns="expert", values="value"
        )
        figure.add_heatmap(
            z=grid.to_numpy(), x=list(grid.columns), y=list(grid.index), name=name,
            zmin=low, zmax=high, colorscale=scale, xgap=1, ygap=1,
            colorbar={"title": {"text": f"{name}<br>{plain(term(colour))}", "side": "bottom",
                                "font": {"size": 12}},
                      "orientation": "h", "thickness": 10, "len": 0.46, "x": place,
                      "xanchor": "center", "y": -50 / (height - 160), "yanchor": "top",
                      "outlinewidth": 0, "nticks": 5},
            hovertemplate=f"layer %{{y}}, expert %{{x}}: {name}<br>"
            f"{plain(term(colour))} %{{z:.4~g}}<extra></extra>",
            meta={"placement": name}, hoverongaps=False,
        )  # fmt: skip
    figure.add_scatter(
        x=[],
        y=[],
        mode="markers",
        name="moved",
        showlegend=False,
        hoverinfo="skip",
        marker={"symbol": "square-open", "size": 9, "color": ACCENT, "line": {"width": 2}},
        meta={"placement": "moved"},
    )
    figure.update_xaxes(title_text="Expert", showgrid=False, zeroline=False, constrain="domain")
    figure.update_yaxes(title_text="Layer", showgrid=False, zeroline=False, autorange="reversed")
    figure.update_layout(margin={"t": 12, "b": 130})
    return themed(figure, height)


def digital_coverage(
    experts: pd.DataFrame, chosen: str | None = None, digital_experts: float | None = None
) -> go.Figure:
    """Share of routed tokens that reach a digital expert, as more experts become digital.

    One curve for each order in the table (columns rank_<score>_<scope>) of the scope of
    ``chosen``, which is drawn thick, and ``digital_experts`` marked on it. The diagonal is a
    choice blind to load.
    """
    orders = [str(name) for name in experts.columns if str(name).startswith("rank_")]
    if experts.empty or "load" not in experts.columns or not orders:
        return empty_figure("This run holds no expert loads.")
    load = numeric(experts, "load").fillna(0.0).to_numpy()
    figure = go.Figure()
    total = load.sum() or 1.0
    scope = "_per_layer" if str(chosen).endswith("_per_layer") else "_global"
    for name in orders:
        score = name[5:].removesuffix("_per_layer").removesuffix("_global")
        order = np.argsort(experts[name].to_numpy(dtype=float))
        share = np.concatenate([[0.0], np.cumsum(load[order]) / total])
        width = 3.5 if name == chosen else 1.3
        figure.add_scatter(
            x0=0.0, dx=1.0 / len(experts), y=share.round(4), mode="lines",
            name=plain(order_name(name)),
            line={"color": score_look(score)[0], "width": width,
                  "dash": "dash" if name.endswith("_per_layer") else "solid"},
            meta={"order": name}, visible=name.endswith(scope),
            hovertemplate="%{x:.1%} of the experts digital: "
            "%{y:.1%} of the tokens' expert calls<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    if digital_experts is not None and np.isfinite(digital_experts):
        figure.add_vline(
            x=digital_experts / len(experts), line={"dash": "dot", "width": 1.5, "color": MUTED}
        )
    figure.update_xaxes(title_text="Routed experts computed digitally (%)", tickformat=".0%",
                        range=[0, 1.01])  # fmt: skip
    figure.update_yaxes(title_text="Expert calls served digitally (%)", tickformat=".0%")
    return themed(figure, 400)


def order_name(name: str) -> str:
    """rank_max_neuron_norm_per_layer -> 'maximum neuron norm, per layer'."""
    for scope in ("per_layer", "global"):
        if name.endswith(f"_{scope}"):
            return f"{term(name[5 : -len(scope) - 1])}, {term(scope)}"
    return term(name[5:])
