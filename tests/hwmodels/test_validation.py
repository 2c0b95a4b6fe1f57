"""The validation tables: their errors are bounds, so that a worse constant fails."""

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels import chip_table, gpu_table, table_text
from hwmodels.chip_model import PRIORS, QUANTITIES, Constants, chip_class, predict
from hwmodels.components import scaling
from hwmodels.digital import load_accelerator
from hwmodels.fitting import (
    fitted,
    fitted_without,
    survey_chips,
    survey_number,
    training_chips,
)
from hwmodels.technology import load_technology
from hwmodels.validation import (
    summarise_chips,
    summarise_classes,
    validate_chips,
    validate_survey,
)
from hwmodels.validation_gpu import CURVE, fitted_curve, validate_gpus
from hwmodels.validation_system import validate_systems


@pytest.fixture(scope="module")
def chips() -> pd.DataFrame:
    return validate_chips()


@pytest.fixture(scope="module")
def survey() -> pd.DataFrame:
    return validate_survey()


@pytest.fixture(scope="module")
def gpus() -> pd.DataFrame:
    return validate_gpus()


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(
    ("quantity", "median", "misses"),
    [("energy_j", 0.10, 0), ("latency_s", 0.08, 0), ("tops_per_w", 0.10, 0), ("area_mm2", 0.05, 1)],
)
def test_left_out_chips(chips: pd.DataFrame, quantity: str, median: float, misses: int) -> None:
    """Aims on chips that the constants were not fitted to; misses of a factor of 2 are known."""
    table = summarise_chips(chips).set_index(["quantity", "prediction"])
    row = table.loc[(quantity, "left out")]
    assert row["median_absolute_error"] <= median
    assert row["rows"] - row["within_factor_2"] <= misses


def test_every_known_failure_is_named(chips: pd.DataFrame) -> None:
    """Where a left-out prediction misses by more than a factor of 2, the table says why.

    Of energy and latency, only a circuit projection does; of area, NeuRRAM's by 2.1.
    """
    factor = np.exp(np.abs(np.log1p(chips["error_left_out"])))
    failures = chips[factor > 2]
    found = set(zip(failures["chip"], failures["quantity"], strict=True))
    projection = {("ibm_analog_fabric_tile", name) for name in QUANTITIES}
    assert found <= {("neurram_8b", "area_mm2"), *projection}
    assert (failures["note"].str.len() > 20).all()


@pytest.mark.parametrize(
    ("chip", "quantity", "bound"),
    [
        ("hermes_core", "energy_j", 0.08),
        ("hermes_chip_1ph", "energy_j", 0.15),
        ("hermes_chip_4ph", "latency_s", 0.02),
        ("ambrogio_chip", "tops_per_w", 0.10),
        ("mythic_fick2022", "tops_per_w", 0.15),
        ("neurram_8b", "tops_per_w", 0.124),
        ("neurram_1b", "tops_per_w", 0.124),
        ("jia2020_065", "tops_per_w", 0.42),
        ("puma_node", "energy_j", 0.10),
    ],
)
def test_left_out_bounds(chips: pd.DataFrame, chip: str, quantity: str, bound: float) -> None:
    """NeuRRAM's bound is the worst error of a peer that was calibrated on that chip.

    Jia's is wide since nine charge-domain macros of the survey share its constants; without
    them it was within 0.10.
    """
    row = chips[(chips["chip"] == chip) & (chips["quantity"] == quantity)].iloc[0]
    assert abs(row["error_left_out"]) <= bound


NEURRAM = {
    # (output, input bits, phases): TOPS of 48 cores; Wan et al., Nature 608, 504 (2022), Fig. 12
    (3, 1, 1): 2.122,
    (4, 2, 1): 1.793,
    (5, 3, 1): 1.165,
    (6, 4, 1): 0.7439,
    (7, 5, 1): 0.4516,
    (8, 6, 1): 0.2608,
    (7, 5, 2): 0.5254,
    (8, 6, 2): 0.4177,
    (9, 7, 2): 0.3439,
    (10, 8, 2): 0.2639,
}


