"""What would change the answer: the rule applied again to designs costed under other assumptions.

Each question moves one number (sequences at a time, context, memory energy, tiers that can be
built, ...) away from its value now, over a grid and then by halving, and notes the nearest value at
which the rule recommends another kind of design. Accuracies are those simulated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.arrays import Array
from dse.cost.evaluate import Costs, evaluate
from dse.cost.hardware import System
from dse.cost.recorded import Model, analog_modules, systems
from dse.metrics import Constraint
from dse.pareto import non_dominated
from dse.placement.parts import ANALOG_PARTS, read_parts
from dse.runs.recommend import holds_nothing, judged
from dse.runs.words import PARTS, joined
from dse.search.rule import Judged, Rule, recommend, within_loss
from hwmodels.tile import tile_area_mm2
from hwmodels.uncertainty import scaled

if TYPE_CHECKING:
    import pandas

RIVALS = 60
"""Designs of each kind, with and without tiles, that are costed again beside the front."""
HALVINGS = 6
WIDEST = 32.0
"""Numbers are moved up and down by no more than this factor."""


@dataclass(frozen=True)
class Question:
    """One number that the answer may hang on.

    Attributes:
        name, unit: in words.
        now: its value.
        grid: values to try, nearest first, in one direction; several such.
        designs: from a value to the designs as the rule sees them then.
        whole: only whole numbers mean anything.
    """

    name: str
    unit: str
    now: float
    grids: tuple[Sequence[float], ...]
    designs: Callable[[float], Judged]
    whole: bool = False


@dataclass(frozen=True)
class Ground:
    """What every question starts from.

    Attributes:
        model: of the run, to cost its designs again.
        table: designs with a known accuracy that may win.
        limits: on cost, the area budget first.
    """

    model: Model
    table: "pandas.DataFrame"
    rule: Rule
    limits: Sequence[Constraint]

    @property
    def budget_mm2(self) -> float:
        return self.limits[0].bound


def ground(
    model: Model, table: "pandas.DataFrame", rule: Rule, limits: Sequence[Constraint]
) -> Ground:
    """The designs that may win: the front, both answers, and the best by the rule of each kind."""
    complete = ((table["state"] == "complete") & table["reason"].isna()).to_numpy(dtype=bool)
    usable = complete & ~holds_nothing(table)
    marked = (table["on_front"] | (table["recommended_of"] != "")).to_numpy(dtype=bool)
    designs = judged(table, usable)
    preferred = designs.factor(rule.column, 0) if len(table) else np.zeros(0)
    rows = [np.flatnonzero(usable & marked)]
    for among in (usable & designs.tiles, usable & ~designs.tiles):
        found = np.flatnonzero(among)
        rows.append(found[np.argsort(preferred[found], kind="stable")[:RIVALS]])
    found = np.flatnonzero(within_loss(rule, replace(designs, allowed=usable)))
    small = np.column_stack([preferred, designs.costs["area_mm2"], ~designs.tiles])[found]
    rows.append(found[non_dominated(small)])
    chosen = table.iloc[np.unique(np.concatenate(rows))].reset_index(drop=True)
    some = chosen["digital_expert_fraction"].between(0, 1, inclusive="neither")
    named = set(zip(chosen["placement_score"][some], chosen["placement_scope"][some], strict=True))
    orders = {key: order for key, order in model.orders.items() if key in named}
    orders = orders or dict(list(model.orders.items())[:1])
    return Ground(replace(model, orders=orders), chosen, rule, limits)


def costed(at: Ground, system: System, model: Model | None = None) -> Judged:
    """The designs on other hardware or under another workload, as the rule sees them."""
    model = model or at.model
    _, order, digital = systems(at.model, at.table)
    modules = analog_modules(at.table)
    costs = evaluate(
        model.architecture,
        model.routing,
        model.orders,
        system,
        order,
        digital,
        model.workload,
        {part: np.array([part in own for own in modules]) for part in ANALOG_PARTS},
    )
    return _judged(at, costs)


def _judged(at: Ground, costs: Costs) -> Judged:
    known = judged(at.table, np.ones(len(at.table), dtype=bool))
    energy, throughput = costs.energy_j_per_token, costs.throughput_tokens_per_s
    metrics: dict[str, Array] = {
        "energy_j_per_token": np.asarray(energy, dtype=float),
        "throughput_tokens_per_s": np.asarray(throughput, dtype=float),
        "area_mm2": np.asarray(costs.area_mm2, dtype=float),
        "latency_s_per_token": np.asarray(costs.latency_s_per_token, dtype=float),
        "power_w": np.asarray(energy * throughput, dtype=float),
    }
    allowed = np.asarray(costs.memory_fits, dtype=bool)
    for limit in at.limits:
        if limit.metric.column in metrics:
            allowed = allowed & (limit.excess(metrics[limit.metric.column]) <= 1e-9)
    return replace(known, costs={**known.costs, **metrics}, allowed=allowed)


def questions(at: Ground) -> Iterator[Question]:
    """All questions, each with the values to try."""
    yield _of_workload(at, "sequences at a time", "", "batch", WIDEST)
    yield _of_workload(at, "context", "tokens", "context", WIDEST)
    yield _of_constant(at, "memory energy", "pJ/bit", "memory_energy_j_per_byte", 8e-12)
    yield _of_constant(at, "bandwidth of a stack", "GB/s", "hbm_bandwidth_bytes_per_s", 1e9)
    yield _of_area(at)
    yield _of_magnitude(at)
    if (at.table["tiers"].fillna(1) > 1).any():
        yield _of_tiers(at)


def _both_ways(now: float, widest: float = WIDEST) -> tuple[list[float], list[float]]:
    factors = np.geomspace(1, widest, 11)[1:]
    return list(now * factors), list(now / factors)


def _of_workload(at: Ground, name: str, unit: str, field: str, widest: float) -> Question:
    now = float(getattr(at.model.workload, field))

    def designs(value: float) -> Judged:
        moved: dict[str, Any] = {field: max(round(value), 1)}
        workload = replace(at.model.workload, **moved)
        model = replace(at.model, workload=workload)
        return costed(at, systems(model, at.table)[0], model)

    return Question(name, unit, now, _both_ways(now, widest), designs, whole=True)


def _of_constant(at: Ground, name: str, unit: str, field: str, in_si: float) -> Question:
    """A constant of the accelerator; `in_si`: its SI value for one of the unit."""
    system, _, _ = systems(at.model, at.table)
    now = float(np.median(constant(system, field))) / in_si

    def designs(value: float) -> Judged:
        moved = scaled(system.accelerator, field, value / now)
        return costed(at, replace(system, accelerator=moved))

    return Question(name, unit, now, _both_ways(now, 8.0), designs)


def constant(system: System, field: str) -> Array:
    """A constant of the accelerator (SI), the given one or what its components say."""
    from hwmodels.digital import memory_energy_j_per_byte

    if field == "memory_energy_j_per_byte":
        return memory_energy_j_per_byte(system.accelerator)
    return np.asarray(getattr(system.accelerator, field), dtype=float)


def _of_area(at: Ground) -> Question:
    """Smaller budgets: what fits them of the designs known."""
    now = judged(at.table, np.ones(len(at.table), dtype=bool))
    areas = np.unique(now.costs["area_mm2"])[::-1]

    def designs(value: float) -> Judged:
        fits = now.costs["area_mm2"] <= value * (1 + 1e-9)
        return replace(now, allowed=fits)

    budget = at.budget_mm2
    smaller = [float(area) * (1 - 1e-6) for area in areas if area <= budget]
    return Question("area budget", "mm2", budget, (smaller,), designs)


def _of_magnitude(at: Ground, now: float = 1.0) -> Question:
    """Programming noise: what tiles lose grows with its square."""
    known = judged(at.table, np.ones(len(at.table), dtype=bool))

    def designs(value: float) -> Judged:
        factor = np.where(known.tiles, (value / now) ** 2, 1.0)
        return replace(known, loss_nats=factor * known.loss_nats, points=factor * known.points)

    return Question("magnitude of the programming noise", "", now, _both_ways(now, 8.0), designs)


def _of_tiers(at: Ground) -> Question:
    """Tiers that can be built: tiles of fewer, as many of them as the budget holds."""
    system, _, _ = systems(at.model, at.table)
    tiers, tiles = np.asarray(system.tile.tiers), np.asarray(system.tiles)
    own = float(tiers[tiles > 0].max(initial=1))

    def designs(value: float) -> Judged:
        fewer = np.minimum(tiers, max(int(value), 1))
        tile = replace(system.tile, tiers=fewer)
        overhead = System.overhead_area_mm2_per_tile(system.accelerator)
        before, after = (_total(tile_area_mm2(one)) + overhead for one in (system.tile, tile))
        left = at.budget_mm2 - (at.table["area_mm2"].to_numpy(dtype=float) - tiles * before)
        wanted = np.ceil(tiles * tiers / fewer)
        built = np.where(fewer < tiers, np.minimum(wanted, np.floor(left / after)), tiles)
        return costed(at, System(tile, np.maximum(built, 0), system.accelerator))

    grid = [float(n) for n in np.unique(np.geomspace(1, own, 24).astype(int))[::-1] if n < own]
    return Question("tiers that can be built", "", own, (grid,), designs, whole=True)


def _total(parts: Any) -> Array:
    return np.asarray(sum(parts.values()), dtype=float)


def kind_of(table: "pandas.DataFrame", row: int | None) -> str:
    """What stays the same while the answer does: the technology of its tiles, or that of none."""
    if row is None:
        return "nothing"
    design = table.iloc[row]
    return str(design["technology"]) if float(design["tiles"]) > 0 else "no tiles"


def in_words(table: "pandas.DataFrame", row: int | None) -> str:
    """The answer as an order: `build tiles of pcm-3d for 80 % of the experts`."""
    if row is None:
        return "nothing meets the question"
    design = table.iloc[row]
    if not float(design["tiles"]) > 0:
        return "build no tiles"
    share = round(10 * float(design["digital_expert_fraction"])) / 10
    parts = [PARTS[part] for part in read_parts(str(design["analog_modules"]))]
    experts = "the experts" if share == 0 else f"{100 * (1 - share):.0f} % of the experts"
    return f"build tiles of {design['technology']} for {joined([experts, *parts])}"


def flips(at: Ground) -> "pandas.DataFrame":
    """One row a question: `question`, `now`, `unit`, `flips_at` (missing where the answer stands),
    `becomes`, `sentence`."""
    import pandas

    rows = [answer(at, question) for question in questions(at)]
    return pandas.DataFrame(
        rows, columns=["question", "now", "unit", "flips_at", "becomes", "sentence"]
    )


def answer(at: Ground, question: Question) -> dict[str, Any]:
    """The nearest value at which the answer is another, in either direction."""

    def chosen(value: float) -> int | None:
        return recommend(at.rule, question.designs(value))

    def kind(value: float) -> str:
        return kind_of(at.table, chosen(value))

    before, found = kind(question.now), []
    for grid in question.grids:
        last = question.now
        for value in grid:
            if kind(value) != before:
                found.append(_narrowed(question, kind, before, last, value))
                break
            last = value
    row = {"question": question.name, "now": question.now, "unit": question.unit}
    if not found:
        tried = [value for grid in question.grids for value in (question.now, *grid)]
        low, high = _amount(float(min(tried))), _amount(float(max(tried)), question.unit)
        name = question.name[0].upper() + question.name[1:]
        words = f"{name}: no other answer from {low} to {high}."
        return row | {"flips_at": np.nan, "becomes": None, "sentence": words}
    at_value = min(found, key=lambda one: abs(np.log(one / question.now)))
    becomes = in_words(at.table, chosen(at_value))
    return row | {"flips_at": at_value, "becomes": becomes,
                  "sentence": said(question, at_value, becomes)}  # fmt: skip


def _narrowed(
    question: Question,
    kind: Callable[[float], str],
    before: str,
    same: float,
    other: float,
) -> float:
    """The value nearest to now that changes the answer, between one that does not and one that
    does."""
    for _ in range(HALVINGS):
        middle = float(np.sqrt(same * other))
        if question.whole:
            middle = float(round(middle))
            if middle in (same, other):
                break
        if kind(middle) == before:
            same = middle
        else:
            other = middle
    return other


def said(question: Question, value: float, becomes: str) -> str:
    """`Tiers that can be built below 140 (1,024 now): build no tiles.`"""
    side = "below" if value < question.now else "above"
    name = question.name[0].upper() + question.name[1:]
    now = f"{question.now:,.0f}" if question.whole else _amount(question.now, question.unit)
    return f"{name} {side} {_amount(value, question.unit)} ({now} now): {becomes}."


def _amount(value: float, unit: str = "") -> str:
    rounded = float(f"{value:.3g}")
    number = f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:g}"
    return f"{number} {unit}".rstrip()
