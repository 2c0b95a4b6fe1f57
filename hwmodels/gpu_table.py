"""Measured decoding of mixture-of-experts models on GPUs, and the roofline's prediction of it.

Decoding reads every weight that a batch touches once a step: the weights that every token uses,
and the experts that at least one token of the batch chooses. That and the key-value cache fix the
bytes; one efficiency curve of the accelerator turns bytes into time and energy.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwmodels.digital import (
    Accelerator,
    accelerator_names,
    load_accelerator,
    memory_capacity_bytes,
    step_energy_j,
    step_time_s,
)
from hwmodels.table_text import NUMBER, number, plain, quantity, read_csv, tidy

SILICON = Path(__file__).parent / "silicon"
COLUMNS = (
    "model",
    "task",
    "weight_precision",
    "gpu",
    "num_gpus",
    "avg_batch",
    "avg_output_len",
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

ROUTING_EXPONENT = 0.836
"""Experts are used unequally: frequency falls as rank to this power (fit of validation_gpu)."""
KV_BITS = 16
OTHER_BOARDS = ("pcie", "nvl", "mig")
"""Boards that share a name with a preset, but not its memory or power."""
SAME_MEMORY = 0.08
"""What makers and drivers say of one board's memory differs so much (B200: 180 to 192 GB)."""
LARGEST = 1e7


@dataclass(frozen=True)
class Decoder:
    """What a decode step of a model reads."""

    name: str
    layers: int
    moe_layers: int
    experts: int
    experts_per_token: int
    parameters_per_expert: float
    parameters_always_read: float
    """All but the routed experts and the input embedding."""
    kv_values_per_token: float
    kv_values_in_window: float
    """Of them in layers that look back no further than `window_tokens`."""
    window_tokens: int


@dataclass(frozen=True)
class Measurement:
    """One row: a serving run at a batch size; measured values apart, as in chip_table."""

    decoder: Decoder
    label: str
    gpu: str
    gpus: int
    weight_bits: float
    """Of routed experts, and of everything unless `other_bits` differ."""
    other_bits: float
    """Of weights outside the routed experts."""
    cache_bits: float
    """Of keys and values."""
    batch: float
    context: float
    """Mean tokens of a sequence that are cached when it decodes: half of its output."""
    time_s: float | None
    energy_j: float | None


