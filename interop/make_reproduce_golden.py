"""Writes tests/golden/reproduce/split.npz: a member list in the form of the SecMI code, for a set of 160 pictures.

    python interop/make_reproduce_golden.py
"""

from pathlib import Path

import numpy as np

rows = np.random.RandomState(0).permutation(160)
out = Path(__file__).parent.parent / "tests" / "golden" / "reproduce" / "split.npz"
out.parent.mkdir(parents=True, exist_ok=True)
np.savez(out, mia_train_idxs=rows[:40], mia_eval_idxs=rows[40:], ratio=np.float64(0.25))
print(out, sorted(rows[:40].tolist())[:5])
