"""What is wrong with an option is said before a checkpoint's weights are read, not after it."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dse.checkpoints.likelihoods import EvaluationSettings, Scorer
from dse.experiments import mitigation
from hwmodels.nonideality import Noise
from workloads import checkpoint_folder
from workloads.checkpoint import FOLDER
from workloads.checkpoint_folder import open_checkpoint

RECORDED = Path(__file__).parents[2] / "workloads" / "reference_logits" / "mixtral"


@pytest.fixture
def unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint whose weights nobody may read."""

    def read_stored(*_: Any) -> None:
        raise AssertionError("weights are read")

    monkeypatch.setattr(checkpoint_folder, "read_stored", read_stored)
    folder = shutil.copytree(RECORDED, tmp_path / "mixtral")
    shutil.copy(FOLDER / "tokenizer.json", folder)
    return folder


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"analog_modules": ("atention",)}, "no dense module 'atention'.*attention"),
        ({"analog_modules": ("shared_expert",)}, "no dense module 'shared_expert' in this model"),
        ({"scope": "globl"}, "placement scope 'globl'.*global"),
        ({"score": "max_neuron_nrm"}, "score 'max_neuron_nrm' is unknown.*max_neuron_norm"),
        ({"score": "activation_frequency"}, "score 'activation_frequency' needs a forward pass"),
        ({"seeds": 3}, "seeds is 3; 1 or an even number"),
    ],
)
def test_benchmark_reads_nothing_for_wrong_options(
    options: dict[str, Any], words: str, unread: Path
) -> None:
    with pytest.raises(ValueError, match=words) as error:
        Scorer(open_checkpoint(unread), EvaluationSettings(**options))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"analog_modules": ("atention",)}, "no dense module 'atention'.*attention"),
        ({"score": "activation_frequency"}, "score 'activation_frequency' needs a forward pass"),
        ({"seeds": 3}, "seeds is 3; 1 or an even number"),
        ({"mitigations": ("router",)}, "router"),
        ({"tokens": 100}, "tokens is 100: at least"),
    ],
)
def test_mitigate_reads_nothing_for_wrong_options(
    options: dict[str, Any], words: str, unread: Path
) -> None:
    asked = {"mitigations": (), "tokens": 2048} | options
    with pytest.raises(ValueError, match=words):
        mitigation.checkpoint_mitigation_table(unread, Noise(), **asked)
