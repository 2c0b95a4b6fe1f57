"""Run folders made up for the tests, with the columns of a real run; and a browser to see them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from decided import DESCRIBED, decide, write_decision
from filelock import FileLock
from report_page import PATIENCE_MS

LAYERS, EXPERTS = 27, 64
SCORES = ("max_neuron_norm", "activation_frequency", "activation_weight", "router_norm", "random")
SCOPES = ("global", "per_layer")
COMPONENTS = ("adc", "dac", "cell_array", "mac", "sram", "hbm", "link", "static")
MODULES = ("attention", "router", "routed_expert", "shared_expert", "lm_head")
SOURCE = "miniature deepseekmoe-mini (15.2 M tokens, sha256 ab12cd34)"


def made_up_experts(seed: int = 0) -> pd.DataFrame:
    """Experts whose norm follows their load loosely; ranks follow each score."""
    rng = np.random.default_rng(seed)
    count = LAYERS * EXPERTS
    load = rng.gamma(2.0, size=count)
    table = pd.DataFrame(
        {
            "layer": np.repeat(np.arange(1, LAYERS + 1), EXPERTS),
            "expert": np.tile(np.arange(EXPERTS), LAYERS),
            "load": load / load.mean() * 6 / EXPERTS,
            "max_neuron_norm": 1 + 0.2 * load + rng.normal(0, 0.3, count),
            "activation_frequency": load / load.mean() * 6 / EXPERTS,
            "activation_weight": load / load.mean() * 0.4 * rng.uniform(0.8, 1.2, count),
            "router_norm": rng.uniform(0.5, 1.5, count),
            "random": rng.uniform(size=count),
        }
    )
    for score in SCORES:
        order = table[score].rank(ascending=False, method="first") - 1
        table[f"rank_{score}_global"] = order.astype(int)
        within = table.groupby("layer")[score].rank(ascending=False, method="first") - 1
        table[f"rank_{score}_per_layer"] = (
            (within * LAYERS + table["layer"] - 1).rank(method="first") - 1
        ).astype(int)
    return table


def made_up_candidates(designs: int, seed: int = 0, simulated: float = 0.3) -> pd.DataFrame:
    """Designs with a plausible trade: more digital experts cost energy and save accuracy."""
    rng = np.random.default_rng(seed)
    share = np.round(rng.uniform(0, 1, designs), 3)
    adc = rng.integers(5, 11, designs)
    area = rng.uniform(60, 330, designs)
    energy = 4e-3 * (0.15 + share**1.3) * rng.uniform(0.8, 1.6, designs) * (1 + 0.05 * (adc - 5))
    throughput = 9e4 / (0.3 + 4 * share) * rng.uniform(0.5, 1.3, designs)
    loss = 0.09 * (1 - share) ** 1.5 + 0.2 * np.exp(-(adc - 4)) + rng.normal(0, 0.004, designs)
    table = pd.DataFrame(
        {
            "trial": np.arange(designs),
            "state": np.where((area < 200) & (rng.uniform(size=designs) < simulated / 0.52),
                              "complete", "ruled_out"),
            "technology": rng.choice(["pcm-14nm", "pcm-3d", "rram-22nm"], designs),
            "tile_rows": rng.choice([128, 256, 512], designs),
            "tile_cols": rng.choice([128, 256, 512], designs),
            "tiers": rng.choice([1, 4, 16, 64, 256], designs),
            "tiles": rng.integers(20, 2000, designs),
            "adc_bits": adc,
            "dac_bits": rng.integers(6, 9, designs),
            "columns_per_adc": rng.choice([1, 4, 8, 32], designs),
            "digital_expert_fraction": share,
            "digital_experts": np.round(share * LAYERS * EXPERTS).astype(int),
            "placement_score": rng.choice(SCORES, designs),
            "placement_scope": rng.choice(SCOPES, designs),
            "mac_units": rng.choice([4096, 16384, 65536], designs),
            "sram_mib": rng.choice([16.0, 64.0], designs),
            "hbm_stacks": rng.integers(1, 5, designs),
            "area_mm2": area,
            "energy_j_per_token": energy,
            "throughput_tokens_per_s": throughput,
            "latency_s_per_token": 32 / throughput,
            "interval_resource_accelerator_s": 32 / throughput,
            "interval_resource_tiles_s": 16 / throughput,
            "interval_resource_sequences_s": 8 / throughput,
            "micro_batches": 1,
            "power_w": energy * throughput,
            "utilisation": rng.uniform(0.5, 1, designs),
            "delta_loss_nats": loss,
            "delta_loss_stderr": rng.uniform(0.002, 0.005, designs),
            "top1": 0.42 - loss / 3,
            "top1_stderr": 0.002,
            "accuracy": 0.71 - loss,
            "accuracy_stderr": 0.006,
            "accuracy_source": SOURCE,
        }
    )  # fmt: skip
    table["occupancy"] = 0.9 * table["utilisation"]
    add_breakdowns(table, rng)
    ruled_out = table["state"] == "ruled_out"
    table["reason"] = np.where(ruled_out, [f"area {a:.0f} mm² above 200 mm²" for a in area], None)
    accuracies = ["delta_loss_nats", "delta_loss_stderr", "top1", "top1_stderr", "accuracy",
                  "accuracy_stderr", "accuracy_source"]  # fmt: skip
    table.loc[ruled_out, accuracies] = np.nan
    return table


def add_breakdowns(table: pd.DataFrame, rng: np.random.Generator) -> None:
    """Shares of components and modules in each design's energy, latency and area, at random."""
    for names, what, unit, total in (
        (COMPONENTS, "energy_component", "_j_per_token", "energy_j_per_token"),
        (MODULES, "energy_module", "_j_per_token", "energy_j_per_token"),
        (MODULES, "latency_module", "_s_per_token", "latency_s_per_token"),
        (COMPONENTS, "area_component", "_mm2", "area_mm2"),
    ):
        parts = rng.dirichlet(np.ones(len(names)) * 2, len(table))
        for index, name in enumerate(names):
            table[f"{what}_{name}{unit}"] = parts[:, index] * table[total]


