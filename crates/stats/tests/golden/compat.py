"""Reference values of tests/compat.rs, from scikit-learn and numpy: python3 compat.py

Recomputes the rules of src/compat.rs in another way: thresholds one by one, scikit-learn's curves, and the convex hull by
trying all pairs of points. numpy 2.4 and scikit-learn 1.9 printed the constants.
"""

import numpy as np
from sklearn.metrics import auc, roc_auc_score, roc_curve

TARGETS = [0.01, 0.05, 0.1, 0.3]


def errors(n, a, c, stretch):
    """Rational numbers with a heavy tail: the same bits in every language."""
    u = np.array([(i * a + c) % 1009 for i in range(n)]) / 1009
    return stretch * u / (1.05 - u)


CASES = {
    "heavy": (errors(60, 389, 17, 0.4), errors(50, 577, 101, 1.0)),
    "ties": (
        np.array([(i * i + 3 * i) % 13 for i in range(45)], float),
        np.array([(i * i + 5 * i + 1) % 11 + 2 for i in range(70)], float),
    ),
}


def on_grid(members, nonmembers, cells, to_the_end):
    low, high = min(members.min(), nonmembers.min()), max(members.max(), nonmembers.max())
    step = (high - low) / cells
    length = (high - low) / step
    count = int(np.floor(length)) + 1 if to_the_end else int(np.ceil(length))
    tpr, fpr, acc = [], [], []
    for i in range(count):
        t = low + i * step
        tp, fp = (members <= t).sum(), (nonmembers <= t).sum()
        # torch divides integer tensors in float32
        tpr.append(float(np.float32(tp) / np.float32(len(members))))
        fpr.append(float(np.float32(fp) / np.float32(len(nonmembers))))
        acc.append((tp + len(nonmembers) - fp) / (len(members) + len(nonmembers)))
    return np.array(tpr), np.array(fpr), max(acc)


def exact(members, nonmembers, drop):
    labels = np.r_[np.ones(len(members)), np.zeros(len(nonmembers))]
    scores = np.r_[-members, -nonmembers]
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=drop)
    return fpr, tpr, roc_auc_score(labels, scores)


def swapped(members, nonmembers):
    labels = np.r_[np.zeros(len(members)), np.ones(len(nonmembers))]
    scores = np.r_[members, nonmembers]
    fpr, tpr, _ = roc_curve(labels, scores)
    return fpr, tpr, roc_auc_score(labels, scores)


def hull_at(fpr, tpr, x):
    best = 0.0
    for x0, y0 in zip(fpr, tpr):
        for x1, y1 in zip(fpr, tpr):
            if x0 <= x <= x1:
                best = max(best, max(y0, y1) if x0 == x1 else y0 + (y1 - y0) * (x - x0) / (x1 - x0))
    return best


def summary(rule, m, n):
    """(auc, asr, [(tpr, realised fpr)])"""
    if rule == "secmi":
        tpr, fpr, acc = on_grid(m, n, 2000, False)
        at = [np.abs(fpr - t).argmin() for t in TARGETS]
        return auc(fpr, tpr), acc, [(tpr[i], fpr[i]) for i in at]
    if rule == "secmi-ldm":
        tpr, fpr, acc = on_grid(m, n, 10000, True)
        return auc(fpr, tpr), acc, []
    if rule == "copymark":
        tpr, fpr, _ = on_grid(m, n, 10000, False)
        at = [np.flatnonzero(fpr <= np.float32(t)) for t in TARGETS]
        return auc(fpr, tpr), None, [(tpr[i].max(), fpr[i].max()) if len(i) else (0.0, 0.0) for i in at]
    if rule == "pia":
        fpr, tpr, area = exact(m, n, False)
        at = [(fpr < t).sum() - 1 for t in TARGETS]
        return area, None, [(tpr[i], fpr[i]) for i in at]
    if rule == "pw":
        fpr, tpr, area = exact(m, n, True)
        at = [np.argmin(np.abs(fpr - t)) for t in TARGETS]
        return area, None, [(tpr[i], fpr[i]) for i in at]
    if rule == "wen":
        fpr, tpr, area = exact(m, n, True)
        at = [np.where(fpr < t)[0][-1] for t in TARGETS]
        return area, np.max(1 - (fpr + (1 - tpr)) / 2), [(tpr[i], fpr[i]) for i in at]
    if rule == "clid":
        fpr, tpr, area = swapped(m, n)
        at = [next(i for i, f in enumerate(fpr) if f >= t) for t in TARGETS]
        return area, on_grid(m, n, 2000, False)[2], [(tpr[i], fpr[i]) for i in at]
    if rule == "midm":
        fpr, tpr, _ = swapped(m, n)
        at = [np.where(fpr <= t)[0][-1] for t in TARGETS]
        return None, None, [(tpr[i], fpr[i]) for i in at]
    fpr, tpr, _ = exact(m, n, False)
    xs = sorted(set(fpr))
    area = auc(xs, [hull_at(fpr, tpr, x) for x in xs])
    acc = max((t * len(m) + (1 - f) * len(n)) / (len(m) + len(n)) for f, t in zip(fpr, tpr))
    return area, acc, [(hull_at(fpr, tpr, t), t) for t in TARGETS]


if __name__ == "__main__":
    show = lambda x: "None" if x is None else f"Some({x:.7})"
    for case, (m, n) in CASES.items():
        for rule in ["secmi", "secmi-ldm", "pia", "pw", "clid", "copymark", "wen", "midm", "jax-privacy"]:
            area, acc, points = summary(rule, m, n)
            listed = ", ".join(f"({t:.7}, {f:.7})" for t, f in points)
            print(f'    ("{case}", "{rule}", {show(area)}, {show(acc)}, &[{listed}]),')
