"""The safetensors shards of a checkpoint folder: headers, samples, and tensors as stored.

A tensor may lie in a file under another name than the model's, as part of a larger one, or in 8 or
4 bits with scales of its own: `Stored` says where and how, and `read_stored` returns the numbers.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from workloads.huggingface import check_file

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
NUMBERS = ("BF16", "F16", "F32", "F64")
FP8 = "F8_E4M3"
LARGEST = 1e9
"""Weights beyond are called a mistake: half precision ends at 65,504."""

_LFS = b"version https://git-lfs"
_SAMPLE = 64
_MOST_HEADER = 1 << 30
# E2M1: a sign, two bits of exponent and one of mantissa (OCP Microscaling Formats, table 5).
_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass(frozen=True)
class Part:
    """One expert's rows of a fused tensor [experts, ...]: rows[start::step][:count].

    transposed: the file has inputs by outputs.
    """

    expert: int
    start: int
    count: int
    step: int = 1
    transposed: bool = False


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies.

    Attributes:
        shape: that the model reads, [outputs, inputs] of a matrix.
        dtype: in the file.
        key: the name in the file.
        part: of the tensor there; None is all of it.
        scale: factors of blocks of an 8-bit tensor, or of 32 columns of a 4-bit one.
        block: rows and columns of a factor of an 8-bit tensor.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: str
    key: str
    part: Part | None = None
    scale: "Stored | None" = None
    block: tuple[int, int] = (0, 0)


@contextmanager
def open_shard(file: Path) -> Iterator[Any]:
    """An open safetensors file; ValueError with one line for anything else."""
    try:
        check_file(file)
    except ValueError as error:
        missing = not file.exists() and not file.is_symlink()
        raise ValueError(f"shard {file} is missing" if missing else str(error)) from None
    try:
        with file.open("rb") as opened:
            if opened.read(len(_LFS)) == _LFS:
                raise ValueError(
                    f"{file} is a Git-LFS pointer, not the weights: fetch them with 'git lfs pull'"
                )
        shard = safe_open(file, framework="pt")
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror or error}") from None
    except SafetensorError as error:
        reason = str(error).replace("\n", " ")
        raise ValueError(f"{file} is truncated or no safetensors file ({reason})") from None
    with shard:
        yield shard


def read_headers(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder by its name in the files, from the headers of its shards.

    Raises:
        ValueError: no shard, a broken one, or a tensor in two of them; one line.
    """
    index = folder / INDEX
    if index.exists() or index.is_symlink():
        listed = _read_index(index)
    elif (folder / SINGLE).exists() or (folder / SINGLE).is_symlink():
        listed = {}
    else:
        raise ValueError(_no_shards(folder))
    tensors: dict[str, Stored] = {}
    for file in sorted({folder / shard for shard in listed.values()} or {folder / SINGLE}):
        with open_shard(file) as shard:
            for name in shard.keys():  # noqa: SIM118 (safe_open is no mapping)
                if name in tensors:
                    raise ValueError(f"{file}: tensor {name} is also in {tensors[name].file.name}")
                header = shard.get_slice(name)
                tensors[name] = Stored(file, tuple(header.get_shape()), header.get_dtype(), name)
    for name, shard_name in listed.items():
        if name not in tensors or tensors[name].file.name != shard_name:
            raise ValueError(f"{folder / shard_name}: tensor {name} is missing, {INDEX} lists it")
    return tensors


def _read_index(index: Path) -> dict[str, str]:
    check_file(index)
    try:
        listed = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"]
        files = {str(name): str(shard) for name, shard in listed.items()}
    except OSError as error:
        raise ValueError(f"cannot read {index}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{index} is no index: expected JSON with a weight_map") from None
    for shard in files.values():
        if Path(shard).name != shard or shard in ("", "..") or "\0" in shard:
            raise ValueError(f"{index}: {shard!r} is no file name in this folder")
    return files


def _no_shards(folder: Path) -> str:
    """What a folder without safetensors holds instead, and what to do."""
    other = {
        "*.gguf": "GGUF files are quantised for llama.cpp: take the original checkpoint",
        "*.bin": "PyTorch .bin files are not read: convert them, "
        "AutoModelForCausalLM.from_pretrained(...).save_pretrained(...) writes safetensors",
        "*.pth": "PyTorch .pth files are not read: take the safetensors of the same model",
    }
    found = next((hint for pattern, hint in other.items() if any(folder.glob(pattern))), "")
    return f"{folder} holds neither {SINGLE} nor {INDEX}; {found or 'other formats are not read'}"


