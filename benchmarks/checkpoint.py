"""Peak memory and time of a noisy simulation on a checkpoint of a model's real format and size.

Writes random bfloat16 weights (`--write FOLDER` keeps them and stops there, `--folder FOLDER` takes
them) and simulates one placement on them in a process of its own. Weights mean nothing here, bytes
do. The peak counts what the process has mapped of the shards; `anonymous` is without them. The
speed of a noisy pass, reading and products included, stands beside what the random numbers of
programming alone allow, measured in the same process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from workloads.architecture import published_config
from workloads.checkpoint_export import write_random

SIMULATE = """
import json, resource, sys, threading, time
import numpy as np
import torch
from dse.checkpoints.memory import resident_bytes
from dse.checkpoints.model import held_out_text
from dse.checkpoints.simulator import CheckpointSimulator, Noise
from workloads.checkpoint_folder import load_tokenizer, open_checkpoint

def watch():
    while True:
        lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
        for kind in peaks:
            peaks[kind] = max(peaks[kind], 1024 * int(lines[kind].split()[0]))
        time.sleep(0.02)

folder, limit, tokens, analog, seeds = sys.argv[1], *map(int, sys.argv[2:])
peaks = {"RssAnon": 0, "RssFile": 0}
threading.Thread(target=watch, daemon=True).start()
tokenizer = load_tokenizer(open_checkpoint(folder))
text = held_out_text("test", tokenizer, tokens)
calibration = torch.cat([t.tokens[:, :-1] for t in held_out_text("calibration", tokenizer, tokens)])
before, start = resident_bytes(), time.perf_counter()
tell = lambda done, total: print(f"layer {done} of {total}", round(time.perf_counter() - start, 1),
                                 file=sys.stderr, flush=True)
simulator = CheckpointSimulator(folder, text, calibration, seeds=seeds, max_memory_bytes=limit,
                                progress=tell)
clean = time.perf_counter()
digital = simulator.all_digital()
digital[:, :analog] = False
result, = simulator.evaluate_many(Noise(), [digital], progress=tell)
noisy = time.perf_counter() - clean
config = simulator.model.config
layers, threads = config.layers, torch.get_num_threads()
matrices = 3 * config.hidden_size * config.expert_intermediate_size
programmed = (~digital).sum() * matrices * seeds

def normals_per_second():
    # Of one core now, whatever else runs: the best of some tries, as a limit should be.
    many, rates = torch.empty(1 << 22), []
    for _ in range(5):
        begin = time.perf_counter()
        many.normal_()
        rates.append(len(many) / (time.perf_counter() - begin))
    return max(rates)

limit_a_core = normals_per_second() / 2  # two random numbers a weight
a_core = programmed / noisy / threads
print(json.dumps({
    "resident_before_bytes": before,
    "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "peak_anonymous_bytes": peaks["RssAnon"],
    "peak_mapped_bytes": peaks["RssFile"],
    "experts_at_once": simulator.plan.group,
    "delta_loss_nats": result.delta_loss,
    "clean_seconds_a_layer": round((clean - start) / layers, 2),
    "noisy_seconds_a_layer": round(noisy / layers, 2),
    "threads": threads,
    "programmed_weights_a_second_a_core": int(a_core),
    "random_limit_weights_a_second_a_core": int(limit_a_core),
    "share_of_random_limit": round(a_core / limit_a_core, 3),
    "seconds": round(time.perf_counter() - start, 1),
}))
"""


def write(options: argparse.Namespace, folder: Path) -> None:
    """Write the model's checkpoint, with fewer layers if asked."""
    config = published_config(options.model)
    if options.layers:
        config["num_hidden_layers"] = options.layers
    write_random(config, folder)


def main() -> None:
    """Write, simulate, print."""
    models = ("olmoe", "deepseekmoe")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=models, default="olmoe")
    parser.add_argument("--layers", type=int, default=4, help="0: as many as the model has")
    parser.add_argument("--write", type=Path, help="new folder for the checkpoint; then stop")
    parser.add_argument("--folder", type=Path, help="take this checkpoint")
    parser.add_argument("--max-memory-mib", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--analog", type=int, default=64, help="analog experts of each layer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.write:
        write(options, options.write)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name) / "checkpoint"
        if not options.folder:
            write(options, folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        limit = options.max_memory_mib << 20
        numbers = (limit, options.tokens, options.analog, options.seeds)
        command = [sys.executable, "-c", SIMULATE, str(folder), *map(str, numbers)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = {"checkpoint_bytes": size, "limit_bytes": limit, **json.loads(run.stdout)}
    found["within"] = found["peak_bytes"] <= limit
    if options.json:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}")


if __name__ == "__main__":
    main()
