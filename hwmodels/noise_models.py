"""Noise of the cells: the named models, and one's own measured one in a technology's TOML file.

Here is what can be known without drawing noise; `hwmodels.nonideality` draws it.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwmodels import catalog

YEAR_S = 365.25 * 86400.0


@dataclass(frozen=True)
class NamedNoise:
    """What a named model was measured on: conductance of a largest weight, and up to which age."""

    g_max_s: float
    longest_age_s: float
    source: str


NAMED = {
    "pcm": NamedNoise(
        25e-6,
        10 * YEAR_S,
        "Nandakumar et al., ICECS 2019, as in aihwkit; PCM drifts by one power law over ten "
        "decades of time (Le Gallo et al., IRPS 2016)",
    ),
    "hermes": NamedNoise(
        20.7e-6,
        10 * YEAR_S,
        "two devices a polarity of the HERMES chip (Le Gallo et al. 2023), as in aihwkit; drift by "
        "the same power law",
    ),
    "hermes-1device": NamedNoise(10.35e-6, 10 * YEAR_S, "one device a polarity, same source"),
    "rram": NamedNoise(40e-6, 2 * 86400.0, "Wan et al., Nature 2022: 1 s, 1 day and 2 days"),
    "cmo-hfox": NamedNoise(
        88.2e-6,
        10 * YEAR_S,
        "Falcone et al., arXiv 2502.04524, as in aihwkit; its authors carry it to ten years",
    ),
}
NOISE_MODELS = tuple(NAMED)


@dataclass(frozen=True)
class MeasuredNoise:
    """One's own measured noise: the table `[noise]` of a technology's TOML file.

    Polynomials have ascending coefficients of r = |g| / g_max, from 0 to 1. A programmed device
    has g + sigma(r) N(0, 1); it drifts as ((t + t0) / t0)^-nu with nu = |mean(r) + std(r) N|, and
    is read with a deviation of g q(r) sqrt(ln((t + t0 + t_read) / (2 t_read))), as PCM is (1/f).
    """

    g_max_us: float
    """Conductance of the largest weight (uS)."""
    programming_us: tuple[float, ...]
    """Standard deviation after programming (uS)."""
    longest_age_s: float
    """Age to which it was measured; a longer one is refused."""
    source: str
    drift_exponent_mean: tuple[float, ...] = (0.0,)
    drift_exponent_std: tuple[float, ...] = (0.0,)
    drift_start_s: float = 1.0
    """t0: when the conductance was first read after programming."""
    read_noise: tuple[float, ...] = (0.0,)
    """q, relative to the conductance."""
    read_time_s: float = 1e-6


POLYNOMIALS = ("programming_us", "drift_exponent_mean", "drift_exponent_std", "read_noise")


def is_own(name: str) -> bool:
    """Whether a noise model is one's own: named by the path of a technology's TOML file."""
    return name.endswith(".toml")


def measured_noise(table: dict[str, Any], where: str) -> MeasuredNoise:
    """The noise in a table of its keys.

    Raises ValueError in one line: an unknown key (with the nearest), a missing one, a number out of
    range, or a polynomial that falls below zero between 0 and 1.
    """
    catalog.check_keys(table, MeasuredNoise, where)
    for field in dataclasses.fields(MeasuredNoise):
        if field.default is dataclasses.MISSING and field.name not in table:
            raise ValueError(f"{where} lacks the key {field.name!r}")
    values = dict(table)
    for name in POLYNOMIALS:
        if name in values:
            values[name] = _polynomial(name, values[name], where)
    if not isinstance(values["source"], str):
        raise ValueError(f"source of {where} is {values['source']!r}; it must be a text")
    for name in ("g_max_us", "longest_age_s", "drift_start_s", "read_time_s"):
        if name in values:
            catalog.check_range(f"{name} of {where}", values[name], 1e-12, 1e12)
            values[name] = float(values[name])
    return MeasuredNoise(**values)


def _polynomial(name: str, given: Any, where: str) -> tuple[float, ...]:
    coefficients = given if isinstance(given, list) else [given]
    numbers = all(type(one) in (int, float) and np.isfinite(one) for one in coefficients)
    if not coefficients or not numbers:
        raise ValueError(
            f"{name} of {where} is {given!r}; coefficients of |g|/g_max are needed, lowest first, "
            f"such as [0.26, 1.97, -1.17]"
        )
    curve = np.polynomial.Polynomial(coefficients)
    roots = np.asarray(curve.deriv().roots(), dtype=complex)
    turns = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0) & (roots.real < 1)]
    points = np.array([0.0, 1.0, *turns])
    lowest = points[np.argmin(curve(points))]
    if curve(lowest) < -1e-12 * max(map(abs, coefficients)):
        raise ValueError(
            f"{name} of {where} falls to {curve(lowest):.3g} at |g|/g_max = {lowest:.2f}; it must "
            f"not be negative from 0 to 1"
        )
    return tuple(map(float, coefficients))


def own_noise(path: str | Path) -> MeasuredNoise:
    """The table `[noise]` of a technology's TOML file; ValueError in one line if there is none."""
    status = Path(path).stat() if Path(path).is_file() else None
    when = (0, 0) if status is None else (status.st_mtime_ns, status.st_size)
    return _own_noise(str(path), when)


@functools.lru_cache(maxsize=64)
def _own_noise(path: str, when: tuple[int, int]) -> MeasuredNoise:
    """Read again when the file's time or size changed."""
    table = catalog.read("technologies", path)
    if "noise" not in table:
        raise ValueError(f"technology {path} has no table [noise]")
    return measured_noise(table["noise"], f"[noise] in {path}")


def check_noise_model(name: str) -> None:
    """Raise ValueError, naming the nearest, unless it is a named model or a file with `[noise]`."""
    if is_own(name):
        own_noise(name)
    elif name not in NOISE_MODELS:
        raise ValueError(
            f"no noise model {name!r}: there are {', '.join(NOISE_MODELS)}, or the path of a "
            f"technology's .toml with a table [noise]{catalog.nearest(name, NOISE_MODELS)}"
        )


def g_max_s(name: str) -> float:
    """Conductance of the largest weight in a noise model (S)."""
    check_noise_model(name)
    return 1e-6 * own_noise(name).g_max_us if is_own(name) else NAMED[name].g_max_s


def longest_age_s(name: str) -> float:
    """Age to which a noise model was measured, or its law was shown to hold (s)."""
    check_noise_model(name)
    return own_noise(name).longest_age_s if is_own(name) else NAMED[name].longest_age_s


def fingerprint(name: str) -> str:
    """A text that is equal for equal noise: the name, or for one's own the numbers of its file."""
    return repr(own_noise(name)) if is_own(name) else name
