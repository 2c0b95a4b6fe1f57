"""Experts that are stored together, and other ways to write the same tensors.

transformers 5 keeps the experts of a layer in two tensors, `gate_up_proj` and `down_proj`
[experts, ...], and so do the published files of Granite-MoE and gpt-oss, the latter in 4 bits.
Here every expert gets its tensors under the names of `workloads.families`, as parts of those.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workloads.architecture import MoEArchitecture
from workloads.families import FAMILIES, Names
from workloads.shards import Part, Stored, with_scales

_FUSED = re.compile(r"(.+\.experts)\.(gate_up_proj|down_proj)(_bias|_blocks|_scales)?")
_FORMATS = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "fbgemm_fp8": "FBGEMM",
    "quark": "Quark",
}


def check_format(config: Mapping[str, Any], where: str) -> tuple[int, int]:
    """Rows and columns of a block of 8-bit weights, (0, 0) where there are none.

    Raises:
        ValueError: a quantised format that is not read; the line says which, and what to do.
    """
    given = config.get("quantization_config")
    if not given:
        return 0, 0
    method = given.get("quant_method") if isinstance(given, Mapping) else given
    if method == "mxfp4":
        return 0, 0
    if method == "fp8":
        block = given.get("weight_block_size")
        good = isinstance(block, list) and len(block) == 2
        if good and all(isinstance(size, int) and size > 0 for size in block):
            return block[0], block[1]
        raise ValueError(
            f"{where}: key 'quantization_config.weight_block_size' is {block!r}, expected two "
            "numbers of rows and columns"
        )
    name = _FORMATS.get(str(method), repr(method))
    raise ValueError(
        f"{where}: weights in {name} format are not read (16 or 32 bits, fp8 in blocks and mxfp4 "
        "are): take the original checkpoint"
    )


def model_tensors(
    tensors: Mapping[str, Stored], architecture: MoEArchitecture, block: tuple[int, int]
) -> dict[str, Stored]:
    """Every tensor by the name that its family gives it, each expert's on its own.

    Args:
        tensors: by the names in the files.
        block: see `check_format`.

    Raises:
        ValueError: a fused tensor has not the shape that config.json says, or lacks its scales.
    """
    names = FAMILIES[architecture.family]
    if any(one.dtype.startswith("F8") for one in tensors.values()) and block != (0, 0):
        tensors = with_scales(tensors, block)
    renamed: dict[str, Stored] = {}
    for name, stored in tensors.items():
        _add(renamed, {_renamed(name, names): stored})
    found: dict[str, Stored] = {}
    for name, stored in renamed.items():
        match = _FUSED.fullmatch(name)
        if match is None:
            _add(found, {name: stored})
        elif match[3] != "_scales":
            scales = renamed.get(f"{match[1]}.{match[2]}_scales")
            _add(found, _split(match, stored, scales, architecture, names))
    return found


def _add(found: dict[str, Stored], more: Mapping[str, Stored]) -> None:
    """Add tensors; a checkpoint that holds one twice, written in two ways, is refused."""
    for name, stored in more.items():
        if name in found:
            raise ValueError(
                f"{stored.file}: tensor {stored.key} is also stored as {found[name].key}"
            )
        found[name] = stored


def _renamed(name: str, names: Names) -> str:
    for other, ours in names.renamed:
        if other in name:
            return name.replace(other, ours)
    return name


def _split(
    match: re.Match[str],
    stored: Stored,
    scales: Stored | None,
    a: MoEArchitecture,
    names: Names,
) -> dict[str, Stored]:
    """Each expert's share of one fused tensor, by name."""
    where, tensor, kind = match[1], match[2], match[3] or ""
    width, hidden = a.expert_intermediate_size, a.hidden_size
    both = tensor == "gate_up_proj"
    outputs, inputs = (2 * width, hidden) if both else (hidden, width)
    blocks = kind == "_blocks"
    turned = names.fused == "in_turn" and kind == ""
    expected: tuple[int, ...] = (a.routed_experts, outputs, inputs)
    if kind == "_bias":
        expected = (a.routed_experts, outputs)
    elif blocks:
        expected = (a.routed_experts, outputs, inputs // 32, 16)
    elif turned:
        expected = (a.routed_experts, inputs, outputs)
    if stored.shape != expected:
        raise ValueError(
            f"{stored.file}: tensor {stored.key} has shape {list(stored.shape)}, "
            f"config.json says {list(expected)}"
        )
    if blocks and (scales is None or scales.shape != expected[:3]):
        raise ValueError(f"{stored.file}: tensor {stored.key} has no scales that fit")
    in_turn = names.fused == "in_turn"
    step, second = (2, 1) if in_turn else (1, width)
    parts = [(names.gate, 0, step), (names.up, second, step)] if both else [(names.down, 0, 1)]
    ending = "bias" if kind == "_bias" else "weight"
    found: dict[str, Stored] = {}
    for expert in range(a.routed_experts):
        for part, start, each in parts:
            count = width if both else outputs
            place = Part(expert, start, count, each, turned)
            shape = (count,) if kind == "_bias" else (count, inputs)
            one = replace(stored, shape=shape, part=place)
            if blocks:
                assert scales is not None
                one = replace(one, scale=replace(scales, part=place))
            found[f"{where}.{expert}.{part}.{ending}"] = one
    return found
