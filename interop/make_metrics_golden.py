"""Makes tests/golden/metrics: what dualmd-metrics must reproduce, computed without any dualmd code.

    OMP_NUM_THREADS=1 python interop/make_metrics_golden.py tests/golden/metrics [numbers] [sets] [efflite0] [inception]

`numbers` needs numpy and scipy alone, `sets` numpy. `efflite0` and `inception` need torch, and packages that are not part of the interop
environment and are used for nothing else: efficientnet_lite_pytorch==0.1.0; torchvision, pytorch-fid==0.3.0 (install them with
pip --no-deps --target FOLDER and name FOLDER in PYTHONPATH). They take seconds.

    wide.json, tall.json     features (a, b, subsets, logits) and every metric of them
    stats.npz                mu and sigma of tall's `a`, as numpy.savez writes them
    sets.json                distances of sets of other colours and sizes, in the 64 columns of Inception under made weights, by the
                             definition of pytorch-fid: each picture in RGB, at its own size into the network; checked against
                             inception.npy, which pytorch-fid itself made
    efflite0.npy             [2, 1280 + 1000]: features and logits of the two test images under made weights
    inception.npy            [2, 64 + 192 + 768 + 2048 + 1008]: the four layers and the logits, likewise

Made weights: real ones cannot be committed, so both sides compute the same numbers from the names of the tensors (`made`), with
integers up to the last step.
"""

import json
import sys
from pathlib import Path

import numpy as np


# ---- numbers ----------------------------------------------------------------------------------------------------------------

def frechet(a, b):
    """|dm|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with scipy's Schur method where S1 S2 has full rank."""
    s1, s2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    if min(len(a), len(b)) > a.shape[1]:
        import scipy.linalg
        root = np.trace(scipy.linalg.sqrtm(s1 @ s2).real)
    else:
        # sqrtm of a singular matrix is inaccurate; the eigenvalues of S1^(1/2) S2 S1^(1/2) are not.
        values, vectors = np.linalg.eigh(s1)
        half = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
        values = np.linalg.eigvalsh(half @ s2 @ half)
        root = np.sqrt(values[values > 1e-12 * values.max()]).sum()
    dm = a.mean(0) - b.mean(0)
    return dict(value=dm @ dm + np.trace(s1) + np.trace(s2) - 2 * root, mean_term=dm @ dm)


def mmd2(x, y):
    """Unbiased, k(x, y) = (x.y/D + 1)^3."""
    k = lambda u, v: (u @ v.T / u.shape[1] + 1) ** 3
    off = lambda m: (m.sum() - np.trace(m)) / (len(m) * (len(m) - 1))
    return off(k(x, x)) + off(k(y, y)) - 2 * k(x, y).mean()


def jackknife_se(x, y):
    """Leaving out one row at a time, the slow way."""
    one = lambda n, f: np.array([f(np.arange(n) != i) for i in range(n)])
    part = lambda v: (len(v) - 1) / len(v) * ((v - v.mean()) ** 2).sum()
    return float(np.sqrt(part(one(len(x), lambda m: mmd2(x[m], y))) + part(one(len(y), lambda m: mmd2(x, y[m])))))


