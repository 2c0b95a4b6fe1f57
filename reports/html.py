"""The report: one HTML file that needs no network, built from a run folder."""

from __future__ import annotations

import base64
import hashlib
import os
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reports import decision, evidence, payload, printed, words
from reports.captions import captions
from reports.columns import (
    HOVER,
    NOT_COMPUTED,
    PARAMETER_NAMES,
    RESULT_NAMES,
    STANDARD_ERRORS,
    breakdown_columns,
    column,
    described_by,
    is_missing,
    term,
)
from reports.figures.breakdown import (
    NOT_KEPT,
    breakdown_bars,
    breakdown_icicle,
    drill_table,
    layer_columns,
)
from reports.figures.budget import knee_against_budget
from reports.figures.fidelity import miniature_against_checkpoint
from reports.figures.flips import flip_factors
from reports.figures.importance import importance_bars
from reports.figures.parallel import DIMENSIONS, parallel_coordinates
from reports.figures.placement import (
    digital_coverage,
    like_layers,
    placement_map,
    rank_column,
    value_columns,
    value_range,
)
from reports.figures.progress import hypervolume_progress, time_split
from reports.figures.roofline import PEAKS, has_roofline, roofline
from reports.figures.step import decode_timeline, step_timeline, step_words
from reports.figures.theme import DARK, LIGHT
from reports.figures.tornado import tornado_bars
from reports.figures.trade import accuracy_against_digital_share, pareto_front
from reports.figures.utilisation import tile_utilisation
from reports.glossary import glossary
from reports.run_folder import Run, budget_mm2, read_run, recommended_row

REPORT = "report.html"

#: What the rings of each drill-down are, as deep as the run's tables go.
LEVELS = {
    "energy:layer": "system, layers, module, component",
    "latency:layer": "system, layers, module, component; a module counts for what the layer waits "
    "for it, whatever else works meanwhile",
    "area:layer": "system, layers, module, component; a layer counts the share of the tiles' tiers "
    "that its weights take, the accelerator serves all",
    "energy:component": "system, subsystem, component",
    "energy:module": "system, module",
    "latency:component": "system, subsystem, component",
    "latency:module": "system, module",
    "area:component": "system, subsystem, component",
    "area:module": "system, module",
}
#: The page's own scripts, in the order in which each builds on the one before.
SCRIPTS = ("columns.js", "views.js", "filter.js", "table.js", "compare.js", "report.js")
_HERE = Path(__file__).parent

#: What the card of the selected design shows.
CARD = (
    "state", "ties", "full_points", "full_loss_nats", "delta_loss_nats", "accuracy", "top1",
    "energy_j_per_token", "throughput_tokens_per_s", "time_per_output_token_s",
    "time_to_first_token_s", "latency_s_per_token", "area_mm2", "power_w", "cost_usd",
    "technology", "technology_kind", "tile_rows", "tile_cols", "tiers", "tiles", "adc_bits",
    "dac_bits", "columns_per_adc", "digital_experts", "placement_score", "placement_scope",
    "analog_modules", "mac_units", "sram_mib", "memory", "hbm_stacks", "digital_weight_bits",
    "kv_bits", "beyond_source", "reason", "accuracy_source",
)  # fmt: skip

#: Columns of the table of candidates on the page; the CSV has all of them.
TABLE = (
    "trial", "state", "full_points", "delta_loss_nats", "accuracy", "energy_j_per_token",
    "throughput_tokens_per_s", "area_mm2", "cost_usd", "technology", "tile_rows", "tile_cols",
    "tiers", "tiles", "adc_bits", "dac_bits", "columns_per_adc", "digital_expert_fraction",
    "placement_score", "placement_scope", "analog_modules", "top1", "time_per_output_token_s",
    "latency_s_per_token", "power_w", "mac_units", "sram_mib", "memory", "hbm_stacks", "dies",
    "digital_weight_bits", "kv_bits", "ties", "technology_kind", "beyond_source", "reason",
)  # fmt: skip


