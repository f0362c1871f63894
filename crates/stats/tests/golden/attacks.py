"""Reference values of src/rmia, src/density, src/combine and src/set_test/inference: python3 attacks.py attacks.json

numpy, scipy and scikit-learn compute from rational numbers, which are the same bits in every language, so that the file holds results
only. numpy 2.4, scipy 1.17 and scikit-learn 1.9 wrote it, in seconds.
"""

import itertools
import json
import sys

import numpy as np
from scipy.stats import gaussian_kde
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KernelDensity


def numbers(n, d, a):
    """n x d numbers in [0, 1)."""
    return np.array([[(i * i * a + 31 * i * j + 17 * (j + 1) * i + 7 * j) % 1009 for j in range(d)] for i in range(n)]) / 1009


# ---- RMIA -------------------------------------------------------------------------------------------------------------------

def ratios(target, references, inside, scale, a):
    """p(x | target) / p(x) with plain exponentials; images in columns."""
    p, r = np.exp(scale * target), np.exp(scale * references)
    out = np.array([r[~inside[:, i], i].mean() for i in range(len(target))])
    if a is not None:
        return p / (((1 + a) * out + 1 - a) / 2)
    within = np.array([r[inside[:, i], i].mean() for i in range(len(target))])
    return p / ((within + out) / 2)


def rmia():
    def images(n, a):
        phi = -numbers(n, 5, a).T
        inside = np.array([[(i + m * (i % 3 + 1)) % 2 == 0 for i in range(n)] for m in range(4)])
        # One model with each image and one without at least.
        inside[0], inside[1] = True, False
        return phi[0], phi[1:], inside

    found = []
    for a in [None, 1.0, 0.3]:
        x, z = ratios(*images(12, 389), 2.0, a), ratios(*images(20, 577), 2.0, a)
        found.append([float((xi / z >= 1.1).mean()) for xi in x])
    return found


# ---- density ratio ----------------------------------------------------------------------------------------------------------

def kernel(rows, x, h):
    return KernelDensity(bandwidth=h).fit(rows).score_samples(x)


def scott(rows):
    return len(rows) ** (-1 / (rows.shape[1] + 4))


def density():
    g, r, x = numbers(40, 3, 389), numbers(30, 3, 577), numbers(10, 3, 101)
    mean, deviation = r.mean(0), r.std(0, ddof=1)
    gs, rs, xs = [(t - mean) / deviation for t in (g, r, x)]
    plain = kernel(gs, xs, scott(gs)) - kernel(rs, xs, scott(rs))

    multiples = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.3, 1.7]
    likelihoods = [
        sum(kernel(np.delete(gs, i, 0), gs[i : i + 1], m * scott(gs))[0] for i in range(len(gs))) for m in multiples
    ]
    h = multiples[int(np.argmax(likelihoods))] * scott(gs)
    likely = kernel(gs, xs, h) - kernel(rs, xs, h)

    pca = PCA(2, whiten=True, svd_solver="full").fit(r)
    gp, rp, xp = [pca.transform(t) for t in (g, r, x)]
    components = kernel(gp, xp, scott(gp)) - kernel(rp, xp, scott(rp))
    # scipy's own estimate, in whitened columns the same.
    assert np.allclose(gaussian_kde(rp.T).logpdf(xp.T), kernel(rp, xp, scott(rp)), atol=1e-9)

    # More columns than rows.
    g, r, x = numbers(9, 12, 389), numbers(8, 12, 577), numbers(4, 12, 101)
    pca = PCA(3, whiten=True, svd_solver="full").fit(r)
    gp, rp, xp = [pca.transform(t) for t in (g, r, x)]
    wide = kernel(gp, xp, scott(gp)) - kernel(rp, xp, scott(rp))
    return {
        "plain": plain.tolist(),
        "bandwidth": h,
        "likely": likely.tolist(),
        "components": components.tolist(),
        "wide": wide.tolist(),
    }


# ---- logistic regression ----------------------------------------------------------------------------------------------------

def fitted(x, y, penalty):
    weight = np.where(y, 0.5 / y.sum(), 0.5 / (~y).sum())
    model = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-13, max_iter=1000)
    return model.fit(x, y, sample_weight=weight)


def logistic():
    known, others = numbers(60, 3, 389), numbers(8, 3, 577)
    y = known[:, 0] + 0.5 * numbers(60, 4, 101)[:, 3] > 0.8
    mean, deviation = known.mean(0), known.std(0)
    found = []
    for penalty in [1.0, 0.01, 1e-4]:
        model = fitted((known - mean) / deviation, y, penalty)
        found.append(
            {
                "penalty": penalty,
                "weights": model.coef_[0].tolist(),
                "intercept": float(model.intercept_[0]),
                "scores": model.decision_function((others - mean) / deviation).tolist(),
            }
        )
    return found


# ---- dataset inference ------------------------------------------------------------------------------------------------------

def crossed(x, labels, folds):
    """Cross-fitted probabilities; each side dealt out in turn."""
    fold = np.zeros(len(x), int)
    for side in [True, False]:
        rows = np.flatnonzero(labels == side)
        fold[rows] = np.arange(len(rows)) % folds
    scores = np.zeros(len(x))
    for held in range(folds):
        kept = fold != held
        scores[~kept] = fitted(x[kept], labels[kept], 0.01).predict_proba(x[~kept])[:, 1]
    return scores


def inference():
    x = np.concatenate([numbers(5, 2, 389) + 0.2, numbers(4, 2, 577)])
    x = (x - x.mean(0)) / x.std(0)

    def statistic(places):
        labels = np.isin(np.arange(9), places)
        scores = crossed(x, labels, 2)
        return scores[labels].mean() - scores[~labels].mean(), scores

    true, scores = statistic(range(5))
    all_of_them = [statistic(places)[0] for places in itertools.combinations(range(9), 5)]
    return {
        "scores": scores.tolist(),
        "difference": float(true),
        "as_large": int(sum(t >= true - 1e-9 for t in all_of_them)),
        "of": len(all_of_them),
    }


results = {"rmia": rmia(), "density": density(), "logistic": logistic(), "inference": inference()}
rounded = json.loads(json.dumps(results), parse_float=lambda v: float(f"{float(v):.12g}"))
with open(sys.argv[1], "w") as file:
    json.dump(rounded, file, indent=1)
    file.write("\n")