def inception_score(logits, splits):
    z = logits - logits.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    p, n, scores = np.exp(log_p), len(logits), []
    for i in range(splits):
        part = slice(i * n // splits, (i + 1) * n // splits)
        kl = p[part] * (log_p[part] - np.log(p[part].mean(0, keepdims=True)))
        scores.append(float(np.exp(kl.sum(1).mean())))
    return dict(splits=scores, mean=float(np.mean(scores)), sd=float(np.std(scores)))


def neighbours(generated, real, k_pr, k_dc):
    """Direct differences, no inner products."""
    d = lambda u, v: np.sqrt(((u[:, None] - v[None]) ** 2).sum(-1))
    radius = lambda u, k: np.sort(d(u, u), 1)[:, k]
    within = d(generated, real)
    balls = within <= radius(real, k_dc)
    return dict(
        precision=float((within <= radius(real, k_pr)).any(1).mean()),
        recall=float((within.T <= radius(generated, k_pr)).any(1).mean()),
        density=float(balls.sum() / (k_dc * len(generated))),
        coverage=float(balls.any(0).mean()),
    )


def numbers(out):
    rng = np.random.default_rng(8)
    # More images than columns, and fewer: covariances without full rank.
    for name, (n1, n2, dim) in dict(tall=(60, 48, 16), wide=(40, 33, 64)).items():
        mix = rng.normal(size=(dim, dim)) / np.sqrt(dim)
        # Like pooled activations: not below 0, correlated, with a mean far from 0. Three decimals keep the file small and are exact
        # enough in f32 after one rounding, which is applied here too.
        make = lambda n, shift: np.abs(rng.normal(size=(n, dim)) @ mix + 1 + shift).round(3).astype(np.float32)
        a, b = make(n1, 0.0), make(n2, 0.2)
        logits = (rng.normal(size=(n1, 10)) * 3).round(2).astype(np.float32)
        x, y, l = (v.astype(np.float64) for v in (a, b, logits))
        draws = [[rng.choice(n1, 15, replace=False), rng.choice(n2, 15, replace=False)] for _ in range(6)]
        subsets = [mmd2(x[i], y[j]) for i, j in draws]
        golden = dict(
            made_with=dict(numpy=np.__version__),
            dim=dim,
            frechet=frechet(x, y),
            kid=dict(
                draws=[[i.tolist(), j.tolist()] for i, j in draws], mean=float(np.mean(subsets)), sd=float(np.std(subsets)),
                full=float(mmd2(x, y)), full_se=jackknife_se(x, y),
            ),
            inception_score={str(s): inception_score(l, s) for s in (1, 7)},
            neighbours=dict(k_pr=3, k_dc=5, **neighbours(x, y, 3, 5)),
            **{key: [float(f"{v:.3f}") for v in table.ravel()] for key, table in dict(a=a, b=b, logits=logits).items()},
        )
        (out / f"{name}.json").write_text(json.dumps(golden) + "\n")
        if name == "tall":
            np.savez(out / "stats.npz", mu=x.mean(0), sigma=np.cov(x, rowvar=False))


# ---- networks ---------------------------------------------------------------------------------------------------------------

def mixed(n, seed):
    """n well mixed 32-bit integers (the finaliser "lowbias32"), from their index and a seed."""
    with np.errstate(over="ignore"):
        v = np.arange(n, dtype=np.uint32) + np.uint32(seed)
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            v = (v ^ (v >> np.uint32(shift))) * np.uint32(factor)
        return v ^ (v >> np.uint32(16))


def made(name, shape):
    """Weights of a tensor as a function of its name (FNV-1a) and shape: even in [-1, 1), scaled by its role."""
    seed = 0x811C9DC5
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    u = mixed(int(np.prod(shape)), seed).astype(np.float64) / 2.0**31 - 1
    if name.endswith("running_var"):
        u = 1 + 0.5 * u
    elif len(shape) > 1:
        u = u * np.sqrt(6 / np.prod(shape[1:]))
    elif name.endswith("bn.weight") or ("_bn" in name and name.endswith("weight")):
        u = 1 + 0.2 * u
    else:
        u = 0.2 * u
    return u.astype(np.float32).reshape(shape)


def load_made(model):
    import torch
    state = {k: torch.from_numpy(made(k, tuple(v.shape))) for k, v in model.state_dict().items() if v.is_floating_point()}
    model.load_state_dict(state, strict=False)
    return model.eval()


def images(height=36, width=28):
    """uint8 [2, 3, height, width]: much noise on a ramp from left to right, and little on one from top to bottom."""
    noise = mixed(2 * 3 * height * width, 77).reshape(2, 3, height, width)
    y, x = np.arange(height, dtype=np.uint32)[:, None], np.arange(width, dtype=np.uint32)
    return np.stack([(noise[0] >> np.uint32(25)) + x * 4, (noise[1] >> np.uint32(27)) + y * 6]).astype(np.uint8)


def efflite0(out):
    import torch
    from efficientnet_lite_pytorch import EfficientNet
    with torch.no_grad():
        model = load_made(EfficientNet.from_name("efficientnet-lite0"))
        x = torch.nn.functional.interpolate(torch.from_numpy(images()).float(), (224, 224), mode="bilinear", align_corners=False)
        x = (x - 127) / 128
        features = model.extract_features(x).mean((2, 3))
        logits = model(x)
    save(out / "efflite0.npy", features, logits)


def inception(out):
    import torch
    import pytorch_fid.inception as reference
    # Its constructor downloads the real weights; the made ones come in their place, under the same names.
    kept = {}

    def no_download(url, progress=True):
        built = reference._inception_v3(num_classes=1008, aux_logits=False, weights=None)
        shapes = {k: tuple(v.shape) for k, v in built.state_dict().items()}
        kept.update({k: torch.from_numpy(made(k, s)) for k, s in shapes.items() if not k.endswith("num_batches_tracked")})
        return {**{k: torch.zeros(s, dtype=torch.int64) for k, s in shapes.items() if k not in kept}, **kept}

    reference.load_state_dict_from_url = no_download
    # The patched blocks have the names of the blocks they replace, but pool_features of their own: load into the real thing.
    model = reference.InceptionV3(output_blocks=(0, 1, 2, 3)).eval()
    with torch.no_grad():
        layers = [layer.mean((2, 3)) for layer in model(torch.from_numpy(images()).float() / 255)]
        logits = layers[-1] @ kept["fc.weight"].T + kept["fc.bias"]
    save(out / "inception.npy", *layers, logits)


def first_pool(pictures):
    """pytorch-fid's first block under made weights, in numpy: uint8 [n, 3, h, w] of any size to [n, 64]."""
    conv = lambda n: [made(f"{n}.{k}", s).astype(np.float64) for k, s in (
        ("conv.weight", shapes[n]), ("bn.weight", shapes[n][:1]), ("bn.bias", shapes[n][:1]), ("bn.running_mean", shapes[n][:1]),
        ("bn.running_var", shapes[n][:1]))]
    shapes = {"Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3), "Conv2d_2b_3x3": (64, 32, 3, 3)}

    def resized(image, axis, to=299):
        # Bilinear, corners not aligned, not antialiased: the source place of each new pixel, not below 0.
        size = image.shape[axis]
        at = np.clip((np.arange(to) + 0.5) * size / to - 0.5, 0, None)
        low = at.astype(int)
        part = (at - low).reshape((-1, 1) if axis == 1 else (1, -1))
        return np.take(image, low, axis) * (1 - part) + np.take(image, np.minimum(low + 1, size - 1), axis) * part

    def layer(x, name, stride, padding):
        weight, scale, bias, mean, var = conv(name)
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::stride, ::stride]
        y = np.einsum("oikl,ihwkl->ohw", weight, windows, optimize=True)
        column = lambda v: v[:, None, None]
        return np.maximum((y - column(mean)) / np.sqrt(column(var) + 1e-3) * column(scale) + column(bias), 0)

    rows = []
    for picture in pictures:
        x = 2 * resized(resized(picture.astype(np.float64) / 255, 1), 2) - 1
        x = layer(layer(layer(x, "Conv2d_1a_3x3", 2, 0), "Conv2d_2a_3x3", 1, 0), "Conv2d_2b_3x3", 1, 1)
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))[:, ::2, ::2]
        rows.append(windows.max((3, 4)).mean((1, 2)))
    return np.array(rows)


