"""Training step, inference and attack suite of dualmd against PyTorch eager, interleaved A-B-A-B in one run, as ratios.

    cargo xtask bench [--rounds 3] [--steps 40] [--batch 64] [--preset tiny] [--size 16] [--threads 1]

One network, one batch size, f32 (and bf16 where the processor multiplies it natively). Each round runs dualmd, PyTorch's
plain loop (what public research code runs) and PyTorch's tuned loop (fused Adam, multi-tensor EMA) one after another; then
one forward pass (dualmd: the difference of a long and a short sampling run) and the five error attacks on 64 images.
Prints every round and the median ratios; a run that is killed is shown as such.
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

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "8589934592", "MALLOC_TOP_PAD_": "67108864"}
HERE = pathlib.Path(__file__).resolve().parent

EXPERIMENT = """
[data]
source = "fashion"
image_size = {size}
members = 256
nonmembers = 64
[model]
preset = "{preset}"
[train]
steps = {total}
batch = {batch}
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


def dtypes_here():
    """f32, and bf16 where the processor multiplies it natively."""
    flags = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    return ["f32"] + (["bf16"] if "avx512_bf16" in flags or "amx_bf16" in flags else [])


def run(command):
    """Wall-clock seconds of a process that ends well."""
    begin = time.perf_counter()
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[0]} {command[1]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.perf_counter() - begin


def dualmd(args, dtype, folder):
    """(ms per step, peak MB, model folder): the second of two log intervals, so neither warm-up nor the final evaluation."""
    experiment = folder / "bench.toml"
    experiment.write_text(EXPERIMENT.format(dtype=dtype, total=2 * args.steps + 1, **vars(args)))
    out = folder / "run"
    command = [args.dualmd, "train", experiment, "--model", "baseline", "--out", out, "--threads", args.threads, "--device", "cpu", "-q"]
    run(command)
    training = json.loads((out / "models/baseline/training.json").read_text())
    lines = [json.loads(line) for line in (out / "logs/baseline.jsonl").read_text().splitlines()]
    second = next(line for line in lines if line["step"] == 2 * args.steps)
    return 1000 * args.batch / second["images_per_second"], training["peak_rss_mb"], out / "models/baseline"


def torch_bench(args, mode, dtype, model, steps, warmup):
    """What torch_bench.py prints: a dict."""
    command = [sys.executable, HERE / "torch_bench.py", "--config", model, "--mode", mode, "--dtype", dtype, "--batch", args.batch,
               "--images", getattr(args, "images", 0), "--steps", steps, "--warmup", warmup, "--threads", args.threads]
    # The allocator's settings that dualmd gives itself are the tuned loop's too: the comparison is of engines.
    environment = dict(os.environ, **(ALLOCATOR if mode != "train" else {}))
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"torch_bench.py --mode {mode} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def pytorch(args, mode, dtype, model, steps=None):
    line = torch_bench(args, mode, dtype, model, steps or args.steps, 2)
    return line["ms_per_step"], line["peak_rss_mb"]


def inference(args, dtype, model, folder):
    """ms per forward pass of one batch, from sampling runs of 60 and 10 steps: start-up and set-up cancel."""
    took = []
    for steps in (10, 60):
        command = [args.dualmd, "sample", model, "-n", args.batch, "--steps", steps, "--batch", args.batch, "--format", "npy", "-q",
                   "--threads", args.threads, "--dtype", dtype, "-o", folder / f"s{steps}"]
        took.append(run(command))
    return 1000 * (took[1] - took[0]) / 50


def attacks(args, dtype, model, trained):
    """ms for the five error attacks on one batch of images."""
    out = trained / "scores.csv"
    command = [args.dualmd, "attack", model, "--members", "fashion#member", "--nonmembers", "fashion#nonmember", "--split", trained / "split.json",
               "--attacks", "loss,secmi,pia,pian,sima", "--batch", args.batch, "--threads", args.threads, "--dtype", dtype, "-q",
               "-o", out]
    run(command)
    described = json.loads(out.with_suffix(".json").read_text())
    return 1000 * sum(a["seconds"] for a in described["attacks"]) * args.batch / 320


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dualmd", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--size", type=int, help="pixels of a side of the (grey) images; by default 16 for tiny, else 32")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.size = args.size or (16 if args.preset == "tiny" else 32)
    print(f"{args.preset} at {args.size} px, batches of {args.batch}, {args.threads} threads")
    dtypes = dtypes_here()
    if len(dtypes) == 1:
        print("bf16 left out: this processor does not multiply it natively")
    for dtype in dtypes:
        rows = {"dualmd": [], "plain": [], "tuned": []}
        calls = {"infer": [], "attacks": []}
        for round_ in range(args.rounds):
            with tempfile.TemporaryDirectory() as folder:
                ms, mb, model = dualmd(args, dtype, pathlib.Path(folder))
                rows["dualmd"].append((ms, mb))
                rows["plain"].append(pytorch(args, "train", dtype, model))
                rows["tuned"].append(pytorch(args, "train-tuned", dtype, model))
                calls["infer"].append((inference(args, dtype, model, pathlib.Path(folder)), pytorch(args, "infer", dtype, model)[0]))
                calls["attacks"].append((attacks(args, dtype, model, model.parent.parent), pytorch(args, "attacks", dtype, model, 3)[0]))
            print(f"{dtype} round {round_ + 1}: " + ", ".join(f"{k} {v[-1][0]:.1f} ms {v[-1][1]:.0f} MB" for k, v in rows.items()))
        for other in ("plain", "tuned"):
            speed = statistics.median(o[0] / d[0] for o, d in zip(rows[other], rows["dualmd"]))
            memory = statistics.median(d[1] / o[1] for o, d in zip(rows[other], rows["dualmd"]))
            print(f"{dtype}: dualmd is {speed:.2f} times as fast as PyTorch {other}, with {memory:.2f} of its peak memory")
        for what, pairs in calls.items():
            print(f"{dtype} {what}: " + ", ".join(f"{ours:.1f} ms against {theirs:.1f}" for ours, theirs in pairs)
                  + f": {statistics.median(theirs / ours for ours, theirs in pairs):.2f} times as fast")


if __name__ == "__main__":
    main()
