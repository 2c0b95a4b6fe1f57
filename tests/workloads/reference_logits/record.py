"""Records logits of small random models, computed by transformers, for test_checkpoint_folder.

Run in an environment of its own (transformers cannot be imported beside torchvision on a CPU):

    pip install torch==2.13.0 transformers==5.23.0
    python tests/workloads/reference_logits/record.py

Each model is written as a Hugging Face folder of several shards beside this file, with its tokens
and logits in logits.safetensors. Seeds are fixed: a second run writes the same numbers.
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

COMMON = {
    "vocab_size": 32,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LATENT = {
    **COMMON,
    "num_key_value_heads": 4,
    "num_hidden_layers": 3,
    "intermediate_size": 24,
    "moe_intermediate_size": 8,
    "n_routed_experts": 6,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "topk_method": "greedy",
    "norm_topk_prob": False,
}
MODELS = {
    "olmoe": OlmoeForCausalLM(
        OlmoeConfig(**COMMON, intermediate_size=8, num_experts=6, num_experts_per_tok=3)
    ),
    "qwen2_moe": Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            **COMMON,
            intermediate_size=24,
            moe_intermediate_size=8,
            shared_expert_intermediate_size=12,
            num_experts=4,
            num_experts_per_tok=2,
            mlp_only_layers=[0],
        )
    ),
    "qwen3_moe": Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **COMMON,
            head_dim=8,
            intermediate_size=24,
            moe_intermediate_size=8,
            num_experts=4,
            num_experts_per_tok=2,
            norm_topk_prob=True,
            tie_word_embeddings=True,
        )
    ),
    "mixtral": MixtralForCausalLM(
        MixtralConfig(**COMMON, intermediate_size=8, num_local_experts=4, num_experts_per_tok=2)
    ),
    # As DeepSeek-V2-Lite: queries not compressed, rotations stretched, attention sharpened.
    "deepseek_v2_lite": DeepseekV2ForCausalLM(
        DeepseekV2Config(
            **LATENT,
            q_lora_rank=None,
            routed_scaling_factor=1.0,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 100.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
                "beta_fast": 2,
                "beta_slow": 1,
                "mscale": 0.707,
                "mscale_all_dim": 0.707,
            },
        )
    ),
    # As DeepSeek-V2, apart from its grouped top-k: queries compressed, routing weights scaled.
    "deepseek_v2": DeepseekV2ForCausalLM(
        DeepseekV2Config(**LATENT, q_lora_rank=6, routed_scaling_factor=16.0)
    ),
    "deepseek_v2_grouped": DeepseekV2ForCausalLM(
        DeepseekV2Config(
            **{**LATENT, "topk_method": "group_limited_greedy", "num_experts_per_tok": 2},
            q_lora_rank=6,
            n_group=3,
            topk_group=2,
            routed_scaling_factor=16.0,
        )
    ),
    # As DeepSeek-V3: sigmoid scores, a bias that counts in the choice alone, groups, yarn.
    "deepseek_v3": DeepseekV3ForCausalLM(
        DeepseekV3Config(
            **{k: v for k, v in LATENT.items() if k not in ("topk_method", "norm_topk_prob")},
            q_lora_rank=6,
            n_group=3,
            topk_group=2,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 100.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
                "beta_fast": 32,
                "beta_slow": 1,
                "mscale": 1.0,
                "mscale_all_dim": 1.0,
            },
        )
    ),
    "glm4_moe": Glm4MoeForCausalLM(
        Glm4MoeConfig(
            **COMMON,
            head_dim=8,
            intermediate_size=24,
            moe_intermediate_size=8,
            n_routed_experts=6,
            n_shared_experts=1,
            num_experts_per_tok=3,
            n_group=1,
            topk_group=1,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            routed_scaling_factor=1.5,
            use_qk_norm=True,
            attention_bias=True,
        )
    ),
    # A window shorter than the text in the first layer, sinks, biases, stretched rotations.
    "gpt_oss": GptOssForCausalLM(
        GptOssConfig(
            **COMMON,
            head_dim=8,
            intermediate_size=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=5,
            layer_types=["sliding_attention", "full_attention"],
            swiglu_limit=1.0,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 100.0,
                "factor": 4.0,
                "original_max_position_embeddings": 64,
                "beta_fast": 2.0,
                "beta_slow": 1.0,
                "truncate": False,
            },
        )
    ),
    "granitemoe": GraniteMoeForCausalLM(
        GraniteMoeConfig(
            **COMMON,
            intermediate_size=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            embedding_multiplier=12.0,
            residual_multiplier=0.22,
            attention_multiplier=0.4,
            logits_scaling=0.5,
            tie_word_embeddings=True,
        )
    ),
    # As Phi-3.5-MoE: layer norms, biases, sparsemixer, rotations slowed down by column.
    "phimoe": PhimoeForCausalLM(
        PhimoeConfig(
            **COMMON,
            intermediate_size=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            attention_bias=True,
            lm_head_bias=True,
            router_jitter_noise=0.1,
            rope_parameters={
                "rope_type": "longrope",
                "rope_theta": 100.0,
                "short_factor": [1.0, 1.5],
                "long_factor": [2.0, 3.0],
                "short_mscale": 1.2,
                "long_mscale": 1.3,
                "original_max_position_embeddings": 32,
            },
        )
    ),
    "qwen3_moe_yarn": Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            **COMMON,
            head_dim=8,
            intermediate_size=24,
            moe_intermediate_size=8,
            num_experts=4,
            num_experts_per_tok=2,
            norm_topk_prob=True,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 100.0,
                "factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        )
    ),
    "mixtral_window": MixtralForCausalLM(
        MixtralConfig(
            **COMMON,
            intermediate_size=8,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=5,
        )
    ),
}
# Written once more as transformers 5 holds them: the experts of a layer in two tensors.
FUSED = ("deepseek_v3", "mixtral", "phimoe")


def _write(
    model: torch.nn.Module, folder: Path, tokens: torch.Tensor, logits: torch.Tensor, original: bool
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size="12KB", save_original_format=original)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"tokens": tokens, "logits": logits}, folder / "logits.safetensors")


def _write_mxfp4(file: Path) -> None:
    """Random blocks of four-bit numbers with their scales, and what transformers makes of them."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, 256, (2, 6, 3, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(120, 134, (2, 6, 3), generator=generator, dtype=torch.uint8)
    numbers = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).contiguous()
    save_file({"blocks": blocks, "scales": scales, "numbers": numbers}, file)


def main() -> None:
    """Write one folder a model."""
    for number, (name, model) in enumerate(MODELS.items()):
        generator = torch.Generator().manual_seed(number)
        # The default initialisation is so small that logits would hardly depend on the layers.
        for key, parameter in model.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.data = 1 + noise if key.endswith("norm.weight") else noise
        for key, buffer in model.named_buffers():
            if key.endswith("e_score_correction_bias"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
        tokens = torch.randint(0, 32, (2, 12), generator=generator)
        with torch.no_grad():
            logits = model.float().eval()(tokens).logits
        folder = Path(__file__).parent / name
        _write(model, folder, tokens, logits, original=True)
        if name in FUSED:
            _write(model, folder.with_name(f"{name}_fused"), tokens, logits, original=False)
        print(name, f"{float(logits.std()):.3f}")
    _write_mxfp4(Path(__file__).parent / "mxfp4.safetensors")


if __name__ == "__main__":
    main()
