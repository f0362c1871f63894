"""A fine-tuning step of a small text-to-image model: dualmd against PyTorch eager with diffusers, interleaved, as ratios.

    cargo xtask bench fine-tuning [--rounds 3] [--steps 40] [--batch 16] [--threads 1] [--dtypes f32,bf16]

The network that the preset emoji-t2i-demo had at 32 px (no autoencoder), the same weights' shapes and batch size, Adam, clipping
and EMA everywhere. Each round runs dualmd, PyTorch as diffusers' train_text_to_image.py loops (the text encoder in every
step, EMAModel), and PyTorch tuned (texts encoded beforehand, fused Adam, multi-tensor EMA, dualmd's allocator settings)
one after another. Prints wall-clock and processor milliseconds per step and the peak memory of every round, and the median
ratios of the rounds. bf16 is autocast on all sides; left out by default where the processor does not multiply it natively.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from bench import torch_bench

EXPERIMENT = """
[data]
source = "emoji#fluent3d"
image_size = 32
members = 128
nonmembers = 128
[model]
preset = "t2i-pixels-32"
block_out_channels = [16, 32, 64]
attention_head_dim = 1
down_block_types = ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"]
up_block_types = ["CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"]
[train]
steps = {total}
batch = {batch}
learning_rate = 1e-3
dtype = "{dtype}"
checkpoint_every = 1000000
log_every = {steps}
eval_every = 0
[run]
threads_per_model = {threads}
[[models]]
name = "baseline"
defense = "none"
"""


def processor_seconds(pid):
    """User and system time of a process so far; None when it is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def dualmd(args, dtype, folder):
    """((ms, processor ms) per step, peak MB), model folder: the second of two log intervals, so no warm-up and no evaluation."""
    experiment = folder / "bench.toml"
    experiment.write_text(EXPERIMENT.format(dtype=dtype, total=2 * args.steps + 1, **vars(args)))
    out = folder / "run"
    log = out / "logs/baseline.jsonl"
    command = [args.dualmd, "train", experiment, "--model", "baseline", "--out", out, "--threads", args.threads, "--device", "cpu", "-q"]
    errors = folder / "stderr.txt"
    with errors.open("w") as stderr:
        child = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=stderr)
        marks, lines = [], 0
        while child.poll() is None:
            # Looked at more often than a step lasts.
            time.sleep(0.02)
            found = log.read_text().count("\n") if log.exists() else 0
            if found > lines:
                lines = found
                marks.append(processor_seconds(child.pid))
    if child.returncode:
        sys.exit(f"dualmd ended with {child.returncode}: {errors.read_text()}")
    training = json.loads((out / "models/baseline/training.json").read_text())
    second = next(line for line in map(json.loads, log.read_text().splitlines()) if line["step"] == 2 * args.steps)
    if len(marks) < 2 or None in marks[:2]:
        sys.exit("the training was too short to be watched: use more --steps")
    wall = 1000 * args.batch / second["images_per_second"]
    return (wall, 1000 * (marks[1] - marks[0]) / args.steps, training["peak_rss_mb"]), out / "models/baseline"


def pytorch(args, mode, dtype, model):
    line = torch_bench(args, mode, dtype, model, args.steps, 5)
    return line["ms_per_step"], 1000 * line["cpu_seconds"] / args.steps, line["peak_rss_mb"]


def main():
    flags = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    native = "avx512_bf16" in flags or "amx_bf16" in flags
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dualmd", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtypes", default="f32,bf16" if native else "f32")
    args = parser.parse_args()
    for dtype in args.dtypes.split(","):
        rows = {"dualmd": [], "plain": [], "tuned": []}
        for round_ in range(args.rounds):
            with tempfile.TemporaryDirectory() as folder:
                ours, model = dualmd(args, dtype, pathlib.Path(folder))
                rows["dualmd"].append(ours)
                rows["plain"].append(pytorch(args, "train", dtype, model))
                rows["tuned"].append(pytorch(args, "train-tuned", dtype, model))
            shown = (f"{who} {row[-1][0]:.1f} ms, {row[-1][1]:.1f} of processor, {row[-1][2]:.0f} MB" for who, row in rows.items())
            print(f"{dtype} round {round_ + 1}: " + "; ".join(shown), flush=True)
        for other in ("plain", "tuned"):
            wall, processor, memory = (
                statistics.median(theirs[i] / ours[i] for ours, theirs in zip(rows["dualmd"], rows[other])) for i in range(3))
            print(f"{dtype}: dualmd is {wall:.2f} times as fast as PyTorch {other} by the clock, {processor:.2f} times by processor "
                  f"time, with {1 / memory:.2f} of its peak memory", flush=True)


if __name__ == "__main__":
    main()
