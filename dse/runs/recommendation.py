"""The recommendation of a run in words: what to build, by which rule, why, how sure, against what.

One document for the terminal, the report and whoever reads config.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dse import units
from dse.runs import words
from dse.runs.flips import TIERS
from dse.runs.recommend import ALL, SILICON, USED, answers, holds_nothing, judged
from dse.search.rule import CLEARLY, Rule, recommend, within_loss

if TYPE_CHECKING:
    import pandas


_ANYTHING = 20.0
"""A projection that may be wrong by more than this factor is not what an answer hangs on."""


@dataclass(frozen=True)
class Facts:
    """What the sentences need beside the table.

    Attributes:
        experts: routed experts of the model.
        budget_mm2: the area budget.
        kinds: of the technologies searched, by name.
        silicon_mm2: smallest area with every expert on tiles of measured silicon; None where no
            such technology was searched.
        accuracy_source: what the accuracy was simulated on.
    """

    experts: int
    budget_mm2: float
    kinds: Mapping[str, str]
    silicon_mm2: float | None
    accuracy_source: str


def document(
    table: "pandas.DataFrame",
    rule: Rule,
    facts: Facts,
    flips: "pandas.DataFrame",
    bounds: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The entry "recommendation" of config.json.

    Args:
        table: of candidates, marked by `dse.runs.recommend.mark`, with ranges.
        flips: of `dse.runs.flips.flips`.
        bounds: of `dse.runs.bounds.at_bounds`.
    """
    found = answers(table)
    sentence = _sentence(table, rule, facts, ALL, found[ALL])
    kind = None if found[ALL] is None else found[ALL]["technology_kind"]
    projected = not words.missing(kind) and kind != SILICON
    if projected:
        name = found[ALL]["technology"]
        also = _sentence(table, rule, facts, SILICON, found[SILICON])
        sentence = f"{sentence} {name} is a {kind}; without it, {also[0].lower()}{also[1:]}"
    return {
        "sentence": sentence,
        "rule": f"{rule}",
        "why": _why(table, rule, found[ALL]),
        "how_sure": _how_sure(facts, found[ALL], bounds),
        "silicon": {
            "design": _trial(found[SILICON]),
            "sentence": _sentence(table, rule, facts, SILICON, found[SILICON]),
            "hardware": _built(found[SILICON]),
        },
        "projection": {
            "design": _trial(found[ALL]),
            "sentence": _sentence(table, rule, facts, ALL, found[ALL]),
            "hardware": _built(found[ALL]),
            "must_deliver": _must_deliver(rule, found, flips) if projected else [],
        },
        "at_bounds": list(bounds),
        "flips": _nearest_first(flips),
        "references": [_reference(row, facts) for row in _references(table)],
    }


def _trial(row: Any) -> int | None:
    return None if row is None else int(row["trial"])


def _sentence(table: "pandas.DataFrame", rule: Rule, facts: Facts, scope: str, row: Any) -> str:
    """What to build, and what that reaches, in a sentence."""
    if row is None:
        return f"No design of this search loses at most {rule.limit} and meets the limits."
    if float(row["tiles"]) > 0:
        parts = words.analog_parts(row, facts.experts)
        what = f"build {words.count(int(row['tiles']), 'tile')} of {row['technology']} for {parts}"
    else:
        what = f"build no analog tiles: {_no_tiles(table, rule, facts, scope, row)}"
    return f"{what[0].upper()}{what[1:]}. That gives {words.reaches(row)}."


def _built(row: Any) -> str:
    """Every part of a design."""
    if row is None:
        return ""
    return words.tiles(row) + " beside " + words.digital(row) if float(row["tiles"]) > 0 else (
        words.digital(row)
    )  # fmt: skip


def _no_tiles(table: "pandas.DataFrame", rule: Rule, facts: Facts, scope: str, row: Any) -> str:
    """Why no tiles are built."""
    import pandas

    in_scope = scope == ALL or facts.silicon_mm2 is not None
    tiles = pandas.to_numeric(table["tiles"]).fillna(0) > 0
    if scope == SILICON or all(kind == SILICON for kind in facts.kinds.values()):
        tiles &= table["technology_kind"] == SILICON
        where = "in measured silicon "
    else:
        where = ""
    if not in_scope:
        return "no technology of measured silicon was searched"
    inside = tiles & (table["area_mm2"] <= facts.budget_mm2 * (1 + 1e-9))
    most = int(facts.experts - table.loc[inside, "digital_experts"].min()) if inside.any() else 0
    if most <= USED * facts.experts and facts.silicon_mm2 is not None and where:
        fits = "no expert fits" if most == 0 else (
            f"{words.count(most, 'expert')} {'fits' if most == 1 else 'fit'}"
        )  # fmt: skip
        return f"{where}{fits}; all of them need {units.area(facts.silicon_mm2)}"
    usable = (table["state"] == "complete") & table["reason"].isna() & tiles & ~holds_nothing(table)
    designs = judged(table, usable.to_numpy(dtype=bool))
    best = recommend(rule, designs)
    if best is None:
        if not within_loss(rule, designs).any() and usable.any():
            return f"{where}all with tiles that hold something lose more than {rule.limit}"
        return f"{where}no tiles that hold something fit"
    place = int(np.flatnonzero(table["trial"] == row["trial"])[0])
    gain = 1 - float(designs.factor(rule.column, place)[best])
    return (
        f"{where}they would gain {max(100 * gain, 0):.0f} % in {_preferred(rule)} over the best "
        f"digital design, too little to pay (more than {100 * CLEARLY:g} %)"
    )


