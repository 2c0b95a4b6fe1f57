"""A Hugging Face checkpoint folder, read layer by layer from memory-mapped safetensors.

`open_checkpoint` reads config.json and the headers of all shards, so that a missing, truncated or
misshapen file is known before anything is computed. Weights come in one layer at a time:
`forward` needs the memory of one layer, whatever the size of the checkpoint.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from workloads.architecture import MoEArchitecture, parse_config
from workloads.checkpoint import Miniature
from workloads.families import (
    FAMILIES,
    FamilyConfig,
    expert_shapes,
    family_config,
    family_weight_shapes,
    stacked,
    stored_names,
)
from workloads.fused import check_format, model_tensors
from workloads.huggingface import check_file, read_config, read_family
from workloads.moe import (
    GroupedLinear,
    Linear,
    Observe,
    embed,
    head_forward,
    layer_forward,
    plain_grouped_linear,
    plain_linear,
)
from workloads.shards import NUMBERS, SINGLE, Stored, read_headers, read_stored

Progress = Callable[[int, int], None]
_OTHER_TOKENIZERS = {
    "tokenizer.model": "a SentencePiece model",
    "tiktoken.model": "a tiktoken model",
    "vocab.json": "a vocabulary without its rules",
}


@dataclass(frozen=True)
class CheckpointFolder:
    """An open checkpoint: the numbers of its config.json and where each tensor lies."""

    path: Path
    config: Mapping[str, Any]
    architecture: MoEArchitecture
    tensors: Mapping[str, Stored]

    @property
    def source(self) -> str:
        """What a report writes under every number that comes from this checkpoint."""
        billions = self.architecture.total_parameters() / 1e9
        return f"checkpoint {self.path} ({self.architecture.family}, {billions:.3g} B parameters)"


def open_checkpoint(path: str | Path) -> CheckpointFolder:
    """Open a folder with config.json and model.safetensors, or shards and their index.

    Reads headers only; checks that every router and routed expert is there in its shape.

    Raises:
        ValueError: one line that names the file, and the tensor if it is about one.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; expected one with config.json and {SINGLE}")
    file, name = folder / "config.json", _name(folder)
    config = read_config(file)
    read_family(config, str(file), FAMILIES, " for checkpoints")
    architecture = parse_config(config, where=str(file), name=name, title=name, source=str(file))
    block = check_format(config, str(file))
    tensors = model_tensors(read_headers(folder), architecture, block)
    checkpoint = CheckpointFolder(folder, config, architecture, tensors)
    _check_shapes(checkpoint, expert_shapes(architecture))
    if architecture.tie_embeddings and _own_head(checkpoint):
        return replace(checkpoint, architecture=replace(architecture, tie_embeddings=False))
    return checkpoint


def _own_head(checkpoint: CheckpointFolder) -> bool:
    """Whether an LM head is stored that is not the embedding, whatever config.json says.

    transformers, too, leaves the two apart then.
    """
    head, table = "lm_head.weight", "model.embed_tokens.weight"
    if not {head, table} <= set(checkpoint.tensors):
        return False
    shapes = (checkpoint.tensors[head].shape, checkpoint.tensors[table].shape)
    if shapes[0] != shapes[1]:
        return True
    read = dict(read_tensors(checkpoint, (head, table)))
    return not torch.equal(read[head], read[table])


def decoder_config(checkpoint: CheckpointFolder) -> FamilyConfig:
    """The decoder of a checkpoint; checks that exactly its tensors are there, in their shapes.

    Raises:
        ValueError: the model computes something that `workloads.moe` does not, or a tensor is
            missing, misshapen or of no use to it.
    """
    config = family_config(
        checkpoint.architecture, checkpoint.config, str(checkpoint.path / "config.json")
    )
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in family_weight_shapes(config).items():
        names = stored_names(config.family, name, config.routed_experts)
        shapes |= dict.fromkeys(names, shape[1:] if stacked(name) else shape)
    _check_shapes(checkpoint, shapes)
    tied = {"lm_head.weight"} if config.tie_embeddings else set()
    # Layers that predict more tokens at once come after the others, which do without them.
    further = checkpoint.config.get("num_nextn_predict_layers")
    further = further if isinstance(further, int) else 0
    later = tuple(f"model.layers.{config.layers + number}." for number in range(further))
    for name, stored in checkpoint.tensors.items():
        # Older checkpoints also hold the rotation frequencies, which follow from rope_theta.
        other = name.endswith("rotary_emb.inv_freq") or name.startswith(later)
        if name not in shapes and name not in tied and not other:
            raise ValueError(f"{stored.file}: tensor {name} is no part of a {config.family} model")
    return config


