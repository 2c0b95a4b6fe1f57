"""What a decode step of a published model reads: published sizes, brute force, closed forms."""

import numpy as np
import pytest

from workloads import decoders


@pytest.mark.parametrize(
    ("name", "total", "embedding"),
    [
        ("meta-llama/Llama-3.1-8B", 8.03e9, 128256 * 4096),
        ("meta-llama/Llama-3.1-405B", 405.85e9, 128256 * 16384),
        ("Qwen/Qwen3-32B", 32.76e9, 151936 * 5120),
        ("deepseek-ai/DeepSeek-V3", 671.03e9, 129280 * 7168),
        ("Qwen/Qwen3-Coder-480B-A35B", 480.15e9, 151936 * 6144),
    ],
)
def test_described_models_have_their_published_size(
    name: str, total: float, embedding: int
) -> None:
    decoder = next(one for one in decoders.decoders().values() if one.name == name)
    routed = decoder.moe_layers * decoder.experts * decoder.parameters_per_expert
    assert routed + decoder.parameters_always_read + embedding == pytest.approx(total, rel=1e-3)


def test_unique_experts_by_brute_force() -> None:
    """128 experts, 8 a token, uniform: 1 - (1 - 8/128)^B each; skew uses fewer."""
    uniform = decoders.routing_probabilities(128, 8, 0.0)
    assert np.allclose(uniform, 8 / 128)
    expected = 128 * (1 - (1 - 8 / 128) ** 32)
    assert decoders.expected_unique_experts(uniform, 32) == pytest.approx(expected)
    skewed = decoders.routing_probabilities(128, 8, 1.5)
    assert skewed.max() <= 1 and skewed.sum() == pytest.approx(8)
    assert decoders.expected_unique_experts(skewed, 32) < expected
    draws = np.random.default_rng(0).random((4000, 32, 128)) < skewed
    simulated = draws.any(axis=1).sum(axis=1).mean()
    assert decoders.expected_unique_experts(skewed, 32) == pytest.approx(simulated, rel=0.01)


def test_step_by_hand() -> None:
    """Qwen3-8B: 36 layers, 8 heads of 128 for keys and values, 32 for queries; nothing routed."""
    reads = decoders.step_reads("Qwen/Qwen3-8B", 4, 100)
    assert reads.cache_values == 4 * 100 * 36 * 2 * 8 * 128
    assert reads.cache_macs == 4 * 100 * 36 * 2 * 32 * 128
    assert reads.macs == 4 * reads.other_weights
    assert (reads.stages, reads.grouped_stages, reads.grouped_weights) == (36, 0, 0)


def test_more_sequences_read_more_experts_up_to_all() -> None:
    """One token reads its 8 of 128 experts; a thousand read nearly all."""
    one, many = (decoders.step_reads("Qwen/Qwen3-30B-A3B", batch, 1) for batch in (1, 1000))
    assert one.grouped_weights == pytest.approx(one.held_grouped_weights * 8 / 128)
    assert 0.98 < many.grouped_weights / many.held_grouped_weights < 1
