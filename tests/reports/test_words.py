"""The sentences: nothing is ranked inside its error, every odd run still says something true."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reports import choices, compare, why, words
from reports.run_folder import read_run, recommended_row


def design(**values: object) -> pd.Series:
    return pd.Series(values)


@pytest.mark.parametrize(
    ("gap", "expected"), [(0.0, False), (0.013, False), (0.015, True), (1.0, True)]
)
def test_two_accuracies_differ_beyond_two_errors_of_their_difference(
    gap: float, expected: bool
) -> None:
    # The difference of two independent errors of 0.005 has an error of 0.00707; twice is 0.01414.
    a = design(delta_loss_nats=0.02, delta_loss_stderr=0.005)
    b = design(delta_loss_nats=0.02 + gap, delta_loss_stderr=0.005)
    assert compare.distinguishable(a, b, "delta_loss_nats") is expected
    assert compare.distinguishable(b, a, "delta_loss_nats") is expected
    assert ("not distinguishable" in compare.compare(a, b, "delta_loss_nats")) is not expected


def test_an_accuracy_without_error_is_not_compared() -> None:
    a = design(delta_loss_nats=0.02, delta_loss_stderr=None)
    b = design(delta_loss_nats=0.5, delta_loss_stderr=0.001)
    assert compare.distinguishable(a, b, "delta_loss_nats") is None
    assert "cannot be compared" in compare.compare(a, b, "delta_loss_nats")


def test_overlapping_ranges_of_the_cost_model_are_not_ranked() -> None:
    a = design(energy_j_per_token=1.0, energy_j_per_token_low=0.8, energy_j_per_token_high=1.3)
    b = design(energy_j_per_token=1.4, energy_j_per_token_low=1.2, energy_j_per_token_high=1.6)
    c = design(energy_j_per_token=2.0, energy_j_per_token_low=1.7, energy_j_per_token_high=2.2)
    assert compare.compare(a, b, "energy_j_per_token") == "energy not distinguishable"
    assert compare.compare(c, a, "energy_j_per_token") == "2× more energy"


def test_the_best_accuracy_is_one_that_is_sure() -> None:
    designs = pd.DataFrame(
        {
            "delta_loss_nats": [0.010, 0.012, 0.012, 0.200],
            "delta_loss_stderr": [0.020, 0.002, 0.002, 0.002],
            "energy_j_per_token": [0.5, 5.0, 1.0, 0.1],
        }
    )
    best = choices.best_at(designs, "delta_loss_nats")
    assert best is not None and best.name == 2


def test_recommendation_holds_the_numbers_of_its_row(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run())
    row = recommended_row(run)
    assert row is not None
    text = " ".join(words.recommendation(run)).replace("\u00a0", " ").replace("\u2011", "-")
    for part in (str(row["technology"]), f"{row['tiles']:,} analog tiles", f"{row['adc_bits']}-bit",
                 f"{row['area_mm2']:.4g} mm²", "200 mm² allowed", "±", "miniature"):  # fmt: skip
        assert part in text
    roles = [choice.role for choice in choices.short_list(run)]
    assert roles[0] == "Recommended" and roles.count("Reference") == 2


def nothing_fits(table: pd.DataFrame, config: dict) -> pd.DataFrame:
    table = table[table["state"] == "ruled_out"].copy()
    config["recommended_trial"] = None
    config["budget_area_mm2"] = 20.0
    return table


def test_a_run_in_which_nothing_fits_names_the_smallest(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run(change=nothing_fits))
    text = " ".join(words.recommendation(run))
    smallest = run.candidates["area_mm2"].min()
    assert f"The smallest takes {smallest:,.4g} mm²" in text and "20 mm²" in text


def without_simulation(table: pd.DataFrame, config: dict) -> pd.DataFrame:
    for name in table.columns:
        if name.startswith(("delta_loss", "top1", "accuracy")):
            table[name] = np.nan
    table["accuracy_source"] = None
    return table


def test_a_run_without_simulation_says_so(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run(change=without_simulation))
    assert "not simulated" in " ".join(words.recommendation(run))
    assert "nan" not in " ".join(words.recommendation(run)).lower()


def test_a_projected_technology_is_named_and_joined_by_a_design_without(
    make_run: Callable[..., Path],
) -> None:
    run = read_run(make_run())
    row = recommended_row(run)
    assert row is not None
    kinds = dict.fromkeys(run.candidates["technology"].dropna().unique(), "silicon")
    kinds[row["technology"]] = "projection"
    run.config["technology_kinds"] = kinds
    assert any("is a projection" in sentence for sentence in words.reasons(run, row))
    complete = run.candidates[run.candidates["state"] == "complete"]
    others = complete[complete["technology"] != row["technology"]]
    found = choices.without_projection(run)
    assert found is not None
    assert found["energy_j_per_token"] == others["energy_j_per_token"].min()
    kinds[row["technology"]] = "silicon"
    assert choices.without_projection(run) is None


def rivalled(table: pd.DataFrame, config: dict) -> pd.DataFrame:
    """Two designs beside the knee: one whose loss chance explains, one whose loss it does not."""
    knee = table[table["is_knee"]].iloc[0]
    for trial, worse in ((9001, 1.0), (9002, 5.0)):
        other = knee.copy()
        other["trial"], other["is_knee"] = trial, False
        other["delta_loss_nats"] += worse * knee["delta_loss_stderr"]
        other["energy_j_per_token"] *= 0.5 if worse < 2 else 0.1
        table = pd.concat([table, other.to_frame().T], ignore_index=True)
    return table.infer_objects()


def test_a_design_that_chance_may_have_beaten_is_named(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run(change=rivalled))
    row = recommended_row(run)
    assert row is not None
    other = why.rival(run, row)
    assert other is not None
    assert other["trial"] == 9001, "half the energy at a loss within the error"
    sentence = " ".join(why.doubt(run, row))
    assert "design 9001" in sentence and "2× less energy" in sentence
    run.candidates.loc[run.candidates["trial"] == 9001, "reason"] = "power 20 W above 15 W"
    found = why.rival(run, row)
    assert found is None or found["trial"] not in (9001, 9002), "a broken limit is no rival"


def test_a_design_without_tiles_is_said_to_be_digital_alone(make_run: Callable[..., Path]) -> None:
    run = read_run(make_run())
    row = recommended_row(run)
    assert row is not None
    row["tiles"], row["digital_expert_fraction"], row["technology"] = 0, 1.0, None
    alone = words.hardware(row)
    assert alone.startswith("no analog tiles, only a digital accelerator with ")
    assert words.placement(row) == "Compute all routed experts digitally."


def test_a_cost_that_is_the_same_is_called_so() -> None:
    a, b = design(energy_j_per_token=1.0), design(energy_j_per_token=1.0004)
    assert compare.compare(a, b, "energy_j_per_token") == "same energy"