def load_tokenizer(checkpoint: CheckpointFolder) -> Tokenizer:
    """The tokenizer in tokenizer.json, for texts of any length.

    Raises ValueError with one line when there is none.
    """
    file = checkpoint.path / "tokenizer.json"
    for name, kind in _OTHER_TOKENIZERS.items():
        if not file.exists() and (checkpoint.path / name).exists():
            raise ValueError(
                f"{file} is missing; {name}, {kind}, is not read: "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...) writes tokenizer.json"
            )
    check_file(file)
    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror or error}") from None
    except Exception as error:  # tokenizers raises bare Exception for whatever it cannot parse
        raise ValueError(f"{file} is no tokenizer ({str(error).splitlines()[0]})") from None
    # Some are published with the length that they were trained or batched with.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_tensors(
    checkpoint: CheckpointFolder, names: Iterable[str]
) -> Iterator[tuple[str, Tensor]]:
    """The named tensors, shard by shard, each shard opened once; see `workloads.shards`."""
    return read_stored(checkpoint.tensors, names)


def read_weights(
    checkpoint: CheckpointFolder,
    config: FamilyConfig,
    names: Iterable[str],
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> dict[str, Tensor]:
    """Tensors of `workloads.moe` by name (experts stacked), copied out of the shards."""
    shapes = family_weight_shapes(config)
    weights = {name: torch.empty(shapes[name], dtype=dtype, device=device) for name in names}
    places: dict[str, Tensor] = {}
    for name, weight in weights.items():
        parts = stored_names(config.family, name, config.routed_experts)
        places.update(zip(parts, weight if stacked(name) else (weight,), strict=True))
    for name, tensor in read_tensors(checkpoint, places):
        places[name].copy_(tensor)
    return weights


def layer_names(config: FamilyConfig, layer: int) -> tuple[str, ...]:
    """Names of the tensors of one layer."""
    return tuple(n for n in family_weight_shapes(config) if n.startswith(f"layers.{layer}."))


def end_names(config: FamilyConfig) -> tuple[str, ...]:
    """Names of the tensors that are used after the last layer."""
    head = "embedding" if config.tie_embeddings else "lm_head"
    every = ("final_norm", "final_norm_bias", head, "lm_head_bias")
    return tuple(name for name in every if name in family_weight_shapes(config))


def load_checkpoint(path: str | Path) -> Miniature:
    """A whole checkpoint in memory as float32, in the form that the noisy simulation takes."""
    checkpoint = open_checkpoint(path)
    config = decoder_config(checkpoint)
    return Miniature(
        checkpoint.architecture.name,
        config,
        read_weights(checkpoint, config, family_weight_shapes(config)),
        load_tokenizer(checkpoint),
        checkpoint.source,
    )


@torch.no_grad()
def forward(
    checkpoint: CheckpointFolder,
    tokens: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    batch: int = 16,
    linear: Linear = plain_linear,
    grouped_linear: GroupedLinear = plain_grouped_linear,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Logits [B, T, V] for tokens [B, T], with the weights of one layer in memory at a time.

    Args:
        dtype: of weights and activations, float32 or bfloat16.
        batch: sequences computed together; all pass a layer before the next one is read.
        linear, grouped_linear, observe: as in `workloads.moe.forward`; called once a batch.
        progress: called with (layers done, layers).

    Raises:
        ValueError: a token outside the vocabulary, or what `decoder_config` and reading refuse.
    """
    config = decoder_config(checkpoint)
    if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < config.vocab_size:
        raise ValueError(f"token numbers must be from 0 to {config.vocab_size - 1}")
    table = read_weights(checkpoint, config, ("embedding",), dtype)["embedding"]
    states = [embed(config, table, part) for part in tokens.cpu().split(batch)]
    states = [state.to(device) for state in states]
    del table
    for layer in range(config.layers):
        weights = read_weights(checkpoint, config, layer_names(config, layer), dtype, device)
        for index, state in enumerate(states):
            shape = (len(state) // tokens.shape[1], tokens.shape[1])
            states[index] = layer_forward(
                config, weights, state, layer, shape,
                linear=linear, grouped_linear=grouped_linear, observe=observe,
            )  # fmt: skip
        del weights
        if progress is not None:
            progress(layer + 1, config.layers)
    weights = read_weights(checkpoint, config, end_names(config), dtype, device)
    logits = [head_forward(config, weights, state, linear=linear) for state in states]
    return torch.cat(logits).view(*tokens.shape, -1)


def _name(folder: Path) -> str:
    """The folder's name; in a hub cache (models--OWNER--NAME/snapshots/COMMIT) the model's."""
    *_, repository, snapshots, name = ("", "", *folder.resolve().parts)
    return repository.split("--")[-1] if snapshots == "snapshots" else name


def _check_shapes(checkpoint: CheckpointFolder, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        stored = checkpoint.tensors.get(name)
        if stored is None:
            raise ValueError(f"{checkpoint.path}: no shard holds tensor {name}")
        if stored.shape != shape:
            raise ValueError(
                f"{stored.file}: tensor {name} has shape {list(stored.shape)}, "
                f"config.json says {list(shape)}"
            )
        if stored.dtype not in NUMBERS and stored.scale is None:
            raise ValueError(
                f"{stored.file}: tensor {name} is {stored.dtype}, accepted: {', '.join(NUMBERS)}"
            )
