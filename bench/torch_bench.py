"""PyTorch eager reference for the benchmarks: diffusers' U-Nets, the same weights, the loops people run.

    OMP_NUM_THREADS=1 python bench/torch_bench.py --config PIPELINE_OR_UNET_DIR --mode train --dtype f32 \
        --batch 64 --steps 20 --warmup 5 --threads 1

Modes
  train        what public research code (SecMI, pytorch-ddpm) runs: Adam, EMA tensor by tensor over the state dict, clip, loss.item()
  train-tuned  fused Adam, foreach EMA, `--channels-last auto` tries both memory formats in the warm-up and keeps the faster
  infer        forward passes without gradients
               A text-to-image folder is trained as diffusers' train_text_to_image.py does: the text encoder runs in every step,
               EMAModel, clip, loss.item(); train-tuned encodes the texts beforehand, as dualmd does
  attacks      loss (8 draws), SecMI, PIA, PIAN and SimA, one after the other, sharing nothing: 24 network calls an image
  suite        these and PFAMI, ReDiffuse, SecMI-NNs and ReDiffuse's classifier (a fifth of the images known), on --images
               random images in batches: 95 network calls an image; "attacks" has the seconds of each
`--batch` is the number of images of one step; a step of `attacks` is the whole suite on that many images.
bf16 = autocast with f32 weights. Prints one JSON line (with `--on-request` one for each line of standard input, until that ends); times are taken after the warm-up (`seconds` wall-clock, `cpu_seconds` of
all threads, the steadier one on a busy machine); peak_rss_mb is the process's,
rss_imported_mb the part that `import torch, diffusers` had already taken.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

T = 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="pipeline folder or its unet/, with weights")
    parser.add_argument("--mode", choices=["train", "train-tuned", "infer", "attacks", "suite"], required=True)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000, help="of the suite")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--on-request", action="store_true", help="after the warm-up: --steps steps and a line for each line of standard input")
    parser.add_argument("--channels-last", choices=["off", "on", "auto"], help="default: auto in train-tuned, else off")
    return parser.parse_args()


ARGS = arguments()
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # must be set before torch is loaded
    os.environ[variable] = str(ARGS.threads)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402
from diffusers import UNet2DConditionModel, UNet2DModel  # noqa: E402
from diffusers.training_utils import EMAModel  # noqa: E402

ABAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64), 0)


def peak_rss_mb():
    """In MB (10^6 bytes), as dualmd counts."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def precision():
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=ARGS.dtype == "bf16")


def noised(x, noise, t):
    a = ABAR[t].to(torch.float32).view(-1, 1, 1, 1)
    return a.sqrt() * x + (1 - a).sqrt() * noise


def layout(tensor_or_model, channels_last):
    return tensor_or_model.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


class Texts:
    """What the images are told: 512 random texts of full length, encoded at once or where they are needed."""

    def __init__(self, folder, at_once):
        from transformers import CLIPTextModel

        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", use_safetensors=True).eval().requires_grad_(False)
        config = self.encoder.config
        self.ids = torch.randint(0, config.vocab_size, (512, config.max_position_embeddings))
        self.embeddings = None
        if at_once:
            with torch.no_grad():
                self.embeddings = torch.cat([self.encoder(ids)[0] for ids in self.ids.split(64)])

    def of(self, rows):
        if self.embeddings is not None:
            return self.embeddings[rows]
        with torch.no_grad():
            return self.encoder(self.ids[rows], return_dict=False)[0]


