"""Networks in the ONNX format, asked through ONNX Runtime. Run by crates/cli/tests/denoiser.rs.

    check_onnx.py MEMBERS NONMEMBERS FOLDER

The network is x t / 1000, written down here byte by byte, which no sampler drives beyond all numbers. Its answers are compared with numpy's, for files with open and fixed batches and all kinds of
timesteps; then an audit of the file, from Python and by --denoiser, with one of the same function as a callable.
"""

import csv
import struct
import sys
from pathlib import Path

import numpy as np

import dualmd
from dualmd.convert import NotKnown, load, main, onnx

FLOAT, INT64 = 1, 7


def number(n):
    """A whole number as protobuf writes it."""
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(key, value):
    """A field of a message: a whole number, a text, or a message."""
    if isinstance(value, int):
        return number(key << 3) + number(value)
    data = value.encode() if isinstance(value, str) else value
    return number(key << 3 | 2) + number(len(data)) + data


def told(name, kind, shape):
    """A tensor's name, kind and sides, of which those with a name are open."""
    sides = b"".join(field(1, field(1, side) if isinstance(side, int) else field(2, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, kind) + field(2, sides)))


def node(kind, inputs, output, attribute=None):
    named = [] if attribute is None else [field(5, field(1, attribute[0]) + field(3, attribute[1]) + field(20, 2))]
    return field(1, b"".join([*(field(1, name) for name in inputs), field(2, output), field(4, kind), *named]))


def product(images, levels, kind=INT64, variance=False):
    """x t / 1000, where t is of `kind`; with `variance` as many channels again."""
    nodes = [
        node("Cast", ["t"], "as float", ("to", FLOAT)),
        node("Reshape", ["as float", "sides"], "column"),
        node("Mul", ["x", "column"], "thousandfold"),
        node("Mul", ["thousandfold", "scale"], "half" if variance else "y"),
        *([node("Concat", ["half", "x"], "y", ("axis", 1))] if variance else []),
    ]
    sides = field(1, 4) + field(2, INT64) + field(9, struct.pack("<4q", -1, 1, 1, 1)) + field(8, "sides")
    scale = field(2, FLOAT) + field(9, struct.pack("<f", 1e-3)) + field(8, "scale")
    answer = [images[0], images[1] * (1 + variance), *images[2:]]
    ends = field(11, told("x", FLOAT, images)) + field(11, told("t", kind, levels)) + field(12, told("y", FLOAT, answer))
    graph = b"".join([*nodes, field(2, "product"), field(5, sides), field(5, scale), ends])
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def written(folder, name, *network, **more):
    file = Path(folder, f"{name}.onnx")
    file.write_bytes(product(*network, **more))
    return file


def check_answers(folder):
    random = np.random.default_rng(0)
    x, t = random.normal(size=(5, 3, 16, 16)).astype("f4"), np.array([3, 1, 3, 2, 1])
    sides = (3, 16, 16)
    for name, images, levels, more in [
        ("open", ("B", *sides), ("B",), {}),
        ("one level", ("B", *sides), (1,), {}),
        ("a level without sides", ("B", *sides), (), {}),
        ("one image", (1, *sides), (1,), {}),
        ("two images", (2, *sides), (2,), {}),
        ("open sides", ("B", 3, "h", "w"), ("B",), {"shape": sides}),
    ]:
        for variance in (False, True):
            denoiser = onnx(written(folder, name, images, levels, variance=variance), **more)
            assert tuple(denoiser.shape) == sides and denoiser.name == f"{name}.onnx", denoiser
            np.testing.assert_allclose(denoiser.call(x, t, None), x * t.reshape(-1, 1, 1, 1) / 1000, rtol=1e-5)
    sigma = np.array([0.5, 0.5, 0.25, 2.0, 0.5], "f4")
    flow = onnx(written(folder, "flow", ("B", *sides), ("B",), kind=FLOAT), prediction="flow")
    np.testing.assert_allclose(flow.call(x, sigma, None), x * sigma.reshape(-1, 1, 1, 1) / 1000, rtol=1e-5)


def refused(words, call):
    try:
        call()
    except NotKnown as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"no error with {words!r}")


def check_refusals(folder):
    sides = (3, 16, 16)
    whole = written(folder, "whole", ("B", *sides), ("B",))
    refused("--shape C,H,W", lambda: onnx(written(folder, "unsaid", ("B", 3, "h", "w"), ("B",))))
    refused("shape=(1, 16, 16)", lambda: onnx(whole, shape=(1, 16, 16)))
    refused("no whole numbers", lambda: onnx(whole, prediction="flow"))
    refused("timesteps [B]", lambda: onnx(written(folder, "pictures", ("B", *sides), ("B", 2))))
    refused("onnxruntime-gpu", lambda: onnx(whole, device="mps"))
    refused("ONNX Runtime opens", lambda: onnx(written_text(folder)))
    refused("dualmd.convert.onnx", lambda: load(whole, image_size=16))
    assert main([str(whole), "--serve", "--heads", "4"]) == 1
    assert main([str(whole), "--serve", "--steps", "0"]) == 1


def written_text(folder):
    file = Path(folder, "text.onnx")
    file.write_text("no network")
    return file


def scores(folder):
    with Path(folder, "scores", "model.csv").open(newline="") as source:
        return {(row["attack"], row["sample_id"]): float(row["score"]) for row in csv.DictReader(source)}


def check_audits(members, others, folder):
    sides, out = (3, 16, 16), Path(folder)
    file = written(folder, "network", ("B", *sides), ("B",))
    attacks = ["loss", "sima"]
    plain = {"members": members, "nonmembers": others, "attacks": attacks, "quiet": True}
    dualmd.audit(file, out=out / "file", **plain)
    dualmd.audit(lambda x, t, c: x * t.astype("f4").reshape(-1, 1, 1, 1) / 1000, shape=sides, arrays="numpy", out=out / "callable", **plain)
    arguments = ["--members", members, "--nonmembers", others, "--attacks", ",".join(attacks), "-o", str(out / "shell")]
    dualmd.call(["audit", "--denoiser", str(file), *arguments], quiet=True)
    wanted = scores(out / "callable")
    assert wanted
    for name in ("file", "shell"):
        found = scores(out / name)
        assert found.keys() == wanted.keys()
        np.testing.assert_allclose([found[key] for key in wanted], list(wanted.values()), rtol=1e-5, err_msg=name)


if __name__ == "__main__":
    check_answers(sys.argv[3])
    check_refusals(sys.argv[3])
    check_audits(*sys.argv[1:])