def mark_front(table: pd.DataFrame) -> pd.DataFrame:
    """on_front and is_knee by brute force over loss, energy and throughput."""
    rows = table["state"] == "complete"
    values = table.loc[rows, ["delta_loss_nats", "energy_j_per_token"]].to_numpy(dtype=float)
    values = np.column_stack([values, -table.loc[rows, "throughput_tokens_per_s"]])
    beaten = np.array(
        [((values <= v).all(axis=1) & (values < v).any(axis=1)).any() for v in values], dtype=bool
    )
    table["on_front"] = False
    table["is_knee"] = False
    front = table.index[rows][~beaten] if rows.any() else table.index[:0]
    table.loc[front, "on_front"] = True
    if len(front):
        best = values[~beaten]
        best[:, 1:] = np.log10(np.abs(best[:, 1:])) * [1, -1]
        span = np.ptp(best, axis=0)
        scaled = (best - best.min(axis=0)) / np.where(span > 0, span, 1)
        table.loc[front[np.argmin((scaled**2).sum(axis=1))], "is_knee"] = True
    return table


def references(table: pd.DataFrame) -> pd.DataFrame:
    """All digital and all analog as rows of their own."""
    rows = table.iloc[[0, 0]].copy()
    rows[["state", "reason", "technology", "placement_score", "placement_scope"]] = [
        ["reference", None, None, None, None],
        ["reference", None, "pcm-3d", None, None],
    ]
    rows["reference_name"] = ["all digital", "all analog"]
    rows["trial"] = [-1, -2]
    rows["digital_experts"] = [LAYERS * EXPERTS, 0]
    rows["digital_expert_fraction"] = [1.0, 0.0]
    for name, values in {
        "delta_loss_nats": [0.0, 0.131], "delta_loss_stderr": [0.0, 0.006],
        "accuracy": [0.71, 0.58], "accuracy_stderr": [0.006, 0.006], "top1": [0.42, 0.375],
        "top1_stderr": [0.002, 0.002], "energy_j_per_token": [9e-3, 3e-4],
        "throughput_tokens_per_s": [9000.0, 2500.0], "latency_s_per_token": [3.5e-3, 1.3e-2],
    }.items():  # fmt: skip
        rows[name] = values
    rows["accuracy_source"] = SOURCE
    rows[["on_front", "is_knee"]] = False
    return rows


