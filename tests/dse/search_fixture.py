"""A real model, real cost models and a known loss in place of the noisy simulation."""

from types import SimpleNamespace

import numpy as np

from dse.cost.mapping import placeable_parts
from dse.cost.workload import Traffic
from dse.placement.experts import SCOPES, digital_order
from dse.search import loop as search
from dse.search.problem import Problem
from dse.search.screening import Screening
from dse.search.settings import Settings
from workloads.architecture import load_model
from workloads.routing import zipf


class KnownLoss:
    """A simulator whose loss is known in closed form; counts and remembers what it was asked."""

    def __init__(self, shape=(3, 8), fails=lambda noise, digital: False, interrupt_at=None):
        self.shape = shape
        self.fails = fails
        self.interrupt_at = interrupt_at
        self.calls = []
        self.miniature = SimpleNamespace(name="known", source="closed form", weights={})

    def evaluate(self, noise, digital, analog_modules=(), form=None):
        self.calls.append((noise, digital.tobytes(), tuple(analog_modules)))
        if self.interrupt_at is not None and len(self.calls) == self.interrupt_at:
            raise KeyboardInterrupt
        analog = 1 - digital.mean()
        loss = analog * (
            0.01 + 0.5 * 2.0 ** (4 - noise.adc_bits) + 0.1 * 2.0 ** (4 - noise.dac_bits)
        )
        loss += 0.02 * len(analog_modules)
        if self.fails(noise, digital):
            loss = float("nan")
        return SimpleNamespace(
            delta_loss=loss,
            delta_loss_stderr=0.001,
            top1=0.4 - 0.1 * loss,
            top1_stderr=0.001,
            accuracy=0.8 - 0.3 * loss,
            accuracy_stderr=0.002,
            source="closed form",
            seconds=0.0,
        )


class LookedAt(KnownLoss):
    """The same, with first looks: sequences differ from each other, placements by their loss."""

    races = True

    def __init__(self, **options):
        super().__init__(**options)
        self.looks = []

    def look(self, noise, digital, analog_modules=(), form=None):
        self.looks.append((noise, digital.tobytes(), tuple(analog_modules)))
        loss = KnownLoss().evaluate(noise, digital).delta_loss if not digital.all() else 0.0
        text = np.random.default_rng(0).normal(3.0, 0.5, (2, 16))
        scatter = np.random.default_rng(len(self.looks)).normal(0, 1e-4, (2, 16))
        return SimpleNamespace(loss=text + loss + scatter, top1=np.zeros((2, 16)))

    def evaluate(self, noise, digital, analog_modules=(), look=None, form=None):
        return super().evaluate(noise, digital, analog_modules)


def small_problem(simulator=None, budget_area_mm2=200.0, model="deepseekmoe", **options):
    """A model with Zipf routing under a budget; options are fields of Settings."""
    whole = {"digital_weight_bits": [16], "kv_bits": [16]}  # so that placements decide the loss
    options["choices"] = whole | dict(options.get("choices", {}))
    settings = Settings(model, budget_area_mm2, **options)
    architecture = load_model(model)
    shape = (architecture.moe_layers, architecture.routed_experts)
    space = settings.space().for_parts(placeable_parts(architecture, ()))
    generator = np.random.default_rng(0)
    scores = {str(score): generator.random(shape) for score in space["placement_score"].choices}
    small = {name: values[:3, :8] for name, values in scores.items()}
    return Problem(
        architecture=architecture,
        routing=zipf(*shape, architecture.experts_per_token),
        space=space,
        traffic=Traffic(settings.concurrency, settings.context),
        limits=settings.limits(),
        objectives=settings.metrics,
        scores=scores,
        orders={(n, s): digital_order(scores[n], s) for n in scores for s in SCOPES},
        miniature_orders={(n, s): digital_order(small[n], s) for n in scores for s in SCOPES},
        miniature_shape=(3, 8),
        simulator=simulator or KnownLoss(),
    )


def go(storage, problem, trials, name="dse", **options):
    """A whole search on a small problem, as a worker of its own does it: study and outcome."""
    study = search.open_study(storage, problem, name)
    screening = Screening(problem, search.load_results(study), 0)
    study.sampler = search.make_sampler("random", screening, 0)
    clock = search.Clock()
    outcome = search.run_search(study, problem, screening, trials=trials, clock=clock, **options)
    return study, outcome
