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
from dse.cost.evaluate import evaluate
from dse.cost.hardware import System
from dse.cost.recorded import Model, analog_modules, systems
from dse.cost.workload import Traffic
from dse.pareto import non_dominated
from dse.placement.parts import ANALOG_PARTS, read_parts
from dse.runs.recommend import holds_nothing, judged, numbers
from dse.runs.words import PARTS, joined
from dse.search.costing import metrics_of, verdict
from dse.search.rule import Judged, Rule, recommend, within_loss
from dse.search.settings import Settings
from dse.search.simulation_key import DIGITAL_STEPS
from hwmodels.digital import memory_energy_j_per_byte
from hwmodels.nonideality import Noise
from hwmodels.technology import load_technology
from hwmodels.tile import tile_area_mm2

if TYPE_CHECKING:
    import pandas

RIVALS = 60
"""Designs of each kind, with and without tiles, that are costed again beside the front."""
HALVINGS = 4
WIDEST = 16.0
"""Numbers of traffic are moved up and down by no more than this factor."""
DAY_S = 86400.0
TIERS = "tiers that can be built"


@dataclass(frozen=True)
class Question:
    """One number that the answer may hang on.

    Attributes:
        name, unit: in words.
        now: its value.
        grids: values to try, nearest first, in one direction each.
        designs: from a value to the designs as the rule sees them then.
        whole: only whole numbers mean anything.
        between: values between those of a grid mean something.
    """

    name: str
    unit: str
    now: float
    grids: tuple[Sequence[float], ...]
    designs: Callable[[float], Judged]
    whole: bool = False
    between: bool = True


@dataclass(frozen=True)
class Ground:
    """What every question starts from.

    Attributes:
        model: of the run, to cost its designs again.
        table: designs with a known accuracy that may win.
        settings: of the run.
    """

    model: Model
    table: "pandas.DataFrame"
    settings: Settings

    @property
    def rule(self) -> Rule:
        return self.settings.rule()

    @property
    def known(self) -> Judged:
        """The designs as they are."""
        return judged(self.table, np.ones(len(self.table), dtype=bool))

    def numbers(self, name: str) -> Array:
        return numbers(self.table, name)


def ground(model: Model, table: "pandas.DataFrame", settings: Settings) -> Ground:
    """The designs that may win: the front, both answers, and the best by the rule of each kind."""
    rule = settings.rule()
    complete = ((table["state"] == "complete") & table["reason"].isna()).to_numpy(dtype=bool)
    usable = complete & ~holds_nothing(table)
    marked = (table["on_front"] | (table["recommended_of"] != "")).to_numpy(dtype=bool)
    designs = judged(table, usable)
    preferred = designs.factor(rule.column, 0) if len(table) else np.zeros(0)
    rows = [np.flatnonzero(usable & marked)]
    narrow = numbers(table, "digital_weight_bits") < 16
    for among in (designs.tiles, ~designs.tiles & narrow, ~designs.tiles & ~narrow):
        found = np.flatnonzero(usable & among)
        rows.append(found[np.argsort(preferred[found], kind="stable")[:RIVALS]])
    found = np.flatnonzero(within_loss(rule, designs))
    small = np.column_stack([preferred, designs.costs["area_mm2"], ~designs.tiles])[found]
    rows.append(found[non_dominated(small)])
    chosen = table.iloc[np.unique(np.concatenate(rows))].reset_index(drop=True)
    some = chosen["digital_expert_fraction"].between(0, 1, inclusive="neither")
    named = set(zip(chosen["placement_score"][some], chosen["placement_scope"][some], strict=True))
    orders = {key: order for key, order in model.orders.items() if key in named}
    orders = orders or dict(list(model.orders.items())[:1])
    return Ground(replace(model, orders=orders), chosen, settings)


def costed(at: Ground, system: System, traffic: Traffic | None = None) -> Judged:
    """The designs on other hardware or under other traffic, as the rule sees them."""
    model = at.model
    _, order, digital = systems(model, at.table)
    modules = analog_modules(at.table)
    costs = evaluate(
        model.architecture,
        model.routing,
        model.orders,
        system,
        order,
        digital,
        traffic or model.traffic,
        {part: np.array([part in own for own in modules]) for part in ANALOG_PARTS},
    )
    metrics = metrics_of(system, costs)
    settings = at.settings
    reason, _ = verdict(settings.cooling, settings.limits(), system, costs, metrics)
    known = at.known
    return replace(known, costs={**known.costs, **metrics}, allowed=reason == "")