@pytest.mark.parametrize("setting", NEURRAM)
def test_steps_of_a_voltage_mode_neuron(setting: tuple[int, int, int]) -> None:
    """Ten published settings of one chip with one step time, two of them in the fit: to 4 %.

    Left out, the step is ISAAC's read scaled by gate delay: within 40 %.
    """
    output, inputs, phases = setting
    row = next(row for row in chip_table.read_table() if row["id"] == "neurram_8b")
    text = {
        "in_bits": f"{inputs} ({max(inputs - 1, 1)} mag + sign)",
        "out_adc_bits": str(output),
        "mode": f"{inputs}b-in/{output}b-out, {phases}-phase",
    }
    chip = chip_table.parse({**row, **text})
    published_s = 2 * 256 * 128 * 48 / (NEURRAM[setting] * 1e12)
    assert predict(chip, fitted())["latency_s"] == pytest.approx(published_s, rel=0.04)
    left_out = predict(chip, fitted_without("neurram"))["latency_s"]
    assert left_out == pytest.approx(published_s, rel=0.40)


def test_a_wrong_constant_is_noticed() -> None:
    """Each fitted constant is at an optimum: a fifth up or down fits silicon worse."""

    def misfit(constants: Constants) -> float:
        error = 0.0
        for chip in training_chips():
            for name, value in predict(chip, constants).items():
                if name in chip.measured and name != "tops_per_w":
                    error += min(abs(math.log(value / chip.measured[name])), 1.0) ** 2
        return error + 0.1 * sum(
            (math.log(getattr(constants, name) / getattr(Constants(), name)) / width) ** 2
            for name, width in PRIORS.items()
        )

    best = misfit(fitted())
    names = ("count_energy_j", "sar_energy_factor", "charge_cell_energy_j", "rram_step_s")
    for name in (*names, "neuron_step_s"):
        for factor in (0.6, 1.6):
            moved = {name: getattr(fitted(), name) * factor}
            assert misfit(dataclasses.replace(fitted(), **moved)) > best, (name, factor)


def test_predictions_never_see_measured_results(tmp_path: Path, chips: pd.DataFrame) -> None:
    """With every result multiplied by 3, the predictions stay what they were."""
    rows = chip_table.read_table()
    columns = [
        "latency_ns_per_MVM",
        "energy_nJ_per_MVM",
        "energy_pJ_per_MAC",
        "TOPS_per_W",
        "area_mm2",
    ]
    for row in rows:
        for column in columns:
            value = table_text.number(row[column])
            if value is not None and "per" not in row[column]:
                row[column] = repr(3 * value)
    other = validate_chips(write(tmp_path / "chips.csv", rows))
    both = chips.merge(other, on=["chip", "quantity"], suffixes=("", "_other"))
    both = both[both["predicted"].notna()]
    assert np.allclose(both["predicted"], both["predicted_other"], rtol=1e-12)
    assert np.allclose(both["predicted_left_out"], both["predicted_left_out_other"], rtol=1e-12)


def test_left_out_constants_ignore_the_chip() -> None:
    """Doubling a chip's own results changes the fit, but not the fit without it."""
    family = "hermes_chip"
    assert fitted_without(family) != fitted()
    assert all(chip.family != family for chip in training_chips()) is False
    assert fitted_without("no such chip") == fitted()