def _preferred(rule: Rule) -> str:
    return "energy per token" if rule.prefer == "energy" else rule.prefer


def best_digital(table: "pandas.DataFrame", rule: Rule) -> Any:
    """Row of the best design without tiles by the rule; None without any."""
    complete = ((table["state"] == "complete") & table["reason"].isna()).to_numpy(dtype=bool)
    designs = judged(table, complete)
    row = recommend(rule, judged(table, complete & ~designs.tiles))
    return None if row is None else table.iloc[row]


def _why(table: "pandas.DataFrame", rule: Rule, row: Any) -> list[str]:
    if row is None:
        return []
    found, digital = [], best_digital(table, rule)
    if float(row["tiles"]) > 0 and digital is not None:
        energy = float(row["energy_j_per_token"]) / float(digital["energy_j_per_token"])
        speed = float(row["throughput_tokens_per_s"]) / float(digital["throughput_tokens_per_s"])
        found.append(
            f"Against the best digital design ({words.reaches(digital)}): "
            f"{words.times(energy, 'energy', 'energy')} and "
            f"{words.times(speed, 'throughput', 'throughput')}."
        )
    value = words.points(row)[0]
    if rule.unit == "points" and np.isfinite(value):
        found.append(f"It loses {words.points_text(row)} of the {rule.max_loss:g} allowed.")
    known = int(((table["state"] == "complete") & table["reason"].isna()).sum())
    found.append(
        f"None of {known:,} designs with a known accuracy is as accurate, as frugal and as fast, "
        f"and clearly better ({100 * CLEARLY:g} %) in energy, throughput or area."
    )
    return found


def _how_sure(facts: Facts, row: Any, bounds: Sequence[Mapping[str, Any]]) -> list[str]:
    if row is None:
        return []
    ends = [row.get(f"{name}_{end}") for name in ("energy_j_per_token", "throughput_tokens_per_s")
            for end in ("low", "high")]  # fmt: skip
    found = []
    if not any(map(words.missing, ends)):
        low, high, slow, fast = map(float, ends)
        found.append(
            f"Constants at their published ends: {units.si(low, 'J')} to {units.si(high, 'J')} per "
            f"token, {units.si(slow, 'tok/s')} to {units.si(fast, 'tok/s')}."
        )
    found.append(f"Accuracy is of the {facts.accuracy_source}: it ranks designs.")
    if not words.missing(row.get("technology_kind")) and row["technology_kind"] != SILICON:
        found.append(
            f"{row['technology']} is a {row['technology_kind']}: no measured chip stands behind it."
        )
    if not words.missing(row.get("beyond_source")):
        found.append(f"Beyond what its source has shown: {row['beyond_source']}.")
    if bounds:
        names = words.joined([str(one["parameter"]) for one in bounds])
        found.append(f"At an end of the space: {names}.")
    return found


def _must_deliver(rule: Rule, found: Mapping[str, Any], flips: "pandas.DataFrame") -> list[str]:
    """What a projection has to become for its answer to win over that of silicon."""
    row, other = found[ALL], found[SILICON]
    needs = []
    tiers = flips[(flips["question"] == TIERS) & flips["flips_at"].notna()]
    if len(tiers):
        least, now = float(tiers["flips_at"].iloc[0]) + 1, float(tiers["now"].iloc[0])
        needs.append(f"at least {least:,.0f} of {now:,.0f} tiers")
    if other is not None:
        parts = [name for name in row.index if str(name).startswith("energy_component_tile_")]
        tile = float(sum(float(row[name]) for name in parts if not words.missing(row[name])))
        total = float(row["energy_j_per_token"])
        allowed = (1 - CLEARLY) * float(other["energy_j_per_token"])
        factor = (allowed - (total - tile)) / tile if tile > 0 else 0.0
        if rule.prefer == "energy" and 1 < factor < _ANYTHING:
            needs.append(f"tiles of at most {factor:.2g} times the projected energy")
    lost = words.points_text(row)
    needs.append(f"a loss of at most {rule.limit} (estimated: {lost})")
    return needs


def _nearest_first(flips: "pandas.DataFrame") -> list[str]:
    """Sentences of the questions that change the answer, the nearest to what is first."""
    turning = flips[flips["flips_at"].notna()]
    then, now = (turning[name].to_numpy(dtype=float) for name in ("flips_at", "now"))
    return [str(text) for text in turning["sentence"].iloc[np.argsort(np.abs(np.log(then / now)))]]


def _references(table: "pandas.DataFrame") -> list[Any]:
    return [row for _, row in table[table["state"] == "reference"].iterrows()]


def _reference(row: Any, facts: Facts) -> dict[str, Any]:
    """A reference by name and trial, in words; one over the budget says so."""
    reason = row["reason"]
    text = words.reaches(row) if words.missing(reason) else (
        str(reason).removeprefix("does not fit: needs ")
    )  # fmt: skip
    return {"name": str(row["reference_name"]), "trial": int(row["trial"]), "text": text}