def write_report(run_folder: Path | str) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Raises ValueError, in one line, when the folder is not a run or cannot be written.
    """
    run = read_run(run_folder)
    text = render(run)
    path, draft = run.folder / REPORT, run.folder / f".{REPORT}.{os.getpid()}"
    try:
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from None
    return path


def render(run: Run) -> str:
    """The whole report of a run as HTML text."""
    with described_by(run.columns):
        return _render(run)


def _render(run: Run) -> str:
    shown = payload.thin(run.candidates)
    data = page_data(run, shown)
    scripts = [plotly_script()]
    scripts += [(_HERE / "static" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)  # fmt: skip
    environment.filters |= {"term": term}
    template = environment.from_string(
        (_HERE / "static" / "report.html.j2").read_text(encoding="utf-8")
    )
    sentence, paragraphs = decision.sentences(run)
    numbers = count(1)
    return template.render(
        run=run,
        title=evidence.title(run),
        number=lambda: next(numbers),
        facts=evidence.facts(run),
        sentence=sentence,
        cards=decision.cards(run),
        answers=printed.answers(run, shown),
        words=[
            ("Why this one", decision.reasons(run)),
            ("What would change it", decision.flips(run)[: decision.FIRST_FLIPS]),
            ("How sure", decision.how_sure(run)),
            ("At an end of the space", decision.at_bounds(run)),
        ],
        paragraphs=paragraphs,
        choices=printed.short_list(run, shown),
        flips_table=printed.flips(run),
        others=printed.others(run, shown),
        counts=evidence.counts(run),
        left_out=len(run.candidates) - len(shown),
        caveats=evidence.caveats(run),
        provenance=evidence.provenance(run),
        model_errors=evidence.model_errors(run),
        captions=captions(run),
        mode=evidence.mode(run),
        axes=_axis_choices(data),
        roofline="roofline" in data["figures"],
        like_layers=like_layers(run.experts),
        breakdowns=available_breakdowns(run),
        map_columns=data["mapColumns"],
        glossary=glossary(run.columns),
        data=Markup(payload.script_safe(data)),
        css=Markup((_HERE / "static" / "report.css").read_text(encoding="utf-8")),
        scripts=[Markup(text) for text in scripts],
        hashes=" ".join(_hash(text) for text in scripts),
    )


def page_data(run: Run, shown: pd.DataFrame) -> dict[str, Any]:
    """Everything the page's script needs: columns, figures without data, sets of rows."""
    row = recommended_row(run)
    selected = row if row is not None else _first_design(shown)
    experts, layers, objectives = run.experts, page_layers(run, shown), _objectives(shown)
    breakdowns = available_breakdowns(run)
    kept = shown[shown["trial"].isin(layers["trial"])] if len(layers) else shown[:0]
    return {
        "columns": payload.pack(shown),
        "specs": payload.column_specs(shown),
        "count": len(shown),
        "table": [name for name in TABLE if name in shown.columns],
        "card": card_columns(shown),
        "hover": [name for name in HOVER if name in shown.columns],
        "objectives": objectives,
        "recommended": payload.row_index(shown, row),
        "selected": payload.row_index(shown, selected),
        "against": payload.row_index(shown, decision.digital_rival(run)),
        "parameters": [name for name in PARAMETER_NAMES if name in shown.columns],
        "standardErrors": STANDARD_ERRORS,
        "alike": payload.alike(shown, row),
        "figures": _figures(run, shown, selected),
        "rows": payload.row_sets(shown),
        "stairs": payload.stairs(shown, objectives),
        "heights": payload.heights(shown, DIMENSIONS),
        "drills": payload.drills(shown, layers, breakdowns),
        "experts": payload.pack(experts),
        "expertCount": len(experts),
        "mapColumns": {name: value_range(experts, name) for name in value_columns(experts)},
        "layers": payload.pack(layers),
        "peaks": list(PEAKS),
        "stepTokens": evidence.round_tokens(run),
        "pace": {
            str(place): step_words(run.layers, design, evidence.round_tokens(run))
            for place, design in kept.iterrows()
        },
        "notKept": NOT_KEPT,
        "missing": NOT_COMPUTED,
        "terms": payload.terms(shown, experts, layers),
        "templates": {"light": LIGHT.to_plotly_json(), "dark": DARK.to_plotly_json()},
    }


def card_columns(shown: pd.DataFrame) -> list[str]:
    """What the card of the selected design shows: nothing twice in other words."""
    instead = {"full_loss_nats": ("delta_loss_nats", "accuracy", "top1"),
               "time_per_output_token_s": ("latency_s_per_token",)}  # fmt: skip
    twice = {name for better, names in instead.items() if better in shown for name in names}
    return [name for name in CARD if name in shown.columns and name not in twice]


def page_layers(run: Run, shown: pd.DataFrame) -> pd.DataFrame:
    """The table behind the drill-downs by layer, of designs on the page."""
    if run.layers.empty:
        return run.layers
    table = drill_table(run.layers[run.layers["trial"].isin(shown["trial"])], run.candidates)
    wanted = shown.loc[shown["is_recommended"] | (shown["state"] == "reference"), "trial"]
    return payload.thin_layers(table, list(wanted))


def available_breakdowns(run: Run) -> dict[str, str]:
    """The drill-downs that the run's tables allow, by quantity and split, with their levels."""
    found = [
        f"{quantity}:{by}"
        for quantity in ("energy", "latency", "area")
        for by in ("component", "module")
        if breakdown_columns(run.candidates, quantity, by)
    ]
    found += [
        f"{quantity}:layer"
        for quantity in ("energy", "latency", "area")
        if layer_columns(run.layers, quantity)
    ]
    return {key: LEVELS[key] for key in found}