def test_presets_hold_the_fitted_constants() -> None:
    """One set of constants: what the search uses is what silicon agrees with."""
    constants = fitted()
    pcm, rram, sram = (load_technology(name) for name in ("pcm-14nm", "rram-22nm", "sram-16nm"))
    assert pcm.adc_unit_energy_j == pytest.approx(constants.count_energy_j, rel=0.03)
    assert pcm.step_overhead_s == pytest.approx(constants.step_overhead_s, rel=0.03)
    assert rram.adc_energy_factor == pytest.approx(constants.neuron_energy_factor, rel=0.03)
    assert rram.mean_conductance_s == pytest.approx(constants.rram_conductance_s, rel=0.03)
    assert rram.input_slot_s == pytest.approx(constants.rram_step_s, rel=0.03)
    assert sram.adc_energy_factor == pytest.approx(constants.sram_adc_factor, rel=0.03)
    neuron = load_technology("rram-130nm").neuron_step_s
    delay = float(scaling.delay_factor(32.0, 130.0))
    assert neuron == pytest.approx(constants.neuron_step_s * delay, rel=0.03)
    bit = constants.charge_cell_energy_j * 16 / 65
    assert sram.cell_switch_energy_j == pytest.approx(8 * bit, rel=0.03)


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("hermes_core", ("pwm", 8, 8, 1, 256, 256)),
        ("hermes_chip_4ph", ("pwm", 8, 8, 4, 256, 256)),
        ("ambrogio_chip", ("pwm", 8, 8, 1, 512, 512)),
        ("neurram_8b", ("pulse_train", 6, 8, 2, 256, 128)),
        ("neurram_1b", ("bit_serial", 1, 3, 1, 256, 128)),
        ("xue2020_4b4b", ("bit_serial", 4, 6, 1, 512, 512)),
        ("jia2021", ("bit_serial", 4, 8, 1, 1152, 256)),
        ("isaac_ce", ("bit_serial", 16, 8, 1, 128, 128)),
    ],
)
def test_free_text_is_read(identity: str, expected: tuple) -> None:
    row = next(row for row in chip_table.read_table() if row["id"] == identity)
    chip = chip_table.parse(row)
    found = chip.input_mode, chip.input_bits, chip.adc_bits, chip.phases, chip.rows, chip.cols
    assert found == expected


def test_a_new_chip_and_rows_that_cannot_be_expressed(tmp_path: Path) -> None:
    template = next(row for row in chip_table.read_table() if row["id"] == "hermes_core")
    changes = [
        {"id": "mine", "array_rows_x_cols": "128 x 64", "TOPS_per_W": "", "node_nm": "14"},
        {"id": "no_node", "node_nm": ""},
        {"id": "odd_device", "device": "graphene"},
        {"id": "no_array", "array_rows_x_cols": "many"},
        {"id": "old", "node_nm": "-14"},
        {"id": "bits", "in_bits": "99"},
        {"id": "huge", "array_rows_x_cols": "99999999x4", "ops_per_MVM(2*MAC)": ""},
        {"id": "negative", "latency_ns_per_MVM": "-5", "TOPS_per_W": "nan"},
    ]
    rows = [{**template, "ops_per_MVM(2*MAC)": "", **change} for change in changes]
    table = validate_chips(write(tmp_path / "chips.csv", rows))
    mine = table[table["chip"] == "mine"]
    assert set(mine["quantity"]) == {"energy_j", "latency_s", "tops_per_w", "area_mm2"}
    assert mine["predicted"].notna().all()
    for name in ("no_node", "odd_device", "no_array", "old", "bits", "huge"):
        reasons = table[table["chip"] == name]["reason"]
        assert len(reasons) == 1 and len(reasons.iloc[0]) > 10, name
    negative = table[table["chip"] == "negative"].set_index("quantity")
    assert negative.loc["latency_s", "reason"] == "the published value is not positive"
    assert np.isnan(negative.loc["tops_per_w", "measured"])
    numbers = table[["predicted", "predicted_left_out"]].to_numpy()
    assert np.all(numbers[~np.isnan(numbers)] > 0)