class TextToImageTraining:
    """`step()` is one fine-tuning step of a text-to-image model on random images of a set of 512."""

    def __init__(self, model, shape, folder, tuned, channels_last):
        self.model, self.tuned, self.channels_last = layout(model.train(), channels_last), tuned, channels_last
        self.images, self.texts = torch.rand(512, *shape) * 2 - 1, Texts(folder, tuned)
        average = layout(UNet2DConditionModel.from_config(model.config), channels_last)
        average.load_state_dict(model.state_dict())
        if tuned:
            self.pairs = [list(m.parameters()) for m in (average, self.model)]
        else:
            self.ema = EMAModel(average.parameters(), model_cls=UNet2DConditionModel, model_config=model.config)
        self.optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, **({"fused": True} if tuned else {}))

    def step(self):
        rows = torch.randint(0, len(self.images), (ARGS.batch,))
        x = layout(self.images[rows], self.channels_last)
        t, noise = torch.randint(0, T, (ARGS.batch,)), torch.randn_like(x)
        self.optimiser.zero_grad(set_to_none=True)
        with precision():
            predicted = self.model(noised(x, noise, t), t, self.texts.of(rows), return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        if self.tuned:
            with torch.no_grad():
                torch._foreach_lerp_(*self.pairs, 1 - 0.999)
        else:
            self.ema.step(self.model.parameters())
            loss.item()


class Training:
    """`step()` is one training step on random images of a set of 512."""

    def __init__(self, model, shape, tuned, channels_last):
        self.model, self.tuned, self.channels_last = layout(model.train(), channels_last), tuned, channels_last
        self.images = torch.rand(512, *shape) * 2 - 1
        self.ema = UNet2DModel.from_config(model.config)
        self.ema.load_state_dict(model.state_dict())
        layout(self.ema, channels_last)
        self.pairs = [list(m.parameters()) for m in (self.ema, self.model)]
        self.optimiser = torch.optim.Adam(model.parameters(), lr=2e-4, **({"fused": True} if tuned else {}))

    def step(self):
        x = layout(self.images[torch.randint(0, len(self.images), (ARGS.batch,))], self.channels_last)
        t, noise = torch.randint(0, T, (ARGS.batch,)), torch.randn_like(x)
        self.optimiser.zero_grad(set_to_none=True)
        with precision():
            predicted = self.model(noised(x, noise, t), t).sample
        loss = (predicted.float() - noise).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        if self.tuned:
            with torch.no_grad():
                torch._foreach_lerp_(*self.pairs, 1 - 0.999)
        else:
            source, target = self.model.state_dict(), self.ema.state_dict()
            for key in source:
                target[key].data.copy_(target[key].data * 0.999 + source[key].data * (1 - 0.999))
            loss.item()  # their progress bars read it


def predictor(model):
    def eps(x, t):
        return model(x, torch.full((len(x),), t)).sample.float()
    return eps


def ddim_move(eps, x, a, b):
    e = eps(x, a)
    clean = (x - (1 - ABAR[a]).sqrt().float() * e) / ABAR[a].sqrt().float()
    return ABAR[b].sqrt().float() * clean + (1 - ABAR[b]).sqrt().float() * e


def at(x, noise, t):
    return noised(x, noise, torch.tensor([t]))


def powers(residual, p):
    return residual.abs().pow(p).flatten(1).sum(1)


def loss(eps, x):
    errors = 0
    for _ in range(8):
        noise = torch.randn_like(x)
        errors = errors + (eps(at(x, noise, 200), 200) - noise).square().mean((1, 2, 3)) / 8
    return -errors


def secmi_residual(eps, x):
    z = x
    for a in range(0, 90, 10):
        z = ddim_move(eps, z, a, a + 10)
    return ddim_move(eps, ddim_move(eps, z, 90, 100), 100, 90) - z


def secmi(eps, x):
    return -powers(secmi_residual(eps, x), 2)


def pia(eps, x):
    e = eps(x, 0)
    return -powers(e - eps(at(x, e, 200), 200), 4)


def pian(eps, x):
    e = eps(x, 0)
    e = e / e.abs().mean((1, 2, 3), keepdim=True) * (2 / torch.pi) ** 0.5
    return -powers(e - eps(at(x, e, 200), 200), 4)


def sima(eps, x):
    return -powers(eps(x, 100), 4)


def pfami(eps, x):
    side = x.shape[-1]
    keep = round(0.825 * side)
    first = (side - keep) // 2
    crop = x[:, :, first : first + keep, first : first + keep]
    crop = torch.nn.functional.interpolate(crop, size=(side, side), mode="bilinear")
    noise, change = torch.randn_like(x), 0
    for t in range(0, 500, 50):
        for sign, image in ((-1, x), (1, crop)):
            change = change + sign * (eps(at(image, noise, t), t) - noise).square().mean((1, 2, 3)) / 10
    return change


def rediffuse_difference(eps, x):
    total = torch.zeros_like(x)
    for _ in range(10):
        z = at(x, torch.randn_like(x), 200)
        total = total + ddim_move(eps, ddim_move(eps, z, 200, 100), 100, 0)
    return x - total / 10


def rediffuse(eps, x):
    return -rediffuse_difference(eps, x).abs().mean((1, 2, 3))


class ResNet(torch.nn.Module):
    """The CIFAR ResNet-18 of SecMI's public code, narrower (see docs/attacks)."""

    class Block(torch.nn.Module):
        def __init__(self, inside, outside, stride):
            super().__init__()
            layers = [torch.nn.Conv2d(inside, outside, 3, stride, 1, bias=False), torch.nn.BatchNorm2d(outside), torch.nn.ReLU(),
                      torch.nn.Conv2d(outside, outside, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(outside)]
            self.body = torch.nn.Sequential(*layers)
            self.side = torch.nn.Sequential()
            if stride != 1 or inside != outside:
                self.side = torch.nn.Sequential(torch.nn.Conv2d(inside, outside, 1, stride, bias=False), torch.nn.BatchNorm2d(outside))

        def forward(self, x):
            return torch.relu(self.body(x) + self.side(x))

    def __init__(self, channels, width=16):
        super().__init__()
        layers = [torch.nn.Conv2d(channels, width, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
        inside = width
        for outside, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
            layers += [self.Block(inside, outside, stride), self.Block(outside, outside, 1)]
            inside = outside
        layers += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(inside, 1)]
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x).squeeze(1)


def classified(features, member, known):
    """Scores of the images from `known` on by a network trained on those before, for 300 steps of 128."""
    network = ResNet(features.shape[1])
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-2, momentum=0.9, weight_decay=5e-4)
    with torch.enable_grad():
        step = 0
        while step < 300:
            for rows in torch.randperm(known).split(128):
                optimiser.zero_grad()
                (network(features[rows]) - member[rows]).square().mean().backward()
                optimiser.step()
                step += 1
    network.eval()
    return torch.cat([network(part) for part in features[known:].split(256)])


FIVE = {"loss": loss, "secmi": secmi, "pia": pia, "pian": pian, "sima": sima}
ERRORS = FIVE | {"pfami": pfami, "rediffuse": rediffuse}
SECONDS = {}  # of the attacks of `suite`
CLASSIFIERS = {"secmi-nn": secmi_residual, "rediffuse-nn": rediffuse_difference}


def whole_suite(eps, images):
    """Each attack as its public code does it, over all images in batches; nothing is shared between them. Seconds of each."""
    member = (torch.randperm(len(images)) % 2).float()
    seconds = {}
    for name, residual in (ERRORS | CLASSIFIERS).items():
        begin = time.perf_counter()
        of = torch.cat([residual(eps, x) for x in images.split(ARGS.batch)])
        if name in CLASSIFIERS:
            classified(of.abs(), member, len(images) // 5)
        seconds[name] = time.perf_counter() - begin
    return seconds


def seconds_of(step, n):
    """Wall-clock and CPU seconds of n steps."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(n):
        step()
    return time.perf_counter() - wall, time.process_time() - cpu


def make_step(model, shape, channels_last):
    if isinstance(model, UNet2DConditionModel):
        if not ARGS.mode.startswith("train"):
            sys.exit(f"--mode {ARGS.mode} is for models that are told no text")
        return TextToImageTraining(model, shape, ARGS.config, ARGS.mode == "train-tuned", channels_last).step
    if ARGS.mode.startswith("train"):
        return Training(model, shape, ARGS.mode == "train-tuned", channels_last).step
    model = layout(model.eval(), channels_last)
    n = ARGS.images if ARGS.mode == "suite" else ARGS.batch
    eps, x = predictor(model), layout(torch.rand(n, *shape) * 2 - 1, channels_last)

    def step():
        with torch.no_grad(), precision():
            if ARGS.mode == "suite":
                return SECONDS.update(whole_suite(eps, x))
            return eps(x, 500) if ARGS.mode == "infer" else [attack(eps, x) for attack in FIVE.values()]
    return step


def main():
    torch.set_num_threads(ARGS.threads)
    torch.manual_seed(0)
    imported = peak_rss_mb()
    unet = ARGS.config / "unet" if (ARGS.config / "unet").is_dir() else ARGS.config
    is_told = json.loads((unet / "config.json").read_text())["_class_name"] == "UNet2DConditionModel"
    model = (UNet2DConditionModel if is_told else UNet2DModel).from_pretrained(unet, use_safetensors=True)
    size = model.config.sample_size
    shape = (model.config.in_channels, *(size if isinstance(size, (list, tuple)) else (size, size)))

    wanted = ARGS.channels_last or ("auto" if ARGS.mode == "train-tuned" else "off")
    if wanted == "auto":
        trial = {}
        for channels_last in (False, True):
            step = make_step(model, shape, channels_last)
            step()
            trial[channels_last] = seconds_of(step, 3)[1]
            del step
        channels_last = trial[True] < trial[False]
    else:
        channels_last = wanted == "on"

    step = make_step(model, shape, channels_last)
    seconds_of(step, ARGS.warmup)
    requests = iter(sys.stdin.readline, "") if ARGS.on_request else [""]
    for _ in requests:
        seconds, cpu_seconds = seconds_of(step, ARGS.steps)
        print(json.dumps({
            "mode": ARGS.mode, "dtype": ARGS.dtype, "threads": ARGS.threads, "batch": ARGS.batch, "steps": ARGS.steps,
            "seconds": seconds, "ms_per_step": 1000 * seconds / ARGS.steps, "cpu_seconds": cpu_seconds, "peak_rss_mb": peak_rss_mb(),
            "rss_imported_mb": imported, "channels_last": channels_last, "torch": torch.__version__.split("+")[0], "attacks": SECONDS,
        }), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
