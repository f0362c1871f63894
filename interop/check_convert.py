"""A checkpoint with the key names of the SecMI and PIA repositories, computed by its own formulas and by what convert makes of it.

    check_convert.py FOLDER

The reference below is the network written down from those names with functions of torch, without a layer of diffusers. The other formats are in
check_networks.py, adapters of PEFT in check_peft.py; both are called here. Run by crates/cli/tests/denoiser.rs.
"""

import math
import sys
import warnings
from pathlib import Path

import check_networks
import check_peft
import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore")

from diffusers import DDPMPipeline  # noqa: E402

import dualmd  # noqa: E402
from dualmd.convert import NotKnown, convert, load, main  # noqa: E402

STEPS, CH, LEVELS, BLOCKS, ATTENDED = 200, 32, (1, 2, 2), 2, (1,)


def checkpoint(seed):
    """Random weights under the names of the format."""
    torch.manual_seed(seed)
    state = {}

    def layer(name, out, *rest):
        fan = math.prod(rest) if rest else 1
        norm = not rest
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(out) if norm else torch.randn(out, *rest) / math.sqrt(fan)
        state[f"{name}.bias"] = 0.1 * torch.randn(out)

    def block(name, into, out, attn):
        layer(f"{name}.block1.0", into)
        layer(f"{name}.block1.2", out, into, 3, 3)
        layer(f"{name}.temb_proj.1", out, 4 * CH)
        layer(f"{name}.block2.0", out)
        layer(f"{name}.block2.3", out, out, 3, 3)
        if into != out:
            layer(f"{name}.shortcut", out, into, 1, 1)
        if attn:
            layer(f"{name}.attn.group_norm", out)
            for part in ("proj_q", "proj_k", "proj_v", "proj"):
                layer(f"{name}.attn.{part}", out, out, 1, 1)

    frequencies = torch.exp(-torch.arange(0, CH, 2) / CH * math.log(10000))
    angles = torch.arange(STEPS)[:, None] * frequencies[None]
    state["time_embedding.timembedding.0.weight"] = torch.stack([angles.sin(), angles.cos()], dim=-1).view(STEPS, CH)
    layer("time_embedding.timembedding.1", 4 * CH, CH)
    layer("time_embedding.timembedding.3", 4 * CH, 4 * CH)
    layer("head", CH, 3, 3, 3)
    widths, now, n = [CH], CH, 0
    for level, times in enumerate(LEVELS):
        for _ in range(BLOCKS):
            block(f"downblocks.{n}", now, CH * times, level in ATTENDED)
            now, n = CH * times, n + 1
            widths.append(now)
        if level + 1 < len(LEVELS):
            layer(f"downblocks.{n}.main", now, now, 3, 3)
            n += 1
            widths.append(now)
    block("middleblocks.0", now, now, True)
    block("middleblocks.1", now, now, False)
    n = 0
    for level, times in reversed(list(enumerate(LEVELS))):
        for _ in range(BLOCKS + 1):
            block(f"upblocks.{n}", widths.pop() + now, CH * times, level in ATTENDED)
            now, n = CH * times, n + 1
        if level > 0:
            layer(f"upblocks.{n}.main", now, now, 3, 3)
            n += 1
    assert not widths
    layer("tail.0", now)
    layer("tail.2", 3, now, 3, 3)
    return state


def predicted(state, x, t):
    """What that network answers."""

    def norm(name, x):
        return F.group_norm(x, 32, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(name, x, **how):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], **how)

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def attention(name, x):
        b, c, h, w = x.shape
        z = norm(f"{name}.group_norm", x)
        q, k, v = (conv(f"{name}.{part}", z).flatten(2) for part in ("proj_q", "proj_k", "proj_v"))
        weight = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(c), dim=-1)
        return x + conv(f"{name}.proj", (v @ weight.transpose(1, 2)).view(b, c, h, w))

    def block(name, x):
        h = conv(f"{name}.block1.2", F.silu(norm(f"{name}.block1.0", x)), padding=1)
        h = h + linear(f"{name}.temb_proj.1", F.silu(emb))[:, :, None, None]
        h = conv(f"{name}.block2.3", F.silu(norm(f"{name}.block2.0", h)), padding=1)
        h = h + (conv(f"{name}.shortcut", x) if f"{name}.shortcut.weight" in state else x)
        return attention(f"{name}.attn", h) if f"{name}.attn.proj_q.weight" in state else h

    emb = state["time_embedding.timembedding.0.weight"][t]
    emb = linear("time_embedding.timembedding.3", F.silu(linear("time_embedding.timembedding.1", emb)))
    h = conv("head", x, padding=1)
    kept, n = [h], 0
    for level in range(len(LEVELS)):
        for _ in range(BLOCKS):
            h, n = block(f"downblocks.{n}", h), n + 1
            kept.append(h)
        if level + 1 < len(LEVELS):
            h, n = conv(f"downblocks.{n}.main", h, stride=2, padding=1), n + 1
            kept.append(h)
    h = block("middleblocks.1", block("middleblocks.0", h))
    n = 0
    for level in reversed(range(len(LEVELS))):
        for _ in range(BLOCKS + 1):
            h, n = block(f"upblocks.{n}", torch.cat([h, kept.pop()], dim=1)), n + 1
        if level > 0:
            h, n = conv(f"upblocks.{n}.main", F.interpolate(h, scale_factor=2, mode="nearest"), padding=1), n + 1
    return conv("tail.2", F.silu(norm("tail.0", h)), padding=1)


