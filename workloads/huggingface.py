"""Reading a Hugging Face config.json into fields of an architecture.

The families' readers are in `workloads.family_readers`; here is what they have in common: the
file, the language model within a multimodal wrapper, and numbers that contradict one another.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from workloads.config_keys import MOST_ROWS, Keys
from workloads.family_defaults import DEFAULTS
from workloads.family_readers import ALIASES, READERS, SAME

_TEXT = ("text_config", "llm_config", "language_config")


def check_file(path: Path) -> None:
    """Refuse what is no ordinary file: a pipe or a device would be read for ever.

    Raises:
        ValueError: it is missing, or no file; one line.
    """
    try:
        path.stat()
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {_reason(error)}") from None
    if not path.is_file():
        raise ValueError(f"cannot read {path}: it is no ordinary file")


def _reason(error: OSError | ValueError) -> str:
    return (getattr(error, "strerror", None) or str(error)).replace("\n", " ")


def read_config(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; ValueError with one line when there is none."""
    check_file(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {_reason(error)}") from None
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits
        raise ValueError(
            f"{path} is not a JSON file; expected a Hugging Face config.json"
        ) from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object; expected a Hugging Face config.json")
    return config


def language_model(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The part of a config.json that describes the language model, and the key that holds it.

    A multimodal wrapper holds it in an object of its own; otherwise it is the file itself, and
    the key is empty. Whether the embeddings are tied may be said by the wrapper alone.
    """
    if _family(config) in READERS:
        return config, ""
    for key in _TEXT:
        inner = config.get(key)
        if isinstance(inner, Mapping) and _family(inner) in READERS:
            said = {k: config[k] for k in ("tie_word_embeddings",) if k in config}
            return {**said, **inner}, key
    return config, ""


def _family(config: Mapping[str, Any]) -> Any:
    """The name of the reader for a config.json, or its own `model_type` when there is none."""
    family = config.get("model_type")
    if not isinstance(family, str):
        return None
    # MiniMax-M2 was first published under the model_type of its predecessor.
    if family == "minimax" and config.get("architectures") == ["MiniMaxM2ForCausalLM"]:
        return "minimax_m2"
    return SAME.get(family, family)


def read_family(
    config: Mapping[str, Any], where: str, accepted: Collection[str], use: str = ""
) -> str:
    """The family of a config.json: its `model_type`, or the one with the same architecture.

    Args:
        config: the parsed JSON object.
        where: the file, for messages.
        accepted: families that will do.
        use: what for, behind "is not supported".

    Raises:
        ValueError: there is none, or it is not one of those accepted. No similar name is offered:
            it would be another architecture.
    """
    names = ", ".join([*accepted, *(name for name, same in SAME.items() if same in accepted)])
    if "model_type" not in config:
        raise ValueError(f"{where}: key 'model_type' is missing; accepted families: {names}")
    family = _family(config)
    if family not in accepted:
        raise ValueError(
            f"{where}: model_type {config['model_type']!r} is not supported{use} "
            f"(accepted: {names})"
        )
    return str(family)


def read_fields(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of `workloads.architecture.MoEArchitecture` that a config.json fixes, by name.

    Raises:
        ValueError: unknown `model_type`, a missing key without a default, a value that cannot be;
            one line that begins with `where`, the file.
    """
    config, wrapped = language_model(config)
    where = f"{where}, {wrapped}" if wrapped else where
    family = read_family(config, where, READERS)
    keys = Keys(config, where, DEFAULTS[family], ALIASES.get(family))
    fields = {"family": family, **READERS[family](keys)}
    _check(fields, where)
    return fields


def _check(fields: Mapping[str, Any], where: str) -> None:
    """Refuse numbers that contradict one another, and models without routed experts."""
    chosen, experts = fields["experts_per_token"], fields["routed_experts"]
    heads, kv_heads = fields["heads"], fields["kv_heads"]
    if experts < 2 or not fields["moe_layer_indices"]:
        raise ValueError(f"{where}: no layer has routed experts; the model is dense")
    if chosen > experts:
        raise ValueError(f"{where}: {chosen} experts per token of only {experts} experts")
    if heads % kv_heads:
        raise ValueError(f"{where}: {heads} heads cannot share {kv_heads} key-value heads")
    if fields["head_dim"] < 1:
        raise ValueError(f"{where}: hidden_size {fields['hidden_size']} is less than {heads} heads")
    if len(fields["moe_layer_indices"]) * experts > MOST_ROWS:
        raise ValueError(
            f"{where}: {len(fields['moe_layer_indices']):,} layers of {experts:,} experts are more "
            f"than the {MOST_ROWS:,} experts that are supported"
        )
