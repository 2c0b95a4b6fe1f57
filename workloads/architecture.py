"""MoE architectures: the numbers of a Hugging Face config.json and what follows from them.

`load_model` finds a named architecture or reads a config.json. The named ones are TOML files
that hold the keys of the published config.json, so both go through the same reader
(`workloads.huggingface`). `weight_matrices` and `vector_parameters` together are every parameter
of the model; all counts, tables and costs derive from them.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, Literal

from workloads.huggingface import language_model, read_config, read_fields
from workloads.recurrent import RecurrentMixer

ARCHITECTURES = Path(__file__).parent / "architectures"

Count = Literal["all", "no_input_embedding", "no_embeddings"]


@dataclass(frozen=True)
class PublishedCounts:
    """Parameter counts as published, in billions, and what the active count includes."""

    total_billions: float
    active_billions: float
    active_count: Count
    source: str


@dataclass(frozen=True)
class WeightMatrix:
    """One weight matrix of a layer, or `copies` equal ones (the routed experts).

    `evaluations_per_token` is the mean over the copies: 1 for a dense matrix, experts per
    token over experts for a routed one, 0 for an input embedding, which is looked up.
    """

    layer: int | None
    module: str
    part: str
    inputs: int
    outputs: int
    copies: int = 1
    evaluations_per_token: float = 1.0

    @property
    def parameters(self) -> int:
        return self.inputs * self.outputs * self.copies


@dataclass(frozen=True)
class MoEArchitecture:
    """A decoder-only mixture-of-experts language model.

    Each field is a number of the model's config.json; layers are counted from 0. Attention is
    grouped-query attention unless `kv_lora_rank` is set (multi-head latent attention); layers
    outside `attention_layer_indices` have the recurrent mixer in its place. A layer in
    `sliding_layer_indices` attends to at most `sliding_window` tokens (a window or a chunk).
    """

    name: str
    title: str
    family: str
    layers: int
    hidden_size: int
    vocab_size: int
    heads: int
    kv_heads: int
    head_dim: int
    moe_layer_indices: tuple[int, ...]
    attention_layer_indices: tuple[int, ...]
    routed_experts: int
    experts_per_token: int
    expert_intermediate_size: int
    dense_intermediate_size: int = 0
    shared_experts: int = 0
    shared_intermediate_size: int = 0  # all shared experts fused into one
    shared_expert_gate: bool = False
    renormalise_top_k: bool = False
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    value_head_dim: int = 0
    qk_norm: Literal["none", "full", "per_head"] = "none"
    qkv_bias: bool = False
    attention_output_bias: bool = False
    expert_bias: bool = False
    router_bias: bool = False
    lm_head_bias: bool = False
    norm_bias: bool = False
    attention_sinks: bool = False
    query_gate: bool = False  # attention's output is gated by another projection of its input
    tie_embeddings: bool = False
    sliding_window: int = 0
    sliding_layer_indices: tuple[int, ...] = ()
    recurrent: RecurrentMixer | None = None
    hugging_face: str = ""
    published: PublishedCounts | None = None
    source: str = ""

    @property
    def moe_layers(self) -> int:
        """Number of layers with routed experts."""
        return len(self.moe_layer_indices)

    @property
    def dense_layers(self) -> int:
        """Number of layers whose feed-forward block is dense."""
        return self.layers - self.moe_layers

    @property
    def stand_in(self) -> str:
        """The shipped miniature that stands for this model in the noisy simulation."""
        return "deepseekmoe-mini" if self.shared_intermediate_size else "olmoe-mini"

    @property
    def parameters_per_expert(self) -> int:
        """Weights of one routed expert's three matrices (biases not counted)."""
        return 3 * self.hidden_size * self.expert_intermediate_size

    def kv_cache_elements(self, context: int) -> int:
        """Cached numbers that one decode step reads for a sequence of `context` tokens.

        Keys and values of every attention layer (the compressed latent and the rotary key in
        latent attention); a sliding-window layer keeps at most its window.
        """
        latent = self.kv_lora_rank + self.qk_rope_head_dim
        per_token = latent if self.kv_lora_rank else 2 * self.kv_heads * self.head_dim
        sliding = set(self.sliding_layer_indices)
        tokens = sum(
            min(context, self.sliding_window) if layer in sliding else context
            for layer in self.attention_layer_indices
        )
        return per_token * tokens

    @property
    def recurrent_layers(self) -> int:
        """Number of layers with a recurrent mixer in the place of attention."""
        return self.layers - len(self.attention_layer_indices)

    @property
    def recurrent_state_elements(self) -> int:
        """Numbers kept for a sequence by all recurrent mixers, whatever its length.

        A decode step reads and writes each of them once (Jamba: 4.59 M numbers, so 9.18 M a step);
        a prefill writes them once for each sequence.
        """
        return self.recurrent_layers * self.recurrent.state_elements if self.recurrent else 0

    @property
    def recurrent_macs(self) -> int:
        """Multiply-accumulates on the states of all recurrent mixers for one token."""
        return self.recurrent_layers * self.recurrent.state_macs if self.recurrent else 0

    def attention_macs(self, context: int) -> int:
        """Multiply-accumulates of scores and weighted values for one new token."""
        if self.kv_lora_rank:  # absorbed form: scores over latent + rotary key, values over latent
            per_token = self.heads * (2 * self.kv_lora_rank + self.qk_rope_head_dim)
        else:
            per_token = 2 * self.heads * self.head_dim
        sliding = set(self.sliding_layer_indices)
        return sum(
            per_token * (min(context, self.sliding_window) if layer in sliding else context)
            for layer in self.attention_layer_indices
        )

    def _repr_html_(self) -> str:
        facts = {
            "model": self.title,
            "layers": f"{self.layers}, {self.moe_layers} of them with experts",
            "experts": f"{self.routed_experts} a layer, {self.experts_per_token} a token",
            "parameters (1e9)": f"{self.total_parameters() / 1e9:.2f}",
            "active parameters (1e9)": f"{self.active_parameters() / 1e9:.2f}",
            "stands for it": self.stand_in,
            "source": self.source,
        }
        rows = (f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in facts.items())
        return f"<table>{''.join(rows)}</table>"

    def total_parameters(self) -> int:
        """Every parameter: matrices, biases, norms, sinks, state-space vectors."""
        matrices = sum(matrix.parameters for matrix in weight_matrices(self))
        return matrices + sum(vector_parameters(self).values())

    def active_parameters(self, count: Count = "all") -> int:
        """Parameters that one token uses: all but the experts that it is not routed to.

        Args:
            count: "all" includes input embedding and LM head (a tied one once),
                "no_input_embedding" leaves out the input embedding (and a tied one altogether),
                "no_embeddings" leaves out both.
        """
        idle_experts = self.routed_experts - self.experts_per_token
        per_expert = self.parameters_per_expert
        if self.expert_bias:
            per_expert += 2 * self.expert_intermediate_size + self.hidden_size
        active = self.total_parameters() - self.moe_layers * idle_experts * per_expert
        embedding = self.vocab_size * self.hidden_size
        if count == "all":
            return active
        if count == "no_input_embedding" or self.tie_embeddings:
            return active - embedding
        if count == "no_embeddings":
            return active - 2 * embedding - (self.vocab_size if self.lm_head_bias else 0)
        raise ValueError(f"unknown count {count!r}: use all, no_input_embedding or no_embeddings")