@pytest.mark.parametrize("validate", [validate_chips, validate_gpus])
def test_bad_files(tmp_path: Path, validate: object) -> None:
    path = tmp_path / "table.csv"
    for content in (b"", b"a,b\n1,2\n", b"\xff\xfe\x00\x01"):
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            validate(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot read"):
        validate(tmp_path / "absent.csv")


@pytest.mark.parametrize("separator", [";", "\t", " ,"])
def test_other_separators_and_absent_results(tmp_path: Path, separator: str) -> None:
    """Spreadsheets write semicolons; a column of results that is absent is only not compared."""
    row = next(row for row in chip_table.read_table() if row["id"] == "neurram_1b")
    names = ("id", "node_nm", "device", "array_rows_x_cols", "in_bits", "out_adc_bits", "mode")
    path = tmp_path / "chips.csv"
    path.write_text("\n".join(separator.join(line) for line in (names, [row[n] for n in names])))
    table = validate_chips(path).set_index("quantity")
    chip = chip_table.parse(row)
    assert table.loc["latency_s", "predicted"] == predict(chip, fitted())["latency_s"]
    assert table["measured"].isna().all()


def test_units_in_cells_are_converted(tmp_path: Path) -> None:
    """The same core in other units: nothing changes; a cell's unit never goes unseen."""
    row = next(row for row in chip_table.read_table() if row["id"] == "hermes_core")
    other = {
        "node_nm": "0.014 µm",
        "latency_ns_per_MVM": "0.13 us",
        "energy_nJ_per_MVM": "12480 pJ",
        "TOPS_per_W": "10500 GOPS/W",
        "area_mm2": "634000 um²",
        "array_rows_x_cols": "256 rows x 256 cols",
    }
    table = validate_chips(write(tmp_path / "chips.csv", [{**row, **other}]))
    known = validate_chips(write(tmp_path / "same.csv", [row]))
    for column in ("measured", "predicted"):
        assert table[column].to_numpy() == pytest.approx(known[column].to_numpy(), rel=1e-12)
    template = gpu_table.read_table()[0]
    run = gpu_table.parse(
        {**template, "gpu": "NVIDIA H100 80GB HBM3", "J_per_output_token": "653.13 mJ"}
    )
    assert run == gpu_table.parse(template)


def test_systems() -> None:
    """ISAAC's converters are 49 % of its power; 20.0, 12.4, 6.94 TOPS/W of tile, chip, system."""
    table = validate_systems()
    assert (table["error"].abs() <= [0.12, 0.08, 0.16, 0.05, 0.26]).all()
    efficiency = table[table["system"] == "34-tile PCM chip"]["predicted"]
    assert efficiency.is_monotonic_decreasing


def test_h100_decoding(gpus: pd.DataFrame) -> None:
    """Times and energies at batch 8 to 96 within 10 % with one curve; 13 % when left out."""
    assert len(gpus) == 14
    assert gpus["error"].abs().max() <= 0.10
    assert gpus["error"].abs().median() <= 0.04
    assert gpus["error_left_out"].abs().max() <= 0.13
    assert gpus["error_left_out"].abs().median() <= 0.05


def test_h100_preset_holds_the_fitted_curve() -> None:
    preset, curve = load_accelerator("h100"), fitted_curve()
    for name in CURVE:
        if name != "routing_exponent":
            assert getattr(preset, name) == pytest.approx(curve[name], rel=0.02), name
    skew = gpu_table.ROUTING_EXPONENT
    assert skew == pytest.approx(curve["routing_exponent"], rel=0.02)


def test_other_models_precisions_and_gpus(tmp_path: Path) -> None:
    template = gpu_table.read_table()[2]
    changes = [
        {},
        {"weight_precision": "fp8"},
        {"model": "allenai/OLMoE-1B-7B-0924"},
        {"gpu": "A100"},
        {"avg_batch": "64"},
        {"model": "someone/dense-7b"},
        {"weight_precision": "int3"},
        {"gpu": "B9000"},
        {"avg_batch": "zero"},
    ]
    table = validate_gpus(write(tmp_path / "gpus.csv", [{**template, **one} for one in changes]))
    time = table[table["quantity"] == "step_time_s"]["predicted"].to_numpy()
    assert time[1] < time[0] and time[2] < time[0] and time[4] > time[0] and 0 < time[3] < 1
    assert (table["reason"].str.len() > 10).sum() == 4


@pytest.mark.parametrize(
    ("change", "gpu", "bits"),
    [
        ({"gpu": "NVIDIA A100-SXM4-80GB"}, "a100", 16),
        ({"gpu": "AMD Instinct MI300X", "weight_precision": "BF16"}, "mi300x", 16),
        ({"gpu": "H200", "weight_precision": "FP8 (E4M3)", "num_gpus": "TP8"}, "h200", 8),
        ({"gpu": "b200", "weight_precision": "int4-awq"}, "b200", 4.125),
        ({"model": "mistralai/Mixtral-8x7B-Instruct-v0.1"}, "h100", 16),
        ({"model": "meta-llama/Llama-3.1-8B-Instruct"}, "h100", 16),
    ],
)
def test_gpus_as_people_write_them(change: dict[str, str], gpu: str, bits: float) -> None:
    run = gpu_table.parse({**gpu_table.read_table()[0], **change})
    assert (run.gpu, run.weight_bits) == (gpu, bits)
    time, energy = gpu_table.predict_step(run, load_accelerator(run.gpu))
    assert 1e-4 < time < 1 and 1e-4 < energy < 1e3


@pytest.mark.parametrize(
    "change",
    [
        {"gpu": "NVIDIA H100 PCIe"},
        {"gpu": "A100-PCIE-40GB"},
        {"model": "deepseek-ai/DeepSeek-R1-Distill-Llama-70B"},
        {"model": "Qwen/Qwen3-80B"},
        {"weight_precision": "q5_k_m"},
        {"num_gpus": "several"},
    ],
)
def test_gpu_rows_that_say_why_not(change: dict[str, str]) -> None:
    """Another board or model of the same name is not taken for the one that is known."""
    with pytest.raises(ValueError) as caught:
        gpu_table.parse({**gpu_table.read_table()[0], **change})
    assert len(str(caught.value)) > 20 and "\n" not in str(caught.value)


def test_weights_must_fit(tmp_path: Path) -> None:
    """405 G parameters in bf16 are 812 GB: no eight H100, but six B200."""
    row = {**gpu_table.read_table()[0], "model": "meta-llama/Llama-3.1-405B"}
    runs = [{**row, "num_gpus": "8"}, {**row, "num_gpus": "6", "gpu": "B200"}]
    table = validate_gpus(write(tmp_path / "gpus.csv", runs))
    assert "do not fit" in table["reason"].iloc[0] and table["predicted"].notna().sum() == 2


@pytest.mark.parametrize(
    ("name", "total", "embedding"),
    [
        ("meta-llama/Llama-3.1-8B", 8.03e9, 128256 * 4096),
        ("meta-llama/Llama-3.1-405B", 405.85e9, 128256 * 16384),
        ("Qwen/Qwen3-32B", 32.76e9, 151936 * 5120),
        ("deepseek-ai/DeepSeek-V3", 671.03e9, 129280 * 7168),
        ("Qwen/Qwen3-Coder-480B-A35B", 480.15e9, 151936 * 6144),
    ],
)
def test_described_models_have_their_published_size(
    name: str, total: float, embedding: int
) -> None:
    decoder = next(one for one in gpu_table.decoders().values() if one.name == name)
    routed = decoder.moe_layers * decoder.experts * decoder.parameters_per_expert
    assert routed + decoder.parameters_always_read + embedding == pytest.approx(total, rel=1e-3)


def test_unique_experts_by_brute_force() -> None:
    """128 experts, 8 a token, uniform: 1 - (1 - 8/128)^B each; skew uses fewer."""
    uniform = gpu_table.routing_probabilities(128, 8, 0.0)
    assert np.allclose(uniform, 8 / 128)
    expected = 128 * (1 - (1 - 8 / 128) ** 32)
    assert gpu_table.expected_unique_experts(uniform, 32) == pytest.approx(expected)
    skewed = gpu_table.routing_probabilities(128, 8, 1.5)
    assert skewed.max() <= 1 and skewed.sum() == pytest.approx(8)
    assert gpu_table.expected_unique_experts(skewed, 32) < expected
    draws = np.random.default_rng(0).random((4000, 32, 128)) < skewed
    simulated = draws.any(axis=1).sum(axis=1).mean()
    assert gpu_table.expected_unique_experts(skewed, 32) == pytest.approx(simulated, rel=0.01)


def test_classes_cover_what_must_be_expressible() -> None:
    classes = {chip_class(chip) for chip in training_chips()}
    assert classes == {
        "pulse width",
        "sampled macro",
        "fully parallel RRAM",
        "ISAAC-like RRAM",
        "charge domain",
        "bit-line SRAM",
        "digital",
    }


@pytest.mark.parametrize(
    ("name", "never_fitted", "fitted"),
    [
        ("sampled macro", 3.6, 1.6),
        ("charge domain", 2.0, 2.3),
        ("bit-line SRAM", 3.2, 2.4),
        ("digital", 2.2, 1.9),
    ],
)
def test_survey_by_class(
    survey: pd.DataFrame, name: str, never_fitted: float, fitted: float
) -> None:
    """Macros that nobody tuned for: median factor in TOPS/W, as reached; half are never fitted."""
    table = summarise_classes(survey).set_index(["class", "fitted"])["median_factor"]
    assert table[name, False] <= never_fitted
    assert table[name, True] <= fitted


def test_half_of_the_survey_is_never_fitted(survey: pd.DataFrame) -> None:
    """Papers of odd number stand in no fit; the median of them all is off 2.2 times at most."""
    trained = {chip.family for chip in training_chips()}
    shipped = {row["chip_or_macro"] for row in chip_table.read_table()}
    odd = [chip for chip in survey_chips() if survey_number(chip) % 2]
    assert len(odd) > 30 and not trained & {chip.family for chip in odd}
    assert not shipped & {chip.title for chip in odd}
    rows = survey[(survey["quantity"] == "tops_per_w") & ~survey["in_fit"].astype(bool)]
    factor = np.exp(np.abs(np.log1p(rows["error"].dropna())))
    assert len(factor) > 30 and np.median(factor) <= 2.2
    assert (survey["reason"].str.len() > 10)[survey["predicted"].isna()].all()


SAME = {"id": "mine", "node_nm": "28", "device": "SRAM 8T1C", "array_rows_x_cols": "256x128"}
SAME |= {"mode": "4b-in 2b-w 6b ADC, 64 rows at once, 0.8 V", "TOPS_per_W": "120"}


@pytest.mark.parametrize(
    "other",
    [
        {"node_nm": "28nm FDSOI"},
        {"node_nm": "0.028 um"},
        {"device": "8T1C"},
        {"device": "6T SRAM", "cell": "8T1C"},
        {"array_rows_x_cols": "256 rows by 128 cols"},
        {"array_rows_x_cols": "256 x 128 x 4"},
        {"array_rows_x_cols": "256, 128"},
        {"array_rows_x_cols": "256*128"},
        {"mode": "64 active rows, 0.8 V", "in_bits": "4-bit", "weight_bits_or_levels": "2 bits"}
        | {"out_adc_bits": "6b"},
        {"mode": "64 rows in parallel, 0.8V", "in_bits": "INT4", "weight_bits_or_levels": "ternary"}
        | {"out_adc_bits": "6 bit"},
        {"mode": SAME["mode"].replace("2b-w", "1.5b-w")},
        {"TOPS_per_W": "0,12 POPS/W"},
        {"TOPS_per_W": "120,000 GOPS/W"},
        {"TOPS_per_W": "110-130"},
    ],
)
def test_other_spellings_of_one_macro(other: dict[str, str]) -> None:
    blank = dict.fromkeys(chip_table.COLUMNS, "")
    plain, spelled = (chip_table.parse(blank | SAME | more) for more in ({}, other))
    assert predict(spelled, fitted()) == predict(plain, fitted())
    assert spelled.measured == pytest.approx(plain.measured)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"device": "STT-MRAM"}, "no model of the device"),
        ({"device": "eDRAM 1T1C"}, "no model of the device"),
        ({"device": "SRAM and RRAM"}, "no model of the device"),
        ({"node_nm": "22-28"}, "node"),
        ({"node_nm": "5"}, "from 7 to 130 nm"),
        ({"array_rows_x_cols": "64 Kb"}, "rows x columns"),
        ({"mode": "", "in_bits": "4-8"}, "are a range"),
        ({"mode": "", "weight_bits_or_levels": "1/2/4"}, "are a range"),
        ({"mode": "", "weight_bits_or_levels": "999"}, "out of range"),
    ],
)
def test_rows_that_say_why_not(other: dict[str, str], words: str) -> None:
    blank = dict.fromkeys(chip_table.COLUMNS, "")
    with pytest.raises(ValueError, match=words):
        chip_table.parse(blank | SAME | other)


