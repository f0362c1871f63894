"""Folders of latents without a text from Python to dualmd and back: written by diffusers, trained by dualmd, read by diffusers.

    python interop/check_latents.py make FOLDERS
    python interop/check_latents.py check START TRAINED PROBE

`make` writes tiny random-weight folders for images of 16 px: FOLDERS/kl, a DiTPipeline over an AutoencoderKL whose transformer is told one of
three classes and also predicts a variance; FOLDERS/vq, one over a VQModel; FOLDERS/ldm, an LDMPipeline of a UNet2DModel over a VQModel.
`check` compares a folder that dualmd trained with the one that it started from: every parameter of the network has changed but what predicts
a variance, the autoencoder and its configuration have not. PROBE holds what `dualmd predict` made of it, for the class `owl` where it is told
one: x_t, t, eps, eps_raw (of the raw weights), and of FOLDERS/kl x_T and samples, drawn in 5 steps at a guidance of 3. eps is equal to 1e-5 of
the largest value, samples to 1e-3.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel, LDMPipeline, UNet2DModel, VQModel

from make_dit_golden import AUTOENCODER, SMALL, shaken

NAMES = {"0": "cat", "1": "hound, dog", "2": "owl"}
OWL, NONE, STEPS, GUIDANCE = 2, 3, 5, 3.0


def make(out):
    for name, seed in [("kl", 1), ("vq", 2), ("ldm", 3)]:
        torch.manual_seed(seed)
        autoencoder = AutoencoderKL(**AUTOENCODER) if name == "kl" else VQModel(**AUTOENCODER, num_vq_embeddings=16)
        scheduler = DDIMScheduler(clip_sample=False)
        if name == "ldm":
            network = UNet2DModel(
                sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
                attention_head_dim=8, down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            )  # fmt: skip
            LDMPipeline(autoencoder.eval(), shaken(network, seed), scheduler).save_pretrained(out / name)
            continue
        network = shaken(DiTTransformer2DModel(**{**SMALL, "out_channels": 6}), seed)
        DiTPipeline(network, autoencoder.eval(), scheduler).save_pretrained(out / name)
        # As the published folders have them; the pipeline does not write them itself.
        index = json.loads((out / name / "model_index.json").read_text())
        (out / name / "model_index.json").write_text(json.dumps({**index, "id2label": NAMES}, indent=2) + "\n")


def part(index):
    return ("transformer", DiTTransformer2DModel) if "transformer" in index else ("unet", UNet2DModel)


def opened(folder, name, kind):
    network, info = kind.from_pretrained(folder / name, output_loading_info=True)
    assert not any(info[which] for which in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    return network.eval()


def predict(network, x, t, label):
    """The noise that a network predicts, in f64; a transformer is told a label."""
    x, t = torch.as_tensor(x).double(), torch.as_tensor(t)
    with torch.no_grad():
        if isinstance(network, UNet2DModel):
            return network.double()(x, t).sample
        told = torch.full((len(x),), label)
        return network.double()(x, timestep=t, class_labels=told).sample[:, : network.config.in_channels]


def near(what, ours, theirs, limit):
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    print(f"{what}: largest difference {error:.1e} of the largest value")
    assert error < limit, (what, error)


def check_changed(before, now):
    before, still = dict(before.named_parameters()), []
    for name, parameter in now.named_parameters():
        # No bias of keys changes what attention gives.
        if torch.equal(parameter, before[name]) and not name.endswith("to_k.bias"):
            still.append(name)
    assert not still, f"{len(still)} parameters are what they were, the first is {still[0]}"


def check_variance(before, now):
    """Of each pixel of a square half of the channels are of the variance, whose rows are not trained."""
    if not hasattr(now, "proj_out_2"):
        return
    channels = now.config.in_channels
    old, new = (network.proj_out_2.weight.detach().reshape(-1, 2, channels, network.proj_out_2.in_features) for network in (before, now))
    assert torch.equal(old[:, 1], new[:, 1]), "what predicts the variance was trained"
    assert not torch.equal(old[:, 0], new[:, 0])


def check(start, trained, probe):
    index = json.loads((trained / "model_index.json").read_text())
    name, kind = part(index)
    before, ema, raw = (opened(folder, which, kind) for folder, which in ((start, name), (trained, name), (trained, f"{name}_raw")))
    check_changed(before, raw)
    check_variance(before, raw)

    pipe, first = ((DiTPipeline if name == "transformer" else LDMPipeline).from_pretrained(folder) for folder in (trained, start))
    place = "vae" if name == "transformer" else "vqvae"
    autoencoder, was = getattr(pipe, place), getattr(first, place)
    assert type(autoencoder) is type(was), (type(autoencoder), type(was))
    tensors, others = autoencoder.state_dict(), was.state_dict()
    assert tensors.keys() == others.keys() and all(torch.equal(tensors[key], others[key]) for key in tensors), "the autoencoder was changed"
    assert autoencoder.config.scaling_factor == was.config.scaling_factor
    if name == "transformer":
        assert index["id2label"] == NAMES, index["id2label"]
        assert pipe.get_label_ids(["owl", "dog"]) == [2, 1], pipe.labels

    given = {path.stem: np.load(path) for path in probe.glob("*.npy")}
    for which, network in (("eps", ema), ("eps_raw", raw)):
        near(which, given[which], predict(network, given["x_t"], given["t"], OWL).numpy(), 1e-5)
    if "samples" not in given:
        return
    scheduler = DDIMScheduler.from_pretrained(trained / "scheduler")
    assert not scheduler.config.clip_sample
    scheduler.set_timesteps(STEPS)
    made, autoencoder = torch.from_numpy(given["x_T"]).double(), autoencoder.double()
    for at in scheduler.timesteps:
        times = np.full(len(made), int(at))
        nothing, told = (predict(ema, made, times, label) for label in (NONE, OWL))
        made = scheduler.step(nothing + GUIDANCE * (told - nothing), at, made).prev_sample
    with torch.no_grad():
        picture = autoencoder.decode(made / autoencoder.config.scaling_factor).sample.clamp(-1, 1)
    near("samples", given["samples"], picture.numpy(), 1e-3)


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["make", out]:
            make(Path(out))
        case ["check", start, trained, probe]:
            check(Path(start), Path(trained), Path(probe))
        case _:
            sys.exit(__doc__)
