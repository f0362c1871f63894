"""Checkpoints of denoising-diffusion-pytorch, of improved- and guided-diffusion and of EDM, against what their networks answer.

Called by check_convert.py. denoising-diffusion-pytorch: its own answers, in tests/golden/checkpoints (make_checkpoints_golden.py). The others: a
UNet2DModel of diffusers is written down under the names of the format, and its answers are those to be found. One program audits all of them.
"""

import csv
import json
import math
import pickle
import shutil
import sys
from pathlib import Path

import numpy
import torch
from diffusers import DDIMScheduler, DDPMPipeline, UNet2DModel
from diffusers.utils import logging
from PIL import Image

import dualmd
from dualmd.convert import NotKnown, convert, edm, load, main, preconditioned

logging.disable_progress_bar()
GOLDEN = Path(__file__).parent.parent / "tests/golden/checkpoints/denoising-diffusion-pytorch.json"


def weights(shapes, seed):
    """Tensors that follow from their names and shapes: norms near one, layers of about unit gain."""
    state = {}
    for n, (name, shape) in enumerate(sorted(shapes.items())):
        count = math.prod(shape)
        values = torch.sin(torch.arange(count, dtype=torch.float64) * 1.7 + 13.0 * n + seed).reshape(shape)
        norm = name.endswith(".g") or (len(shape) == 1 and name.endswith("weight"))
        scale = 1.0 / math.sqrt(max(count // shape[0], 1)) if len(shape) > 1 and not norm else 0.2
        state[name] = ((1.0 if norm else 0.0) + scale * values).float()
    return state


def inputs(channels, side, steps):
    """Noisy images and timesteps, likewise."""
    x = torch.sin(torch.arange(3 * channels * side * side, dtype=torch.float64) * 2.3 + 0.5) * 1.5
    return x.reshape(3, channels, side, side).float(), torch.tensor([0, steps // 3, steps - 1])


def near(what, found, expected, limit=1e-5):
    # By the size of the whole answer: f32 rounds what it is added up from, which is as large in its small numbers as in its large ones.
    with torch.no_grad():
        apart = float((found.double() - expected.double()).abs().max() / (1 + expected.double().abs().max()))
    print(f"{what}: largest error {apart:.1e}, largest answer {float(expected.abs().max()):.2f}")
    assert apart < limit, (what, apart)


def refuses(words, call, kinds=(NotKnown,)):
    try:
        call()
    except kinds as refused:
        assert words in str(refused), refused
    else:
        raise AssertionError(f"not refused: {words}")


def trained(one, seed=0):
    """The file that the trainer writes, by its keys: raw weights are those of another seed."""
    buffers = {name: torch.tensor(values) for name, values in one["buffers"].items()}

    def state(seed, prefix=""):
        unet = {f"{prefix}model.{name}": value for name, value in weights(one["tensors"], seed).items()}
        return {**unet, **{prefix + name: value for name, value in buffers.items()}}

    ema = {"initted": torch.tensor([True]), "step": torch.tensor([3]), **state(seed, "ema_model."), **state(seed + 1, "online_model.")}
    return {"step": 3, "model": state(seed + 1), "opt": {"state": {}, "param_groups": []}, "ema": ema, "scaler": None, "version": "2.3.4"}


def check_lucidrains(folder):
    file = folder / "model-1.pt"
    predictions = {"v": "v", "noise": "eps", "x0": "x0", "variance": "eps"}
    for one in json.loads(GOLDEN.read_text()):
        torch.save(trained(one), file)
        x, t = inputs(one["channels"], one["side"], len(one["buffers"]["betas"]))
        expected = torch.tensor(one["out"], dtype=torch.float64).reshape(x.shape)
        denoiser = load(file, image_size=one["side"])
        assert (denoiser.prediction, tuple(denoiser.shape)) == (predictions[one["name"]], (one["channels"], one["side"], one["side"]))
        for a, b in zip(denoiser.schedule, one["buffers"]["alphas_cumprod"], strict=True):
            assert abs(a - b) < 1e-5 * a + 1e-9, (a, b)
        near(f"denoising-diffusion-pytorch, {one['name']}", denoiser.call(x, t, None), expected)
        raw = load(file, image_size=one["side"], weights="raw").call(x, t, None)
        assert float((raw - expected).abs().max()) > 0.01, "averaged and raw weights are the same"
        assert load(file, image_size=one["side"], objective="pred_x0").prediction == "x0"
    refuses("multiples of 4", lambda: load(file, image_size=10))
    refuses("--serve", lambda: convert(file, folder / "none"))
    refuses("has no heads", lambda: load(file, image_size=8, heads=2))
    refuses("is not known", lambda: load(file, image_size=8, head=2), TypeError)
    assert not (folder / "none").exists()
    whole = trained(one)
    torch.save(whole["model"], folder / "state.pt")
    assert load(folder / "state.pt", image_size=8).prediction == "eps"

    def spoiled(change, words, **told):
        held = trained(one)
        change(held)
        torch.save(held, folder / "spoiled.pt")
        refuses(words, lambda: load(folder / "spoiled.pt", image_size=8, **told))

    spoiled(lambda held: held.pop("ema"), "weights='raw'")
    spoiled(lambda held: held["ema"].pop("ema_model.betas"), "no betas")
    spoiled(lambda held: held["ema"].pop("ema_model.loss_weight"), "pass objective=")
    spoiled(lambda held: held["ema"]["ema_model.loss_weight"].mul_(3), "pass objective=")
    spoiled(lambda held: None, "objective='noise'", objective="noise")
    spoiled(lambda held: held["ema"].pop("ema_model.model.mid_attn.norm.g"), "mid_attn.norm.g")
    spoiled(lambda held: held["ema"].update({"ema_model.model.extra.weight": torch.zeros(2)}), "extra.weight first")
    spoiled(lambda held: held["ema"].update({"ema_model.model.mid_block1.block1.proj.weight": torch.zeros(2, 2, 3, 3)}), "do not fit")
    spoiled(lambda held: held["ema"].update({"ema_model.model.downs.0.0.block1.norm.weight": torch.zeros(8)}), "older version")
    spoiled(lambda held: held["ema"].update({"ema_model.model.time_mlp.0.weights": torch.zeros(8)}), "continuous times")


def unet(**other):
    """A network of diffusers with random weights."""
    torch.manual_seed(len(other))
    made = UNet2DModel(
        **{
            "sample_size": 16, "in_channels": 3, "out_channels": 3, "block_out_channels": (32, 64, 64), "layers_per_block": 2, "attention_head_dim": 16,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
            "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 32, **other,
        }
    )  # fmt: skip
    with torch.no_grad():
        for p in made.parameters():
            # Biases and norms begin as nothing, which a test would not see.
            if p.dim() == 1:
                p.add_(0.2 * torch.randn_like(p))
    return made.eval()


def guided(network, new_order=False):
    """The tensors of a UNet2DModel under the names of improved- and guided-diffusion."""
    theirs, state = network.state_dict(), {}
    levels, each = len(network.config.block_out_channels), network.config.layers_per_block

    def layer(old, new):
        for part in ("weight", "bias"):
            state[f"{new}.{part}"] = theirs.pop(f"{old}.{part}")

    def resnet(old, new):
        for a, b in (("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("time_emb_proj", "emb_layers.1"), ("norm2", "out_layers.0"),
                     ("conv2", "out_layers.3"), ("conv_shortcut", "skip_connection")):  # fmt: skip
            if f"{old}.{a}.weight" in theirs:
                layer(f"{old}.{a}", f"{new}.{b}")

    def attention(old, new):
        if f"{old}.to_q.weight" not in theirs:
            return False
        layer(f"{old}.group_norm", f"{new}.norm")
        layer(f"{old}.to_out.0", f"{new}.proj_out")
        state[f"{new}.proj_out.weight"] = state[f"{new}.proj_out.weight"][:, :, None]
        for part in ("weight", "bias"):
            rows = [theirs.pop(f"{old}.{name}.{part}") for name in ("to_q", "to_k", "to_v")]
            width = network.config.attention_head_dim
            if not new_order:
                # Rows of one head: its queries, its keys, its values.
                rows = [row[at : at + width] for at in range(0, len(rows[0]), width) for row in rows]
            whole = torch.cat(rows)
            state[f"{new}.qkv.{part}"] = whole[:, :, None] if part == "weight" else whole
        return True

    layer("time_embedding.linear_1", "time_embed.0")
    layer("time_embedding.linear_2", "time_embed.2")
    if "class_embedding.weight" in theirs:
        state["label_emb.weight"] = theirs.pop("class_embedding.weight")
    layer("conv_in", "input_blocks.0.0")
    for level in range(levels):
        for k in range(each):
            block = f"input_blocks.{level * (each + 1) + 1 + k}"
            resnet(f"down_blocks.{level}.resnets.{k}", f"{block}.0")
            attention(f"down_blocks.{level}.attentions.{k}", f"{block}.1")
        if level + 1 < levels:
            at = f"input_blocks.{(level + 1) * (each + 1)}.0"
            if network.config.downsample_type == "resnet":
                resnet(f"down_blocks.{level}.downsamplers.0", at)
            else:
                layer(f"down_blocks.{level}.downsamplers.0.conv", f"{at}.op")
    resnet("mid_block.resnets.0", "middle_block.0")
    attention("mid_block.attentions.0", "middle_block.1")
    resnet("mid_block.resnets.1", "middle_block.2")
    for level in range(levels):
        for k in range(each + 1):
            block = f"output_blocks.{level * (each + 1) + k}"
            resnet(f"up_blocks.{level}.resnets.{k}", f"{block}.0")
            attends = attention(f"up_blocks.{level}.attentions.{k}", f"{block}.1")
        if level + 1 < levels:
            at = f"{block}.{1 + attends}"
            if network.config.upsample_type == "resnet":
                resnet(f"up_blocks.{level}.upsamplers.0", at)
            else:
                layer(f"up_blocks.{level}.upsamplers.0.conv", f"{at}.conv")
    layer("conv_norm_out", "out.0")
    layer("conv_out", "out.2")
    assert not theirs, list(theirs)
    return state


def check_guided(folder):
    file = folder / "guided.pt"
    x, t = inputs(3, 16, 1000)

    def answers(network, *told):
        with torch.no_grad():
            return network(x, t, *told).sample[:, :3]

    # What a folder can be: both ways, and they agree with the network that it came from.
    for name, network, new_order in [
        ("scale and shift, a variance", unet(out_channels=6), False),
        ("newer order of attention", unet(), True),
        ("added embedding, one head's width 32", unet(resnet_time_scale_shift="default", attn_norm_num_groups=None, attention_head_dim=32), False),
    ]:
        torch.save(guided(network, new_order), file)
        told = {"head_channels": network.config.attention_head_dim, "new_attention_order": new_order or None}
        denoiser = load(file, image_size=16, **told)
        assert (denoiser.prediction, tuple(denoiser.shape), denoiser.texts) == ("eps", (3, 16, 16), False)
        near(f"guided-diffusion, {name}", denoiser.call(x, t, None), answers(network))
        out = folder / f"guided {name}"
        pipe = DDPMPipeline.from_pretrained(convert(file, out, image_size=16, **told))
        near(f"guided-diffusion, {name}, as a folder", pipe.unet(x, t).sample, answers(network))
        assert denoiser.schedule is not None
        for a, b in zip(denoiser.schedule, torch.cumprod(1 - pipe.scheduler.betas.double(), 0).tolist(), strict=True):
            assert abs(a - b) < 1e-5 * a, (a, b)
    torch.save(guided(unet()), file)
    right = load(file, image_size=16, head_channels=16)
    other = load(file, image_size=16, head_channels=16, new_attention_order=True)
    assert float((right.call(x, t, None) - other.call(x, t, None)).abs().max()) > 1e-3, "the order of attention does not matter"
    # heads: as many at every level, of other widths there.
    assert right.fingerprint and other.fingerprint != right.fingerprint == load(file, image_size=16, head_channels=16).fingerprint
    refuses("heads or head_channels", lambda: load(file, image_size=16))
    refuses("heads or head_channels", lambda: load(file, image_size=16, heads=2, head_channels=16))
    refuses("heads=3 does not divide", lambda: load(file, image_size=16, heads=3))
    near("guided-diffusion, told heads", load(file, image_size=16, heads=4).call(x, t, None), right.call(x, t, None))

    # Classes and residual blocks that change sizes: diffusers' network has them, dualmd's folders have not.
    network = unet(
        num_class_embeds=5, out_channels=6, downsample_type="resnet", upsample_type="resnet",
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"),
        up_block_types=("ResnetUpsampleBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    )  # fmt: skip
    torch.save(guided(network), file)
    denoiser = load(file, image_size=16, head_channels=16)
    labels = torch.tensor([4, 0, 2])
    assert denoiser.texts
    near("guided-diffusion, classes", denoiser.call(x, t, ["4", "0", "2"]), answers(network, labels))
    near("guided-diffusion, one class", load(file, image_size=16, head_channels=16, label=3).call(x, t, None), answers(network, torch.tensor([3, 3, 3])))
    refuses("no class of the model", lambda: denoiser.call(x, t, ["4", "5", "2"]), ValueError)
    with torch.no_grad():
        # One step begins at timestep 0 and ends at the clean image that the network sees there.
        drawn = denoiser.generate(3, 3, 1, ["4", "0", "2"], 7.5)
        begun = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(3))
        first = denoiser.schedule[0]
        clean = (begun - math.sqrt(1 - first) * denoiser.call(begun, torch.zeros(3, dtype=torch.int64), ["4", "0", "2"])) / math.sqrt(first)
        near("guided-diffusion, one step of DDIM", drawn, clean.clamp(-1, 1))
        # diffusers' own sampler, over the same network.
        scheduler = DDIMScheduler(clip_sample=True, set_alpha_to_one=True, timestep_spacing="leading")
        scheduler.set_timesteps(5)
        for at in scheduler.timesteps:
            said = network(begun, at, torch.tensor([4, 0, 2])).sample[:, :3]
            begun = scheduler.step(said, at, begun, use_clipped_model_output=True).prev_sample
        near("guided-diffusion, five steps of DDIM", denoiser.generate(3, 3, 5, ["4", "0", "2"], 7.5), begun, 1e-4)
    refuses("no class of the model", lambda: denoiser.call(x, t, ["", "a", "2"]), ValueError)
    refuses("always told a class", lambda: denoiser.call(x, t, None), ValueError)
    refuses("classes 0 to 4", lambda: load(file, image_size=16, head_channels=16, label=5))
    refuses("resblock_updown", lambda: convert(file, folder / "none", image_size=16, head_channels=16, label=1))
    network = unet(num_class_embeds=5)
    torch.save(guided(network), file)
    pipe = DDPMPipeline.from_pretrained(convert(file, folder / "guided of a class", image_size=16, head_channels=16, label=2))
    near("guided-diffusion, one class, as a folder", pipe.unet(x, t).sample, answers(network, torch.tensor([2, 2, 2])))
    pipe = DDPMPipeline.from_pretrained(convert(file, folder / "guided of classes", image_size=16, head_channels=16))
    assert pipe.unet.config.num_class_embeds == 5
    classes = torch.tensor([4, 0, 2])
    near("guided-diffusion, classes, as a folder", pipe.unet(x, t, classes).sample, answers(network, classes))

    # Sizes that change without tensors: the network answers, and otherwise than with convolutions.
    plain = unet(resnet_time_scale_shift="default", attn_norm_num_groups=None)
    state = {k: v for k, v in guided(plain).items() if ".op." not in k and not (k.startswith("output_blocks.") and ".conv." in k)}
    torch.save(state, file)
    for level in plain.down_blocks[:-1]:
        level.downsamplers = torch.nn.ModuleList([torch.nn.AvgPool2d(2)])
    for level in plain.up_blocks[:-1]:
        level.upsamplers = torch.nn.ModuleList([Doubled()])
    near("improved-diffusion, without convolutions", load(file, image_size=16, head_channels=16).call(x, t, None), answers(plain))
    refuses("without convolutions", lambda: convert(file, folder / "none", image_size=16, head_channels=16))

    # Schedules, and timesteps that the network sees rescaled.
    network = unet()
    torch.save(guided(network), file)
    told = {"image_size": 16, "head_channels": 16, "steps": 4000, "schedule": "cosine"}
    refuses("rescale_timesteps must be said", lambda: load(file, **told))
    with torch.no_grad():
        for rescale, times in ((True, 0.25), (False, 1.0)):
            denoiser = load(file, rescale_timesteps=rescale, predict_xstart=True, **told)
            assert denoiser.prediction == "x0" and len(denoiser.schedule) == 4000
            near(f"improved-diffusion, 4000 steps, rescaled {rescale}", denoiser.call(x, 4 * t, None), network(x, 4 * t * times).sample)
    refuses("rescaled", lambda: convert(file, folder / "none", rescale_timesteps=True, **told))
    pipe = DDPMPipeline.from_pretrained(convert(file, folder / "guided, cosine", rescale_timesteps=False, predict_xstart=True, **told))
    assert pipe.scheduler.config.prediction_type == "sample"
    for a, b in zip(denoiser.schedule, torch.cumprod(1 - pipe.scheduler.betas.double(), 0).tolist(), strict=True):
        assert abs(a - b) < 1e-3 * a, (a, b)
    refuses("linear or cosine", lambda: load(file, image_size=16, head_channels=16, schedule="sqrt"))
    refuses("multiples of 4", lambda: load(file, image_size=18, head_channels=16))
    refuses("heads of 8 and 16", lambda: convert(other_widths(folder), folder / "none", image_size=16, heads=4))
    state = guided(network)
    state["extra.weight"] = torch.zeros(2)
    torch.save(state, folder / "extra.pt")
    refuses("extra.weight first", lambda: load(folder / "extra.pt", image_size=16, head_channels=16))
    torch.save({k: v for k, v in guided(network).items() if "middle_block.1" not in k}, folder / "extra.pt")
    refuses("middle_block.1", lambda: load(folder / "extra.pt", image_size=16, head_channels=16))
    assert not (folder / "none").exists()


class Doubled(torch.nn.Module):
    """Each pixel twice in both directions."""

    def forward(self, x, *_, **__):
        return torch.nn.functional.interpolate(x, scale_factor=2.0)


def other_widths(folder):
    """Attention at two levels of other widths, in as many heads."""
    network = unet(
        down_block_types=("AttnDownBlock2D", "AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D")
    )
    torch.save(guided(network), folder / "widths.pt")
    return folder / "widths.pt"


class Preconditioned(torch.nn.Module):
    """What EDM's networks have: D(x; sigma) of data that are normal with a deviation of 0.5 and a mean that the class says."""

    img_resolution, img_channels, label_dim = 8, 3, 4

    def forward(self, x, sigma, class_labels=None):
        mean = 0.0 if class_labels is None else (class_labels @ torch.tensor([0.1, 0.2, 0.3, 0.4]))[:, None, None, None]
        variance = sigma.reshape(-1, 1, 1, 1) ** 2
        return (0.25 * x + variance * mean) / (0.25 + variance)


def check_edm(folder):
    x, sigma = inputs(3, 8, 10)[0], torch.tensor([0.01, 1.0, 50.0])
    denoiser = edm(Preconditioned(), name="normal")
    assert (denoiser.prediction, tuple(denoiser.shape), denoiser.texts, denoiser.name) == ("edm", (3, 8, 8), True, "normal")
    labels = torch.zeros(3, 4)
    labels[0, 3] = labels[2, 1] = 1
    near("EDM, classes", denoiser.call(x, sigma, ["3", "", "1"]), Preconditioned()(x, sigma, labels))
    near("EDM, no class", denoiser.call(x, sigma, None), Preconditioned()(x, sigma))
    refuses("no class of the model", lambda: denoiser.call(x, sigma, ["4", "", "1"]), ValueError)
    refuses("pass shape=", lambda: edm(lambda x, sigma: x), TypeError)
    # The best answer for normal data of sigma_data is F = 0, and F = x / sigma_data takes nothing away.
    near("EDM, preconditioning", preconditioned(lambda x, noise: 0 * x)(x, sigma), Preconditioned()(x, sigma))
    rates = []
    inner = preconditioned(lambda x, noise: rates.append(noise) or x, sigma_data=0.7)
    level = sigma.reshape(-1, 1, 1, 1)
    expected = x * (0.49 + level * 0.7) / (level**2 + 0.49)
    near("EDM, preconditioning of what is not nothing", edm(inner, shape=(3, 8, 8)).call(x, sigma, None), expected)
    near("EDM, the level that the network sees", rates[0], torch.log(sigma) / 4)
    with (folder / "edm.pkl").open("wb") as file:
        pickle.dump({"ema": Preconditioned()}, file)
    refuses("dualmd.convert.edm", lambda: load(folder / "edm.pkl", image_size=8))
    assert main([str(folder / "edm.pkl"), "-o", str(folder / "none")]) == 1


def scores(audit):
    rows = csv.DictReader((audit / "scores/model.csv").open())
    return {(row["attack"], row["sample_id"]): float(row["score"]) for row in rows}


def check_audits(folder):
    """The program audits them: the folder and the denoiser of one checkpoint alike, and a served file."""
    random = numpy.random.default_rng(0)
    sides = {}
    for side in ("members", "nonmembers"):
        (folder / side).mkdir()
        for n in range(8):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=numpy.uint8)).save(folder / side / f"{n}.png")
        sides[side] = folder / side
    asked = {**sides, "attacks": ["loss", "sima", "pia"], "images": 2, "steps": 2, "quiet": True}
    file = folder / "guided.pt"
    torch.save(guided(unet(out_channels=6)), file)
    dualmd.audit(convert(file, folder / "audited", image_size=16, head_channels=16), out=folder / "of-folder", **asked)
    dualmd.audit(load(file, image_size=16, head_channels=16), out=folder / "of-denoiser", **asked)
    one, other = scores(folder / "of-folder"), scores(folder / "of-denoiser")
    assert one.keys() == other.keys() and len(one) == 3 * 16
    worst = max(abs(one[key] - other[key]) / max(abs(one[key]), 1e-9) for key in one)
    print(f"guided-diffusion: scores of the folder and of the denoiser differ by {worst:.1e} of their size at most")
    assert worst < 1e-4
    first = json.loads(GOLDEN.read_text())[0]
    betas = torch.linspace(1e-4, 0.02, 1000)
    # As many timesteps as attacks ask about; a loss of v is weighted by abar.
    first["buffers"] = {"betas": betas.tolist(), **dict.fromkeys(("alphas_cumprod", "loss_weight"), torch.cumprod(1 - betas, 0).tolist())}
    torch.save(trained(first), folder / "model-1.pt")
    server = f"{sys.executable} -m dualmd.convert '{folder / 'model-1.pt'}' --serve --image-size 16"
    told = ["--members", str(sides["members"]), "--nonmembers", str(sides["nonmembers"]), "--attacks", "loss,sima,pia", "--images", "2", "--steps", "2"]
    dualmd.call(["audit", "--denoiser", server, *told, "-o", str(folder / "of-server")], quiet=True)
    dualmd.audit(load(folder / "model-1.pt", image_size=16), out=folder / "of-thread", **asked)
    one, other = scores(folder / "of-server"), scores(folder / "of-thread")
    assert one.keys() == other.keys() and all(abs(one[key] - other[key]) <= 1e-5 * abs(one[key]) for key in one)
    found = dualmd.Audit(folder / "of-server")
    assert all(result.status == "ok" for result in found.models["model"].attacks.values()), found
    print("denoising-diffusion-pytorch: served by a command and by a thread alike")
    # Classes are the images' captions.
    torch.save(guided(unet(num_class_embeds=3)), file)
    for side, place in sides.items():
        lines = [json.dumps({"file_name": f"{n}.png", "text": str(n % 3)}) for n in range(8)]
        (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    found = dualmd.audit(load(file, image_size=16, head_channels=16), out=folder / "of-classes", **{**asked, "attacks": ["loss", "sima"]})
    assert all(result.status == "ok" for result in found.models["model"].attacks.values()), found
    print("guided-diffusion: a model of classes is audited with captions")


def check(folder):
    folder = Path(folder)
    check_lucidrains(folder)
    check_guided(folder)
    check_edm(folder)
    inner = folder / "networks"
    inner.mkdir()
    check_audits(inner)
    shutil.rmtree(inner)


if __name__ == "__main__":
    torch.set_num_threads(1)
    check(sys.argv[1])
