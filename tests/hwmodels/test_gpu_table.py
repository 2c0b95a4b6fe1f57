"""Tables of GPU runs as people write them, and what a decode step of a model reads."""

import math
from pathlib import Path

import pytest
from chip_rows import JUNK, write
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels import gpu_table
from hwmodels.digital import load_accelerator
from hwmodels.gpu_table import Measurement
from hwmodels.validation_gpu import validate_gpus
from workloads.decoders import step_reads


def parse(row: dict[str, str]) -> Measurement:
    return gpu_table.parse(row, step_reads)


def predict(run: Measurement, gpu: str) -> tuple[float, float]:
    time, energy = gpu_table.predict_steps([run], load_accelerator(gpu))
    return float(time[0]), float(energy[0])


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
    table = validate_gpus(
        step_reads, write(tmp_path / "gpus.csv", [{**template, **one} for one in changes])
    )
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
        ({"model": "Mixtral 8x7B", "gpu": "A100 80GB"}, "a100", 16),
        ({"model": "OLMoE"}, "h100", 16),
        ({"model": "DeepSeekMoE 16B", "gpu": "A100-80G"}, "a100", 16),
        ({"gpu": "B200 SXM6 180GB"}, "b200", 16),
        ({"weight_precision": "4-bit"}, "h100", 4.125),
        ({"weight_precision": "16 bit"}, "h100", 16),
        ({"weight_precision": "torch.float8_e4m3fn"}, "h100", 8),
        ({"weight_precision": "W4A8", "gpu": "H100-SXM5-80GB"}, "h100", 4.125),
        ({"weight_precision": "w8a8-fp8", "avg_batch": "≈16"}, "h100", 8),
        ({"weight_precision": "GPTQ_int4", "avg_output_len": "1,024"}, "h100", 4.125),
        ({"weight_precision": "NF4", "gpu": "1x NVIDIA H100", "num_gpus": "1 GPU"}, "h100", 4.5),
    ],
)
def test_gpus_as_people_write_them(change: dict[str, str], gpu: str, bits: float) -> None:
    run = parse({**gpu_table.read_table()[0], **change})
    assert (run.gpu, run.weight_bits) == (gpu, bits)
    time, energy = predict(run, run.gpu)
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
        {"avg_batch": "1-8"},
        {"model": "Mixtral"},
        {"weight_precision": ""},
        {"avg_batch": "1, 8, 16"},
        {"avg_batch": "8/16"},
        {"num_gpus": "1 node (8 GPUs)"},
        {"num_gpus": "0.5"},
        {"num_gpus": "TP2 PP4"},
        {"num_gpus": "0"},
        {"gpu": "4x H100", "num_gpus": "8"},
        {"gpu": "H100 + A100"},
        {"gpu": "A100 (40 GB)"},
        {"gpu": "H100 94GB"},
        {"median_ITL_ms": "80 tok/s"},
    ],
)
def test_gpu_rows_that_say_why_not(change: dict[str, str]) -> None:
    """Another board or model of the same name is not taken for the one that is known."""
    with pytest.raises(ValueError) as caught:
        parse({**gpu_table.read_table()[0], **change})
    assert len(str(caught.value)) > 20 and "\n" not in str(caught.value)


def test_counts_beside_names_and_in_thousands() -> None:
    row = gpu_table.read_table()[0]
    for change in ({"gpu": "8x H100"}, {"gpu": "H100 x8"}, {"gpu": "H100", "num_gpus": "TP=8"}):
        run = parse({**row, "num_gpus": "", **change})
        assert (run.gpu, run.gpus) == ("h100", 8)
    longer = parse({**row, "avg_output_len": "4k"})
    tokens = 0.9 * 4096 + 100
    assert longer.reads.cache_values == pytest.approx(longer.batch * tokens * 49152)


