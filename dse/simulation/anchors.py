"""Published losses of full-size models, and the gains that they fix.

An anchor is a published loss: of a mixture of experts on simulated analog tiles in points of
accuracy, or of a quantised model in nats. It is predicted from a miniature's responses, gains by
group of matrices, and bits by which converters act worse. These are fitted to all anchors at once,
in logarithms, with what is known beforehand: models differ, and so do converters' lost bits.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from dse.arrays import Array
from dse.simulation.benchmark_points import PUBLISHED, SLOPE_ERROR, points_lost
from dse.simulation.gains import EXPERTS, Gains
from dse.simulation.responses import DENSE, Response, responses

NOISE_COLUMNS = ("model", "layers", "what_is_analog", "noise", "clean", "delta")
LOSS_COLUMNS = ("model", "layers", "perturbation", "delta_loss_nats", "gaussian_rel_err_sq")
HEAD, NO_HEAD = "LM head", "all but LM head"

PAPER_ROWS = 512
"""Rows of a tile in the anchors with analog noise (arXiv 2603.02633)."""
PAPER_BITS = 8

ATTENTION_TO_FFN = 1.41 / 2.04
"""Loss recovered by leaving the attention alone over that of the feed-forward matrices, LLaMA-7B at
two bits (ggml-org/llama.cpp issue 1256: perplexity 0.78 + 0.39 + 0.13 + 0.11 to 1.08 + 0.57 +
0.39). One model, one coarse format: good to a factor of 1.6."""
ATTENTION_TO_FFN_ERROR = 0.5

SELECTION_ERROR = 0.5
"""Of the log of the loss that is left when the experts chosen by a score are digital, relative to
that log: a quarter chosen by neuron norm leaves 0.55 of the loss in OLMoE (1.35 of 2.44 points) and
0.34 in olmoe-mini, whose experts are more unlike one another; log 0.55 is 0.55 of log 0.34."""

# What is known before any anchor, as standard deviations: a gain to a factor of 4.5, bits lost by
# one kind of converter against another's to one, all of them to two around one.
_GAIN_PRIOR, _BITS_PRIOR, _MEAN_BITS, _MEAN_BITS_PRIOR = 1.5, 1.0, 1.0, 2.0
# Of a published loss in points: two averages of 0.15 (the paper's own deviation at c = 1.5).
_POINTS_ERROR = 0.2
# Of predicting any one loss: higher orders, the miniature's 8,192 tokens.
_MODEL_ERROR = 0.1


@dataclass(frozen=True)
class Anchor:
    """One published loss.

    Attributes:
        model: as published; `stand_in` is the miniature that answers for it.
        what: of it is noisy: NO_HEAD or HEAD; or "experts", "all", or "N % of experts".
        perturbation: in words.
        loss: published, in points or in nats.
        in_points: whether it is in points of accuracy.
        clean_percent: accuracy without noise, of a loss in points.
        error_squared: eps^2 of the weights (of the devices at c = 1 for a magnitude).
        magnitude: c of programming noise, 0 without; None where error_squared says all.
        bits: of DAC and ADC; None for a format of weights.
        not_fitted_because: "" if it is used in the fit.
        not_predicted_because: "" if there is a prediction.
    """

    model: str
    stand_in: str
    what: str
    perturbation: str
    loss: float
    in_points: bool
    clean_percent: float
    error_squared: float
    magnitude: float
    bits: float | None
    source: str
    status: str
    not_fitted_because: str
    not_predicted_because: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.model}, {self.what}, {self.perturbation}"

    @property
    def family(self) -> str:
        """Whose lost bits and clean accuracy it has."""
        return self.stand_in.removesuffix("-mini")

    @property
    def other_model(self) -> str:
        """The model, if it is another than those that miniatures were made after; else ""."""
        return "" if self.model.startswith("OLMoE") else self.model


def read_anchors(path: Path) -> list[Anchor]:
    """Anchors of a CSV file with the columns of either published table.

    Raises:
        ValueError: in one line; a missing column, a number that is none, or no row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = tuple(reader.fieldnames or ()), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise ValueError(f"cannot read {path}: {reason}") from error
    in_points = "delta_loss_nats" not in columns and "delta" in columns
    wanted = NOISE_COLUMNS if in_points else LOSS_COLUMNS
    if missing := [name for name in wanted if name not in columns]:
        raise ValueError(
            f"{path} lacks the column {missing[0]!r}: it needs {', '.join(LOSS_COLUMNS)}, or "
            f"{', '.join(NOISE_COLUMNS)}"
        )
    if not rows:
        raise ValueError(f"{path} has no anchors: one line each is needed below its columns")
    read = _in_points if in_points else _in_nats
    return [read(row, f"line {number} of {path}") for number, row in enumerate(rows, start=2)]