def samples(file: Path) -> Iterator[bytes]:
    """The header of a shard, then some bytes from the begin, the middle and the end of each tensor.

    They tell checkpoints apart whose names, shapes and sizes are the same.
    """
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = opened.read(min(length, _MOST_HEADER))
        yield header
        entries = (entry for name, entry in json.loads(header).items() if name != "__metadata__")
        for begin, end in sorted(tuple(entry["data_offsets"]) for entry in entries):
            last = max(end - _SAMPLE, begin)
            for offset in sorted({begin, (begin + last) // 2, last}):
                opened.seek(8 + length + offset)
                yield opened.read(min(_SAMPLE, end - offset))


def read_stored(
    tensors: Mapping[str, Stored], names: Iterable[str]
) -> Iterator[tuple[str, Tensor]]:
    """The named tensors, memory-mapped where they are stored as they are, each shard opened once.

    Raises ValueError naming file and tensor for values that no weight has: NaN, infinity, beyond
    `LARGEST`, a matrix of zeros.
    """
    by_file: dict[Path, list[str]] = {}
    for name in names:
        by_file.setdefault(tensors[name].file, []).append(name)
    for file, wanted in by_file.items():
        with open_shard(file) as shard:
            for name in wanted:
                tensor = _numbers(shard, tensors[name])
                _check_values(file, name, tensor)
                yield name, tensor


def _check_values(file: Path, name: str, tensor: Tensor) -> None:
    # NaN and infinity show in the extremes, without a copy and faster than isfinite.
    low, high = (float(end) for end in torch.aminmax(tensor))
    if not -float("inf") < low <= high < float("inf"):
        raise ValueError(f"{file}: tensor {name} contains NaN or infinity")
    if max(-low, high) > LARGEST:
        raise ValueError(
            f"{file}: tensor {name} has a weight of {max(-low, high):.3g}; at most {LARGEST:.0e} "
            "is plausible"
        )
    if tensor.ndim == 2 and low == high == 0:
        raise ValueError(f"{file}: tensor {name} is all zeros")


def _numbers(shard: Any, stored: Stored) -> Tensor:
    raw = _raw(shard, stored)
    if stored.scale is None:
        return raw
    if stored.scale.file == stored.file:
        scale = _raw(shard, stored.scale)
    else:
        with open_shard(stored.scale.file) as other:
            scale = _raw(other, stored.scale)
    if stored.dtype == FP8:
        return _from_fp8(raw, scale, stored.block)
    return _from_mxfp4(raw, scale)


def _raw(shard: Any, stored: Stored) -> Tensor:
    """The stored numbers of a tensor, or of the part of it."""
    if stored.part is None:
        tensor: Tensor = shard.get_tensor(stored.key)
        return tensor
    part, fused = stored.part, shard.get_slice(stored.key)
    rows = slice(part.start, part.start + part.step * (part.count - 1) + 1)
    if part.transposed:
        whole: Tensor = fused[part.expert]
        return whole.T[rows][:: part.step] if whole.ndim == 2 else whole[rows][:: part.step]
    expert: Tensor = fused[part.expert, rows]
    return expert[:: part.step]


def _from_fp8(raw: Tensor, scale: Tensor, block: tuple[int, int]) -> Tensor:
    """E4M3 numbers times the factor of their block (DeepSeek-V3, arXiv 2412.19437, section 3.3)."""
    wide = scale.float().repeat_interleave(block[0], 0).repeat_interleave(block[1], 1)
    return raw.float() * wide[: raw.shape[0], : raw.shape[1]]


def _from_mxfp4(blocks: Tensor, scale: Tensor) -> Tensor:
    """Blocks [rows, n, 16] of 32 four-bit numbers, low half first, times 2^(scale - 127)."""
    table = torch.tensor([*_FP4, *(-value for value in _FP4)])
    pairs = torch.stack((blocks & 15, blocks >> 4), dim=-1).int()
    numbers = table[pairs].flatten(-2)
    exponent = scale.to(torch.int32) - 127
    return torch.ldexp(numbers, exponent.unsqueeze(-1)).flatten(-2)


def with_scales(tensors: Mapping[str, Stored], block: tuple[int, int]) -> dict[str, Stored]:
    """8-bit matrices with their factors (`NAME_scale_inv`), which are no tensors of their own.

    Raises:
        ValueError: factors are missing or not one for each block.
    """
    found = {name: one for name, one in tensors.items() if not name.endswith("_scale_inv")}
    for name, stored in found.items():
        if stored.dtype != FP8:
            continue
        scale = tensors.get(f"{name}_scale_inv")
        if scale is None:
            raise ValueError(f"{stored.file}: tensor {name} has no {name}_scale_inv")
        expected = tuple(-(-n // m) for n, m in zip(stored.shape, block, strict=True))
        if scale.shape != expected:
            raise ValueError(
                f"{scale.file}: tensor {scale.key} has shape {list(scale.shape)}, "
                f"expected {list(expected)}"
            )
        found[name] = replace(stored, scale=scale, block=block)
    return found
