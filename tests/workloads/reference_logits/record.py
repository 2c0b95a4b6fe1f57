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
    MixtralConfig,
    MixtralForCausalLM,
    OlmoeConfig,
    OlmoeForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

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
}


def main() -> None:
    """Write one folder a model."""
    for number, (name, model) in enumerate(MODELS.items()):
        generator = torch.Generator().manual_seed(number)
        # The default initialisation is so small that logits would hardly depend on the layers.
        for key, parameter in model.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            parameter.data = 1 + noise if key.endswith("norm.weight") else noise
        tokens = torch.randint(0, 32, (2, 12), generator=generator)
        with torch.no_grad():
            logits = model.float().eval()(tokens).logits
        folder = Path(__file__).parent / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder, max_shard_size="12KB")
        (folder / "generation_config.json").unlink(missing_ok=True)
        save_file({"tokens": tokens, "logits": logits}, folder / "logits.safetensors")
        print(name, f"{float(logits.std()):.3f}")


if __name__ == "__main__":
    main()