def weight_matrices(architecture: MoEArchitecture) -> list[WeightMatrix]:
    """Every weight matrix of the model, in the order in which a token meets them."""
    a = architecture
    matrices: list[WeightMatrix] = []
    if not a.tie_embeddings:  # a tied embedding is the LM head, listed once, as that
        matrices.append(
            WeightMatrix(None, "embedding", "embedding", a.vocab_size, a.hidden_size, 1, 0.0)
        )
    moe, attention = set(a.moe_layer_indices), set(a.attention_layer_indices)
    for layer in range(a.layers):
        matrices += (
            _attention_matrices(a, layer) if layer in attention else _recurrent_matrices(a, layer)
        )
        matrices += _expert_matrices(a, layer) if layer in moe else _dense_ffn(a, layer)
    matrices.append(WeightMatrix(None, "lm_head", "lm_head", a.hidden_size, a.vocab_size))
    return matrices


def _attention_matrices(a: MoEArchitecture, layer: int) -> list[WeightMatrix]:
    d = a.hidden_size
    if not a.kv_lora_rank:
        q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
        shapes = [("query", d, q), ("key", d, kv), ("value", d, kv), ("output", q, d)]
        if a.query_gate:
            shapes.insert(1, ("query_gate", d, q))
    else:
        q = a.heads * (a.qk_nope_head_dim + a.qk_rope_head_dim)
        shapes = (
            [("query_a", d, a.q_lora_rank), ("query_b", a.q_lora_rank, q)]
            if a.q_lora_rank
            else [("query", d, q)]
        )
        values = a.heads * a.value_head_dim
        shapes += [
            ("key_value_a", d, a.kv_lora_rank + a.qk_rope_head_dim),
            ("key_value_b", a.kv_lora_rank, a.heads * a.qk_nope_head_dim + values),
            ("output", values, d),
        ]
    return [WeightMatrix(layer, name, "attention", n, m) for name, n, m in shapes]


