"""Tables of measured decoding on GPUs, and what a step of each run takes by the digital model.

What a decode step reads and computes comes from the caller (`StepCounter`): how experts are chosen
is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwmodels.digital import (
    Accelerator,
    accelerator_names,
    load_accelerator,
    memory_bandwidth_bytes_per_s,
    memory_capacity_bytes,
    peak_macs_per_s,
    step_energy_j,
    step_time_s,
    widening_time_s,
)
from hwmodels.table_text import NUMBER, number, plain, quantity, read_csv, tidy

Array = NDArray[np.float64]

SILICON = Path(__file__).parent / "silicon"
COLUMNS = (
    "model",
    "task",
    "weight_precision",
    "gpu",
    "num_gpus",
    "avg_batch",
    "avg_output_len",
    "avg_power_W",
    "J_per_output_token",
    "median_ITL_ms",
    "status",
)
ALIASES = {
    "precision": "weight_precision",
    "dtype": "weight_precision",
    "quantization": "weight_precision",
    "accelerator": "gpu",
    "gpumodel": "gpu",
    "gpus": "num_gpus",
    "ngpus": "num_gpus",
    "gpucount": "num_gpus",
    "batch": "avg_batch",
    "batchsize": "avg_batch",
    "outputlen": "avg_output_len",
    "outputlength": "avg_output_len",
    "outputtokens": "avg_output_len",
    "energypertoken": "J_per_output_token",
    "energyperoutputtoken": "J_per_output_token",
    "jpertoken": "J_per_output_token",
    "itl": "median_ITL_ms",
    "medianitl": "median_ITL_ms",
    "medianitlms": "median_ITL_ms",
    "itlms": "median_ITL_ms",
}
NEEDED = ("model", "weight_precision", "gpu", "avg_batch", "avg_output_len")
"""Columns without which no row can be predicted; one GPU unless the row says more."""
BITS: dict[str, float] = {"bfloat16": 16, "bf16": 16, "float16": 16, "fp16": 16, "half": 16}
BITS |= {
    "float32": 32,
    "fp32": 32,
    "fp8": 8,
    "int8": 8,
    "w8a8": 8,
    "mxfp8": 8.25,
    "mxfp4": 4.25,
    "fp4": 4.25,
    "nvfp4": 4.5,
}
BITS |= {"int4": 4.125, "w4a16": 4.125, "awq": 4.125, "gptq": 4.125, "nf4": 4.5}
"""Bits a weight; scales of 8 bits for 32 values (mx), 16 (nvfp4), of 16 bits for 128 (int4), of 32
bits for 64 (nf4)."""
EXPERTS_ONLY = ("mxfp4",)
"""Formats that models are published in with their routed experts alone so small, all else in 16
bits: so gpt-oss has 12.8 and 60.8 GiB (OpenAI, gpt-oss model card, arXiv 2508.10925)."""

CACHED_SHARE, PROMPT_TOKENS = 0.9, 100
"""Tokens that a sequence has cached when a step meets it, over the mean length of outputs, and
before the first output. Long outputs take more steps: E[L^2] / 2 E[L], by the published histograms
of lengths 0.66 to 1.05 of the mean (0.5 if all were alike). Prompts are not published."""
KV_BITS = 16
OTHER_BOARDS = ("pcie", "nvl", "mig")
"""Boards that share a name with a preset, but not its memory or power."""
SAME_MEMORY = 0.08
"""What makers and drivers say of one board's memory differs so much (B200: 180 to 192 GB)."""
LARGEST = 1e7


class StepReads(Protocol):
    """One decode step of a batch, in values and multiply-accumulates."""

    @property
    def stages(self) -> int:
        """Layers."""

    @property
    def grouped_stages(self) -> int:
        """Layers that sort their tokens into groups, each with its own matrices."""

    @property
    def grouped_weights(self) -> float:
        """Of those matrices, as many as this step reads."""

    @property
    def held_grouped_weights(self) -> float:
        """Of those matrices, all."""

    @property
    def other_weights(self) -> float: ...

    @property
    def cache_values(self) -> float:
        """Keys and values of all sequences."""

    @property
    def macs(self) -> float:
        """On weights."""

    @property
    def cache_macs(self) -> float:
        """On keys and values."""


StepCounter = Callable[[str, float, float], StepReads]
"""A step of a model by name, with so many sequences of so many tokens; ValueError in one line for a
model that it does not know."""


@dataclass(frozen=True)
class Measurement:
    """One row: a serving run at a batch size; measured values apart, as in chip_table."""

    model: str
    reads: StepReads
    gpu: str
    gpus: int
    weight_bits: float
    """Of grouped weights, and of everything unless `other_bits` differ."""
    other_bits: float
    cache_bits: float
    """Of keys and values."""
    batch: float
    least_cache_values: float
    """Of all sequences if their outputs were equally long."""
    time_s: float | None
    energy_j: float | None
    power_w: float | None
    """Of one GPU; where the row does not state it, energy over time."""