def made_up_layers(table: pd.DataFrame) -> pd.DataFrame:
    """A step of the designs on the front and of the references: a dense layer, then like ones."""
    shown = table[table["on_front"] | (table["state"] == "reference")]
    parts = [
        (0, 0, "attention", "accelerator", 0.0, 0.01), (1, LAYERS, "attention", "accelerator", 0.0,
         0.01), (1, LAYERS, "analog_experts", "tiles", 0.01, 0.02),
        (LAYERS + 1, LAYERS + 1, "lm_head", "accelerator", 0.0, 0.05),
    ]  # fmt: skip
    rows = [
        {"trial": row["trial"], "first_layer": first, "last_layer": last, "module": module,
         "resource": resource, "start_s": start * row["latency_s_per_token"],
         "busy_s": busy * row["latency_s_per_token"], "layer_s": 0.03 * row["latency_s_per_token"],
         "energy_mac_j_per_token": 0.25 * row["energy_j_per_token"],
         "latency_mac_s_per_token": busy * (last - first + 1) * row["latency_s_per_token"],
         "macs": 3e13 * (first + 1) / LAYERS * busy * row["latency_s_per_token"],
         "memory_bytes": 6e11 * busy * row["latency_s_per_token"] * (resource == "accelerator"),
         "area_cell_array_mm2": 0.4 * row["area_component_cell_array_mm2"] * (resource == "tiles")}
        for _, row in shown.iterrows()
        for first, last, module, resource, start, busy in parts
    ]  # fmt: skip
    return pd.DataFrame(rows)


def made_up_tornado(part: str = "pcm-3d") -> pd.DataFrame:
    """Two constants that move the recommended design."""
    ends = {f"{name}_change_{end}": [sign * 0.2, sign * 0.1]
            for name in ("energy_j_per_token", "throughput_tokens_per_s", "area_mm2")
            for end, sign in (("low", -1), ("high", 1))}  # fmt: skip
    texts = {"part": part, "constant": ["adc_unit_energy_j", "cell_area_m2"], "source": part}
    return pd.DataFrame({**ends, **texts, "low": 1e-12, "nominal": 2e-12, "high": 3e-12})


def made_up_checkpoint(noise: str = "pcm") -> pd.DataFrame:
    """Placements simulated on miniature and checkpoint."""
    losses = {"miniature_delta_loss_nats": [0.01, 0.02], "checkpoint_delta_loss_nats": [0.03, 0.05]}
    errors = {name.replace("nats", "stderr"): 0.002 for name in losses}
    return pd.DataFrame({**losses, **errors, "noise_model": [noise, "rram"], "adc_bits": 8,
                         "digital_expert_fraction": 0.25})  # fmt: skip


