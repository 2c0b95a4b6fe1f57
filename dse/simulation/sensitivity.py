"""Measured sensitivity: the loss that each expert and each dense part adds when it goes analog.

Programming noise is small and independent from weight to weight, so the added loss of a part is
to second order the sum over its weights of mean error times gradient, and half of mean squared
error times curvature. The mean error is not zero: of a pair of devices the one at zero
conductance can only be written above it, which makes weights a little smaller. All curvatures
come at once from a few backward passes: with labels drawn from the model's own predictions, the
gradients of different tokens are independent with mean zero, so the squared gradient of a batch
is, on average, the sum of the squared gradients of its tokens, which is the diagonal of the
Fisher matrix, the Gauss-Newton part of the Hessian. Every part, alone or in a group, costs
nothing more: parts add up. What this leaves out are the converters, higher orders and what mean
errors of different weights do together; `measure` simulates parts one at a time and is the check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from dse.simulation.gains import Gains
from dse.simulation.noisy_model import PARTS, FullModel, NoisyModel, kind_of, layer_of
from dse.simulation.simulator import Noise, Simulator
from workloads.moe import forward

if TYPE_CHECKING:
    from workloads.checkpoint import Miniature

Array = npt.NDArray[np.float64]

# Sequences of one backward pass: each pass is one independent estimate of every curvature.
_BATCH = 4


@dataclass(frozen=True)
class Sensitivity:
    """table: one row a part with columns part, layer, expert (missing for dense parts and the LM
    head), parameters, added_loss_nats, added_loss_stderr, added_loss_per_million_parameters.
    groups: the same for parts together, with columns group, parameters and added loss: each kind
    of part over all layers, the routed experts of each layer, everything.
    draws [passes, moe_layers, experts]: each pass's estimate of the loss added by every expert.
    experts [moe_layers, experts]: the second-order part of its mean, a placement score (large:
    keep digital); the first-order part is mostly that of the very text it was measured on."""

    table: pd.DataFrame
    groups: pd.DataFrame
    draws: Array
    experts: Array
    noise: Noise
    tokens: int
    source: str

    def of(self, experts: Sequence[tuple[int, int]]) -> tuple[float, float]:
        """Loss added by a group of (MoE layer index, expert) and its standard error."""
        layer, expert = np.array(experts).T
        found = _numbers(1, self.draws[:, layer, expert].sum(axis=1))
        return float(found["added_loss_nats"]), float(found["added_loss_stderr"])


def estimate(
    miniature: Miniature,
    full_model: FullModel | None = None,
    noise: Noise | None = None,
    *,
    tokens: int = 8192,
    seed: int = 0,
    first_order: bool = True,
    gains: Gains | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Second-order estimate of the loss added by each part, with its standard error.

    first_order: whether the first order is added, which needs half as much time again. gains: as
    in `Simulator`.
    Uses the calibration split, so that placements chosen by it can be judged on the test split.
    The error covers the text and the drawn labels; mean and mean square of the noise are those of
    two programmed antithetic pairs.
    """
    from workloads.tasks import benchmarks

    sets = benchmarks(miniature, tokens=tokens, split="calibration")
    text = torch.cat([item.tokens for item in sets if item.kind == "text"])
    return estimate_on(
        miniature, text[:, :-1], full_model, noise, targets=text[:, 1:] if first_order else None,
        seed=seed, gains=gains, progress=progress,
    )  # fmt: skip


def estimate_on(
    miniature: Miniature,
    tokens: Tensor,
    full_model: FullModel | None = None,
    noise: Noise | None = None,
    *,
    targets: Tensor | None = None,
    seed: int = 0,
    gains: Gains | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """The estimate on given sequences [B, T] with the tokens that follow, targets [B, T].

    None for targets: they are as likely as the model says, so that its gradient vanishes.
    """
    from dse.simulation.noisy_model import full_inputs

    noise = noise or Noise()
    rows = full_inputs(full_model) if full_model is not None else None
    model = NoisyModel(miniature.config, miniature.weights, row_inputs=rows, gains=gains)
    names = [name for name in model.weights if _is_matrix(name)]
    moments = {name: _noise_moments(model, name, noise) for name in names}
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(tokens), generator=generator)
    parts = [rows for rows in order.split(_BATCH) if len(rows) == _BATCH]
    if len(parts) < 2:
        raise ValueError(f"at least {2 * _BATCH} sequences are needed, got {len(tokens)}")
    second: dict[str, list[Array]] = {name: [] for name in names}
    first: dict[str, list[Array]] = {name: [] for name in names}
    for done, rows_of_pass in enumerate(parts, start=1):
        part = tokens[rows_of_pass]
        wanted = None if targets is None else targets[rows_of_pass]
        drawn, true = _gradients(model, part, wanted, names, generator)
        for name in names:
            mean, square = moments[name]
            second[name].append(_of_matrix(0.5 * square * drawn[name].square() / part.numel()))
            if targets is not None:
                first[name].append(_of_matrix(mean * true[name] / part.numel()))
        if progress is not None:
            progress(done, len(parts))
    curved = {name: np.stack(items) for name, items in second.items()}
    result = _summarise(miniature, curved, noise, tokens.numel())
    if targets is None:
        return result
    whole = {name: curved[name] + np.stack(items) for name, items in first.items()}
    return replace(_summarise(miniature, whole, noise, tokens.numel()), experts=result.experts)


