"""Published losses of full-size models beside their estimates: `dse validate --accuracy`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.simulation.anchors import (
    Anchor,
    Fit,
    Prediction,
    as_predicted,
    fit,
    predict,
    published_anchors,
    published_fit,
    read_anchors,
)

if TYPE_CHECKING:
    import pandas as pd

AIM_POINTS = 0.6
"""Rows of OLMoE, when they are left out of the fit, lie within so many points."""


def accuracy_table(path: Path | None = None) -> pd.DataFrame:
    """One row an anchor, worst first: by how many standard deviations it was missed left out.

    Args:
        path: a table of one's own; its anchors are predicted and not fitted.

    Columns: model, what, perturbation, unit (points or nats), published, predicted, left_out with
    its 68 % band low and high (without the anchor in the fit), error (left_out - published),
    covered (whether the band holds it), used (in the fit), note, source, status. Not predicted is
    missing.

    Raises:
        ValueError: in one line, of `read_anchors`.
    """
    import pandas as pd

    anchors = published_anchors() if path is None else [as_predicted(a) for a in read_anchors(path)]
    rows = [_row(anchor, published_fit()) for anchor in anchors]
    table = pd.DataFrame(rows)
    half = np.log(table["high"] / table["low"]) / 2
    missed = abs(np.log(table["left_out"] / table["published"]) / half)
    return table.iloc[np.argsort(-np.nan_to_num(missed, nan=-1.0), kind="stable")].reset_index(
        drop=True
    )


def _row(anchor: Anchor, found: Fit) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        "model": anchor.model,
        "what": anchor.what,
        "perturbation": anchor.perturbation,
        "unit": "points" if anchor.in_points else "nats",
        "published": anchor.loss,
    }
    rest = {
        "used": not (anchor.not_fitted_because or anchor.not_predicted_because),
        "note": anchor.not_predicted_because or anchor.not_fitted_because,
        "source": anchor.source,
        "status": anchor.status,
    }
    nan = float("nan")
    whole = out = Prediction(nan, nan, nan)
    if not anchor.not_predicted_because:
        whole = predict(anchor, found)
        out = predict(anchor, _without(anchor)) if rest["used"] else whole
    covered = None if out.value != out.value else out.low <= anchor.loss <= out.high
    numbers = {
        "predicted": whole.value,
        "left_out": out.value,
        "low": out.low,
        "high": out.high,
        "error": out.value - anchor.loss,
        "covered": covered,
    }
    return fixed | numbers | rest


def _without(anchor: Anchor) -> Fit:
    return fit([other for other in published_anchors() if other != anchor])


def findings(table: pd.DataFrame) -> tuple[str, ...]:
    """What the table says, in sentences: the aims first, then what no gain explains."""
    used = table[table["used"]]
    sentences = []
    if len(used):
        inside = int(used["covered"].astype(bool).sum())
        sentences.append(
            f"The 68 % band covers {inside} of {len(used)} anchors that were in the fit, each "
            f"predicted without itself (aim: two thirds)."
        )
    own = used[used["model"].str.startswith("OLMoE") & (used["unit"] == "points")]
    if len(own):
        worst = own.iloc[int(np.argmax(own["error"].abs()))]
        verdict = "within" if abs(worst["error"]) <= AIM_POINTS else "not within"
        sentences.append(
            f"Rows of OLMoE, left out, are off by at most {abs(worst['error']):.2f} points "
            f"({worst['what']}, {worst['perturbation']}): {verdict} the aim of {AIM_POINTS:g}."
        )
    for _, row in table[(table["note"] != "") & ~table["used"]].iterrows():
        said = f"; predicted {row['predicted']:.3g}" if row["predicted"] == row["predicted"] else ""
        sentences.append(
            f"Not fitted: {row['model']}, {row['what']}, {row['perturbation']} loses "
            f"{row['published']:.3g} {row['unit']}{said}: {row['note']}."
        )
    return tuple(sentences)


def gain_rows() -> Sequence[dict[str, Any]]:
    """The fitted gains and lost bits with their standard deviations."""
    found = published_fit()
    spread = np.sqrt(np.diag(found.covariance))
    rows = []
    for name, value, error in zip(found.names, found.values, spread, strict=True):
        if name.startswith("log_"):
            factor = float(np.exp(value))
            rows.append({"parameter": f"{'slope' if name == 'log_slope' else 'gain'} of "
                         f"{name.removeprefix('log_')}", "value": factor,
                         "stderr": factor * float(error)})  # fmt: skip
        elif name.startswith("bits_") and name != "bits_mean":
            family, kind = name.removeprefix("bits_").split("_")
            rows.append({"parameter": f"bits lost by converters, {family}, {kind}",
                         "value": float(value), "stderr": float(error)})  # fmt: skip
    return rows
