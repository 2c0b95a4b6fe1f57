"""Architectures against exact counts computed elsewhere and against published ones."""

import json
from pathlib import Path

import pytest

from workloads import from_config, load_model, model_names
from workloads.inventory import inventory

# Total; active with embedding and head, without the input embedding, without both. Worked out
# from the published configurations independently of this package.
EXACT = {
    "deepseekmoe": (16375728128, 2828650496, 2618935296, 2409220096),
    "olmoe": (6919161856, 1282017280, 1178994688, 1075972096),
    "mixtral": (46702792704, 12879925248, 12748853248, 12617781248),
    "qwen1.5-moe": (14315784192, 2689173504, 2378008576, 2066843648),
    "qwen3-30b-a3b": (30532122624, 3353032704, 3041867776, 2730702848),
    "deepseek-v2-lite": (15706484224, 2661150208, 2451435008, 2241719808),
    "gpt-oss-20b": (20914757184, 4187440704, 3608307264, 3029173824),
    "granite-1b-a400m": (1334628352, 428658688, 378323968, 378323968),
    "granite-3b-a800m": (3298793472, 882874368, 807372288, 807372288),
    "phi-3.5-moe": (41873153344, 6640999744, 6509665600, 6378299392),
    "jamba-v0.1": (51570323328, 12110311296, 11841875840, 11573440384),
}


def write(folder, config):
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def test_every_model_that_ships_is_counted_here():
    assert set(EXACT) == set(model_names())


@pytest.mark.parametrize("name", EXACT)
def test_counts_are_exact(name):
    model = load_model(name)
    kinds = ("all", "no_input_embedding", "no_embeddings")
    counts = (model.total_parameters(), *(model.active_parameters(kind) for kind in kinds))
    assert counts == EXACT[name]


@pytest.mark.parametrize("name", model_names())
def test_counts_agree_with_the_published(name):
    """Within 1 %, or within what the published figure was rounded to (Granite 1B: 1.3 B, 0.4 B)."""
    model = load_model(name)
    published = model.published
    for ours, theirs in (
        (model.total_parameters(), published.total_billions),
        (model.active_parameters(published.active_count), published.active_billions),
    ):
        digits = len(str(float(theirs)).split(".")[1])
        rounding = 0.5 * 10.0**-digits
        assert abs(ours / 1e9 - theirs) <= max(0.01 * theirs, rounding)


@pytest.mark.parametrize("name", model_names())
def test_inventory_holds_every_weight(name):
    model = load_model(name)
    table = inventory(model)
    weights = int((table["inputs"] * table["outputs"]).sum())
    vectors = model.total_parameters() - weights
    assert 0 < vectors < 0.003 * weights
    routed = table[table["sparse"]]
    assert len(routed) == 3 * model.moe_layers * model.routed_experts
    per_token = routed.groupby("layer")["evaluations_per_token"].sum()
    assert per_token.to_numpy() == pytest.approx(3 * model.experts_per_token)


def test_inventory_of_olmoe_by_hand():
    table = inventory(load_model("olmoe"))
    one = table[(table["layer"] == 0) & ((table["expert"] == 0) | table["expert"].isna())]
    shapes = {row.module: (row.inputs, row.outputs) for row in one.itertuples()}
    assert shapes == {
        **dict.fromkeys(("query", "key", "value", "output"), (2048, 2048)),
        "router": (2048, 64),
        "expert_gate": (2048, 1024),
        "expert_up": (2048, 1024),
        "expert_down": (1024, 2048),
    }


# Larger siblings that do not ship: facts of their published config.json, total and active billions
# of their model cards, and how the active ones are counted.
SIBLINGS = {
    "deepseek-v2": (
        {
            "model_type": "deepseek_v2",
            "num_hidden_layers": 60,
            "hidden_size": 5120,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "n_routed_experts": 160,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "q_lora_rank": 1536,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "first_k_dense_replace": 1,
            "moe_layer_freq": 1,
            "vocab_size": 102400,
            "topk_method": "group_limited_greedy",
            "n_group": 8,
            "topk_group": 3,
            "norm_topk_prob": False,
            "routed_scaling_factor": 16.0,
        },
        236,
        21,
    ),
    "mixtral-8x22b": (
        {
            "model_type": "mixtral",
            "num_hidden_layers": 56,
            "hidden_size": 6144,
            "intermediate_size": 16384,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
            "num_attention_heads": 48,
            "num_key_value_heads": 8,
            "vocab_size": 32768,
        },
        141,
        39,
    ),
    "qwen2-57b-a14b": (
        {
            "model_type": "qwen2_moe",
            "num_hidden_layers": 28,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "moe_intermediate_size": 2560,
            "shared_expert_intermediate_size": 20480,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "decoder_sparse_step": 1,
            "vocab_size": 151936,
        },
        57.4,
        14.2,
    ),
    "qwen3-235b-a22b": (
        {
            "model_type": "qwen3_moe",
            "num_hidden_layers": 94,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_attention_heads": 64,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "decoder_sparse_step": 1,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
            "vocab_size": 151936,
        },
        235,
        22,
    ),
    "gpt-oss-120b": (
        {
            "model_type": "gpt_oss",
            "num_hidden_layers": 36,
            "hidden_size": 2880,
            "intermediate_size": 2880,
            "num_local_experts": 128,
            "num_experts_per_tok": 4,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "sliding_window": 128,
            "vocab_size": 201088,
        },
        116.83,
        5.13,
    ),
}


