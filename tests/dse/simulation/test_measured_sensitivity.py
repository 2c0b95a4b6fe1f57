"""The measured sensitivity costs its time once."""

import numpy as np
import pytest

import dse.simulation.sensitivity
from dse.simulation.measured_sensitivity import expert_sensitivity
from workloads.architecture import load_model
from workloads.checkpoint import load_miniature


def test_measured_once_and_again_when_the_file_is_bad(tmp_path, monkeypatch):
    architecture = load_model("olmoe")
    miniature = load_miniature(architecture.stand_in)
    estimate, calls = dse.simulation.sensitivity.estimate, []

    def counted(*arguments, tokens, **options):
        calls.append(tokens)
        return estimate(*arguments, tokens=2560, **options)

    monkeypatch.setattr(dse.simulation.sensitivity, "estimate", counted)
    first = expert_sensitivity(miniature, architecture, tmp_path)
    assert first.shape == (4, 64)
    assert first.min() >= 0 and first.sum() > 0
    assert np.array_equal(expert_sensitivity(miniature, architecture, tmp_path), first)
    assert len(calls) == 1
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"half a fi")
    assert expert_sensitivity(miniature, architecture, tmp_path) == pytest.approx(first)
    assert len(calls) == 2
    assert np.array_equal(np.load(path)["experts"], first)
    changed = {name: tensor * 1.01 for name, tensor in miniature.weights.items()}
    object.__setattr__(miniature, "weights", changed)
    expert_sensitivity(miniature, architecture, tmp_path)
    assert len(calls) == 3
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    architecture = load_model("olmoe")
    miniature = load_miniature(architecture.stand_in)
    estimate = dse.simulation.sensitivity.estimate
    monkeypatch.setattr(
        dse.simulation.sensitivity,
        "estimate",
        lambda *given, tokens, **options: estimate(*given, tokens=2560, **options),
    )
    (tmp_path / "file").write_text("in the way")
    assert expert_sensitivity(miniature, architecture, tmp_path / "file").sum() > 0
