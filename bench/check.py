"""A training step of dualmd against PyTorch's plain loop, in turns, for `cargo xtask bench --check`: prints the ratio of every round.

    python bench/check.py --dualmd FILE [--rounds 11]

`tiny`, 16 px, batches of 64, one thread, in the number format that `--dtype auto` chooses on this machine. A round is a training of
dualmd of two log intervals, of which the second counts, and as many steps of PyTorch's loop, whose process waits between its turns with
everything loaded. The ratio is PyTorch's time of a step through dualmd's. The last line is JSON: `dtype` and `ratios`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from bench import HERE, dtypes_here, dualmd

STEPS = 8  # of either side in a round


class Loop:
    """PyTorch's plain loop in a process of its own: `ms()` are those of a step, of STEPS that it does now."""

    def __init__(self, args, dtype, model):
        command = [sys.executable, HERE / "torch_bench.py", "--config", model, "--mode", "train", "--dtype", dtype, "--batch", args.batch,
                   "--steps", STEPS, "--warmup", 3, "--threads", args.threads, "--on-request"]
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))

    def ms(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"torch_bench.py ended with {self.process.wait()}")
        return json.loads(line)["ms_per_step"]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dualmd", required=True)
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    args.preset, args.batch, args.threads, args.steps = "tiny", 64, 1, STEPS
    dtype = dtypes_here()[-1]
    with tempfile.TemporaryDirectory() as folder:
        # Neither side's first turn counts: files are read, and convolutions chosen.
        _, _, model = dualmd(args, dtype, pathlib.Path(folder))
        loop = Loop(args, dtype, model)
        loop.ms()
        ratios = []
        for round_ in range(args.rounds):
            with tempfile.TemporaryDirectory() as own:
                ours, _, _ = dualmd(args, dtype, pathlib.Path(own))
            theirs = loop.ms()
            ratios.append(theirs / ours)
            print(f"{dtype} round {round_ + 1}: dualmd {ours:.1f} ms a step, PyTorch {theirs:.1f}: {ratios[-1]:.3f}", file=sys.stderr, flush=True)
        loop.end()
    print(json.dumps({"dtype": dtype, "ratios": ratios}))


if __name__ == "__main__":
    main()
