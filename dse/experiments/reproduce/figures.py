"""Figures of `dse reproduce`: from a table of our own runs to plotly, the published result beside.

Colours are those of Okabe and Ito, told apart by colour-blind readers; markers and dashes say the
same again.
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")


def captioned(figure: Any, title: str, published: str) -> Any:
    """The figure with a title and, under it, what was published."""
    lines = textwrap.wrap(f"Published: {published}.", 130)
    text = "<br>".join(lines)
    figure.update_layout(
        template="plotly_white",
        title={
            "text": f"{title}<br><span style='font-size:12px;color:#555'>{text}</span>",
            "x": 0.02, "y": 0.97, "yanchor": "top",
        },
        margin={"t": 90 + 18 * len(lines)},
    )  # fmt: skip
    return figure


def bars(table: pd.DataFrame, category: str, value: str, error: str, axis: str) -> Any:
    """One group of bars a category, one colour a model, standard errors on top."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (model, part) in enumerate(table.groupby("model", sort=False)):
        figure.add_bar(
            x=[str(name).replace("_", " ") for name in part[category]],
            y=part[value],
            error_y={"array": part[error]},
            name=str(model),
            marker={"color": COLOURS[number], "pattern": {"shape": ("", "/")[number % 2]}},
        )
    figure.update_layout(yaxis_title=axis, barmode="group")
    return figure


def accuracy_beside(table: pd.DataFrame, category: str) -> Any:
    """Accuracy lost against the first category of a model: ours with errors, the published beside.

    Needs accuracy_percent, accuracy_percent_stderr and published_accuracy_percent. The error is
    that of the category's own accuracy: the first one has none.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    models = list(dict.fromkeys(table["model"]))
    figure = make_subplots(cols=len(models), rows=1, subplot_titles=models, shared_yaxes=True)
    for column, model in enumerate(models, start=1):
        part = table[table["model"] == model]
        names = list(part[category])
        for number, (name, key, error) in enumerate((
            ("ours, miniature's tasks", "accuracy_percent", part["accuracy_percent_stderr"]),
            ("published, full model's tasks", "published_accuracy_percent", None),
        )):  # fmt: skip
            figure.add_trace(
                go.Bar(
                    x=names[1:],
                    y=(part[key] - part[key].iloc[0])[1:],
                    error_y=None if error is None else {"array": error[1:]},
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    marker={"color": COLOURS[number], "pattern": {"shape": ("", "/")[number]}},
                ),
                row=1,
                col=column,
            )
    figure.update_layout(barmode="group", yaxis_title="accuracy against all digital (points)")
    return figure


def recovery_lines(table: pd.DataFrame, recovered: tuple[float, float, float]) -> Any:
    """Added loss over noise magnitude, one line a selection, one panel a model.

    The axes are logarithmic: a loss that did not rise is left out. recovered: the magnitude at
    which a share of the loss of all-analog experts is published to be recovered, and the bounds
    of that share; drawn as a grey bar at our own loss.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    models = list(dict.fromkeys(table["model"]))
    figure = make_subplots(cols=len(models), rows=1, subplot_titles=models)
    for column, model in enumerate(models, start=1):
        own = table[table["model"] == model]
        for number, (label, part) in enumerate(own.groupby("selection", sort=False)):
            style = number % len(COLOURS)
            # Shifted sideways by a per cent each, or error bars of eight lines hide one another.
            figure.add_trace(
                go.Scatter(
                    x=part["magnitude"] * (1 + 0.012 * (number - 3.5)),
                    y=part["delta_loss_nats"],
                    error_y={"array": part["delta_loss_stderr"]},
                    mode="lines+markers",
                    line={"color": COLOURS[style], "dash": DASHES[style]},
                    marker={"symbol": MARKERS[style], "size": 7},
                    name=str(label).replace("_", " "),
                    legendgroup=str(label),
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
        magnitude, low, high = recovered
        analog = own[(own["selection"] == "all experts analog") & (own["magnitude"] == magnitude)]
        if len(analog):
            loss = float(analog["delta_loss_nats"].iloc[0])
            figure.add_trace(
                go.Scatter(
                    x=[magnitude * 0.92] * 2,
                    y=[loss * (1 - high), loss * (1 - low)],
                    mode="lines",
                    line={"color": "rgba(0, 0, 0, 0.35)", "width": 8},
                    name=f"published recovery at c = {magnitude:g}",
                    legendgroup="published",
                    showlegend=column == 1,
                ),
                row=1,
                col=column,
            )
    values = sorted(set(table["magnitude"]))
    ticks = {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    figure.update_xaxes(title="programming noise magnitude c (times)", type="log", **ticks)
    figure.update_yaxes(type="log", dtick="D2", exponentformat="none")
    figure.update_layout(
        yaxis_title="added loss (nats)", legend={"orientation": "h", "y": -0.2, "x": 0}
    )
    return figure


def quartiles(frequency: pd.Series, score: pd.Series) -> pd.DataFrame:
    """Mean frequency and log10_score (with _stderr) of four equal groups of rising frequency."""
    group = pd.qcut(frequency.rank(method="first"), 4, labels=False)
    means = pd.DataFrame({"frequency": frequency, "log10_score": np.log10(score)}).groupby(group)
    found = means.mean()
    found["log10_score_stderr"] = means["log10_score"].sem()
    return found


def frequency_scatter(table: pd.DataFrame, titles: dict[str, str]) -> Any:
    """Score over the frequency of what an expert serves, quartile means on top.

    titles: of the panels, by model.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    figure = make_subplots(
        cols=len(titles), rows=1, subplot_titles=list(titles.values()), shared_yaxes=True
    )
    for column, model in enumerate(titles, start=1):
        part = table[table["model"] == model]
        figure.add_trace(
            go.Scatter(
                x=part["mean_log10_token_frequency"],
                y=np.log10(part["max_neuron_norm"]),
                error_x={
                    "array": part["mean_log10_token_frequency_stderr"],
                    "thickness": 0.6, "width": 0, "color": "#bbbbbb",
                },
                mode="markers",
                marker={"color": COLOURS[5], "size": 5, "opacity": 0.7},
                text=[f"MoE layer {row.moe_layer}, expert {row.expert}" for row in
                      part.itertuples()],
                name="one expert", legendgroup="one", showlegend=column == 1,
            ),
            row=1, col=column,
        )  # fmt: skip
        groups = quartiles(part["mean_log10_token_frequency"], part["max_neuron_norm"])
        figure.add_trace(
            go.Scatter(
                x=groups["frequency"],
                y=groups["log10_score"],
                error_y={"array": groups["log10_score_stderr"], "thickness": 2},
                mode="lines+markers",
                line={"color": COLOURS[1], "width": 2},
                marker={"symbol": "square", "size": 9},
                name="quarter of the experts, mean and standard error",
                legendgroup="quarter", showlegend=column == 1,
            ),
            row=1, col=column,
        )  # fmt: skip
    figure.update_xaxes(title="mean log10 share in the text of the tokens an expert serves")
    figure.update_layout(
        yaxis_title="log10 of max neuron norm (product over matrices)",
        legend={"orientation": "h", "y": -0.2, "x": 0},
    )
    return figure