def test_headers_as_people_write_them(tmp_path: Path) -> None:
    path = tmp_path / "gpus.csv"
    header = "Model;Dtype;GPU model;# GPUs;Batch size;Output length;Median ITL (s);"
    header += "Energy per token (mJ)"
    path.write_text(f"{header}\nOLMoE;bf16;H100;1;8;512;0,008;120\n")
    run = parse(gpu_table.read_table(path)[0])
    assert (run.batch, run.least_cache_values, run.gpus) == (8, 8 * 256 * 65536, 1)
    assert (run.time_s, run.energy_j) == pytest.approx((0.008, 0.12))


def test_unverified_runs_are_predicted_but_not_compared() -> None:
    run = parse({**gpu_table.read_table()[0], "status": "M"})
    assert run.time_s is None and run.energy_j is None


def test_a_cache_must_fit_too(tmp_path: Path) -> None:
    """256 sequences of 16,384 tokens on average: 412 GB of keys and values, on no H100."""
    row = {**gpu_table.read_table()[0], "avg_batch": "256", "avg_output_len": "32768"}
    table = validate_gpus(
        step_reads, write(tmp_path / "gpus.csv", [row, {**row, "num_gpus": "", "gpu": "B200 x4"}])
    )
    assert "412 GB of keys and values" in table["reason"].iloc[0]
    assert "links between GPUs" in table["note"].iloc[1]


@pytest.mark.parametrize(("name", "gib"), [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)])
def test_mxfp4_is_the_format_of_experts_only(name: str, gib: float) -> None:
    """Published sizes of the checkpoints (arXiv 2508.10925, Table 1), with the input embedding."""
    row = {**gpu_table.read_table()[0], "model": f"openai/{name}", "weight_precision": "MXFP4"}
    embedding = 201088 * 2880 * 2
    size = gpu_table.weight_bytes(parse(row)) + embedding
    assert size / 2**30 == pytest.approx(gib, rel=0.003)
    dense = parse({**row, "model": "Qwen/Qwen3-8B"})
    assert gpu_table.weight_bytes(dense) == dense.reads.other_weights * 4.25 / 8


def test_keys_and_values_of_eight_bits() -> None:
    row = gpu_table.read_table()[0]
    plain = parse({**row, "weight_precision": "fp8"})
    for text in ("fp8, KV cache fp8", "FP8 (kv_fp8)", "fp8 + kv: int8"):
        small = parse({**row, "weight_precision": text})
        assert gpu_table.cache_bytes(small) == gpu_table.cache_bytes(plain) / 2, text
        assert gpu_table.weight_bytes(small) == gpu_table.weight_bytes(plain)


def test_weights_must_fit(tmp_path: Path) -> None:
    """405 G parameters in bf16 are 812 GB: no eight H100, but six B200."""
    row = {**gpu_table.read_table()[0], "model": "meta-llama/Llama-3.1-405B"}
    runs = [{**row, "num_gpus": "8"}, {**row, "num_gpus": "6", "gpu": "B200"}]
    table = validate_gpus(step_reads, write(tmp_path / "gpus.csv", runs))
    assert "do not fit" in table["reason"].iloc[0] and table["predicted"].notna().sum() == 2


@given(st.integers(0, 6), st.dictionaries(st.sampled_from(gpu_table.COLUMNS), JUNK, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_gpu_row_is_predicted_or_refused(index: int, junk: dict[str, str]) -> None:
    row = {**gpu_table.read_table()[index], **junk}
    try:
        measurement = parse(row)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        predicted = predict(measurement, "h100")
        assert all(math.isfinite(value) and value > 0 for value in predicted)


def test_runs_that_differ_in_gpu_or_precision_only_are_told_apart(tmp_path: Path) -> None:
    row = gpu_table.read_table()[0]
    runs = [row, {**row, "weight_precision": "fp8"}, {**row, "gpu": "H200"}]
    table = validate_gpus(step_reads, write(tmp_path / "gpus.csv", runs))
    assert table["run"].tolist() == [1, 1, 2, 2, 3, 3]
    times = table[table["quantity"] == "step_time_s"]["predicted"]
    assert times.nunique() == 3