def decoders() -> dict[str, Decoder]:
    """The shipped model descriptions by lower-case name without organisation."""
    with (SILICON / "decoders.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        counts = {name: int(row[name]) for name in tuple(row)[1:10]}
        found[row["model"].split("/")[1].lower()] = Decoder(row["model"], **counts)
    return found


def _decoder(name: str) -> Decoder:
    """The longest described name that a model name begins with (suffixes are releases).

    Failing that, the only described name that begins with it ("OLMoE").
    """
    known = decoders()
    base = re.sub(r"[\s_]+", "-", name.strip().split("/")[-1].lower())
    base = base.replace("deepseekmoe", "deepseek-moe")
    stems = {re.sub(r"(-(v0\.\d|base|instruct|\d{4}))+$", "", key): key for key in known}
    matches = [
        key for stem, key in stems.items() if re.match(rf"{re.escape(stem)}(?![a-z0-9])", base)
    ]
    longer = [key for key in known if base and re.match(rf"{re.escape(base)}(?![a-z0-9])", key)]
    matches = matches or longer[:1] * (len(longer) == 1)
    if not matches or "distill" in base:
        near = difflib.get_close_matches(base, known, n=3, cutoff=0.0)
        raise ValueError(
            f"model {name!r} is not described; nearest of the {len(known)} that are: "
            f"{', '.join(near)}"
        )
    return known[max(matches, key=len)]


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


def parse(row: dict[str, str]) -> Measurement:
    """One row of the table; ValueError says in one line why it cannot be expressed."""
    row = {name: tidy(text) for name, text in row.items()}
    decoder, bits = _decoder(row["model"]), _weight_bits(row["weight_precision"])
    experts_only = decoder.experts and _precision(row["weight_precision"]) in EXPERTS_ONLY
    name, gpus = _gpus(row)
    values = _counts(row)
    time, energy = quantity(row["median_ITL_ms"], "ms"), quantity(row["J_per_output_token"], "J")
    if re.match(r"\s*M\b", row["status"]):  # unverified: predicted, not compared
        time = energy = None
    return Measurement(
        decoder=decoder,
        label=f"{row['model']} {row['task']} batch {row['avg_batch']}",
        gpu=_accelerator(name),
        gpus=gpus,
        weight_bits=bits,
        other_bits=16 if experts_only else bits,
        cache_bits=_cache_bits(row["weight_precision"]),
        batch=values["avg_batch"],
        context=values["avg_output_len"] / 2,
        time_s=time * 1e-3 if time and time > 0 else None,
        energy_j=energy if energy and energy > 0 else None,
    )


def read_table(path: str | Path | None = None) -> list[dict[str, str]]:
    """Rows of a table of GPU measurements (the shipped one by default); ValueError in one line."""
    path = SILICON / "gpu_decode.csv" if path is None else Path(path)
    return read_csv(path, COLUMNS, NEEDED, ALIASES)


def routing_probabilities(experts: int, chosen: int, exponent: float) -> NDArray[np.float64]:
    """Chance that a token uses each expert: rank to minus `exponent`; adds up to `chosen`."""
    rank = np.arange(1, experts + 1, dtype=float)
    share = np.power(rank, -exponent)
    probability = np.zeros(experts)
    certain = np.zeros(experts, dtype=bool)
    for _ in range(experts):  # what would exceed 1 is certain; the rest share what is left
        left = chosen - certain.sum()
        probability = np.where(certain, 1.0, left * share / share[~certain].sum())
        over = (probability > 1) & ~certain
        if not over.any():
            break
        certain |= over
    return probability


def expected_unique_experts(probability: ArrayLike, batch: float) -> float:
    """Expected number of experts that at least one of `batch` independent tokens uses."""
    idle = np.power(1 - np.asarray(probability, dtype=float), batch)
    return float(np.sum(1 - idle))


def cache_bytes(measurement: Measurement) -> float:
    """Bytes of the key-value cache of the whole batch, at its mean length."""
    values = cached_values(measurement.decoder, measurement.context)
    return measurement.batch * values * measurement.cache_bits / 8


def cached_values(decoder: Decoder, context: float) -> float:
    """Keys and values of one sequence of `context` tokens that a step reads."""
    whole = decoder.kv_values_per_token - decoder.kv_values_in_window
    return whole * context + decoder.kv_values_in_window * min(context, decoder.window_tokens)


def step_bytes(measurement: Measurement, exponent: float = ROUTING_EXPONENT) -> float:
    """Bytes that one decode step reads: weights once, experts that are used, key-value cache."""
    decoder = measurement.decoder
    probability = routing_probabilities(decoder.experts, decoder.experts_per_token, exponent)
    unique = expected_unique_experts(probability, measurement.batch)
    routed = decoder.moe_layers * unique * decoder.parameters_per_expert
    return _weight_bytes(measurement, routed) + cache_bytes(measurement)


def _weight_bytes(measurement: Measurement, routed: float) -> float:
    """Bytes of so many parameters of routed experts and of all the others."""
    others = measurement.decoder.parameters_always_read * measurement.other_bits
    return (routed * measurement.weight_bits + others) / 8


def weight_bytes(measurement: Measurement) -> float:
    """Bytes of all weights of the model but its input embedding."""
    decoder = measurement.decoder
    routed = decoder.moe_layers * decoder.experts * decoder.parameters_per_expert
    return _weight_bytes(measurement, routed)


def step_macs(measurement: Measurement) -> float:
    """Multiply-accumulates of one decode step of the whole batch (attention scores not counted)."""
    decoder = measurement.decoder
    expert = decoder.moe_layers * decoder.experts_per_token * decoder.parameters_per_expert
    return measurement.batch * (decoder.parameters_always_read + expert)


def predict_step(
    measurement: Measurement, accelerator: Accelerator, exponent: float = ROUTING_EXPONENT
) -> tuple[float, float]:
    """Time of one decode step (s) and energy of one output token (J), by the roofline.

    Several GPUs share weights and arithmetic evenly (tensor parallel, links not counted).
    """
    share = 1 / measurement.gpus
    macs, moved = step_macs(measurement) * share, step_bytes(measurement, exponent) * share
    layers = measurement.decoder.layers
    time = step_time_s(accelerator, macs, moved, measurement.batch, layers)
    energy = step_energy_j(accelerator, time, macs, moved)
    return float(time), float(energy) * measurement.gpus / measurement.batch


def with_curve(accelerator: Accelerator, curve: dict[str, float]) -> Accelerator:
    """The accelerator with other constants of its efficiency and power curve."""
    changes: dict[str, Any] = dict(curve)
    return dataclasses.replace(accelerator, **changes)
