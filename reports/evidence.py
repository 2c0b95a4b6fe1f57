"""How sure: where a run's numbers come from, read from its config.json and tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from reports.columns import STANDARD_ERRORS, is_missing, term
from reports.run_folder import Run, budget_mm2


def title(run: Run) -> str:
    """The model and the budget of a run in one line."""
    model = text_of(run.config, "model_title", "model", default="model not recorded")
    budget = budget_mm2(run)
    return f"{model} in {budget:,.4g}\u00a0mm²" if budget is not None else model


def text_of(config: dict[str, Any], *keys: str, default: str = "") -> str:
    """The first of several entries that is there, as text; of a table, its name."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, dict):
            value = value.get("title") or value.get("name")
        if value is not None and not isinstance(value, dict | list):
            return str(value)
    return default


def facts(run: Run) -> list[tuple[str, str]]:
    """The question this run answers: traffic, budget, what was searched."""
    found = []
    if isinstance(traffic := run.config.get("traffic"), dict):
        found.append(("Traffic", _traffic(traffic)))
    budget = budget_mm2(run)
    if budget is not None:
        found.append(("Area budget", f"{budget:,.4g} mm²"))
    found.append(("Designs", counts(run)))
    return found


def _traffic(traffic: dict[str, Any]) -> str:
    """What is served, in words."""
    count = f"{traffic.get('concurrency', 1):,}"
    if traffic.get("prompt") is None:
        return f"{count} sequences at {traffic.get('context', 1):,} tokens"
    return f"{count} requests of {traffic['prompt']:,} and {traffic['output_tokens']:,} tokens"


def mode(run: Run) -> str:
    """What a step does: decode, or with requests' prompts serve."""
    traffic = run.config.get("traffic")
    return "serve" if isinstance(traffic, dict) and traffic.get("prompt") else "decode"


def round_tokens(run: Run) -> int:
    """Output tokens of a round: one of each sequence; 1 where it is not recorded."""
    traffic = run.config.get("traffic")
    return int(traffic.get("concurrency", 1)) if isinstance(traffic, dict) else 1


def counts(run: Run) -> str:
    """How many designs were costed, simulated, ruled out and on the front."""
    recorded, on_front = run.config.get("counts"), run.candidates["on_front"].sum()
    if isinstance(recorded, dict) and {"designs_costed", "simulations"} <= set(recorded):
        simulations = int(recorded["simulations"])
        return (
            f"{int(recorded['designs_costed']):,} costed, {simulations:,} "
            f"simulation{'' if simulations == 1 else 's'}, "
            f"{int(recorded.get('designs_on_front', on_front)):,} on the front"
        )
    states = run.candidates["state"].value_counts()
    searched = int(states.drop("reference", errors="ignore").sum())
    parts = [f"{searched:,} costed"]
    parts += [
        f"{int(states[state]):,} {words}"
        for state, words in (
            ("ruled_out", "ruled out"),
            ("complete", "simulated"),
            ("failed", "failed"),
        )
        if state in states
    ]
    return ", ".join([*parts, f"{int(run.candidates['on_front'].sum()):,} on the front"])


def searched_objectives(run: Run) -> tuple[str, ...]:
    """Columns that the search optimised, as its settings record them; else the usual three."""
    settings = run.config.get("settings")
    recorded = settings.get("objectives", []) if isinstance(settings, dict) else []
    aliases = {
        "delta_loss": "delta_loss_nats", "energy_per_token": "energy_j_per_token",
        "throughput": "throughput_tokens_per_s", "latency_per_token": "latency_s_per_token",
        "power": "power_w", "area": "area_mm2",
    }  # fmt: skip
    found = tuple(aliases.get(str(name), str(name)) for name in recorded)
    return found or ("delta_loss_nats", "energy_j_per_token", "throughput_tokens_per_s")


def caveats(run: Run) -> list[str]:
    """What a reader must know before using the numbers."""
    return [*_about_accuracy(run), *_about_cost(run)]


