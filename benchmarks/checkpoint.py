"""Peak memory of a noisy simulation on a checkpoint in OLMoE's format, against its size.

Writes random bfloat16 weights at OLMoE's full width, one shard a layer, into a temporary folder and
simulates one placement on them in a process of its own. Weights mean nothing here, bytes do.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from workloads.architecture import load_model
from workloads.families import family_config, family_weight_shapes, stored_names
from workloads.huggingface import parse_config
from workloads.miniature.corpus import TOKENIZER_FILE

SIMULATE = """
import json, resource, sys, time
import numpy as np
import torch
from dse.checkpoint_memory import resident_bytes
from dse.checkpoint_search import held_out_text
from dse.checkpoint_simulation import CheckpointSimulator, Noise
from workloads.checkpoint_folder import load_tokenizer, open_checkpoint
folder, limit, tokens, analog = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
tokenizer = load_tokenizer(open_checkpoint(folder))
text = held_out_text("test", tokenizer, tokens)
calibration = torch.cat([t.tokens[:, :-1] for t in held_out_text("calibration", tokenizer, tokens)])
before, start = resident_bytes(), time.perf_counter()
simulator = CheckpointSimulator(folder, text, calibration, seeds=2, max_memory_bytes=limit)
digital = simulator.all_digital()
digital[:, :analog] = False
simulator.evaluate(Noise(), digital)
print(json.dumps({
    "resident_before_bytes": before,
    "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "experts_at_once": simulator.plan.group,
    "seconds": round(time.perf_counter() - start, 1),
}))
"""


def write_random(folder: Path, layers: int) -> int:
    """Write a checkpoint of `layers` layers; its size in bytes."""
    a = load_model("olmoe")
    config = {"model_type": "olmoe", "num_hidden_layers": layers, "hidden_size": a.hidden_size,
              "num_attention_heads": a.heads, "num_key_value_heads": a.kv_heads,
              "vocab_size": a.vocab_size, "num_experts": a.routed_experts,
              "num_experts_per_tok": a.experts_per_token,
              "intermediate_size": a.expert_intermediate_size}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes(TOKENIZER_FILE.read_bytes())
    architecture = parse_config(config, where="config.json", name="random", title="", source="")
    decoder = family_config(architecture, config, "config.json")
    weight_map: dict[str, str] = {}
    shards: dict[str, dict[str, torch.Size]] = {}
    for name, shape in family_weight_shapes(decoder).items():
        shard = name.split(".")[1] if name.startswith("layers.") else "ends"
        for stored in stored_names("olmoe", name, decoder.routed_experts):
            shards.setdefault(shard, {})[stored] = torch.Size(shape[-2:])
    for shard, shapes in shards.items():
        file = f"model-{shard}.safetensors"
        tensors = {n: torch.empty(s, dtype=torch.bfloat16).normal_(0, 0.02)
                   for n, s in shapes.items()}  # fmt: skip
        save_file(tensors, folder / file)
        weight_map |= dict.fromkeys(tensors, file)
    index = {"weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    """Write, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--max-memory-mib", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--analog", type=int, default=64, help="analog experts of each layer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    limit = options.max_memory_mib << 20
    with tempfile.TemporaryDirectory() as name:
        size = write_random(Path(name), options.layers)
        numbers = [str(n) for n in (limit, options.tokens, options.analog)]
        command = [sys.executable, "-c", SIMULATE, name, *numbers]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {"checkpoint_bytes": size, "limit_bytes": limit, **json.loads(run.stdout)}
    found["within"] = found["peak_bytes"] <= limit
    if options.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}")


if __name__ == "__main__":
    main()