def noisy(n, channels, height, width, seed):
    """uint8 [n, channels, height, width]: noise of an amplitude that grows with the picture's number, on a ramp."""
    noise = mixed(n * channels * height * width, seed).reshape(n, channels, height, width)
    i, x = np.arange(n, dtype=np.uint32)[:, None, None, None], np.arange(width, dtype=np.uint32)
    return ((noise >> np.uint32(25)) * (i + 1) // n + x * 96 // width + i * 2).astype(np.uint8)


def sets(out):
    checked = first_pool(images())
    ours = np.load(out / "inception.npy")[:, :64]
    assert np.abs(checked - ours).max() < 1e-4 * np.abs(ours).max(), "not what pytorch-fid computes"
    rgb = lambda pictures: np.repeat(pictures, 3, 1) if pictures.shape[1] == 1 else pictures
    table = {name: first_pool(rgb(noisy(*shape))) for name, shape in dict(
        grey=(20, 1, 32, 32, 5), colour=(20, 3, 32, 32, 6), large=(20, 3, 96, 128, 7)).items()}
    value = lambda a, b: frechet(table[a], table[b])["value"]
    golden = dict(made_with=dict(numpy=np.__version__), n=20, grey_colour=value("grey", "colour"), colour_grey=value("colour", "grey"),
                  colour_large=value("colour", "large"), large_colour=value("large", "colour"))
    print(golden)
    (out / "sets.json").write_text(json.dumps(golden) + "\n")


def save(path, *tables):
    joined = np.concatenate([t.numpy() for t in tables], 1)
    assert joined.dtype == np.float32 and np.isfinite(joined).all()
    for table in tables:
        t = table.numpy()
        print(f"{path.name}: {t.shape[1]} columns, mean {t.mean():.3f}, sd {t.std():.3f}, between images {np.abs(t[0] - t[1]).mean():.3f}")
    np.save(path, joined)


if __name__ == "__main__":
    folder, *parts = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    for part in parts or ["numbers", "efflite0", "inception", "sets"]:
        {"numbers": numbers, "sets": sets, "efflite0": efflite0, "inception": inception}[part](Path(folder))
