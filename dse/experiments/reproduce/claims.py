"""What every figure of `dse reproduce` shares: the paper's claims and an answer to one.

A claim that does not hold is reported as not holding, one that the error bars leave open as not
decided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the shell completes FIGURES from here: nothing heavy
    import pandas as pd

    from dse.simulation.simulator import Noise, Simulator

Progress = Callable[[str, int, int], None]
"""Told before each part: what it is, parts done, parts in all."""
Simulators = Callable[[str], "Simulator"]
"""From a miniature's name to its simulator."""

FIGURES = ("budget", "fig3", "fig4", "fig5", "fig6", "table1", "table2", "theory")
MODELS = {"deepseekmoe-mini": "deepseekmoe", "olmoe-mini": "olmoe"}

# Published average accuracies in percent (Table 1, both models, 8-bit DAC and ADC, no noise).
PUBLISHED_TABLE_1 = {
    "deepseekmoe-mini": (61.28, 61.03, 55.04),
    "olmoe-mini": (63.17, 62.46, 61.54),
}

# What the paper reports, with its own models, tasks and tiles.
PUBLISHED = {
    "table1": "average accuracy in % with all digital, experts analog, experts and dense analog: "
    + "; ".join(
        f"{model.removesuffix('-mini')} {', '.join(map(str, values))}"
        for model, values in PUBLISHED_TABLE_1.items()
    ),
    "fig3": "dense modules are 3-6 % of the parameters, yet computing them in analog loses more "
    "accuracy than computing over 80 % of the parameters (the routed experts) in analog",
    "fig4_5": "with 12.5 % or 25 % of the experts digital, max neuron norm is above activation "
    "frequency, activation weight and router norm at every noise magnitude, on both models; at "
    "c = 2.5 it recovers a third to a half of the loss",
    "fig6": "experts with a high score respond to frequent tokens ('the', 'a', 'and'), experts "
    "with a low score to rare ones",
}


@dataclass(frozen=True)
class Reproduction:
    """One figure or table: name, table, figure (plotly), the paper's claim and what it published,
    whether the claim holds on the miniatures (None: not decided), and a sentence with our numbers;
    shown are the columns for a terminal."""

    name: str
    table: pd.DataFrame
    figure: Any
    claim: str
    published: str
    holds: bool | None
    sentence: str
    source: str
    shown: tuple[str, ...] = ()

    def cells(self) -> pd.DataFrame:
        """The columns that a terminal has room for (`shown`, or all), errors beside their means."""
        import pandas as pd

        columns = self.shown or [name for name in map(str, self.table) if "_stderr" not in name]
        return pd.DataFrame({name: _cells(self.table, name) for name in columns})


def _cells(table: pd.DataFrame, name: str) -> list[object]:
    for error in (f"{name}_stderr", f"{name.removesuffix('_nats')}_stderr"):
        if error in table:
            pairs = zip(table[name], table[error], strict=True)
            return [f"{value:.3g} ± {width:.1g}" for value, width in pairs]
    return list(table[name])


def counted(progress: Progress, total: int) -> Callable[[str], None]:
    """Tells progress how many parts came before each part that is named to it."""
    done = count()
    return lambda text: progress(text, next(done), total)


def noise_for(model: str, magnitude: float) -> Noise:
    """The paper's setting: PCM programming noise, 8-bit converters, ranges calibrated."""
    from dse.simulation.converter_ranges import with_ranges
    from dse.simulation.simulator import Noise

    return with_ranges(Noise(magnitude=magnitude), model)


def sources(models: Sequence[str]) -> str:
    """Where the models of a noisy figure come from, and the ranges of their converters."""
    from dse.simulation.converter_ranges import said
    from workloads.checkpoint import load_miniature

    return "; ".join(
        f"{load_miniature(model).source}, {said(noise_for(model, 0.0))}" for model in models
    )


def decided(found: Mapping[str, tuple[float, float]]) -> bool | None:
    """Whether a claim that numbers are positive holds of all; None where the errors leave it open.

    One number clearly below zero decides against it.
    """
    if any(value < -2 * error for value, error in found.values()):
        return False
    return True if all(value > 2 * error for value, error in found.values()) else None


def verdict(found: Mapping[str, tuple[float, float]]) -> str:
    """Whether a claim that a number is positive holds, from that number and its standard error.

    A number within two standard errors of zero decides nothing.
    """
    states = {
        model: "holds" if value > 2 * error
        else "does not hold" if value < -2 * error
        else "is not decided (within two standard errors of no difference)"
        for model, (value, error) in found.items()
    }  # fmt: skip
    if len(set(states.values())) == 1:
        return (
            f"{next(iter(states.values()))} on {'both' if len(states) == 2 else 'the'} miniatures"
        )
    return ", and ".join(f"{state} on {model}" for model, state in states.items())