def questions(at: Ground) -> Iterator[Question]:
    """All questions, each with the values to try."""
    yield from _of_traffic(at)
    yield _of_memory_energy(at)
    yield _of_bandwidth(at)
    yield _of_area(at)
    if at.known.tiles.any():
        yield _of_magnitude(at)
        yield _of_age(at)
    if (at.numbers("tiers") > 1).any():
        yield _of_tiers(at)
    if len(np.unique(at.numbers("digital_weight_bits"))) > 1:
        yield _of_precision(at)


def _both_ways(now: float, widest: float, steps: int) -> tuple[list[float], list[float]]:
    factors = np.geomspace(1, widest, steps + 1)[1:]
    return list(now * factors), list(now / factors)


def _of_traffic(at: Ground) -> Iterator[Question]:
    """Sequences at a time, and how long they are."""
    system, _, _ = systems(at.model, at.table)
    traffic = at.model.traffic
    lengths = ("context",) if traffic.prompt is None else ("prompt", "output_tokens")
    names = {"concurrency": "sequences at a time", "output_tokens": "output of a request"}
    for field in ("concurrency", *lengths):
        unit = "" if field == "concurrency" else "tokens"

        def designs(value: float, field: str = field) -> Judged:
            moved: dict[str, Any] = {field: max(round(value), 1)}
            return costed(at, system, replace(traffic, **moved))

        now = float(getattr(traffic, field))
        more, fewer = _both_ways(now, WIDEST, 5)
        grids = tuple([float(max(round(value), 1)) for value in grid] for grid in (more, fewer))
        yield Question(names.get(field, field), unit, now, grids, designs, whole=True)


def _chosen(at: Ground) -> int:
    """Row of the recommended design."""
    marked = np.flatnonzero(at.table["is_recommended"].to_numpy(dtype=bool))
    return int(marked[0]) if len(marked) else 0


def _of_memory_energy(at: Ground) -> Question:
    """Energy of a bit from memory; of all kinds of memory alike."""
    system, _, _ = systems(at.model, at.table)
    energy = np.broadcast_to(memory_energy_j_per_byte(system.accelerator), len(at.table))
    now = float(energy[_chosen(at)]) / 8e-12

    def designs(value: float) -> Judged:
        moved = replace(system.accelerator, memory_energy_j_per_byte=energy * value / now)
        return costed(at, replace(system, accelerator=moved))

    return Question("memory energy", "pJ/bit", now, _both_ways(now, 8.0, 5), designs)


def _of_bandwidth(at: Ground) -> Question:
    """Bandwidth of a stack; of all kinds of memory alike."""
    system, _, _ = systems(at.model, at.table)
    memory = system.accelerator.memory
    bandwidth = np.broadcast_to(memory.bandwidth_bytes_per_s, len(at.table))
    now = float(bandwidth[_chosen(at)]) / 1e9

    def designs(value: float) -> Judged:
        moved = replace(memory, bandwidth_bytes_per_s=bandwidth * value / now)
        accelerator = replace(system.accelerator, memory=moved)
        return costed(at, replace(system, accelerator=accelerator))

    return Question("bandwidth of a stack", "GB/s", now, _both_ways(now, 8.0, 5), designs)


def _of_area(at: Ground) -> Question:
    """Smaller budgets: what fits them of the designs known."""
    now, budget = at.known, at.settings.budget_area_mm2

    def designs(value: float) -> Judged:
        return replace(now, allowed=now.costs["area_mm2"] <= value * (1 + 1e-9))

    areas = np.unique(now.costs["area_mm2"])[::-1]
    smaller = [float(area) * (1 - 1e-6) for area in areas if area <= budget]
    return Question("area budget", "mm2", budget, (smaller,), designs)


def _of_magnitude(at: Ground) -> Question:
    """Magnitude of the programming noise."""
    now = at.settings.magnitude or 1.0

    def designs(value: float) -> Judged:
        return noisier(at, value, at.settings.age_s)

    larger, smaller = _both_ways(now, 8.0, 6)
    # More noise can only speak against tiles, less only for them.
    grid = larger if at.known.tiles[_chosen(at)] else smaller
    return Question("magnitude of the programming noise", "", now, (grid,), designs)


def _of_age(at: Ground) -> Question:
    """Time from programming to use, in days."""
    now = (at.settings.age_s or 1.0) / DAY_S

    def designs(value: float) -> Judged:
        return noisier(at, at.settings.magnitude, value * DAY_S)

    older = [float(days) for days in (1, 2, 7, 30, 90, 365, 3650) if days > now]
    younger = [hours / 24 for hours in (720, 24, 6, 1, 1 / 60) if hours < 24 * now]
    grid = older if at.known.tiles[_chosen(at)] else younger
    return Question("age after programming", "days", now, (grid,), designs)