def _number(row: Mapping[str, str | None], column: str, where: str) -> float:
    text = (row[column] or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: {column} is {text!r}; a finite number is needed")
    return value


def _in_nats(row: Mapping[str, str | None], where: str) -> Anchor:
    """A quantised model; losses of other than all matrices but the LM head say so in `what`."""
    loss, error = _number(row, "delta_loss_nats", where), _number(row, "gaussian_rel_err_sq", where)
    if not (loss > 0 and error > 0):
        raise ValueError(f"{where}: loss and relative error must be above 0, not {loss}, {error}")
    what = row.get("what") or NO_HEAD
    if what not in (HEAD, NO_HEAD):
        raise ValueError(f"{where}: what is {what!r}; {HEAD!r} or {NO_HEAD!r} is needed")
    return Anchor(
        model=row["model"] or "",
        stand_in="olmoe-mini",  # has no shared expert: attention and one feed-forward, as these
        what=what,
        perturbation=row["perturbation"] or "",
        loss=loss,
        in_points=False,
        clean_percent=math.nan,
        error_squared=error,
        magnitude=1.0,
        bits=None,
        source=row.get("source") or "",
        status=row.get("status") or "",
        not_fitted_because=row.get("not_fitted_because") or "",
        not_predicted_because="",
    )


_SHARE = re.compile(r"(\d+(?:\.\d+)?) ?% of experts")
_PCM = re.compile(r"PCM polynomial c ?= ?(\d+(?:\.\d+)?)\b.*")
_CONVERTERS = re.compile(r"(\d+) ?b(?:its?)? DAC/ADC")
_WHAT = {"routed experts": EXPERTS, "experts": EXPERTS, "all linear": "all", "all": "all"}


def _in_points(row: Mapping[str, str | None], where: str) -> Anchor:
    """A mixture of experts on analog tiles; what the text does not let us simulate is not said."""
    clean, delta = _number(row, "clean", where), _number(row, "delta", where)
    what, noise = (row["what_is_analog"] or "").strip(), (row["noise"] or "").strip()
    model = row["model"] or ""
    plain = model.lower().replace("-", "")
    stand_in = next((f"{name}-mini" for name in ("olmoe", "deepseekmoe") if name in plain), "")
    programmed, converters = _PCM.fullmatch(noise), _CONVERTERS.fullmatch(noise)
    share = _SHARE.fullmatch(what)
    reason = ""
    if not stand_in:
        reason = "no miniature stands for the model"
    elif not (programmed or converters):
        reason = "noise is not 'PCM polynomial c=N' or 'N b DAC/ADC'"
    elif what not in _WHAT and not share:
        reason = f"what is analog is not {', '.join(_WHAT)} or 'N % of experts'"
    elif share and float(share[1]) != 75:
        reason = "only the share of 75 % analog experts was measured on the miniatures"
    return Anchor(
        model=model,
        stand_in=stand_in,
        what=_WHAT.get(what, what),
        perturbation=noise,
        loss=-delta,
        in_points=True,
        clean_percent=clean,
        error_squared=math.nan,
        magnitude=float(programmed[1]) if programmed else 0.0,
        bits=float(converters[1]) if converters else PAPER_BITS,
        source=row.get("source") or "",
        status=row.get("status") or "",
        not_fitted_because=row.get("not_fitted_because") or "",
        not_predicted_because=reason,
    )


@cache
def published_anchors() -> tuple[Anchor, ...]:
    """What is shipped in published/."""
    names = ("full_size_noise.csv", "quantisation_sensitivity.csv")
    return tuple(anchor for name in names for anchor in read_anchors(PUBLISHED / name))


@dataclass(frozen=True)
class Fit:
    """Parameters with their covariance, by name.

    log_experts, log_attention, log_lm_head: of the gains; feed-forward parts that are no routed
    experts have the experts', as no anchor tells them apart. bits_FAMILY_experts and
    bits_FAMILY_dense: lost; bits_mean: their mean. log_slope: of points a nat. offset_MODEL: log of
    a model's sensitivity over that of an OLMoE.
    """

    names: tuple[str, ...]
    values: Array
    covariance: Array
    model_scatter: float

    def __getitem__(self, name: str) -> float:
        return float(self.values[self.names.index(name)])


def _names(anchors: Sequence[Anchor]) -> tuple[str, ...]:
    others = dict.fromkeys(f"offset_{a.other_model}" for a in anchors if a.other_model)
    bits = [f"bits_{family}_{which}" for family in ("olmoe", "deepseekmoe")
            for which in (EXPERTS, DENSE)]  # fmt: skip
    gains = ("log_experts", "log_attention", "log_lm_head")
    return (*gains, *bits, "bits_mean", "log_slope", *others)


@cache
def _pcm_error_squared(rows: int) -> float:
    """eps^2 of freshly programmed PCM at c = 1, Gaussian weights."""
    from dse.simulation.weight_error import drawn_error_squared
    from hwmodels.nonideality import Noise

    return drawn_error_squared(Noise(), rows)


def predicted(anchor: Anchor, parameter: Callable[[str], float]) -> float:
    """What parameters say of an anchor, in its own unit: nats, or points of accuracy."""
    response = responses()[anchor.stand_in]
    offset = math.exp(parameter(f"offset_{anchor.other_model}")) if anchor.other_model else 1.0
    if not anchor.in_points:
        sensitivity = _full_sensitivity(response, parameter)
        groups = ("lm_head",) if anchor.what == HEAD else (EXPERTS, "attention")
        return offset * anchor.error_squared * sum(sensitivity[group] for group in groups)
    nats = sum(analog_contributions(anchor, parameter).values())
    return points_lost(offset * nats, anchor.clean_percent) * math.exp(parameter("log_slope"))


def gain_of(group: str, parameter: Callable[[str], float]) -> float:
    """The gain of a group of matrices; one for the router, of which nothing is published."""
    if group == "router":
        return 1.0
    own = group if group in ("attention", "lm_head") else EXPERTS
    return math.exp(parameter(f"log_{own}"))


def _full_sensitivity(response: Response, parameter: Callable[[str], float]) -> dict[str, float]:
    return {group: value * gain_of(group, parameter)
            for group, value in response.sensitivity.items()}  # fmt: skip


def analog_contributions(anchor: Anchor, parameter: Callable[[str], float]) -> dict[str, float]:
    """Nats by cause, of a mixture of experts on tiles: weights of groups, and converters."""
    response = responses()[anchor.stand_in]
    error = anchor.magnitude**2 * _pcm_error_squared(PAPER_ROWS)
    share = 1.0 if anchor.what in (EXPERTS, "all") else response.quarter_digital
    bits = anchor.bits if anchor.bits is not None else math.inf
    kinds = (EXPERTS, DENSE) if anchor.what == "all" else (EXPERTS,)
    nats = {
        f"converters of {kind}": response.lost_to_converters(
            kind, bits - parameter(f"bits_{anchor.family}_{kind}")
        )
        for kind in kinds
    }
    for group, value in _full_sensitivity(response, parameter).items():
        if group == EXPERTS or anchor.what == "all":
            nats[group] = error * value
    return {cause: (share if cause in (EXPERTS, f"converters of {EXPERTS}") else 1.0) * value
            for cause, value in nats.items()}  # fmt: skip


def scatter(anchors: Sequence[Anchor]) -> tuple[float, float]:
    """Deviation of log sensitivity between models and, within a model, between formats.

    Of quantised models in the fit, all matrices but the LM head.
    """
    logs: dict[str, list[float]] = {}
    for anchor in anchors:
        if not anchor.in_points and anchor.what == NO_HEAD and not anchor.not_fitted_because:
            logs.setdefault(anchor.model, []).append(math.log(anchor.loss / anchor.error_squared))
    between = float(np.std([np.mean(values) for values in logs.values()], ddof=1))
    squares = [np.sum((np.array(values) - np.mean(values)) ** 2) for values in logs.values()]
    freedom = sum(len(values) - 1 for values in logs.values())
    return between, math.sqrt(sum(squares) / freedom)


def _row_error(anchor: Anchor, within: float) -> float:
    """Standard deviation of the log of a published loss around what a right fit predicts."""
    own = _POINTS_ERROR / max(abs(anchor.loss), _POINTS_ERROR) if anchor.in_points else within
    chosen = 0.0
    if anchor.in_points and anchor.what not in (EXPERTS, "all"):
        left = responses()[anchor.stand_in].quarter_digital
        chosen = SELECTION_ERROR * abs(math.log(left))
    return math.hypot(own, _MODEL_ERROR, chosen)


def fit(anchors: Sequence[Anchor] | None = None) -> Fit:
    """Least squares over the anchors that are to be used, with what is known beforehand."""
    from scipy.optimize import least_squares

    every = published_anchors() if anchors is None else tuple(anchors)
    used = [a for a in every if not (a.not_fitted_because or a.not_predicted_because)]
    names = _names(every)
    between, within = scatter(published_anchors())

    def residuals(values: Array) -> Array:
        parameter = dict(zip(names, values.tolist(), strict=True)).__getitem__
        found = [
            math.log(max(predicted(a, parameter), 1e-9) / a.loss) / _row_error(a, within)
            for a in used
        ]
        ratio = _full_sensitivity(responses()["olmoe-mini"], parameter)
        found.append(
            math.log(ratio["attention"] / ratio[EXPERTS] / ATTENTION_TO_FFN)
            / ATTENTION_TO_FFN_ERROR
        )
        return np.array([*found, *_before(names, parameter, between)])

    start = np.array([1.0 if name.startswith("bits") else 0.0 for name in names])
    found = least_squares(residuals, start, x_scale="jac")
    covariance = np.linalg.inv(found.jac.T @ found.jac)
    return Fit(names, found.x, covariance, between)


def _before(names: Sequence[str], parameter: Callable[[str], float], between: float) -> list[float]:
    """Residuals of what is known before any anchor."""
    known = []
    for name in names:
        value = parameter(name)
        if name == "bits_mean":
            known.append((value - _MEAN_BITS) / _MEAN_BITS_PRIOR)
        elif name.startswith("bits_"):
            known.append((value - parameter("bits_mean")) / _BITS_PRIOR)
        elif name == "log_slope":
            known.append(value / SLOPE_ERROR)
        elif name.startswith("log_"):
            known.append(value / _GAIN_PRIOR)
        else:
            known.append(value / between)
    return known


@cache
def published_fit() -> Fit:
    """The fit to what is shipped."""
    return fit()


@dataclass(frozen=True)
class Prediction:
    """A predicted loss with its 68 % band, in the anchor's unit."""

    value: float
    low: float
    high: float


def predict(anchor: Anchor, found: Fit) -> Prediction:
    """Prediction of an anchor; the band holds the parameters' errors and its own scatter.

    A model that the fit has not seen differs from an OLMoE as models do.
    """
    names, values = list(found.names), found.values
    covariance = found.covariance
    offset = f"offset_{anchor.other_model}"
    if anchor.other_model and offset not in names:
        names.append(offset)
        values = np.append(values, 0.0)
        covariance = np.pad(covariance, (0, 1))
        covariance[-1, -1] = found.model_scatter**2

    def log_loss(at: Array) -> float:
        parameter = dict(zip(names, at.tolist(), strict=True)).__getitem__
        return math.log(max(predicted(anchor, parameter), 1e-9))

    middle = log_loss(values)
    steps = 1e-4 * np.eye(len(values))
    slope = np.array([(log_loss(values + s) - log_loss(values - s)) / 2e-4 for s in steps])
    variance = float(slope @ covariance @ slope)
    spread = math.sqrt(variance + _row_error(anchor, scatter(published_anchors())[1]) ** 2)
    return Prediction(*(math.exp(middle + sign * spread) for sign in (0, -1, 1)))


def left_out(anchor: Anchor, anchors: Sequence[Anchor] | None = None) -> Prediction:
    """Prediction of an anchor by a fit to the others."""
    every = published_anchors() if anchors is None else anchors
    others = [one for one in every if one != anchor]
    return predict(anchor, fit(others))


def published_gains(stand_in: str) -> Gains:
    """Gains of the model that a miniature stands for."""
    found, family = published_fit(), stand_in.removesuffix("-mini")
    groups = responses()[stand_in].sensitivity
    return Gains(
        sensitivity={group: gain_of(group, found.__getitem__) for group in groups},
        lost_bits={
            group: found[f"bits_{family}_{EXPERTS if group == EXPERTS else DENSE}"]
            for group in groups
        },
    )


def as_predicted(anchor: Anchor) -> Anchor:
    """The anchor as one that is not in the fit."""
    return replace(anchor, not_fitted_because="given by the user")