def test_thousands_and_kilos() -> None:
    blank = dict.fromkeys(chip_table.COLUMNS, "") | SAME
    for text in ("1K x 2k", "1,024 x 2,048", "1024x2048"):
        chip = chip_table.parse(blank | {"array_rows_x_cols": text})
        assert (chip.rows, chip.cols) == (1024, 2048)


def test_a_foreign_unit_is_not_compared() -> None:
    chip = chip_table.parse(dict.fromkeys(chip_table.COLUMNS, "") | SAME | {"area_mm2": "3 kW"})
    assert "unit 'kW'" in chip.missing["area_mm2"] and "area_mm2" not in chip.measured


def test_headers_as_people_write_them(tmp_path: Path) -> None:
    """Other names of columns, no identity, semicolons, a byte-order mark, empty lines."""
    path = tmp_path / "mine.csv"
    header = "Name;Node;Memory;Array size;Input bits;Weight bits;ADC bits;TOPS/W;Remark"
    lines = [header, ";65;SRAM 8T1C;256x64;1;1;4;600,5;good", "", "b;22;ReRAM;256x64;1;1;4;;"]
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    table = validate_chips(path)
    assert list(dict.fromkeys(table["chip"])) == ["row 1", "b"]
    one = table[(table["chip"] == "row 1") & (table["quantity"] == "tops_per_w")].iloc[0]
    assert one["measured"] == 600.5 and one["predicted"] > 0
    assert list(summarise_classes(table)["class"]) == ["charge domain"]
    assert summarise_chips(table)["rows"].max() == 1