def _about_accuracy(run: Run) -> list[str]:
    """Where accuracies come from, and what their error bars say."""
    table, notes = run.candidates, []
    simulated = table.get("delta_loss_nats", pd.Series(dtype=float)).notna().any()
    if not simulated:
        notes.append("No accuracy was simulated in this run; the views show cost alone.")
    real = run.config.get("checkpoint")
    if isinstance(real, dict):
        notes += fidelity(real)
    sources = table.get("accuracy_source", pd.Series(dtype=str)).dropna().astype(str)
    if len(sources) and len(run.checkpoint) == 0:
        notes.append(
            f"Accuracies come from {'; '.join(sorted(sources.unique()))}. A miniature ranks "
            "designs by how much noise they take; it does not promise the percentage points of "
            "the full model."
        )
    if simulated:
        notes.append(
            "± is one standard error over noise seeds and tokens. Two designs whose difference is "
            f"below {STANDARD_ERRORS:g} standard errors of it are called not distinguishable, and "
            "are never ranked."
        )
    return notes


def _about_cost(run: Run) -> list[str]:
    """What the error bars on costs say; nothing where the run records the models' errors alone."""
    if run.candidates.get("energy_j_per_token_low", pd.Series(dtype=float)).notna().any():
        return [
            "Bars on energy, throughput and area: published ranges of the cost model's constants, "
            "independent of each other (root of the sum of squares). A constant that two designs "
            "share moves both, so comparisons with the recommended design use the range of the "
            "ratio, in which it cancels; other designs are told apart only where their bars do "
            "not overlap. The formulas' own error is not in the bars: dse validate prints it "
            "against published silicon."
        ]
    if model_errors(run):
        return []
    return [
        "Error bars cover the simulation only. This run records no error of the cost model; "
        "the command dse validate prints it against published silicon."
    ]


def fidelity(real: dict[str, Any]) -> list[str]:
    """What config.json's entry on the checkpoint says: where accuracies come from, agreement."""
    simulated, wanted = real.get("placements_simulated", 0), real.get("placements_wanted", 0)
    if not simulated:
        return [
            f"No placement was simulated on {real.get('source')} ({real.get('outcome')}): all "
            "accuracies are the miniature's."
        ]
    words = (
        f"Accuracies of simulated designs come from {real.get('source')}: {simulated} of {wanted} "
        f"placements ran on {real.get('tokens', 0):,} tokens of its own. They alone make the "
        "front; designs that only the miniature simulated are in the table as candidates, and "
        "the two losses are never compared as if they were one."
    )
    return [words, correlation(real)]


def correlation(real: dict[str, Any]) -> str:
    """Rank correlation of miniature and checkpoint in one sentence."""
    told: dict[str, Any] = real.get("rank_correlation") or {}
    points = told.get("points", 0)
    if is_missing(told.get("spearman")):
        return f"Too few placements ({points}) for a rank correlation of miniature and checkpoint."
    return (
        f"Rank correlation of the loss on miniature and checkpoint: {told['spearman']:.2f} "
        f"(95 % interval {told['low']:.2f} to {told['high']:.2f}, p = {told['p_value']:.2g}, "
        f"{points} placements)."
    )


def model_errors(run: Run) -> list[tuple[str, str]]:
    """Error of the cost model against published silicon, as the run recorded it."""
    recorded = run.config.get("model_error")
    return flatten(recorded) if isinstance(recorded, dict) else []


def wall_times(run: Run) -> dict[str, float]:
    """Seconds by what they were spent on, as the run recorded them; its total is not one more."""
    recorded = run.config.get("wall_seconds")
    if not isinstance(recorded, dict):
        return {}
    return {
        str(name): float(value)
        for name, value in recorded.items()
        if isinstance(value, int | float) and name != "total"
    }


def provenance(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Everything config.json records, as titled groups of name and value; the command first."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    single: list[tuple[str, str]] = []
    for key, value in run.config.items():
        if isinstance(value, dict) and value:
            groups.append((term(key), flatten(value)))
        elif not is_empty(value):
            single.append((term(key), _printed(value)))
    single.sort(key=lambda pair: pair[0] != "command")
    return [("this run", single), *groups] if single else groups


def flatten(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested table as (dotted name, value) pairs."""
    pairs: list[tuple[str, str]] = []
    for key, inner in value.items():
        name = f"{prefix}{term(str(key))}"
        if isinstance(inner, dict):
            pairs += flatten(inner, f"{name} / ")
        elif not is_empty(inner):
            pairs.append((name, _printed(inner)))
    return pairs


def is_empty(value: Any) -> bool:
    """Whether an entry holds nothing worth printing."""
    return value in ({}, []) or (not isinstance(value, list | dict) and is_missing(value))


def _printed(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_printed(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