def noisier(at: Ground, magnitude: float, age_s: float) -> Judged:
    """The designs at another magnitude or age: each loss in proportion to its causes' sum.

    A design whose noise was not measured at that age may not win.
    """
    settings, known = at.settings, at.known
    factor = np.ones(len(at.table))
    for row in np.flatnonzero(known.tiles).tolist():
        design = at.table.iloc[row]
        try:
            before, after = (
                lost_to_second_order(at.model, design, some, age)
                for some, age in ((settings.magnitude, settings.age_s), (magnitude, age_s))
            )
        except ValueError:
            factor[row] = np.nan
            continue
        factor[row] = after / before if before > 0 else 1.0
    loss, points = factor * known.loss_nats, factor * known.points
    return replace(known, loss_nats=loss, points=points, allowed=~np.isnan(factor))


def lost_to_second_order(model: Model, design: Any, magnitude: float, age_s: float) -> float:
    """Nats that a design with tiles loses by `dse.simulation.full_model.causes`.

    Raises:
        ValueError: its noise was not measured at that age.
    """
    from dse.simulation.converter_ranges import with_ranges
    from dse.simulation.digital_format import DigitalFormat
    from dse.simulation.full_model import causes

    technology = load_technology(str(design["technology"]))
    noise = Noise(
        noise_model=str(technology.noise_model),
        magnitude=magnitude,
        time_s=age_s or None,
        tile_rows=int(design["tile_rows"]),
        dac_bits=int(design["dac_bits"]),
        adc_bits=int(design["adc_bits"]),
    )
    stand_in = model.architecture.stand_in
    analog = round(DIGITAL_STEPS * (1 - float(design["digital_expert_fraction"]))) / DIGITAL_STEPS
    parts = read_parts(str(design["analog_modules"]))
    form = DigitalFormat(int(design["digital_weight_bits"]), int(design["kv_bits"]))
    return sum(causes(with_ranges(noise, stand_in), analog, parts, stand_in, form).values())


def _of_tiers(at: Ground) -> Question:
    """Tiers that can be built: tiles of fewer, as many of them as the budget holds."""
    system, _, _ = systems(at.model, at.table)
    tiers, tiles = np.asarray(system.tile.tiers), np.asarray(system.tiles)
    dies = np.asarray(system.dies)
    own = float(tiers[tiles > 0].max(initial=1))

    def designs(value: float) -> Judged:
        fewer = np.minimum(tiers, max(int(value), 1))
        tile = replace(system.tile, tiers=fewer)
        overhead = System.overhead_area_mm2_per_tile(system.accelerator)
        before, after = (_total(tile_area_mm2(one)) + overhead for one in (system.tile, tile))
        left = at.settings.budget_area_mm2 - (at.numbers("area_mm2") - tiles * before)
        wanted = np.ceil(tiles * tiers / fewer / dies) * dies
        built = np.minimum(wanted, np.floor(left / after / dies) * dies)
        built = np.maximum(np.where(fewer < tiers, built, tiles), 0)
        return costed(at, System(tile, built, system.accelerator, dies))

    grid = [float(n) for n in np.unique(np.geomspace(1, own, 16).astype(int))[::-1] if n < own]
    return Question(TIERS, "", own, (grid,), designs, whole=True)


def _of_precision(at: Ground) -> Question:
    """Fewest bits of a digital weight that are accepted."""
    bits = at.numbers("digital_weight_bits")
    now = float(bits.min())

    def designs(value: float) -> Judged:
        return replace(at.known, allowed=bits >= value)

    grid = [float(one) for one in np.unique(bits) if one > now]
    name = "fewest bits of a digital weight"
    return Question(name, "", now, (grid,), designs, whole=True, between=False)


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
    share = float(design["digital_expert_fraction"])
    parts = [PARTS[part] for part in read_parts(str(design["analog_modules"]))]
    experts = "the experts" if share == 0 else f"{100 * (1 - share):.2g} % of the experts"
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
    for _ in range(HALVINGS if question.between else 0):
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
    side = side if question.between else "of"
    name = question.name[0].upper() + question.name[1:]
    now = f"{question.now:,.0f}" if question.whole else _amount(question.now, question.unit)
    return f"{name} {side} {_amount(value, question.unit)} ({now} now): {becomes}."


def _amount(value: float, unit: str = "") -> str:
    rounded = float(f"{value:.3g}")
    number = f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:g}"
    return f"{number} {unit}".rstrip()
