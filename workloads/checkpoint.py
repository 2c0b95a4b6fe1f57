"""The weights of the shipped miniatures, verified against the checksum in their record."""

import hashlib
import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as read_safetensors
from tokenizers import Tokenizer

from workloads.decoder_config import DecoderConfig, weight_shapes

FOLDER = Path(__file__).parent / "miniature"
MINIATURES = ("deepseekmoe-mini", "olmoe-mini")


@dataclass(frozen=True)
class Miniature:
    """A small trained MoE model that stands for a large one in accuracy simulations."""

    name: str
    config: DecoderConfig
    weights: dict[str, torch.Tensor]  # float32, see workloads.moe for the names
    tokenizer: Tokenizer
    source: str  # what a report writes under every accuracy


def miniature_names() -> tuple[str, ...]:
    """Names that `load_miniature` knows."""
    return MINIATURES


def read_record(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The training record of a miniature: recipe, tokens seen, loss curve, checksums.

    Raises ValueError for an unknown name, with the nearest ones.
    """
    if name not in MINIATURES:
        near = get_close_matches(name, MINIATURES, n=2, cutoff=0.3) or MINIATURES
        raise ValueError(f"no miniature is called {name!r}; nearest: {', '.join(near)}")
    record: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return record


def load_miniature(name: str, folder: Path = FOLDER) -> Miniature:
    """Load a shipped miniature ("deepseekmoe-mini" or "olmoe-mini") with float32 weights.

    Raises ValueError for an unknown name, and when the weights or the tokenizer are not those
    that the training record pins by SHA-256.
    """
    record = read_record(name, folder)
    data = _verified(folder / f"{name}.safetensors", record["weights_sha256"])
    tokenizer = _verified(folder / "tokenizer.json", record["tokenizer_sha256"])
    config = DecoderConfig(**record["recipe"]["config"])
    weights = {key: value.float() for key, value in read_safetensors(data).items()}
    if {key: tuple(value.shape) for key, value in weights.items()} != weight_shapes(config):
        raise ValueError(f"the weights of miniature {name} do not have the shapes of its config")
    millions, checksum = record["tokens_seen"] / 1e6, record["weights_sha256"][:8]
    source = f"miniature {name} ({millions:.1f} M tokens, sha256 {checksum})"
    return Miniature(name, config, weights, Tokenizer.from_str(tokenizer.decode()), source)


def _verified(file: Path, checksum: str) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != checksum:
        raise ValueError(f"{file} has SHA-256 {found[:12]}..., its record pins {checksum[:12]}...")
    return data