def _axis_choices(data: dict[str, Any]) -> list[tuple[str, str, list[tuple[str, str, bool]]]]:
    """Id and label of the three choices of the front's axes, with what can be chosen there."""
    traces = data["figures"]["pareto"]["data"]
    drawn: dict[str, str] = next(
        (t["meta"] for t in traces if "colour" in t["meta"]), {}
    )  # none without designs
    return [
        (axis, label, [(n, column(n).label, n == drawn.get(axis)) for n in data["objectives"]])
        for axis, label in (("y", "Vertical"), ("x", "Horizontal"), ("colour", "Colour"))
    ]


def _figures(run: Run, shown: pd.DataFrame, selected: pd.Series | None) -> dict[str, Any]:
    """Every figure of the report as JSON, keyed by the element that holds it."""
    built = _of_the_run(run, shown)
    if selected is not None:
        built |= _of_a_design(run, shown, selected) | _of_placement(run.experts, selected)
    return {name: payload.strip(figure) for name, figure in built.items()}


def _of_the_run(run: Run, shown: pd.DataFrame) -> dict[str, Any]:
    objectives = _objectives(shown)
    accuracy = next((n for n in words.ACCURACIES if n in objectives), "delta_loss_nats")
    built = {
        "pareto": pareto_front(shown, *_axes(objectives, accuracy)),
        "share": accuracy_against_digital_share(shown, accuracy),
        "parallel": parallel_coordinates(shown),
        "budget": knee_against_budget(
            run.candidates, budget_mm2(run), evidence.searched_objectives(run)
        ),
        "importance": importance_bars(run.candidates),
        "hypervolume": hypervolume_progress(run.progress),
        "time": time_split(evidence.wall_times(run)),
    }
    if len(run.checkpoint):
        built["fidelity"] = miniature_against_checkpoint(run.checkpoint)
    if len(run.flips):
        built["flips"] = flip_factors(decision.flips_table(run))
    if len(run.tornado):
        built["tornado"] = tornado_bars(run.tornado)
    return built


def _of_a_design(run: Run, shown: pd.DataFrame, selected: pd.Series) -> dict[str, Any]:
    who = _identity(selected)
    others = list(shown.loc[shown["state"] == "reference", "reference_name"].dropna())
    compared = list(dict.fromkeys([who, *others]))
    built = {
        "utilisation": tile_utilisation(shown, compared),
        "timeline": decode_timeline(shown, who),
    }
    for key in available_breakdowns(run):
        quantity, by = key.split(":")
        built[f"icicle:{key}"] = breakdown_icicle(shown, who, quantity, by, run.layers)
        built[f"bars:{key}"] = breakdown_bars(shown, compared, quantity, by, run.layers)
    if has_roofline(run.layers, run.candidates):
        built["roofline"] = roofline(run.layers, selected)
    if len(run.layers):
        rate: Any = selected["throughput_tokens_per_s"]
        pace = (
            None
            if is_missing(rate)
            else evidence.round_tokens(run)
            / (float(rate) * float(selected.get("micro_batches") or 1))
        )
        built["step"] = step_timeline(run.layers, int(selected["trial"]), pace)
    return built


def _of_placement(experts: pd.DataFrame, selected: pd.Series) -> dict[str, Any]:
    if experts.empty:
        return {}
    rank = rank_column(experts, selected.get("placement_score"), selected.get("placement_scope"))
    count: Any = selected.get("digital_experts")
    known = rank is not None and not is_missing(count)
    digital = experts[rank] < count if known else np.zeros(len(experts), dtype=bool)
    columns = value_columns(experts)
    return {
        "map": placement_map(experts, digital, "load" if "load" in columns else columns[0]),
        "coverage": digital_coverage(experts, rank, float(count) if known else None),
    }


def _axes(objectives: list[str], accuracy: str) -> tuple[str, str, str]:
    """The first view: energy against accuracy, coloured by throughput, as far as they exist."""
    x = "energy_j_per_token" if "energy_j_per_token" in objectives else "area_mm2"
    colour = "throughput_tokens_per_s" if "throughput_tokens_per_s" in objectives else "area_mm2"
    if accuracy in objectives:
        return x, accuracy, colour
    return x, "throughput_tokens_per_s", "area_mm2"


def _objectives(shown: pd.DataFrame) -> list[str]:
    return [name for name in RESULT_NAMES if name in shown and shown[name].notna().any()]


def _identity(row: pd.Series) -> Any:
    return row["trial"] if is_missing(row["reference_name"]) else row["reference_name"]


def _first_design(shown: pd.DataFrame) -> pd.Series | None:
    for state in ("complete", "ruled_out", "reference"):
        rows = shown[shown["state"] == state]
        if len(rows):
            return rows.iloc[0]
    return None


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


@lru_cache(maxsize=1)
def plotly_script() -> str:
    """The whole of plotly.js, so that the page needs no network."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