@pytest.mark.parametrize("name", SIBLINGS)
def test_config_of_a_larger_sibling(tmp_path, name):
    config, total, active = SIBLINGS[name]
    model = from_config(write(tmp_path, config))
    digits = [len(f"{number:g}".partition(".")[2]) for number in (total, active)]
    slack = [max(0.01 * n, 0.5 * 10.0**-d) for n, d in zip((total, active), digits, strict=True)]
    assert abs(model.total_parameters() / 1e9 - total) <= slack[0]
    kinds = ("all", "no_input_embedding", "no_embeddings")
    errors = [abs(model.active_parameters(kind) / 1e9 - active) for kind in kinds]
    assert min(errors) <= slack[1]


def test_named_and_hugging_face_id_are_one():
    assert load_model("allenai/OLMoE-1B-7B-0924") is load_model("olmoe")


def test_stand_in_follows_shared_experts():
    assert load_model("deepseekmoe").stand_in == "deepseekmoe-mini"
    assert load_model("mixtral").stand_in == "olmoe-mini"


def test_sliding_window_bounds_the_cache():
    model = load_model("gpt-oss-20b")
    long, short = model.kv_cache_elements(4096), model.kv_cache_elements(128)
    per_layer = 2 * 8 * 64
    assert short == 24 * 128 * per_layer
    assert long == (12 * 4096 + 12 * 128) * per_layer


def test_unknown_name_gives_the_nearest():
    with pytest.raises(ValueError, match="deepseekmoe") as error:
        load_model("deepseekmo")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": None}, "model_type None is not supported"),
        ({"model_type": "llama"}, "accepted: olmoe"),
        ({"hidden_size": None}, "'hidden_size' is None, expected an integer >= 1"),
        ({"num_experts": None}, "no layer has routed experts; the model is dense"),
        ({"num_experts": 1, "num_experts_per_tok": 1}, "no layer has routed experts"),
        ({"num_local_experts": 32}, "'num_experts' .64. and 'num_local_experts' .32. are one"),
        ({"num_hidden_layers": 10**8}, "'num_hidden_layers' is 100000000, expected at most 10,000"),
        ({"num_experts": 10**30}, "'num_experts' is an integer of 31 digits, expected at most"),
        ({"num_experts": 1e30}, "'num_experts' is 1e.30, expected an integer"),
        ({"num_experts": 100_000}, "16 layers of 100,000 experts are more than the 1,000,000"),
        ({"hidden_size": "2048"}, "expected an integer"),
        ({"num_experts": -3}, "expected an integer >= 0"),
        ({"num_experts_per_tok": 65}, "65 experts per token of only 64"),
        ({"num_key_value_heads": 3}, "cannot share"),
        ({"tie_word_embeddings": "no"}, "expected true or false"),
    ],
)
def test_bad_config_is_one_clear_line(tmp_path, change, words):
    config = {
        "model_type": "olmoe",
        "num_hidden_layers": 16,
        "hidden_size": 2048,
        "intermediate_size": 1024,
        "num_experts": 64,
        "num_experts_per_tok": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "vocab_size": 50304,
    }
    assert from_config(write(tmp_path, config)).total_parameters() == EXACT["olmoe"][0]
    with pytest.raises(ValueError, match=words) as error:
        from_config(write(tmp_path, config | change))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", '"model"', "\x00\xff", '{"hidden_size": ' + 5000 * "9" + "}"]
)
def test_file_that_is_no_config(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="expected a Hugging Face"):
        load_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        load_model(tmp_path / "no.json")


def test_qwen3_reads_as_transformers_5_writes_it():
    folder = Path(__file__).parent / "reference_logits" / "qwen3_moe"
    assert "num_experts" not in json.loads((folder / "config.json").read_text())
    assert load_model(folder).routed_experts == 4
