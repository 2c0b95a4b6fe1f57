"""What trained layers of the analytical setting say of Lemma 4.1 and Theorem 4.2."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dse.experiments.reproduce.theory import NOISES, Setting, experiment
from dse.kept import Kept

if TYPE_CHECKING:
    from dse.experiments.reproduce.claims import Reproduction


PUBLISHED = (
    "experts of frequent patterns have the larger maximum neuron norm (Lemma 4.1); digital "
    "top-norm experts raise the tolerated noise by Omega(1/gamma), exponent -1 (Theorem 4.2)"
)


def fitted_exponent(
    gamma: npt.NDArray[np.float64], tolerance: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Slope of log tolerance over log gamma and its standard error (least squares).

    Raises ValueError with fewer than three points or no variation in gamma.
    """
    x, y = np.log(gamma), np.log(tolerance)
    if len(x) < 3 or np.ptp(x) == 0:
        raise ValueError("at least three runs with different gamma are needed for a fit")
    x = x - x.mean()
    slope = float((x * y).sum() / (x * x).sum())
    residual = y - y.mean() - slope * x
    return slope, float(np.sqrt((residual**2).sum() / (len(x) - 2) / (x * x).sum()))


def _mean_and_error(values: pd.Series) -> tuple[float, float]:
    known = values.dropna()
    return float(known.mean()), float(known.std(ddof=1) / np.sqrt(len(known)))


def exponents(table: pd.DataFrame) -> pd.DataFrame:
    """One row a margin: the share of pairs of Lemma 4.1 and exponents of gamma, with errors.

    frequent_norm_larger is a mean over layers; slopes are of the gain, and of the magnitude that
    is tolerated with the top-norm experts digital, for each noise; smallest_gain_gamma is the
    smallest gain * gamma of any layer (a bound of C/gamma needs it to be at least C).
    """
    rows = []
    for margin, part in table.groupby("margin"):
        row: dict[str, object] = {"margin": margin, "layers": len(part)}
        pair, error = _mean_and_error(part["frequent_norm_larger"])
        row |= {"frequent_norm_larger": pair, "frequent_norm_larger_stderr": error}
        for noise in NOISES:
            for what in ("gain", "top_norm_digital"):
                known = part[["gamma", f"{noise}_{what}"]].dropna().to_numpy(float)
                slope, error = fitted_exponent(known[:, 0], known[:, 1])
                row |= {f"{noise}_{what}_slope": slope, f"{noise}_{what}_slope_stderr": error}
            gain = part[f"{noise}_gain"]
            row[f"{noise}_median_gain"] = float(gain.median())
            row[f"{noise}_smallest_gain_gamma"] = float((gain * part["gamma"]).min())
        rows.append(row)
    return pd.DataFrame(rows)


def grows_as_stated(slope: float, error: float) -> bool | None:
    """Whether a gain grows as gamma falls, as fast as 1/gamma or faster.

    None when two errors leave room both for that and for no growth at all.
    """
    if slope - 2 * error > -1:
        return False
    return True if slope + 2 * error < 0 else None


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """One row a margin and share of leaning experts: means over seeds with standard errors."""
    columns = ["gamma", "frequent_norm_larger", "norm_ratio", *(
        f"{noise}_{what}" for noise in NOISES for what in
        ("gain", "top_norm_digital_frequent", "top_norm_digital_rare", "all_analog_frequent",
         "all_analog_rare")
    )]  # fmt: skip
    rows = []
    for (margin, share), part in table.groupby(["margin", "share"]):
        row: dict[str, object] = {"margin": margin, "leaning_share": share, "layers": len(part)}
        row["steps"] = float(part["steps"].mean())
        for column in columns:
            row[column], row[f"{column}_stderr"] = _mean_and_error(part[column])
        rows.append(row)
    return pd.DataFrame(rows)


def reproduce_theory(
    setting: Setting | None = None,
    *,
    seeds: int,
    progress: Callable[[str, int, int], None] | None = None,
    kept: Kept | None = None,
) -> Reproduction:
    """Lemma 4.1 and Theorem 4.2 on trained layers, with the fitted exponents and their errors."""
    from dse.experiments.reproduce.claims import Reproduction

    layers = experiment(setting, seeds=seeds, progress=progress, kept=kept)
    fits, table = exponents(layers), summary(layers)
    lemma = fits["frequent_norm_larger"] - 2 * fits["frequent_norm_larger_stderr"] > 0.5
    seen = {
        noise: [
            grows_as_stated(slope, error)
            for slope, error in zip(
                fits[f"{noise}_gain_slope"], fits[f"{noise}_gain_slope_stderr"], strict=True
            )
        ]
        for noise in NOISES
    }
    return Reproduction(
        name="theory",
        table=table,
        figure=_figure(table),
        claim="experts of frequent patterns have the larger maximum neuron norm (Lemma 4.1); "
        "with the top-norm experts digital the tolerated programming noise grows as 1/gamma "
        "(Theorem 4.2)",
        published=PUBLISHED,
        holds=bool(lemma.all() and all(seen["random"]) and all(seen["worst"])),
        sentence=f"{_lemma_sentence(fits, lemma)} {_theorem_sentence(fits, seen)}",
        source=f"{len(layers.groupby(['share', 'seed']))} layers trained from scratch, "
        "each looked at when 99 % of its sequences reach a margin",
        shown=(
            "margin",
            "gamma",
            "frequent_norm_larger",
            "norm_ratio",
            "worst_gain",
            "random_gain",
        ),
    )


