"""Records what aihwkit and aihwkit-lightning convert of transformers' OLMoE, for test_whole_models.

Run in an environment of its own (transformers cannot be imported beside torchvision on a CPU):

    pip install torch==2.13.0 transformers==5.23.0 aihwkit-lightning==2.1.0 scipy requests
    pip install --no-deps aihwkit==1.1.0
    python tests/workloads/reference_logits/record_conversion.py

Reads the checkpoint that record.py wrote and writes olmoe_converted.json beside it: the size of
every parameter, and the modules that each peer's convert_to_analog turned into analog ones.
"""

import copy
import json
from importlib.metadata import version
from pathlib import Path

import aihwkit_lightning.nn.conversion as lightning
import aihwkit_lightning.simulator.configs as lightning_configs
from aihwkit.nn.conversion import convert_to_analog
from aihwkit.simulator.configs import TorchInferenceRPUConfig
from transformers import OlmoeForCausalLM

HERE = Path(__file__).parent


def analog_modules(model: object) -> list[str]:
    """Names of the modules that are analog layers now."""
    return [
        name for name, module in model.named_modules() if type(module).__name__ == "AnalogLinear"
    ]


def main() -> None:
    """Convert the small OLMoE with both peers."""
    model = OlmoeForCausalLM.from_pretrained(HERE / "olmoe").eval()
    peers = {
        "aihwkit": convert_to_analog(copy.deepcopy(model), TorchInferenceRPUConfig()),
        "aihwkit-lightning": lightning.convert_to_analog(
            copy.deepcopy(model), lightning_configs.TorchInferenceRPUConfig()
        ),
    }
    document = {
        "versions": {name: version(name) for name in ("torch", "transformers", *peers)},
        "parameters": {name: tensor.numel() for name, tensor in model.named_parameters()},
        "analog_modules": {name: analog_modules(converted) for name, converted in peers.items()},
    }
    (HERE / "olmoe_converted.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
