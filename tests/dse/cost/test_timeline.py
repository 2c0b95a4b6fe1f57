"""A step layer by layer adds up to the costs, which sum over layers before they are told."""

import numpy as np
import pandas as pd
import pytest

from dse.cost.evaluate import evaluate
from dse.cost.recorded import Model, systems
from dse.cost.timeline import layer_table
from dse.cost.workload import Traffic
from hwmodels.digital import load_accelerator
from workloads.architecture import load_model
from workloads.routing import Routing

TRAFFIC = {"decode": Traffic(16, 256), "prefill": Traffic(16, prompt=256, output_tokens=1)}


def designs(modules: str, digital: list[int]) -> pd.DataFrame:
    count = len(digital)
    return pd.DataFrame(
        {"trial": np.arange(count) + 7, "technology": "pcm-3d", "tile_rows": 512,
         "tile_cols": 512, "tiers": 256, "dac_bits": 8, "adc_bits": 8, "columns_per_adc": 1,
         "tiles": 900, "mac_units": 65536, "array_rows": 64, "sram_mib": 8.0, "hbm_stacks": 4,
         "dies": 2, "memory": "hbm2e", "digital_weight_bits": 8, "kv_bits": 16,
         "micro_batches": [1, 2, 8][:count],
         "digital_experts": digital, "placement_score": "load", "placement_scope": "global",
         "analog_modules": modules}
    )  # fmt: skip


def model(name: str, mode: str) -> Model:
    architecture = load_model(name)
    shape = (architecture.moe_layers, architecture.routed_experts)
    p = np.random.default_rng(3).gamma(2.0, size=shape)
    p *= architecture.experts_per_token / p.sum(axis=1, keepdims=True)
    routing = Routing(np.minimum(p, 1.0), np.zeros(shape), "made up")
    order = np.argsort(-p.reshape(-1))
    return Model(architecture, routing, {("load", "global"): order}, TRAFFIC[mode],
                 load_accelerator("edge-7nm"))  # fmt: skip


@pytest.mark.parametrize("name", ["deepseekmoe", "olmoe", "jamba-v0.1"])
@pytest.mark.parametrize("modules", ["none", "attention", "router+lm_head"])
@pytest.mark.parametrize("mode", ["decode", "prefill"])
def test_layers_add_up_to_the_costs(name: str, modules: str, mode: str) -> None:
    made = model(name, mode)
    table = designs(modules, [0, 40, 101])
    system, order, digital = systems(made, table)
    parts = () if modules == "none" else tuple(modules.split("+"))
    costs = evaluate(made.architecture, made.routing, made.orders, system, order, digital,
                     made.traffic, parts, table["micro_batches"].to_numpy())  # fmt: skip
    layers = layer_table(made, table)
    for place, trial in enumerate(table["trial"]):
        own = layers[layers["trial"] == trial]
        count = own["last_layer"] - own["first_layer"] + 1
        places = own.drop_duplicates("first_layer")
        length = (places["layer_s"] * count[places.index]).sum()
        assert length == pytest.approx(costs.latency_s_per_token[place], rel=1e-9)
        spent = own.filter(like="energy_").to_numpy()
        waited = own.filter(regex="^latency_").to_numpy()
        assert np.nanmin(waited) >= 0
        assert np.nansum(waited) == pytest.approx(costs.latency_s_per_token[place], rel=1e-9)
        for part in costs.area_component:
            if part.startswith("tile_"):
                # What a layer takes of the tiles is what is used of their tiers.
                used = own[f"area_{part}_mm2"].sum() / costs.area_component[part][place]
                share = costs.occupancy[place] / costs.utilisation[place]
                assert used == pytest.approx(share, rel=1e-9)
        static = costs.energy_module["static"][place]
        assert np.nansum(spent) + static == pytest.approx(costs.energy_j_per_token[place], rel=1e-9)
        outputs = made.traffic.concurrency / costs.micro_batches[place]
        interval = outputs / costs.throughput_tokens_per_s[place]
        on_accelerator = (own["busy_s"] * count)[own["resource"] == "accelerator"].sum() / 2
        assert on_accelerator <= interval * (1 + 1e-9)
        assert (own["busy_s"] <= own["layer_s"] * (1 + 1e-9)).all()
        assert count.groupby(own["first_layer"]).first().sum() == made.architecture.layers + 2


def test_like_layers_are_one_stretch() -> None:
    made = model("olmoe", "decode")
    same = np.full(made.routing.probability.shape, 8 / 64)
    routing = Routing(same, np.zeros(same.shape), "uniform")
    alike = Model(made.architecture, routing, made.orders, made.traffic, made.base)
    layers = layer_table(alike, designs("none", [0]))
    assert set(layers["first_layer"]) == {-1, 0, 16}
