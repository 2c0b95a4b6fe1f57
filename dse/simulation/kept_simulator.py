"""A simulator that takes from disk what it scored before."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dse.kept import Kept
from dse.simulation.digital_format import DigitalFormat
from dse.simulation.result import Scores
from dse.simulation.simulator import Noise, Simulator


class KeptSimulator(Simulator):
    """A Simulator of a shipped model that takes from `kept` what it scored before.

    setting: what tells this simulator from others of the same code (model, seeds, tokens).
    """

    def __init__(self, kept: Kept, setting: Sequence[Any], *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.kept = kept
        self.setting = (*setting, self.device.type)

    def _noisy(
        self,
        noise: Noise,
        digital: npt.NDArray[np.bool_],
        analog_modules: Sequence[str],
        rows: npt.NDArray[np.int64],
        form: DigitalFormat,
    ) -> Scores | None:
        depends_on = (self.setting, noise, digital, sorted(analog_modules), rows, form)
        kept = self.kept.get(*depends_on)
        if kept is not None:
            return Scores(**{name: np.array(values) for name, values in kept.items()})
        scores = super()._noisy(noise, digital, analog_modules, rows, form)
        if scores is not None and np.isfinite(scores.loss).all():
            self.kept.put({name: part.tolist() for name, part in vars(scores).items()}, *depends_on)
        return scores
