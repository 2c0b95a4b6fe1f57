"""A search with a real checkpoint: the miniature is the cheap fidelity, the checkpoint the dear.

The checkpoint gives routing and expert scores, so that orders of experts are the real ones. The
search itself simulates on the miniature. Then the placements that matter are simulated on the
checkpoint, several in a pass, until time is up: those of the front first, spread over the loss
range so that the two fidelities can be compared early, then others up to a dozen in all.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse import units
from dse.checkpoints.model import Layers, RealModel
from dse.checkpoints.simulator import CheckpointSimulator, Placement
from dse.kept import keep_result, read_results
from dse.placement.experts import digital_mask
from dse.search.pool import Pool, Results
from dse.search.problem import Problem
from dse.search.references import reference_codes
from dse.search.screening import Screening
from dse.search.simulating import noise_of, order_of
from dse.search.simulation_key import CLEAN
from dse.search.surrogate import RESOLUTION_NATS
from dse.simulation.result import Simulated
from dse.simulation.simulator import Noise, SimulationResult
from dse.simulation.statistics import RankCorrelation, rank_correlation

if TYPE_CHECKING:
    import pandas

LEAST_POINTS = 12
"""Placements that are simulated on the checkpoint even when the front has fewer."""

CANDIDATES_KEPT = 200
"""Designs of the miniature's front that the table keeps."""


@dataclass(frozen=True)
class Effort:
    """What the checkpoint may cost one session: wall time, and memory of the process (None: most
    of what the machine can spare)."""

    time_s: float = 1800.0
    memory_bytes: int | None = None


@dataclass
class Stage:
    """What the checkpoint said.

    Attributes:
        results: by key code, the clean model's (CLEAN) among them.
        wanted: placements worth simulating, in order.
        simulated, reused: how many of `results` are new and how many were known.
        outcome: "finished", "timeout", "interrupted", or why no placement was simulated.
        seconds: wall time of the stage.
    """

    results: Results
    wanted: list[int]
    simulated: int = 0
    reused: int = 0
    outcome: str = "finished"
    seconds: float = 0.0

    @property
    def codes(self) -> list[int]:
        """Key codes with a finite result, the clean model's aside."""
        good = (c for c, r in self.results.items() if c != CLEAN and not r.failed)
        return sorted(good)

    def correlation(self, cheap: Results) -> RankCorrelation:
        """Rank correlation of the loss increase on the miniature with that on the checkpoint."""
        both = [c for c in self.codes if c in cheap and not cheap[c].failed]

        def column(source: Results, name: str) -> NDArray[np.float64]:
            return np.array([getattr(source[code], name) for code in both], dtype=float)

        return rank_correlation(
            column(cheap, "delta_loss_nats"),
            column(self.results, "delta_loss_nats"),
            column(cheap, "delta_loss_stderr"),
            column(self.results, "delta_loss_stderr"),
        )


def spread(codes: Sequence[int], cheap: Results, chosen: Sequence[int] = ()) -> list[int]:
    """Codes in an order in which each is as far as can be, in log loss, from those before it."""
    loss = {c: np.log(max(cheap[c].delta_loss_nats, RESOLUTION_NATS)) for c in codes}
    before = [np.log(max(cheap[c].delta_loss_nats, RESOLUTION_NATS)) for c in chosen]
    left, order = list(dict.fromkeys(codes)), []
    while left:
        near = [min((abs(loss[c] - b) for b in before), default=0.0) for c in left]
        code = left.pop(int(np.argmax(near)))
        before.append(loss[code])
        order.append(code)
    return order


def wanted_codes(front: Sequence[int], cheap: Results) -> list[int]:
    """Placements for the checkpoint: those of the front, then others up to LEAST_POINTS."""
    known = [c for c, r in cheap.items() if c != CLEAN and not r.failed]
    first = spread([c for c in front if c in known], cheap)
    others = spread([c for c in known if c not in first], cheap, first)
    return first + others[: max(LEAST_POINTS - len(first), 0)]


