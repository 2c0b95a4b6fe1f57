"""Finished parts of a long job, kept on disk: stopped at any point, a rerun goes on from there.

A file for each version of the code in the user's cache folder. A part is known by everything that
its result depends on, and is appended as soon as it is done: Ctrl-C, a kill or a crash loses only
the part in hand.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dse.checkpoints.fingerprint import digest_of, keep_result, read_results
from dse.runs.folder import one_line_errors
from dse.simulation.result import Scores
from dse.simulation.simulator import Noise, Simulator
from workloads.cache import cache_folder

_PACKAGES = ("dse", "hwmodels", "workloads")


class Kept:
    """Results by what they depend on (`digest_of`), in a folder, or in memory only (None).

    trouble: why the folder cannot be used, or ""; the job goes on without it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder, self.trouble = folder, ""
        self._known: dict[str, dict[str, Any]] = {}
        if folder is not None:
            try:
                with one_line_errors(folder):
                    self._known = read_results(folder)
            except ValueError as error:
                self._give_up(error)

    @property
    def on_disk(self) -> int:
        """How many results a later run will find."""
        return 0 if self.folder is None else len(self._known)

    def get(self, *depends_on: Any) -> dict[str, Any] | None:
        """The result that was put under the same `depends_on`, or None."""
        return self._known.get(digest_of(*depends_on))

    def put(self, result: Mapping[str, Any], *depends_on: Any) -> None:
        """Keep a result of finite numbers, lists and dictionaries."""
        key = digest_of(*depends_on)
        self._known[key] = dict(result)
        if self.folder is not None:
            try:
                with one_line_errors(self.folder):
                    self.folder.mkdir(parents=True, exist_ok=True)
                keep_result(self.folder, key, result)
            except ValueError as error:
                self._give_up(error)

    def _give_up(self, error: ValueError) -> None:
        self.folder, self.trouble = None, str(error)


def kept_of_this_code() -> Kept:
    """The user's results of this very code: another version computes its own."""
    return Kept(cache_folder("reproduce") / code_digest()[:24])


@cache
def code_digest() -> str:
    """Hexadecimal digest of torch's version and of all code, tables and weights that we ship."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256(torch.__version__.encode())
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and path.parent.name != "__pycache__":
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


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
    ) -> Scores | None:
        depends_on = (self.setting, noise, digital, sorted(analog_modules), rows)
        kept = self.kept.get(*depends_on)
        if kept is not None:
            return Scores(**{name: np.array(values) for name, values in kept.items()})
        scores = super()._noisy(noise, digital, analog_modules, rows)
        if scores is not None and np.isfinite(scores.loss).all():
            self.kept.put({name: part.tolist() for name, part in vars(scores).items()}, *depends_on)
        return scores
