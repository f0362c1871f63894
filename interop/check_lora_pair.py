"""The defences for LoRAs, in a training loop of diffusers: two adapters on the halves of a split, a student of both, and a plain one beside them.

    check_lora_pair.py PHOTOS FOLDER [--steps 200]

PHOTOS: at least 32 images of 16 px with captions. FOLDER is empty. The base is a tiny Stable Diffusion with random weights. Run by
crates/cli/tests/denoiser.rs.
"""

import argparse
import copy
import json
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")

import check_denoiser  # noqa: E402
from diffusers import StableDiffusionPipeline  # noqa: E402
from diffusers.utils import logging  # noqa: E402
from peft import LoraConfig, get_peft_model_state_dict  # noqa: E402
from PIL import Image  # noqa: E402

import dualmd  # noqa: E402

logging.disable_progress_bar()


def adapted(base):
    """A copy of the network with a new LoRA, which alone is trained."""
    network = copy.deepcopy(base).requires_grad_(False)
    network.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights="gaussian"))
    return network


class Photos:
    """A side that `copy_to` wrote, as the network sees it: latents, embedded captions, and the images' names in the split."""

    def __init__(self, folder, pipe):
        lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
        pictures = [Image.open(folder / line["file_name"]).convert("RGB") for line in lines]
        x = torch.stack([torch.frombuffer(bytearray(one.tobytes()), dtype=torch.uint8).view(16, 16, 3).permute(2, 0, 1) for one in pictures])
        captions = [line["text"] if isinstance(line["text"], str) else line["text"][0] for line in lines]
        self.names = [line["original"] for line in lines]
        with torch.no_grad():
            self.latents = pipe.vae.encode(x.float() / 127.5 - 1).latent_dist.mean * pipe.vae.config.scaling_factor
            self.states = pipe.encode_prompt(captions, "cpu", 1, False)[0]

    def of(self, images):
        """Those of a half."""
        rows = [self.names.index(image.name) for image in images]
        half = copy.copy(self)
        half.names, half.latents, half.states = [self.names[row] for row in rows], self.latents[rows], self.states[rows]
        return half


def train(network, photos, scheduler, steps, distill=None):
    """Noise, a prediction, its distance to the noise; of a student to what the teacher predicts that never saw the image. Gives the losses."""
    optimiser = torch.optim.AdamW([one for one in network.parameters() if one.requires_grad], lr=1e-2)
    torch.manual_seed(0)
    losses = []
    for _ in range(steps):
        t = torch.randint(0, scheduler.config.num_train_timesteps, (len(photos.names),))
        noise = torch.randn_like(photos.latents)
        x_t = scheduler.add_noise(photos.latents, noise, t)
        wanted = noise if distill is None else distill.target(x_t, t, photos.states, photos.names)
        loss = torch.nn.functional.mse_loss(network(x_t, t, photos.states).sample, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def main(photos, folder, steps):
    sides = folder / "sides"
    split = dualmd.split(photos, members=16, nonmembers=16, out=folder / "split.json", copy_to=sides, near_duplicates="ignore", seed=2)
    pipe = check_denoiser.stable_diffusion()
    pipe.save_pretrained(folder / "base")
    members = Photos(sides / "members", pipe)
    assert sorted(members.names) == sorted(image.name for image in split.members)

    networks = {name: adapted(pipe.unet) for name in ("plain", "first", "second", "student")}
    train(networks["plain"], members, pipe.scheduler, steps)
    train(networks["first"], members.of(split.d1), pipe.scheduler, steps)
    train(networks["second"], members.of(split.d2), pipe.scheduler, steps)
    distill = dualmd.DistillMD(networks["first"], networks["second"], split)
    losses = train(networks["student"], members, pipe.scheduler, steps, distill)
    begun, ended = (sum(part) / len(part) for part in (losses[: steps // 5], losses[-(steps // 5) :]))
    assert ended < begun, losses
    print(f"the student's distance to its targets: {begun:.2e}, then {ended:.2e}")
    files = {}
    for name, network in networks.items():
        StableDiffusionPipeline.save_lora_weights(folder / name, unet_lora_layers=get_peft_model_state_dict(network))
        files[name] = folder / name / "pytorch_lora_weights.safetensors"

    # The two of the halves take turns while they draw.
    for name in ("first", "second"):
        pipe.load_lora_weights(str(folder / name), adapter_name=name)
    pair = dualmd.DualMDPipeline(pipe, adapters=("first", "second"))
    drawn = pair("a red cat", num_inference_steps=4, guidance_scale=1.0, height=16, width=16, output_type="np").images
    assert drawn.shape == (1, 16, 16, 3), drawn.shape

    # What plain and student give away, over the base as reference model; and what the pair's images do.
    images = {"members": sides / "members", "nonmembers": sides / "nonmembers", "per_prompt": 1, "steps": 2, "guidance": 2.0, "quiet": True}
    named = [f"{name}={files[name]}" for name in ("plain", "student")]
    found = dualmd.audit(folder / "base", lora=named, attacks=["loss", "reference"], out=folder / "audit", **images)
    assert set(found.models) == {"plain", "student"}, found.models
    for name, model in found.models.items():
        assert not model.failed and set(model.shown) == {"loss", "reference"}, model.failed
        print(f"{name}: " + ", ".join(f"{attack}: {of}" for attack, of in model.shown.items()))
    base = folder / "base"
    of_pair = dualmd.audit(pair=(base, base), lora=[files["first"], files["second"]], attacks=["sim-mean"], out=folder / "pair", **images)
    assert not of_pair.failures(), of_pair.failures()
    print(of_pair)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    asked = parser.parse_args()
    main(asked.photos, asked.folder, asked.steps)