def placement_of(problem: Problem, code: int) -> Placement:
    """Noise and digital experts of the full model that a key code stands for."""
    shape = problem.routing.probability.shape
    key = problem.keys.key(code)
    noise = noise_of(problem, key)
    # Analog experts in the miniature's proportion, rounded up as there.
    total = int(np.prod(problem.miniature_shape))
    analog = -(-(total - key.digital) * problem.experts // total)
    digital = digital_mask(problem.orders[order_of(problem, key)], problem.experts - analog, shape)
    return Placement(noise, digital, key.analog_parts)


def score_front(
    problem: Problem, screening: Screening, effort: Effort, layers: Layers = lambda *_: None
) -> Stage:
    """Simulate on the checkpoint what matters of a search that the miniature has finished."""
    assert problem.real is not None
    screening.refine()
    front = [] if screening.archive is None else screening.archive.codes.tolist()
    wanted = wanted_codes(list(dict.fromkeys(front)), screening.results)
    wanted += [c for c in reference_codes(problem, screening.seed) if c not in wanted]
    return run_stage(problem, problem.real, wanted, effort, layers)


def adopt(screening: Screening, stage: Stage, pool: Pool) -> tuple[Results, NDArray[np.int64]]:
    """Let the checkpoint's results alone decide the front from here on.

    pool: designs that the search has left.

    Returns:
        The miniature's results, and the designs of its front [n, parameters]: candidates.
    """
    cheap, front = screening.results, screening.archive
    screening.results, screening.archive, screening.pool = dict(stage.results), None, pool
    indices = pool.indices[:0] if front is None else front.indices[:CANDIDATES_KEPT]
    return cheap, indices


def run_stage(
    problem: Problem,
    model: RealModel,
    wanted: Sequence[int],
    effort: Effort,
    layers: Layers = lambda *_: None,
) -> Stage:
    """Simulate placements on the checkpoint in the given order until time is up or Ctrl-C.

    What the cache has is taken from there; every new result is on disk before the next pass.
    """
    started = time.monotonic()
    stage = Stage({}, list(wanted))
    known = read_results(model.folder)
    shape = problem.routing.probability.shape
    placements = {CLEAN: Placement(Noise(), np.ones(shape, dtype=bool))}
    placements |= {code: placement_of(problem, code) for code in wanted}
    for code, placement in placements.items():
        if (result := known.get(model.key(placement))) is not None:
            stage.results[code] = Simulated.read(result)
    stage.reused = len(stage.codes)
    try:
        if effort.time_s > 0 and any(code not in stage.results for code in placements):
            _simulate_left(model, placements, stage, started + effort.time_s, layers)
    except KeyboardInterrupt:
        stage.outcome = "interrupted"
    stage.seconds = time.monotonic() - started
    return stage


class _TooSlowError(Exception):
    """A pass that would end after its deadline; `seconds` it would take."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def _simulate_left(
    model: RealModel,
    placements: dict[int, Placement],
    stage: Stage,
    deadline: float,
    layers: Layers,
) -> None:
    """Passes over the checkpoint until nothing is left that fits into the time.

    The first pass takes one placement: how long that takes says how many the next one may.
    """
    simulator = model.simulator(layers)
    if CLEAN not in stage.results:
        _keep(model, stage, {CLEAN: placements[CLEAN]}, [simulator.clean()])
    left = [code for code in stage.wanted if code not in stage.results]
    for code in [c for c in left if not simulator.programmable(placements[c])]:
        left.remove(code)
        stage.results[code] = Simulated(failed="too little memory to program its dense parts")
    at_once = 1
    while left:
        started = time.monotonic()
        if started >= deadline:
            stage.outcome = "timeout" if stage.codes else "reading it took all of --checkpoint-time"
            return
        batch = {code: placements[code] for code in left[:at_once]}
        words = f"checkpoint: {stage.reused + stage.simulated} of {len(stage.wanted)} placements"
        try:
            results = _one_pass(simulator, list(batch.values()), deadline, words, layers)
        except _TooSlowError as slow:
            if len(batch) == 1:
                stage.outcome = "timeout"
                if not stage.codes:
                    stage.outcome = (
                        f"one placement takes about {units.duration(slow.seconds)}, "
                        "more than --checkpoint-time leaves"
                    )
                return
            each = slow.seconds / len(batch)
            most = len(batch) - 1
        else:
            _keep(model, stage, batch, results)
            stage.simulated += len(batch)
            left = left[len(batch) :]
            each = (time.monotonic() - started) / len(batch)
            most = simulator.plan.placements
        fitting = int((deadline - time.monotonic()) / max(each, 1e-9))
        at_once = max(1, min(most, fitting))


def _one_pass(
    simulator: CheckpointSimulator,
    batch: list[Placement],
    deadline: float,
    words: str,
    layers: Layers,
) -> list[SimulationResult | ValueError]:
    """Results of placements; raises _TooSlowError early in a pass that would end too late.

    The first layer, which may be a dense one and takes less then, says nothing of later ones.
    """
    ends = [time.monotonic()]

    def watch(done: int, total: int) -> None:
        layers(words, done, total)
        ends.append(time.monotonic())
        a_layer = (ends[-1] - ends[min(done - 1, 1)]) / max(done - 1, 1)
        end = ends[-1] + a_layer * (total - done)
        if (done <= 2 or 4 * done <= total) and end > deadline:
            raise _TooSlowError(end - ends[0])

    return simulator.evaluate_all(batch, watch)


def _keep(
    model: RealModel,
    stage: Stage,
    batch: dict[int, Placement],
    results: Sequence[SimulationResult | ValueError],
) -> None:
    """Note results, first of all on disk."""
    for (code, placement), result in zip(batch.items(), results, strict=True):
        # The simulator's word for a loss that is not finite is an error in the result's place.
        if isinstance(result, ValueError):
            kept = Simulated(failed=str(result))
        else:
            kept = Simulated.of(result, tasks=False)
        keep_result(model.folder, model.key(placement), kept.document())
        stage.results[code] = kept


def checkpoint_frame(problem: Problem, stage: Stage, cheap: Results) -> "pandas.DataFrame":
    """One row a placement that was simulated on both: what it is, and both losses."""
    import pandas

    rows = []
    for code in stage.codes:
        key = problem.keys.key(code)
        row: dict[str, Any] = {
            name: getattr(key, name)
            for name in ("noise_model", "tile_rows", "dac_bits", "adc_bits")
        }
        row["score"], row["scope"] = key.order
        row["analog_modules"] = ",".join(key.analog_parts)
        row["digital_expert_fraction"] = float(placement_of(problem, code).digital.mean())
        for name in ("delta_loss_nats", "delta_loss_stderr"):
            row[f"miniature_{name}"] = getattr(cheap.get(code, Simulated()), name)
            row[f"checkpoint_{name}"] = getattr(stage.results[code], name)
        rows.append(row | {"seconds": stage.results[code].seconds})
    return pandas.DataFrame(rows)


def stage_document(model: RealModel, stage: Stage, cheap: Results) -> dict[str, Any]:
    """The stage as config.json holds it; a correlation that cannot be told is null."""
    correlation = stage.correlation(cheap)
    numbers = {
        name: value if np.isfinite(value) else None for name, value in vars(correlation).items()
    }
    return {
        "folder": str(model.checkpoint.path),
        "source": model.source,
        "cache": str(model.folder),
        "tokens": sum(int(text.answer_mask.sum()) for text in model.texts),
        "noise_seeds": model.seeds,
        "placements_wanted": len(stage.wanted),
        "placements_simulated": len(stage.codes),
        "newly_simulated": stage.simulated,
        "reused": stage.reused,
        "outcome": stage.outcome,
        "seconds": round(stage.seconds, 3),
        "rank_correlation": numbers,
    }