def refuses(words, call):
    try:
        call()
    except (NotKnown, FileExistsError) as refused:
        assert words in str(refused), refused
    else:
        raise AssertionError(f"not refused: {words}")


def check():
    folder = Path(sys.argv[1])
    averaged, raw = checkpoint(1), checkpoint(2)
    wrapped = {f"module.{name}": value for name, value in raw.items()}
    file = folder / "ckpt.pt"
    torch.save({"ema_model": averaged, "net_model": wrapped, "step": 3, "x_T": torch.zeros(2)}, file)
    x, t = torch.randn(3, 3, 16, 16), torch.tensor([0, 57, STEPS - 1])
    for which, state in (("ema", averaged), ("raw", raw)):
        out = folder / which
        assert main([str(file), "-o", str(out), "--weights", which, "--image-size", "16"]) == 0
        pipe = DDPMPipeline.from_pretrained(out)
        assert pipe.scheduler.config.num_train_timesteps == STEPS and pipe.unet.config.sample_size == 16
        with torch.no_grad():
            expected, found = predicted(state, x, t), pipe.unet(x, t).sample
        error = float(((found - expected).abs() / (1 + expected.abs())).max())
        print(f"{which}: largest error against the formulas {error:.1e}, largest answer {float(expected.abs().max()):.2f}")
        assert error < 1e-4
    # The program opens it too.
    dualmd.call(["sample", str(folder / "ema"), "-n", "1", "--steps", "2", "-o", str(folder / "images")], quiet=True)

    refuses("not empty", lambda: convert(file, folder / "ema"))
    torch.save({"net_model": raw}, folder / "one.pt")
    refuses("no ema_model", lambda: convert(folder / "one.pt", folder / "x"))
    torch.save({"init_conv.weight": torch.zeros(2)}, folder / "other.pt")
    refuses("audit it as a callable", lambda: convert(folder / "other.pt", folder / "x"))
    torch.save({**averaged, "extra.weight": torch.zeros(2)}, folder / "more.pt")
    refuses("extra.weight", lambda: convert(folder / "more.pt", folder / "x"))
    (folder / "text.pt").write_text("no pickle")
    refuses("no checkpoint that torch opens", lambda: load(folder / "text.pt", image_size=16))
    torch.save({"model": {"conv_in.weight": torch.zeros(2), "down_blocks.0.x": torch.zeros(2)}}, folder / "plain.pt")
    for open_ in (lambda: load(folder / "plain.pt", image_size=16), lambda: convert(folder / "plain.pt", folder / "x")):
        refuses("torch.load('plain.pt', weights_only=True)['model']", open_)
    torch.save([1], folder / "list.pt")
    refuses("of type list", lambda: load(folder / "list.pt", image_size=16))
    torch.save(torch.nn.Linear(2, 2), folder / "code.pt")
    refuses("holds code", lambda: load(folder / "code.pt", image_size=16))
    for name in ("nothing.pt", "text.pt"):
        assert main([str(folder / name), "-o", str(folder / "x")]) == 1
    assert not (folder / "x").exists()
    refuses("write its folder", lambda: load(file, image_size=16))
    refuses("has no heads", lambda: convert(file, folder / "x", heads=4))
    check_networks.check(folder)
    peft = folder / "peft"
    peft.mkdir()
    check_peft.check(peft)


if __name__ == "__main__":
    check()