def made_up_run(
    folder: Path,
    designs: int = 400,
    *,
    change: Callable[[pd.DataFrame, dict[str, Any]], pd.DataFrame] | None = None,
    simulated: float = 0.3,
    with_experts: bool = True,
    extra: str = "",
    decided: bool = False,
) -> Path:
    """Write a made-up run folder; ``change`` edits its table and config before they are written.

    ``extra`` adds the tables of constants and of a checkpoint, with this text in them. ``decided``
    makes it a run that states its recommendation.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = mark_front(made_up_candidates(designs, simulated=simulated))
    table["reference_name"] = None
    table = pd.concat([table, references(table)], ignore_index=True) if designs else table
    knee = table.loc[table["is_knee"], "trial"]
    config: dict[str, Any] = {
        "command": "dse explore --model deepseekmoe --budget-area 200mm2",
        "model": "deepseekmoe",
        "model_title": "DeepSeekMoE-16B",
        "budget_area_mm2": 200.0,
        "traffic": {"concurrency": 32, "context": 1024, "prompt": None, "output_tokens": None},
        "seed": 0,
        "recommended_trial": int(knee.iloc[0]) if len(knee) else None,
        "miniature": {"name": "deepseekmoe-mini", "sha256": "ab12cd34"},
        "technologies": {"pcm-3d": "projection after the open 3D AIMC simulator"},
        "versions": {"python": "3.11.2", "torch": "2.13.0", "optuna": "5.0.0"},
        "wall_seconds": {"cost": 1.2, "simulation": 84.1, "overhead": 6.3},
    }
    if decided:
        table = decide(table, config)
        write_decision(folder, json.dumps(DESCRIBED))
    if change is not None:
        table = change(table, config)
    (folder / "config.json").write_text(json.dumps(config))
    table.to_parquet(folder / "candidates.parquet")
    if with_experts:
        made_up_experts().to_parquet(folder / "experts.parquet")
    if len(table) and {"on_front", "latency_s_per_token"} <= set(table.columns):
        made_up_layers(table).to_parquet(folder / "layers.parquet")
    if extra:
        made_up_tornado(extra).to_parquet(folder / "tornado.parquet")
        made_up_checkpoint(extra).to_parquet(folder / "checkpoint.parquet")
    trials = np.arange(designs)
    pd.DataFrame(
        {"trial": trials, "seconds": trials * 0.2,
         "hypervolume": 0.8 * (1 - np.exp(-trials / max(1, designs / 5))),
         "simulated": trials // 3, "costed": trials}
    ).to_parquet(folder / "progress.parquet")  # fmt: skip
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A function that writes a made-up run folder below the test's own directory."""

    def make(name: str = "run", **settings: Any) -> Path:
        return made_up_run(tmp_path / name, **settings)

    yield make


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; tests that need one are skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def page_and_complaints(chromium: Any) -> tuple[Any, list[str]]:
    """One page for all tests, for a page that has loaded a report once loads the next in a sixth
    of the time; and all that it complains of: errors, warnings, requests to the network."""
    context = chromium.new_context(
        accept_downloads=True, permissions=["clipboard-read", "clipboard-write"]
    )
    # A slow machine is no failure: only what never happens is.
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text)
            if message.type in ("error", "warning") else None)  # fmt: skip
    page.on("request", lambda request: complaints.append(request.url)
            if request.url.startswith(("http:", "https:")) else None)  # fmt: skip
    return page, complaints


@pytest.fixture
def open_page(page_and_complaints: tuple[Any, list[str]]) -> Iterator[Callable[..., Any]]:
    """Open a report; at the end the page may have complained of nothing."""
    page, complaints = page_and_complaints
    complaints.clear()

    def open_report(path: Path, width: int = 1280, scheme: str = "light") -> Any:
        page.goto("about:blank")
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme, media="screen")
        page.mouse.move(0, 0)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_report
    assert complaints == []


@pytest.fixture(scope="session")
def large_report(shared_folder: Path) -> Path:
    """The report of 5000 designs, drawn once for all workers."""
    from reports import write_report

    folder = shared_folder / "large-run"
    with FileLock(f"{folder}.lock"):
        if not (folder / "report.html").exists():
            write_report(made_up_run(folder, designs=5000))
    return folder / "report.html"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run with its report, for every test that does not change it."""
    from reports import write_report

    run_folder = made_up_run(tmp_path_factory.mktemp("reports") / "run", extra="pcm-3d")
    write_report(run_folder)
    return run_folder


@pytest.fixture(scope="session")
def decided_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run that states its recommendation, with its report."""
    from reports import write_report

    run_folder = made_up_run(
        tmp_path_factory.mktemp("decided") / "run", extra="pcm-3d", decided=True
    )
    write_report(run_folder)
    return run_folder