WORDS = """;0;-3;1e308;nan;inf;0b/col;0-phase;9999x9999;0x0;1e9x4;4b-in 4b-w 0b ADC;0 ns/LSB PWM;
PWM 1e300 ns;0.001 V;99 V;C-2C;18T;bit-serial x 0 ns;1b-in 40b-w;SRAM;PCM;RRAM;flash;digital;130;
8b flash ADC;8b SAR, 0 ADCs;ramp shared by 0;8b SAR, 16 columns per ADC;8 (PWM 64 ns)"""
JUNK = st.one_of(st.sampled_from([word.strip() for word in WORDS.split(";")]), st.text(max_size=12))


@given(
    st.integers(0, 30), st.dictionaries(st.sampled_from(chip_table.COLUMNS[3:]), JUNK, max_size=4)
)
@settings(max_examples=300, deadline=None)
def test_any_row_is_predicted_or_refused(index: int, junk: dict[str, str]) -> None:
    """Whatever stands in a cell: finite positive predictions, or one line that says why not."""
    rows = chip_table.read_table()
    row = {**rows[index % len(rows)], **junk}
    try:
        values = predict(chip_table.parse(row), Constants())
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert all(math.isfinite(value) and value > 0 for value in values.values())


@given(st.integers(0, 6), st.dictionaries(st.sampled_from(gpu_table.COLUMNS), JUNK, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_gpu_row_is_predicted_or_refused(index: int, junk: dict[str, str]) -> None:
    row = {**gpu_table.read_table()[index], **junk}
    try:
        measurement = gpu_table.parse(row)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        predicted = gpu_table.predict_step(measurement, load_accelerator("h100"))
        assert all(math.isfinite(value) and value > 0 for value in predicted)


@pytest.mark.parametrize(
    ("text", "kind", "shared"),
    [
        ("8b SAR, 16 columns per ADC", "sar", 16),
        ("6b flash ADC shared by 4", "flash", 4),
        ("8b single-slope ramp", "cco", 1),
        ("8b, 32 ADCs", "", 8),
    ],
)
def test_converters_named_in_the_row(text: str, kind: str, shared: int) -> None:
    """Kind and sharing are read from free text, and sharing costs time and saves area."""
    row = next(row for row in chip_table.read_table() if row["id"] == "hermes_core")
    chip = chip_table.parse({**row, "out_adc_bits": text})
    assert (chip.adc_kind, chip.columns_per_adc) == (kind, shared)
    alone = predict(dataclasses.replace(chip, columns_per_adc=1), Constants())
    together = predict(chip, Constants())
    assert together["area_mm2"] <= alone["area_mm2"]
    assert together["latency_s"] >= alone["latency_s"]