def _recurrent_matrices(a: MoEArchitecture, layer: int) -> list[WeightMatrix]:
    mixer = a.recurrent
    assert mixer is not None
    return [WeightMatrix(layer, name, mixer.part, n, m) for name, n, m in mixer.matrices]


def _expert_matrices(a: MoEArchitecture, layer: int) -> list[WeightMatrix]:
    d, f, experts = a.hidden_size, a.expert_intermediate_size, a.routed_experts
    share = a.experts_per_token / experts
    matrices = [
        WeightMatrix(layer, "router", "router", d, experts),
        WeightMatrix(layer, "expert_gate", "routed_expert", d, f, experts, share),
        WeightMatrix(layer, "expert_up", "routed_expert", d, f, experts, share),
        WeightMatrix(layer, "expert_down", "routed_expert", f, d, experts, share),
    ]
    if a.shared_intermediate_size:
        matrices += _gated_ffn(layer, "shared", "shared_expert", d, a.shared_intermediate_size)
    if a.shared_expert_gate:
        matrices.append(WeightMatrix(layer, "shared_expert_gate", "shared_expert", d, 1))
    return matrices


def _dense_ffn(a: MoEArchitecture, layer: int) -> list[WeightMatrix]:
    return _gated_ffn(layer, "ffn", "dense_ffn", a.hidden_size, a.dense_intermediate_size)


def _gated_ffn(layer: int, prefix: str, part: str, d: int, f: int) -> list[WeightMatrix]:
    return [
        WeightMatrix(layer, f"{prefix}_gate", part, d, f),
        WeightMatrix(layer, f"{prefix}_up", part, d, f),
        WeightMatrix(layer, f"{prefix}_down", part, f, d),
    ]


def vector_parameters(architecture: MoEArchitecture) -> dict[str, int]:
    """Parameters that are no weight matrix, by kind: norms, biases, sinks, state-space vectors."""
    a = architecture
    attention = len(a.attention_layer_indices)
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    norm = a.hidden_size * (2 if a.norm_bias else 1)
    qk_norm = {"none": 0, "full": q + kv, "per_head": 2 * a.head_dim}[a.qk_norm]
    if a.kv_lora_rank:
        qk_norm = a.kv_lora_rank + a.q_lora_rank
        # Latent attention biases the two down-projections, not the up-projections.
        qkv_bias = a.q_lora_rank + a.kv_lora_rank + a.qk_rope_head_dim
    else:
        qkv_bias = q + 2 * kv
    expert_biases = a.routed_experts * (2 * a.expert_intermediate_size + a.hidden_size)
    return {
        "norm": norm * (2 * a.layers + 1) + attention * qk_norm,
        "attention_bias": attention
        * (a.qkv_bias * qkv_bias + a.attention_output_bias * a.hidden_size),
        "attention_sinks": attention * a.attention_sinks * a.heads,
        "expert_bias": a.moe_layers * a.expert_bias * expert_biases,
        "router_bias": a.moe_layers * a.router_bias * a.routed_experts,
        "lm_head_bias": a.lm_head_bias * a.vocab_size,
        "recurrent": a.recurrent_layers * a.recurrent.vector_parameters if a.recurrent else 0,
    }