def _each(fits: pd.DataFrame, column: str, scale: float = 1.0, form: str = ".2f") -> str:
    """Mean +- error at every margin, in their order."""
    pairs = zip(fits[column], fits[f"{column}_stderr"], strict=True)
    return ", ".join(f"{scale * mean:{form}} +- {scale * error:{form}}" for mean, error in pairs)


def _where(fits: pd.DataFrame, true: list[bool]) -> str:
    """At which margins something is true, in words."""
    if all(true) or not any(true):
        return "at every margin" if all(true) else "at no margin"
    margins = [f"{margin:g}" for margin, yes in zip(fits["margin"], true, strict=True) if yes]
    return f"at margin {' and '.join(margins)} only"


def _judged(fits: pd.DataFrame, seen: list[bool | None]) -> str:
    """At which margins growth as 1/gamma is seen, is too slow, or neither is certain."""
    said = [
        f"{word} {_where(fits, [state is wanted for state in seen]).removesuffix(' only')}"
        for wanted, word in ((True, "is seen"), (False, "is excluded"), (None, "is not decided"))
        if any(state is wanted for state in seen)
    ]
    return ", ".join(said)


def _lemma_sentence(fits: pd.DataFrame, lemma: pd.Series) -> str:
    margins = ", ".join(f"{margin:g}" for margin in fits["margin"])
    return (
        f"At margins {margins} (task just solved to hinge loss near zero) an expert of a frequent "
        f"pattern has the larger norm in {_each(fits, 'frequent_norm_larger', 100, '.0f')} % of "
        f"the pairs (the lemma: in all): clearly in more than half {_where(fits, list(lemma))}; "
        "the longer the training, the more the few rare experts catch up."
    )


def _theorem_sentence(fits: pd.DataFrame, seen: dict[str, list[bool | None]]) -> str:
    words = {"worst": "worst-case noise", "random": "random noise"}
    said = [
        f"with {words[noise]} top-norm digital experts allow "
        f"{fits[f'{noise}_median_gain'].min():.1f} to {fits[f'{noise}_median_gain'].max():.1f} "
        f"times the magnitude (medians), a gain that goes as gamma to the "
        f"{_each(fits, f'{noise}_gain_slope')} and is at least "
        f"{fits[f'{noise}_smallest_gain_gamma'].min():.2f}/gamma in every layer: growth as 1/gamma "
        f"{_judged(fits, seen[noise])}"
        for noise in ("worst", "random")
    ]
    digital = _each(fits, "random_top_norm_digital_slope")
    return (
        f"Theorem 4.2 (exponent -1), at the same margins: {'; '.join(said)}. The magnitude itself "
        f"that is tolerated with digital top-norm experts goes as gamma to the {digital} under "
        "random noise."
    )


def _figure(table: pd.DataFrame) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from dse.experiments.reproduce.figures import COLOURS, MARKERS, captioned

    titles = {"worst": "worst-case noise", "random": "random noise"}
    figure = make_subplots(
        cols=2, rows=1, shared_yaxes=True, subplot_titles=[titles[n] for n in titles]
    )
    for column, noise in enumerate(titles, start=1):
        for number, (margin, part) in enumerate(table.groupby("margin")):
            figure.add_trace(
                go.Scatter(
                    x=part["gamma"], y=part[f"{noise}_gain"], mode="lines+markers",
                    error_x={"array": part["gamma_stderr"]},
                    error_y={"array": part[f"{noise}_gain_stderr"]},
                    line_color=COLOURS[number], marker_symbol=MARKERS[number],
                    name=f"margin {margin:g}", legendgroup=str(margin), showlegend=column == 1,
                ),
                row=1, col=column,
            )  # fmt: skip
        ends = np.array([table["gamma"].min(), table["gamma"].max()])
        figure.add_trace(
            go.Scatter(
                x=ends, y=1 / ends, mode="lines", line={"color": "black", "dash": "dash"},
                name="1/gamma (published)", legendgroup="published", showlegend=column == 1,
            ),
            row=1, col=column,
        )  # fmt: skip
    values = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 2, 3, 5, 7, 10, 20]
    ticks = {"type": "log", "tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    figure.update_xaxes(title="gamma, share of experts that serve rare patterns", **ticks)
    figure.update_yaxes(**ticks)
    figure.update_layout(yaxis_title="gain in tolerated noise (times)")
    return captioned(
        figure, "Gain of digital top-norm experts, mean and standard error over seeds", PUBLISHED
    )