def _accelerator(text: str) -> str:
    """Name of the preset that a GPU's name contains ("NVIDIA H100 80GB HBM3"), or that name."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"(\d+)\s*g(?:i?b)?\b", r"\1gb", text.lower()))
    other = next((word for word in words if word in OTHER_BOARDS), None)
    stated = next((word for word in words if re.fullmatch(r"\d+gb", word)), None)
    several = [name for name in accelerator_names() if name in words]
    if len(several) > 1:
        raise ValueError(f"{text.strip()!r} names several GPUs; one kind is needed")
    found = several[0] if several else None
    if found and stated:
        there = float(memory_capacity_bytes(load_accelerator(found))) / 1e9
        wrong = abs(float(stated.removesuffix("gb")) / there - 1) > SAME_MEMORY
        other = other or (stated if wrong else None)
    if found and other:
        raise ValueError(
            f"no preset for the GPU {text.strip()!r}: {found} is not its {other} board"
        )
    return found or text.strip().lower()


def _weight_bits(text: str) -> float:
    """Bits of a weight, scales included, from "FP8 (E4M3)", "int4-awq", "4-bit"."""
    name = _precision(text)
    if name not in BITS:
        given = text.strip() or "missing"
        raise ValueError(f"precision {given!r} is not known; known: {', '.join(BITS)}")
    return BITS[name]


def _precision(text: str) -> str:
    """Its name in BITS: "W4A8" are weights of 4 bits, "torch.float8_e4m3fn" and "4-bit" types."""
    name = re.sub(r"^(\d+)[- ]?bits?\b", r"int\1", text.strip().lower().removeprefix("torch."))
    name = re.sub(r"^(?:u?int|w)(\d+)a(?:fp|int)?\d+\b", r"int\1", name)
    return re.split(r"[\s(,/_-]", name.replace("int16", "fp16").replace("float8", "fp8"))[0]


def _cache_bits(text: str) -> float:
    """Bits of keys and values: 16, or 8 where the precision says so ("fp8, kv fp8")."""
    return 8 if re.search(r"kv[\s_-]*(?:cache)?\s*[:=]?\s*(?:fp|int)8", text, re.I) else KV_BITS


def _counts(row: dict[str, str]) -> dict[str, float]:
    """Batch and output length of a row; a range or list of batches is no batch."""
    values = {}
    for name in ("avg_batch", "avg_output_len"):
        text = plain(row[name])
        value = number(text)
        several = re.match(rf"\s*[~≈]?\s*{NUMBER}\s*(?:-|to|,|;|/|and|or)\s*\d", text)
        if value is None or several or not 0 < value <= LARGEST:
            raise ValueError(f"{name} is {row[name]!r}; a number up to {LARGEST:g} is needed")
        values[name] = value * (1024 if re.match(rf"\s*[~≈]?{NUMBER}\s*k\b", text, re.I) else 1)
    return values


def _gpus(row: dict[str, str]) -> tuple[str, int]:
    """Name and number of the GPUs: "8x H100", "H100 x8", or their own column ("4", "TP=4")."""
    beside = re.search(r"^\s*(\d+)\s*[x×]|[x×]\s*(\d+)\s*$", row["gpu"])
    name = row["gpu"].replace(beside[0], "") if beside else row["gpu"]
    told = {int(beside[1] or beside[2])} if beside else set()
    own = row["num_gpus"].strip()
    whole = re.fullmatch(r"(?:tp\s*=?|x|×)?\s*(\d+)(?:\.0*)?\s*(?:x|×|gpus?)?", own, re.I)
    if own and whole is None:
        raise ValueError(f"num_gpus is {own!r}; one whole number is needed")
    told |= {int(whole[1])} if whole else set()
    if len(told) > 1 or not 0 < min(told, default=1) <= LARGEST:
        raise ValueError(f"{row['gpu'].strip()!r} and num_gpus {own!r} are no number of GPUs")
    return name, min(told, default=1)


def parse(row: dict[str, str], count: StepCounter) -> Measurement:
    """One row of the table; ValueError says in one line why it cannot be expressed."""
    row = {name: tidy(text) for name, text in row.items()}
    count(row["model"], 1.0, 1.0)  # an unknown model before all else
    bits = _weight_bits(row["weight_precision"])
    name, gpus = _gpus(row)
    values = _counts(row)
    batch = values["avg_batch"]
    reads = count(row["model"], batch, CACHED_SHARE * values["avg_output_len"] + PROMPT_TOKENS)
    grouped_only = reads.grouped_stages and _precision(row["weight_precision"]) in EXPERTS_ONLY
    time, energy = quantity(row["median_ITL_ms"], "ms"), quantity(row["J_per_output_token"], "J")
    if re.match(r"\s*M\b", row["status"]):  # unverified: predicted, not compared
        time = energy = None
    power = number(row["avg_power_W"])
    time_s = time * 1e-3 if time and time > 0 else None
    energy_j = energy if energy and energy > 0 else None
    if power is None and time_s and energy_j:
        power = batch * energy_j / time_s
    return Measurement(
        model=row["model"],
        reads=reads,
        gpu=_accelerator(name),
        gpus=gpus,
        weight_bits=bits,
        other_bits=16 if grouped_only else bits,
        cache_bits=_cache_bits(row["weight_precision"]),
        batch=batch,
        least_cache_values=count(row["model"], batch, values["avg_output_len"] / 2).cache_values,
        time_s=time_s,
        energy_j=energy_j,
        power_w=power / gpus if power else None,
    )


def read_table(path: str | Path | None = None) -> list[dict[str, str]]:
    """Rows of a table of GPU measurements (the shipped one by default); ValueError in one line."""
    path = SILICON / "gpu_decode.csv" if path is None else Path(path)
    return read_csv(path, COLUMNS, NEEDED, ALIASES)


def cache_bytes(run: Measurement) -> float:
    """Bytes of the key-value cache of the whole batch that a step reads."""
    return run.reads.cache_values * run.cache_bits / 8


def weight_bytes(run: Measurement) -> float:
    """Bytes of all weights of the model but its input embedding."""
    reads = run.reads
    bits = reads.held_grouped_weights * run.weight_bits + reads.other_weights * run.other_bits
    return bits / 8


def read_weight_bytes(run: Measurement) -> float:
    """Bytes of weights that one decode step reads."""
    reads = run.reads
    return (reads.grouped_weights * run.weight_bits + reads.other_weights * run.other_bits) / 8


def predict_steps(runs: Sequence[Measurement], accelerator: Accelerator) -> tuple[Array, Array]:
    """Time of one decode step (s) and energy of one output token (J) of runs, by the roofline.

    accelerator: one for all, or with one entry a run. Several GPUs share weights and arithmetic
    evenly (tensor parallel, links not counted).
    """
    gpus, batch = (np.array([getattr(run, name) for run in runs]) for name in ("gpus", "batch"))
    reads = {
        name: np.array([getattr(run.reads, name) for run in runs], dtype=float)
        for name in ("macs", "cache_macs", "stages", "grouped_stages")
    }
    grouped = np.array([run.reads.grouped_weights for run in runs])
    loaded = grouped + np.array([run.reads.other_weights for run in runs])
    weights = np.array([read_weight_bytes(run) for run in runs]) / gpus
    cache = np.array([cache_bytes(run) for run in runs]) / gpus
    macs, cache_macs = reads["macs"] / gpus, reads["cache_macs"] / gpus
    time = step_time_s(
        accelerator,
        macs,
        weights,
        batch,
        reads["stages"],
        weights=loaded / gpus,
        cache_bytes=cache,
        cache_macs=cache_macs,
        grouped=reads["grouped_stages"],
    )
    bits = np.array([run.weight_bits for run in runs])
    narrow = np.where(bits == [run.other_bits for run in runs], loaded, grouped)
    time = time + widening_time_s(accelerator, narrow / gpus, bits)
    energy = step_energy_j(
        accelerator, time, macs + cache_macs, weights + cache, batch=batch, stages=reads["stages"]
    )
    return time, energy * gpus / batch


def busy_share(run: Measurement, accelerator: Accelerator) -> float:
    """Share of a measured step that memory and arithmetic explain at their data sheet's peaks."""
    assert run.time_s is not None
    bandwidth = float(memory_bandwidth_bytes_per_s(accelerator))
    streaming = read_weight_bytes(run) / bandwidth
    busy = max(streaming, run.reads.macs / float(peak_macs_per_s(accelerator)))
    return (busy + cache_bytes(run) / bandwidth) / run.gpus / run.time_s


IDLE_POWER, LOW_POWER, LOW_SHARE = 0.45, 0.62, 0.25


def waits_for_host(run: Measurement, accelerator: Accelerator) -> bool:
    """Whether the GPU waited in this run, by what was measured, not by what is predicted.

    It draws less than 0.45 of the board's limit, which is less than a busy one draws for nothing;
    or less than 0.62 of it with not a quarter of the step explained by memory and arithmetic.
    """
    if run.power_w is None or accelerator.max_power_w is None:
        return False
    share = run.power_w / float(accelerator.max_power_w)
    little = share < LOW_POWER and busy_share(run, accelerator) < LOW_SHARE
    return bool(share < IDLE_POWER or little)
