"""What a trial costs outside the simulation, and the memory it takes, for very large models.

DeepSeek-V3 (256 experts in each of 58 layers) with every parameter of the space free, then how
cost grows with experts, layers and designs. Expert scores are drawn at random and routing is
Zipf's: neither changes the amount of work. The simulation is replaced by a formula; its time does
not depend on the full model's size, since a miniature stands for it.

    python benchmarks/large_models.py [--trials 48] [--json]
"""

import argparse
import json
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np

from dse import search
from dse.cost import Workload
from dse.mapping import placeable_parts
from dse.placement import SCOPES, digital_order, stretch
from dse.problem import CLEAN, Problem
from dse.screening import Screening
from dse.settings import Settings
from dse.storage import journal_storage
from workloads.architecture import MoEArchitecture
from workloads.huggingface import parse_config
from workloads.routing import zipf

# Published config.json of DeepSeek-V3 (arXiv 2412.19437): 671 B parameters.
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "vocab_size": 129280,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "moe_layer_freq": 1,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}
# 671 G weights need this much of 3D tiles; smaller budgets leave no design that holds the model.
AREA_MM2 = 6000.0
MINIATURE = (8, 64)  # layers and experts of the miniature that would be simulated


class Formula:
    """Stands where the simulator is: a loss that grows with analog share and coarse converters."""

    miniature = SimpleNamespace(name="formula", source="formula", weights={})

    def evaluate(self, noise: Any, digital: Any, analog_modules: Any = ()) -> Any:
        analog = 1 - digital.mean()
        loss = analog * (0.004 + 0.01 * 4.0 ** (6 - noise.adc_bits) + 4.0 ** (2 - noise.dac_bits))
        return SimpleNamespace(
            delta_loss=loss, delta_loss_stderr=0.0, top1=0.0, top1_stderr=0.0,
            accuracy=0.0, accuracy_stderr=0.0, source="formula", seconds=0.0,
        )  # fmt: skip


def deepseek_v3(layers: int = 61, experts: int = 256) -> MoEArchitecture:
    """DeepSeek-V3, or the same with other numbers of layers and experts."""
    config = DEEPSEEK_V3 | {"num_hidden_layers": layers, "n_routed_experts": experts}
    return parse_config(config, where="DeepSeek-V3", name="deepseek-v3", title="DeepSeek-V3")


def problem_of(architecture: MoEArchitecture) -> Problem:
    """The whole default space for a model, under a budget in proportion to its experts."""
    experts = architecture.moe_layers * architecture.routed_experts
    settings = Settings("deepseek-v3", AREA_MM2 * max(experts / (58 * 256), 0.1))
    generator = np.random.default_rng(0)
    space = settings.space().for_parts(placeable_parts(architecture, ()))
    shape = (architecture.moe_layers, architecture.routed_experts)
    small = {str(s): generator.random(MINIATURE) for s in space["placement_score"].choices}
    scores = {name: stretch(values, *shape) for name, values in small.items()}
    return Problem(
        architecture=architecture,
        routing=zipf(*shape, architecture.experts_per_token),
        space=space,
        workload=Workload(settings.batch, settings.context, settings.mode),
        limits=settings.limits(),
        objectives=settings.metrics,
        scores=scores,
        orders={(n, s): digital_order(scores[n], s) for n in scores for s in SCOPES},
        miniature_orders={(n, s): digital_order(small[n], s) for n in small for s in SCOPES},
        miniature_shape=MINIATURE,
        simulator=Formula(),  # type: ignore[arg-type]
    )


def searched(architecture: MoEArchitecture, trials: int) -> dict[str, Any]:
    """Milliseconds of a trial, the journal on disk included, and seconds before the first."""
    before = time.perf_counter()
    problem = problem_of(architecture)
    screening = Screening(problem, {CLEAN: problem.simulate(CLEAN)}, 0)
    set_up_s = time.perf_counter() - before
    stamps = [time.perf_counter()]
    with TemporaryDirectory() as folder:
        study = search.open_study(journal_storage(Path(folder) / "journal"), problem)
        study.sampler = search.make_sampler("screening", screening, 0)
        clock, cpu = search.Clock(), time.process_time()
        search.run_search(
            study, problem, screening, trials=trials, clock=clock,
            show=lambda progress: stamps.append(time.perf_counter()),
        )  # fmt: skip
        cpu = time.process_time() - cpu
    each = 1e3 * np.diff(stamps)
    return {
        "layers": architecture.moe_layers,
        "experts": architecture.routed_experts,
        "parameters_billions": round(architecture.total_parameters() / 1e9, 1),
        "space_parameters": len(problem.space.names),
        "set_up_s": set_up_s,
        "trial_ms_mean": float((clock.total - clock.simulation) * 1e3 / trials),
        "trial_ms_median": float(np.median(each)),
        "trial_ms_most": float(each.max()),
        "trial_ms_processor": 1e3 * cpu / trials,
        "front": len(screening.archive) if screening.archive is not None else 0,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def costed(architecture: MoEArchitecture, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Milliseconds to cost this many random designs at once."""
    problem, rows = problem_of(architecture), []
    problem.cost(problem.space.random(10, np.random.default_rng(0)))
    for count in counts:
        indices = problem.space.random(count, np.random.default_rng(count))
        before = time.perf_counter()
        problem.cost(indices)
        milliseconds = 1e3 * (time.perf_counter() - before)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append({"designs": count, "ms": milliseconds, "peak_memory_mib": memory})
    return rows


def benchmark(trials: int) -> dict[str, Any]:
    """DeepSeek-V3 first, while the peak memory is its own; then the growth."""
    return {
        "deepseek_v3": searched(deepseek_v3(), trials),
        "designs": costed(deepseek_v3(), (1, 100, 10_000, 100_000)),
        "experts": [searched(deepseek_v3(experts=n), trials) for n in (64, 128, 512)],
        "layers": [searched(deepseek_v3(layers=n), trials) for n in (17, 32, 119)],
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    result = benchmark(given.trials)
    if given.as_json:
        print(json.dumps(result, indent=2))
        return
    print("layers experts parameters   set-up   a trial outside simulation: mean, median, most")
    for row in [result["deepseek_v3"], *result["experts"], *result["layers"]]:
        print(f"{row['layers']:6} {row['experts']:7} {row['parameters_billions']:8.1f} G "
              f"{row['set_up_s']:7.1f} s {row['trial_ms_mean']:9.1f} {row['trial_ms_median']:9.1f} "
              f"{row['trial_ms_most']:9.1f} ms")  # fmt: skip
    first = result["deepseek_v3"]
    print(f"peak memory {first['peak_memory_mib']:.0f} MiB, {first['space_parameters']} parameters")
    for row in result["designs"]:
        print(f"{row['designs']:7} designs costed in {row['ms']:.0f} ms, "
              f"peak memory {row['peak_memory_mib']:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