def _of_matrix(added: Tensor) -> Array:
    """Sum over a matrix, or over each of a stack of them."""
    total: Array = added.double().flatten(-2).sum(-1).numpy()
    return total


def _is_matrix(name: str) -> bool:
    kind = kind_of(name)
    return kind.startswith("experts.") or any(kind in kinds for kinds in PARTS.values())


def _noise_moments(model: NoisyModel, name: str, noise: Noise) -> tuple[Tensor, Tensor]:
    """Mean and mean square of each weight's error over two antithetic pairs, [..., out, in]."""
    mean = torch.zeros_like(model.weights[name])
    square = torch.zeros_like(mean)
    for seed in (0, 1):
        for sign in (1, -1):
            programmed = model.programmed(name, noise, seed, sign)
            error = programmed.effective_weight() - model.weights[name]
            mean += error / 4
            square += error.square() / 4
    return mean, square


def _gradients(
    model: NoisyModel,
    tokens: Tensor,
    targets: Tensor | None,
    names: Iterable[str],
    generator: torch.Generator,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients of the summed loss against labels drawn from the model's own predictions, and
    against the targets (none without)."""
    weights = dict(model.weights)
    leaves = {name: weights[name].detach().clone().requires_grad_() for name in names}
    weights.update(leaves)
    logits = forward(model.config, weights, tokens).flatten(0, 1)
    labels = torch.multinomial(logits.detach().softmax(-1), 1, generator=generator).squeeze(1)

    def against(wanted: Tensor, *, again: bool) -> dict[str, Tensor]:
        loss = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
        found = torch.autograd.grad(loss, list(leaves.values()), retain_graph=again)
        return dict(zip(leaves, found, strict=True))

    drawn = against(labels, again=targets is not None)
    return drawn, {} if targets is None else against(targets.flatten(), again=False)


def _summarise(
    miniature: Miniature, draws: dict[str, Array], noise: Noise, tokens: int
) -> Sensitivity:
    """Matrices to parts: draws are [batches] for a dense matrix, [batches, experts] for experts."""
    config = miniature.config
    groups: dict[tuple[str, int], list[str]] = {}
    for name in draws:
        groups.setdefault((_part_of(name), layer_of(name, config.layers)), []).append(name)
    rows: list[dict[str, object]] = []
    totals: dict[str, tuple[int, Array]] = {}
    experts: list[Array] = []  # of each layer, in their order
    for (part, layer), names in sorted(groups.items(), key=lambda item: (item[0][1], item[0][0])):
        together = np.sum([draws[name] for name in names], axis=0)
        size = sum(miniature.weights.get(name, miniature.weights["embedding"]).numel()
                   for name in names)  # fmt: skip
        place = pd.NA if part == "lm_head" else layer
        whole = together if part != "routed_expert" else together.sum(axis=1)
        _add(totals, f"all of {part}", size, whole)
        _add(totals, "everything", size, whole)
        if part != "routed_expert":
            rows.append(_row(part, place, pd.NA, size, together))
            continue
        _add(totals, f"routed experts of layer {layer}", size, whole)
        experts.append(together)
        for expert, own in enumerate(together.T):
            rows.append(_row(part, place, expert, size // config.routed_experts, own))
    table = pd.DataFrame(rows).astype({"layer": "Int64", "expert": "Int64"})
    sums = [{"group": name, **_numbers(*total)} for name, total in totals.items()]
    every = np.stack(experts, axis=1)
    return Sensitivity(
        table, pd.DataFrame(sums), every, every.mean(axis=0), noise, tokens, miniature.source
    )


def _add(totals: dict[str, tuple[int, Array]], name: str, parameters: int, draws: Array) -> None:
    """Parts measured on the same passes are summed before their spread is taken."""
    size, earlier = totals.get(name, (0, np.zeros_like(draws)))
    totals[name] = (size + parameters, earlier + draws)


def _part_of(name: str) -> str:
    kind = kind_of(name)
    return next((part for part, kinds in PARTS.items() if kind in kinds), "routed_expert")


def _row(
    part: str, layer: object, expert: object, parameters: int, draws: Array
) -> dict[str, object]:
    return {"part": part, "layer": layer, "expert": expert, **_numbers(parameters, draws)}


def _numbers(parameters: int, draws: Array) -> dict[str, float]:
    """Mean and standard error of the passes' estimates [passes]."""
    loss = float(draws.mean())
    return {
        "parameters": parameters,
        "added_loss_nats": loss,
        "added_loss_stderr": float(draws.std(ddof=1) / np.sqrt(len(draws))),
        "added_loss_per_million_parameters": loss / parameters * 1e6,
    }


def measure(
    simulator: Simulator,
    noise: Noise,
    *,
    experts: Iterable[Sequence[tuple[int, int]]] = (),
    modules: Iterable[Sequence[str]] = (),
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Brute force: simulate each group alone in analog, all else digital.

    experts: groups of (MoE layer index, expert); modules: groups of analog_modules. Layers before
    the group are not recomputed and seeds are antithetic pairs. Columns group, added_loss_nats,
    added_loss_stderr (of Simulator.evaluate), in the order given.
    """
    rows = []
    groups: list[tuple[str, list[tuple[int, int]], Sequence[str]]] = [
        (_label(group), list(group), ()) for group in experts
    ]
    groups += [(" + ".join(group), [], group) for group in modules]
    for done, (label, members, names) in enumerate(groups, start=1):
        digital = simulator.all_digital()
        for layer, expert in members:
            digital[layer, expert] = False
        result = simulator.evaluate(noise, digital, names)
        rows.append(
            {
                "group": label,
                "added_loss_nats": result.delta_loss,
                "added_loss_stderr": result.delta_loss_stderr,
            }
        )
        if progress is not None:
            progress(done)
    return pd.DataFrame(rows, columns=["group", "added_loss_nats", "added_loss_stderr"])


def check_layer(
    simulator: Simulator,
    sensitivity: Sensitivity,
    moe_layer: int,
    *,
    groups: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The estimate against brute force in one layer, experts in groups from least to most.

    Columns as in `compare`. Raises ValueError for a layer that does not exist.
    """
    layers, experts = sensitivity.experts.shape
    if not 0 <= moe_layer < layers:
        raise ValueError(f"MoE layer {moe_layer} does not exist: there are 0 to {layers - 1}")
    order = np.argsort(sensitivity.experts[moe_layer], kind="stable")
    found = {}
    for part in np.array_split(np.arange(experts), min(groups, experts)):
        label = f"MoE layer {moe_layer}, experts ranked {part[0] + 1} to {part[-1] + 1} from below"
        found[label] = [(moe_layer, int(expert)) for expert in order[part]]
    return compare(simulator, sensitivity, found, progress=progress)


def check_across(
    simulator: Simulator,
    sensitivity: Sensitivity,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The estimate against brute force for single parts and for groups that span layers.

    The most sensitive expert of each of the two most sensitive layers, alone and as a pair; the
    most sensitive experts of all layers (one each) together; every kind of dense part. Columns as
    in `compare`.
    """
    scores = sensitivity.experts
    layers = np.argsort(-scores.sum(axis=1), kind="stable").tolist()
    best = [(layer, int(scores[layer].argmax())) for layer in layers]
    groups = {_label(group): group for group in (best[:1], best[1:2], best[:2], best) if group}
    kinds = [part for part in PARTS if f"all of {part}" in set(sensitivity.groups["group"])]
    return compare(simulator, sensitivity, groups, kinds, progress=progress)


def compare(
    simulator: Simulator,
    sensitivity: Sensitivity,
    experts: Mapping[str, Sequence[tuple[int, int]]],
    kinds: Sequence[str] = (),
    *,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """The estimate beside brute force for named groups of experts and kinds of dense parts.

    Converters are ideal in the brute force, so that both sides see programming noise only.
    Columns group, estimate_nats, estimate_stderr, measured_nats, measured_stderr.
    """
    noise = replace(sensitivity.noise, dac_bits=None, adc_bits=None)
    modules = [(kind,) for kind in kinds]
    total = len(experts) + len(kinds)
    measured = measure(
        simulator, noise, experts=experts.values(), modules=modules,
        progress=progress and (lambda done: progress(done, total)),
    )  # fmt: skip
    dense = sensitivity.groups.set_index("group")
    of_kind = dense.loc[
        [f"all of {kind}" for kind in kinds], ["added_loss_nats", "added_loss_stderr"]
    ].to_numpy()
    value, error = np.array([*map(sensitivity.of, experts.values()), *of_kind]).T
    return pd.DataFrame(
        {
            "group": [*experts, *(f"all of {kind}" for kind in kinds)],
            "estimate_nats": value,
            "estimate_stderr": error,
            "measured_nats": measured["added_loss_nats"],
            "measured_stderr": measured["added_loss_stderr"],
        }
    )


def _label(group: Sequence[tuple[int, int]]) -> str:
    return " + ".join(f"MoE layer {layer} expert {expert}" for layer, expert in group)
