"""Published config.json files against what transformers builds from them (recorded)."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from workloads.architecture import from_config, load_model, model_names, parse_config
from workloads.architecture import published_config as shipped_config
from workloads.family_defaults import DEFAULTS
from workloads.inventory import inventory

HERE = Path(__file__).parent / "reference_counts"
sys.path.insert(0, str(HERE))
from published import OWN_CODE, PUBLISHED  # noqa: E402 (a folder of scripts, no package)

RECORDED = json.loads((HERE / "counts.json").read_text(encoding="utf-8"))
MODELS = RECORDED["models"]
# transformers has no such class; its own configuration class says what a missing key stands for.
NOT_RECORDED = {"deepseek", "bailing_moe", "minimax_m1"}


def config_of(name: str) -> dict[str, Any]:
    return PUBLISHED[name].config if name in PUBLISHED else shipped_config(name)


def counts(config: dict[str, Any]) -> list[int]:
    model = parse_config(config, where="config.json", name="", title="")
    cached = model.kv_cache_elements(RECORDED["context"])
    return [model.total_parameters(), model.active_parameters(), cached]


def test_every_family_is_recorded() -> None:
    families = {config_of(name)["model_type"] for name in MODELS}
    assert families - {"kimi_k2"} == set(DEFAULTS) - NOT_RECORDED


@pytest.mark.parametrize("name", MODELS)
def test_counts_are_those_of_transformers(name: str) -> None:
    """Total and active parameters and cached keys and values, exactly."""
    assert counts(config_of(name)) == MODELS[name]["all"]


@pytest.mark.parametrize("name", MODELS)
def test_a_missing_key_stands_for_its_default(name: str) -> None:
    """Each key is left out in turn; what transformers cannot build is refused or unchanged."""
    config, recorded = config_of(name), MODELS[name]
    for key in config:
        if key == "model_type":
            continue
        rest = {other: value for other, value in config.items() if other != key}
        expected = recorded["without"].get(key, recorded["all"])
        try:
            found = counts(rest)
        except ValueError as error:
            assert expected is None, f"{key}: {error}"
            assert "\n" not in str(error)
            continue
        assert found == (recorded["all"] if expected is None else expected), key


@pytest.mark.parametrize(
    ("name", "key", "billions"),
    [
        ("mixtral", "num_key_value_heads", 46.70),
        ("deepseek-v3", "first_k_dense_replace", 671.0),
        ("deepseek-v3", "q_lora_rank", 671.0),
        ("deepseek-v3", "n_shared_experts", 671.0),
    ],
)
def test_published_files_without_a_key_that_has_its_default(
    name: str, key: str, billions: float
) -> None:
    rest = {other: value for other, value in config_of(name).items() if other != key}
    assert counts(rest)[0] / 1e9 == pytest.approx(billions, rel=1e-4)


def test_an_explicit_null_is_no_missing_key() -> None:
    """DeepSeek-V3 with q_lora_rank null does not compress its queries (as V2-Lite), Mixtral with
    num_key_value_heads null has as many as queries."""
    v3 = config_of("deepseek-v3")
    # 7168 x 128 x 192 in place of 7168 x 1536 + 1536 x 128 x 192 and a norm, in 61 layers.
    more = 61 * (7168 * 128 * 192 - 7168 * 1536 - 1536 * 128 * 192 - 1536)
    assert counts(v3 | {"q_lora_rank": None})[0] == MODELS["deepseek-v3"]["all"][0] + more
    mixtral = config_of("mixtral")
    # Keys and values of 24 more heads of 128, in 32 layers.
    more = 32 * 2 * 24 * 128 * 4096
    assert counts(mixtral | {"num_key_value_heads": None})[0] == MODELS["mixtral"]["all"][0] + more


@pytest.mark.parametrize("name", PUBLISHED | OWN_CODE)
def test_sizes_are_the_published_ones(name: str) -> None:
    """As the authors round them, with or without the embeddings in the active ones; 5 % at most:
    Kimi-K2 is "1 T" (1.026), GLM-4.5 counts its multi-token-prediction layers."""
    config, total, active = (PUBLISHED | OWN_CODE)[name]
    model = parse_config(config, where="", name="", title="")
    assert model.total_parameters() / 1e9 == pytest.approx(total, rel=0.05)
    kinds = ("all", "no_input_embedding", "no_embeddings")
    nearest = min(abs(model.active_parameters(kind) / 1e9 - active) for kind in kinds)
    assert nearest <= max(0.05 * active, 0.5)


@pytest.mark.parametrize("family", RECORDED["states"])
def test_recurrent_state_is_what_transformers_caches(family: str) -> None:
    recorded = RECORDED["states"][family]
    model = parse_config(recorded["config"], where="", name="", title="")
    assert model.recurrent_layers == 1
    assert model.recurrent_state_elements == recorded["elements"]


def test_state_of_jamba_by_hand() -> None:
    """28 Mamba layers of 8192 channels with 16 states and the last 4 inputs: 4.59 M, read and
    written 9.18 M; a token decays, adds to and reads each state, and convolves 4 inputs."""
    jamba = load_model("jamba-v0.1")
    assert jamba.recurrent_state_elements == 28 * 8192 * (16 + 4)
    assert 2 * jamba.recurrent_state_elements / 1e6 == pytest.approx(9.18, abs=0.005)
    assert jamba.recurrent_macs == 28 * 8192 * (3 * 16 + 4)
    assert load_model("olmoe").recurrent_state_elements == 0


def test_states_of_linear_attention_by_hand() -> None:
    """Qwen3-Next: 36 layers of 32 heads of 128 x 128, and 4 inputs of 2 x 2048 + 4096 channels.
    MiniMax-Text-01: 70 layers of 64 heads of 128 x 128."""
    qwen = parse_config(config_of("qwen3-next-80b-a3b"), where="", name="", title="")
    assert qwen.recurrent_state_elements == 36 * (32 * 128 * 128 + 4 * 8192)
    minimax = parse_config(config_of("minimax-text-01"), where="", name="", title="")
    assert minimax.recurrent_state_elements == 70 * 64 * 128 * 128
    assert minimax.kv_cache_elements(1000) == 10 * 2 * 8 * 128 * 1000


def test_dense_layers_between_layers_with_experts() -> None:
    """Llama-4-Maverick: experts in every other layer, from the second."""
    table = inventory(parse_config(config_of("llama-4-maverick"), where="", name="", title=""))
    dense = table[table["part"] == "dense_ffn"]
    assert sorted(dense["layer"].unique()) == list(range(0, 48, 2))
    assert (dense["inputs"] * dense["outputs"]).sum() == 24 * 3 * 5120 * 16384
    assert sorted(table.loc[table["sparse"], "layer"].unique()) == list(range(1, 48, 2))


def test_a_wrapper_is_read_for_its_language_model(tmp_path: Path) -> None:
    text = {key: v for key, v in config_of("llama-4-scout").items() if key != "attention_bias"}
    wrapper = {"model_type": "llama4", "text_config": text, "vision_config": {"hidden_size": 8}}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(wrapper))
    model = from_config(file)
    assert model.total_parameters() == MODELS["llama-4-scout"]["all"][0]
    assert model.source == f"text_config of {file}"
    file.write_text(json.dumps(wrapper | {"tie_word_embeddings": True}))
    tied = from_config(file).total_parameters()
    assert tied == model.total_parameters() - 202048 * 5120
    del text["hidden_size"]
    text["num_hidden_layers"] = "many"
    file.write_text(json.dumps(wrapper))
    with pytest.raises(ValueError, match=r"config\.json, text_config: key 'num_hidden_layers'"):
        from_config(file)


def test_a_name_that_looks_alike_is_no_hint() -> None:
    """Granite 4 with experts and Mamba is not Granite 3 with a shared expert."""
    config = config_of("olmoe") | {"model_type": "granitemoehybrids"}
    with pytest.raises(ValueError, match="'granitemoehybrids' is not supported") as error:
        parse_config(config, where="config.json", name="", title="")
    assert "nearest" not in str(error.value)
    assert "kimi_k2" in str(error.value)


def test_a_dense_sibling_is_refused() -> None:
    """Jamba-Reasoning-3B: num_experts 1, a dense feed-forward part in every layer."""
    with pytest.raises(ValueError, match="no layer has routed experts"):
        counts(config_of("jamba-v0.1") | {"num_experts": 1, "num_experts_per_tok": 1})


def test_windows_of_every_layer_count_in_the_cache() -> None:
    """The first Mistral files set 4,096 for all 32 layers; 2 x 8 heads of 128 a token."""
    config = config_of("mixtral") | {"sliding_window": 4096}
    model = parse_config(config, where="", name="", title="")
    assert model.kv_cache_elements(10_000) == 32 * 4096 * 2 * 8 * 128


def test_all_shipped_models_but_deepseekmoe_are_recorded() -> None:
    assert set(model_names()) - set(MODELS) == {"deepseekmoe"}