@cache
def _catalogue() -> dict[str, dict[str, Any]]:
    """The shipped architecture files by short name."""
    files = sorted(ARCHITECTURES.glob("*.toml"))
    return {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in files}


def model_names() -> tuple[str, ...]:
    """Short names of the shipped architectures."""
    return tuple(_catalogue())


def published_config(name: str) -> dict[str, Any]:
    """The keys of a shipped architecture's config.json that fix its matrices, by short name."""
    return dict(_catalogue()[name]["config"])


@cache
def _named(name: str) -> MoEArchitecture:
    entry = _catalogue()[name]
    known = {"title", "hugging_face", "source", "published", "config"}
    if unknown := set(entry) - known:
        raise ValueError(f"unknown key {min(unknown)!r} in architectures/{name}.toml")
    return parse_config(
        entry["config"],
        where=f"architectures/{name}.toml",
        name=name,
        title=entry["title"],
        hugging_face=entry["hugging_face"],
        published=PublishedCounts(**entry["published"]),
        source=entry["source"],
    )


def load_model(name_or_path: str | Path) -> MoEArchitecture:
    """The architecture with this short name or Hugging Face id, or that a config.json describes.

    Raises:
        ValueError: no such name (the nearest are named) or no readable config.json.
    """
    text = str(name_or_path)
    by_id = {entry["hugging_face"].lower(): name for name, entry in _catalogue().items()}
    wanted = text.strip().lower()
    if wanted in _catalogue():
        return _named(wanted)
    if wanted in by_id:
        return _named(by_id[wanted])
    if text.endswith(".json") or Path(text).is_dir():
        return from_config(text)
    names = [*_catalogue(), *by_id]
    near = get_close_matches(wanted, names, n=3, cutoff=0.5)
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(_catalogue())}"
    raise ValueError(f"unknown model {text!r} ({hint}; or the path of a config.json)")


def parse_config(config: Mapping[str, Any], *, where: str, **fields: Any) -> MoEArchitecture:
    """The architecture that a parsed config.json describes.

    Args:
        config: the JSON object.
        where: the file, for messages.
        fields: those that it does not fix: name, title, source.

    Raises:
        ValueError: see `workloads.huggingface.read_fields`.
    """
    return MoEArchitecture(**read_fields(config, where), **fields)


def from_config(path: str | Path) -> MoEArchitecture:
    """Read a Hugging Face config.json (the file, or the folder that holds it).

    A multimodal wrapper is read for its language model, and `source` says so.

    Raises:
        ValueError: unreadable, not JSON, of another family, or a key is missing or wrong;
            one line that names it.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    stem = file.parent.name if file.name == "config.json" and file.parent.name else file.stem
    config = read_config(file)
    title = config.get("_name_or_path")
    title = title if isinstance(title, str) and title else stem
    _, wrapped = language_model(config)
    source = f"{wrapped} of {file}" if wrapped else str(file)
    return parse_config(config, where=str(file), name=stem, title=title, source=source)


def load_architecture(model: str) -> MoEArchitecture:
    """The model of a name or config.json; only those with routed experts can be explored.

    Raises:
        ValueError: unknown name (with the nearest), unreadable config.json.
    """
    architecture = load_model(model)
    if not architecture.moe_layers:
        raise ValueError(f"{model} has no routed experts: there is nothing to place")
    return architecture
