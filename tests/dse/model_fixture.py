"""A small random model and token sets for tests that need no trained weights."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from workloads.checkpoint import Miniature
from workloads.decoder_config import DecoderConfig, weight_shapes
from workloads.tasks import Benchmark


def random_miniature(seed=0, **changes):
    shape = {
        "vocab_size": 96,
        "hidden_size": 32,
        "layers": 3,
        "heads": 2,
        "kv_heads": 2,
        "head_dim": 16,
        "dense_layers": 1,
        "dense_intermediate_size": 48,
        "routed_experts": 8,
        "experts_per_token": 2,
        "expert_intermediate_size": 24,
        "shared_experts": 2,
        "renormalise_top_k": False,
        "qk_norm": False,
    }
    config = DecoderConfig(**(shape | changes))
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.ones(size)
        if name.endswith("norm")
        else torch.randn(size, generator=generator) * size[-1] ** -0.5
        for name, size in weight_shapes(config).items()
    }
    return Miniature("random", config, weights, Tokenizer(WordLevel({"a": 0})), "random weights")


def token_sets(miniature, rows=6, length=24, seed=1):
    generator = torch.Generator().manual_seed(seed)
    sets = []
    for index, kind in enumerate(("text", "text", "task", "task")):
        tokens = torch.randint(
            0, miniature.config.vocab_size, (rows, length + 1), generator=generator
        )
        mask = torch.ones(rows, length, dtype=torch.bool)
        instance = torch.full((rows, length), -1)
        if kind == "task":
            position = torch.arange(length)
            mask = (position % 6 >= 5).expand(rows, length).clone()
            numbers = torch.arange(rows)[:, None] * (length // 6) + position // 6
            instance = torch.where(mask, numbers, -1)
        sets.append(Benchmark(f"{kind}-{index}", kind, tokens, mask, instance))
    return sets
