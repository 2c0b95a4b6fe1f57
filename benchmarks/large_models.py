"""What a trial costs outside the simulation, and the memory it takes, for very large models.

DeepSeek-V3 (256 experts in each of 58 layers) with every parameter of the space free and idle ones
added to make 20, then how cost grows with experts, layers, designs and parameters. Processor time,
for wall time depends on the disk and on what else runs. Expert scores are drawn at random and
routing is Zipf's: neither changes the amount of work. The simulation is replaced by a formula; its
time does not depend on the full model's size, since a miniature stands for it.

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

from dse.cost.mapping import placeable_parts
from dse.cost.workload import Traffic
from dse.placement.experts import SCOPES, digital_order, stretch
from dse.search import loop as search
from dse.search.costing import cost
from dse.search.problem import Problem
from dse.search.screening import Screening
from dse.search.settings import Settings
from dse.search.space import Parameter, Space
from dse.search.study.storage import journal_storage
from workloads.architecture import MoEArchitecture, parse_config
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
PARAMETERS = 20
AIM_MS, AIM_MIB = 20, 2048
MINIATURE = (8, 64)  # layers and experts of the miniature that would be simulated


class Formula:
    """Stands where the simulator is: a loss that grows with analog share and coarse converters."""

    miniature = SimpleNamespace(name="formula", source="formula", weights={})

    def evaluate(self, noise: Any, digital: Any, analog_modules: Any = (), form: Any = None) -> Any:
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


def widened(space: Space, parameters: int) -> Space:
    """A space with parameters added that nothing depends on; proposing and storing them costs."""
    idle = [
        Parameter(f"idle_{number}", tuple(range(8)), "nothing", 0, 7)
        for number in range(len(space.names), parameters)
    ]
    return Space((*space.parameters, *idle))


def problem_of(architecture: MoEArchitecture, parameters: int = PARAMETERS) -> Problem:
    """The whole default space for a model, under a budget in proportion to its experts."""
    experts = architecture.moe_layers * architecture.routed_experts
    settings = Settings("deepseek-v3", AREA_MM2 * max(experts / (58 * 256), 0.1))
    generator = np.random.default_rng(0)
    space = settings.space().for_parts(placeable_parts(architecture, ()))
    shape = (architecture.moe_layers, architecture.routed_experts)
    small = {str(s): generator.random(MINIATURE) for s in space["placement_score"].choices}
    formula: Any = Formula()
    scores = {name: stretch(values, *shape) for name, values in small.items()}
    return Problem(
        architecture=architecture,
        routing=zipf(*shape, architecture.experts_per_token),
        space=widened(space, parameters),
        traffic=Traffic(settings.concurrency, settings.context),
        limits=settings.limits(),
        objectives=settings.metrics,
        scores=scores,
        orders={(n, s): digital_order(scores[n], s) for n in scores for s in SCOPES},
        miniature_orders={(n, s): digital_order(small[n], s) for n in small for s in SCOPES},
        miniature_shape=MINIATURE,
        simulator=formula,
    )


def searched(
    architecture: MoEArchitecture, trials: int, parameters: int = PARAMETERS
) -> dict[str, Any]:
    """Milliseconds of a trial, the journal on disk included, and seconds before the first."""
    before = time.process_time()
    problem = problem_of(architecture, parameters)
    screening = Screening(problem, {}, 0)
    set_up_s = time.process_time() - before
    stamps = [time.process_time()]
    with TemporaryDirectory() as folder:
        study = search.open_study(journal_storage(Path(folder) / "journal"), problem)
        study.sampler = search.make_sampler("screening", screening, 0)
        clock = search.Clock()
        search.run_search(
            study, problem, screening, trials=trials, clock=clock,
            show=lambda progress: stamps.append(time.process_time()),
        )  # fmt: skip
        wall_s = clock.total - clock.simulation
    each = 1e3 * np.diff(stamps)
    return {
        "layers": architecture.moe_layers,
        "experts": architecture.routed_experts,
        "parameters_billions": round(architecture.total_parameters() / 1e9, 1),
        "space_parameters": len(problem.space.names),
        "set_up_processor_s": set_up_s,
        "trial_ms_processor": float(each.mean()),
        "trial_ms_processor_median": float(np.median(each)),
        "trial_ms_processor_most": float(each.max()),
        "trial_ms_wall": wall_s * 1e3 / trials,
        "front": len(screening.archive) if screening.archive is not None else 0,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def costed(architecture: MoEArchitecture, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Milliseconds of processor time to cost this many random designs at once."""
    problem, rows = problem_of(architecture), []
    cost(problem, problem.space.random(10, np.random.default_rng(0)))
    for count in counts:
        indices = problem.space.random(count, np.random.default_rng(count))
        before = time.process_time()
        cost(problem, indices)
        milliseconds = 1e3 * (time.process_time() - before)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append({"designs": count, "ms_processor": milliseconds, "peak_memory_mib": memory})
    return rows


def benchmark(trials: int) -> dict[str, Any]:
    """DeepSeek-V3 first, while the peak memory is its own; then the growth."""
    return {
        "aim_trial_ms": AIM_MS,
        "aim_memory_mib": AIM_MIB,
        "deepseek_v3": searched(deepseek_v3(), trials),
        "designs": costed(deepseek_v3(), (1, 100, 1_000, 10_000, 100_000)),
        "parameters": [searched(deepseek_v3(), trials, n) for n in (15, 40)],
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
    print("                       space       processor time   a trial outside simulation,")
    print("layers experts weights parameters  of the set-up  mean, median, most; mean wall time")
    grown = (result[name] for name in ("parameters", "experts", "layers"))
    for row in [result["deepseek_v3"], *(row for rows in grown for row in rows)]:
        print(f"{row['layers']:6} {row['experts']:7} {row['parameters_billions']:5.0f} G "
              f"{row['space_parameters']:10} {row['set_up_processor_s']:13.1f} s "
              f"{row['trial_ms_processor']:6.1f} {row['trial_ms_processor_median']:6.1f} "
              f"{row['trial_ms_processor_most']:6.1f} {row['trial_ms_wall']:8.1f} ms")  # fmt: skip
    first = result["deepseek_v3"]
    for name, reached, aim, unit in (
        ("a trial", first["trial_ms_processor"], AIM_MS, "ms"),
        ("peak memory", first["peak_memory_mib"], AIM_MIB, "MiB"),
    ):
        verdict = "holds" if reached < aim else "falls short"
        print(f"DeepSeek-V3, {name}: {reached:.0f} {unit}, aim below {aim} {unit}: {verdict}")
    for row in result["designs"]:
        print(f"{row['designs']:7} designs costed in {row['ms_processor']:.0f} ms, "
              f"peak memory {row['peak_memory_mib']:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
