"""Makes tests/golden/prompt: scores of attacks on text-to-image models that dualmd must reproduce, computed without any dualmd code.

    OMP_NUM_THREADS=1 python interop/make_prompt_golden.py tests/golden/conditional tests/golden/prompt

The models are the tiny random ones of make_conditional_golden.py (sd1 predicts eps, sd2 v). Attacks are written here from their papers and
public codes, in their direct form. The networks run in f64, but for Wen's optimisation, which torch.optim.AdamW does in f32.

OUT/NAME.safetensors: inputs and results. `z` [6, 4, 8, 8] clean latents; `text` [10, 16, 12] embeddings of the prompts below, `empty`
[1, 16, 12]; sample i has caption i, and captions 6 and 7, 8 and 9 as the reduced ones of samples 0 and 1; `draws` [8, 6, 4, 8, 8];
`score.*`, `loss.*` and `error.*`: one number per sample; `wen.*`: the optimisation for the prompt of sample 0, and norms along a guided DDIM
trajectory.
"""

import sys
from pathlib import Path

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

PROMPTS = ["a cat on a red mat", "two dogs", "the cat sat", "a red dog and it's cat", "42 mats", "about cats", "a red mat", "a cat",
           "two", "dogs"]
N, DRAWS, STEPS, GUIDANCE = 6, 8, 10, 7.5


def normal(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Model:
    """eps(x, t, c) without guidance, abar by timestep, DDIM moves."""

    def __init__(self, folder, dtype):
        self.pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
        self.unet = self.pipe.unet.to(dtype)
        scheduler = self.pipe.scheduler.config
        betas = torch.linspace(scheduler.beta_start**0.5, scheduler.beta_end**0.5, 1000, dtype=torch.float64) ** 2
        self.abar = torch.cumprod(1 - betas, 0)
        self.v = scheduler.prediction_type == "v_prediction"

    def eps(self, x, t, text):
        out = self.unet(x, t, text).sample
        a = float(self.abar[t])
        return a**0.5 * out + (1 - a) ** 0.5 * x if self.v else out

    def noisy(self, z, noise, t):
        a = float(self.abar[t])
        return a**0.5 * z + (1 - a) ** 0.5 * noise

    def move(self, x, start, end, text):
        eps = self.eps(x, start, text)
        a, b = float(self.abar[start]), float(self.abar[end])
        return b**0.5 * (x - (1 - a) ** 0.5 * eps) / a**0.5 + (1 - b) ** 0.5 * eps


def per_sample(values):
    return values.flatten(1).sum(1)


def secmi(model, z, text):
    """Public code for Stable Diffusion: the chain 0, 10, ..., 150 and one step back to 140."""
    path = [z]
    for t in range(0, 150, 10):
        path.append(model.move(path[-1], t, t + 10, text))
    return -per_sample((model.move(path[15], 150, 140, text) - path[14]) ** 2)


def pia(model, z, text, t, normalised):
    e0 = model.eps(z, 0, text)
    if normalised:
        e0 = e0 / e0.abs().mean((1, 2, 3), keepdim=True) * (2 / torch.pi) ** 0.5
    return -per_sample((e0 - model.eps(model.noisy(z, e0, t), t, text)) ** 4)


def pia_sd_2024(model, z, text, empty, t):
    """Latents as if they were images in [0, 1], betas linear in themselves, guidance."""
    abar = torch.cumprod(1 - torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64), 0)

    def guided(x, t):
        without, with_text = model.eps(torch.cat([x, x]), t, torch.cat([empty.expand_as(text), text])).chunk(2)
        return without + 7.5 * (with_text - without)

    z = 2 * z - 1
    e0 = guided(z, 0)
    return -per_sample((e0 - guided(abar[t] ** 0.5 * z + (1 - abar[t]) ** 0.5 * e0, t)) ** 4)


def mean_loss(model, z, text, t, noise):
    return (noise - model.eps(model.noisy(z, noise, t), t, text)).square().flatten(1).mean(1)


def crop(z, share):
    side = int(z.shape[-1] * share)
    start = (z.shape[-1] - side) // 2
    middle = z[:, :, start : start + side, start : start + side]
    return torch.nn.functional.interpolate(middle, z.shape[-2:], mode="bilinear", align_corners=False)


