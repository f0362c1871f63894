"""The default attacks on 2,000 images: dualmd in one call, dualmd one attack at a time, and PyTorch eager, in turns, as ratios.

    cargo xtask bench suite [--rounds 1] [--images 2000] [--batch 64] [--threads 2] [--steps 200]

One unconditional network (`tiny`, 16 px, trained a little: what it knows costs nothing), f32. dualmd's seconds are those of
whole processes, with start-up, reading and writing; PyTorch's are those of the attacks alone, without the import. PyTorch runs each attack
as its public code does, sharing nothing, with the same settings, the same small classifiers and the same known fifth.
"""

import argparse
import pathlib
import statistics
import tempfile

from bench import EXPERIMENT, run, torch_bench

ATTACKS = ["loss", "secmi", "secmi-nn", "pia", "pian", "sima", "pfami", "rediffuse", "rediffuse-nn"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dualmd", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    half = args.images // 2
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        experiment, out = folder / "suite.toml", folder / "run"
        text = EXPERIMENT.format(dtype="f32", total=args.steps, preset="tiny", **vars(args))
        experiment.write_text(text.replace("members = 256", f"members = {half}").replace("nonmembers = 64", f"nonmembers = {half}"))
        run([args.dualmd, "train", experiment, "--model", "baseline", "--out", out, "--threads", args.threads, "--device", "cpu", "-q"])
        model = out / "models/baseline"
        seen = 0

        def attack(names):
            nonlocal seen
            seen += 1
            return run([args.dualmd, "attack", model, "--members", "fashion#member", "--nonmembers", "fashion#nonmember", "--split",
                        out / "split.json", "--attacks", ",".join(names), "--batch", args.batch, "--threads", args.threads,
                        "--dtype", "f32", "-q", "-o", folder / f"scores{seen}.csv"])

        ratios = {"one by one": [], "PyTorch": []}
        for round_ in range(args.rounds):
            together = attack(ATTACKS)
            alone = {a: attack([a]) for a in ATTACKS}
            torch = torch_bench(args, "suite", "f32", model, 1, 0)["attacks"]
            for what, seconds in (("one by one", alone), ("PyTorch", torch)):
                each = ", ".join(f"{a} {s:.1f}" for a, s in seconds.items())
                ratios[what].append(together / sum(seconds.values()))
                print(f"round {round_ + 1}: together {together:.1f} s; {what} {sum(seconds.values()):.1f} s ({each})", flush=True)
        for what, values in ratios.items():
            print(f"together / {what}: {statistics.median(values):.2f}")


if __name__ == "__main__":
    main()