def scores(model, given):
    z, text, empty, draws = (given[name].double() for name in ("z", "text", "empty", "draws"))
    own, none = text[:N], empty.expand(N, -1, -1)
    clid = lambda c: sum(mean_loss(model, z, c, t, draws[k]) for k, t in enumerate((440, 450, 460))) / 3
    conditions = {"own": own, "empty": none, "reduced.0": torch.cat([text[[6, 8]], none[2:]]),
                  "reduced.1": torch.cat([text[[7, 9]], none[2:]])}
    out = {f"loss.clid.{name}": clid(c) for name, c in conditions.items()}
    wen = sum((model.eps(draws[k], 981, own) - model.eps(draws[k], 981, none)).flatten(1).norm(dim=1) for k in range(4)) / 4
    times = range(0, 500, 50)
    fluctuation = sum(mean_loss(model, z, own, t, draws[0]) - mean_loss(model, crop(z, 0.825), own, t, draws[0]) for t in times)
    return out | {
        "score.secmi": secmi(model, z, own),
        "score.pia": pia(model, z, own, 100, False),
        "score.pian": pia(model, z, own, 100, True),
        "score.pia-sd-2024": pia_sd_2024(model, z, own, empty, 500),
        "score.sima": -per_sample(model.eps(z, 100, own) ** 4),
        "score.loss": -sum(mean_loss(model, z, own, 200, draw) for draw in draws) / DRAWS,
        "score.pfami": -fluctuation / len(times),
        "score.rediffuse": -(z - model.move(model.noisy(z, draws[0], 50), 50, 0, own)).abs().flatten(1).mean(1),
        "score.wen": wen,
        "score.clid-gap": out["loss.clid.empty"] - out["loss.clid.own"],
    }


def wen_trajectory(model, given):
    """Norms along a guided DDIM generation, and SecMI's error of what it made."""
    scheduler = DDIMScheduler.from_config(model.pipe.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(STEPS)
    x, text = given["draws"][1].double(), given["text"][:N].double()
    empty = given["empty"].double().expand_as(text)
    norms = []
    for t in scheduler.timesteps.tolist():
        with_text, without = model.eps(x, t, text), model.eps(x, t, empty)
        norms.append((with_text - without).flatten(1).norm(dim=1))
        eps = without + GUIDANCE * (with_text - without)
        a = float(model.abar[t])
        out = (eps - (1 - a) ** 0.5 * x) / a**0.5 if model.v else eps
        x = scheduler.step(out, t, x, eta=0.0).prev_sample
    return {"wen.norms": torch.stack(norms), "wen.end": x, "error.prompts": -secmi(model, x, text)}


def wen_optimisation(model, given, target):
    """The public code's loop; the embeddings are those of the first prompt."""
    noise, empty = given["draws"][0][:4], given["empty"]
    text = torch.nn.Parameter(given["text"][:1].clone())
    optimizer = torch.optim.AdamW([text], lr=0.05)
    losses = []
    for _ in range(10):
        change = model.eps(noise, 981, text.expand(4, -1, -1)) - model.eps(noise, 981, empty.expand(4, -1, -1))
        loss = torch.norm(change, p=2)
        losses.append(loss.detach())
        if loss <= target:
            break
        optimizer.zero_grad()
        loss.backward()
        text.grad[:, 0] = 0
        optimizer.step()
    return torch.stack(losses), text.detach()


def main(folder, out):
    out.mkdir(parents=True, exist_ok=True)
    for name in ("sd1", "sd2"):
        model = Model(folder / name, torch.float64)
        with torch.no_grad():
            encode = lambda prompts: model.pipe.text_encoder(model.pipe.tokenizer(
                prompts, padding="max_length", max_length=model.pipe.tokenizer.model_max_length, truncation=True,
                return_tensors="pt").input_ids)[0].float()
            given = {"z": normal((N, 4, 8, 8), 70), "text": encode(PROMPTS), "empty": encode([""]),
                     "draws": normal((DRAWS, N, 4, 8, 8), 71)}
            computed = scores(model, given) | wen_trajectory(model, given)
        single = Model(folder / name, torch.float32)
        losses, text = wen_optimisation(single, given, 0.0)
        # A target that is met half way.
        target = float(losses[4] + losses[5]) / 2
        stopped = wen_optimisation(single, given, target)[0]
        computed |= {"wen.losses": losses, "wen.text": text, "wen.target": torch.tensor([target]), "wen.stopped": stopped}
        tensors = given | {key: value.double() if value.numel() < 100 else value.float() for key, value in computed.items()}
        save_file({key: value.contiguous() for key, value in tensors.items()}, out / f"{name}.safetensors")
        print(name, (out / f"{name}.safetensors").stat().st_size, "bytes")
        for key, value in computed.items():
            print(" ", key, [f"{v:.4g}" for v in value.flatten()[:6].tolist()])


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
