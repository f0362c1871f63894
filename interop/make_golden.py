"""Makes tests/golden: tiny diffusers checkpoints, and numbers dualmd must reproduce, computed without any dualmd code.

    OMP_NUM_THREADS=1 python interop/make_golden.py tests/golden      (torch, diffusers, numpy; a minute or two on one core)
    OMP_NUM_THREADS=1 python interop/make_golden.py tests/golden pfami rediffuse    only adds these scores to what is there
    OMP_NUM_THREADS=1 python interop/make_golden.py --trained tests/golden/trained-here    scores of a folder that dualmd trained

The last wants a pipeline folder with x.npy, 8 images [N, C, H, W] f32 in [-1, 1]; tests/golden/trained-here/README says how it came about.

OUT/tiny-grey, OUT/tiny-grey-2, OUT/tiny-ddpm: pipeline folders, golden.json and .npy files. OUT/dual: DualMD sampling by
tiny-grey and tiny-grey-2 taking turns. golden.json says what each file holds and every setting used.

The attacks are written here from their papers and public code, in one place each, f32 network and f64 reductions
(`score`); `score_f64` repeats everything with an f64 network, so the difference is what f32 rounding costs.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel

T = 1000
BETAS = np.linspace(1e-4, 0.02, T)
ABAR = np.cumprod(1 - BETAS)

# The members are the first 4 of the 8 audited images and the first 4 of the 32 training images.
# Deliberately little training: the deeper a network has learnt its images, the more eps at t = 0 and 1 amplifies f32 rounding
# (x_t's error times up to 1 / sqrt(1 - abar_0) = 100). After 1,500 steps at 3e-3 two runs of PyTorch itself, with 1 and 2
# threads, differ by 1.1e-5; this short, by 3e-6, and a 1e-5 comparison means something.
LR, STEPS = 1e-3, 300
N_TRAIN, N_AUDIT, SIZE, DRAWS = 32, 8, 16, 8

# google/ddpm-cifar10-32's conventions, scaled down.
DDPM_CONVENTIONS = dict(
    in_channels=3, out_channels=3, block_out_channels=(8, 12, 12), layers_per_block=2, norm_num_groups=4, norm_eps=1e-6,
    freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, attention_head_dim=None, mid_block_scale_factor=1,
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
)
# diffusers' own conventions; two attention heads of 8 channels on the second level.
GREY = dict(
    in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)
# name, network, seed of the weights and of training, seed of the training images
MODELS = [("tiny-grey", GREY, 1, 100), ("tiny-grey-2", GREY, 2, 200), ("tiny-ddpm", DDPM_CONVENTIONS, 3, 300)]


def smooth_images(n, channels, seed):
    """Random images without sharp edges, [n, C, 16, 16] f32 in [-1, 1]."""
    coarse = torch.randn(n, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic", align_corners=True).tanh()


def normal(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def train(config, seed, images, steps=STEPS):
    torch.manual_seed(seed)
    model = UNet2DModel(sample_size=SIZE, **config)
    optimiser = torch.optim.Adam(model.parameters(), lr=LR)
    abar = torch.tensor(ABAR, dtype=torch.float32)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = LR * min(1, 2.5 * (1 - step / steps))
        t = torch.randint(0, T, (len(images),))
        noise = torch.randn_like(images)
        a = abar[t].view(-1, 1, 1, 1)
        loss = (model(a.sqrt() * images + (1 - a).sqrt() * noise, t).sample - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    print(f"  trained: last loss {loss.item():.4f}, {sum(p.numel() for p in model.parameters())} parameters")
    return model.eval()


def noise_predictor(model):
    """eps(x, t) with one timestep for the whole batch."""
    def eps(x, t):
        with torch.no_grad():
            return model(x, torch.full((len(x),), t)).sample
    return eps


# ---- attacks: x [N, C, H, W]; each returns N scores in f64, higher = more likely a member -------------------------------


def at(x, noise, t):
    return x * ABAR[t] ** 0.5 + noise * (1 - ABAR[t]) ** 0.5


def total(residual, power):
    return residual.double().abs().pow(power).flatten(1).sum(1)


def ddim_move(eps, x, a, b):
    """One deterministic step from timestep a to b, either direction, no clipping."""
    e = eps(x, a)
    clean = (x - e * (1 - ABAR[a]) ** 0.5) / ABAR[a] ** 0.5
    return clean * ABAR[b] ** 0.5 + e * (1 - ABAR[b]) ** 0.5


def loss(eps, x, noises, t=200):
    errors = [(eps(at(x, n, t), t) - n).double().square().flatten(1).mean(1) for n in noises]
    return -torch.stack(errors).mean(0)


def secmi_chain(eps, x, t_sec=100, k=10):
    """z at t_sec - k: the image carried up k timesteps at a time."""
    for a in range(0, t_sec - k, k):
        x = ddim_move(eps, x, a, a + k)
    return x


def secmi(eps, x, t_sec=100, k=10):
    z = secmi_chain(eps, x, t_sec, k)
    back = ddim_move(eps, ddim_move(eps, z, t_sec - k, t_sec), t_sec, t_sec - k)
    return -total(z - back, 2)


def pia(eps, x, t=200, p=4, normalise=False):
    e0 = eps(x, 0)
    if normalise:  # PIAN: E|e0| of a standard normal is sqrt(2 / pi)
        e0 = e0 / e0.abs().mean((1, 2, 3), keepdim=True) * (2 / np.pi) ** 0.5
    return -total(e0 - eps(at(x, e0, t), t), p)


def pian(eps, x):
    return pia(eps, x, normalise=True)


def sima(eps, x, t=100):
    return -total(eps(x, t), 4)


def crop(x, share):
    """The middle of the image, enlarged back. Whole pixels, truncated as the public code does."""
    keep = [int(side * share) for side in x.shape[2:]]
    top, left = [(side - k) // 2 for side, k in zip(x.shape[2:], keep)]
    middle = x[:, :, top:top + keep[0], left:left + keep[1]]
    return torch.nn.functional.interpolate(middle, size=x.shape[2:], mode="bilinear", align_corners=False)


def pfami(eps, x, noises, crops=(0.825,)):
    def error(image):
        losses = [(eps(at(image, noises[0], t), t) - noises[0]).double().square().flatten(1).mean(1) for t in range(0, 500, 50)]
        return torch.stack(losses).mean(0)
    return -(error(x) - torch.stack([error(crop(x, c)) for c in crops]).mean(0))


def rediffuse(eps, x, noises, t=200, stride=100):
    back = []
    for noise in noises:
        z = at(x, noise, t)
        for a in range(t, 0, -stride):
            z = ddim_move(eps, z, a, a - stride)
        back.append(z)
    return -(x - torch.stack(back).mean(0)).double().abs().flatten(1).mean(1)


NOISY = ("loss", "pfami", "rediffuse")
ATTACKS = {
    "loss": (loss, {"t": 200, "draws": DRAWS, "noise": "loss_noise.npy", "score": "-mean over draws of mean squared error"}),
    "secmi": (secmi, {"t_sec": 100, "k": 10, "error_at": 90, "score": "-sum of squares"}),
    "pia": (pia, {"t": 200, "p": 4, "score": "-sum |e0 - eps(x_t, t)|^4"}),
    "pian": (pian, {"t": 200, "p": 4, "score": "as pia, e0 normalised to mean |e0| = sqrt(2/pi) per image"}),
    "sima": (sima, {"t": 100, "score": "-sum |eps(x, t)|^4, clean x"}),
    "pfami": (pfami, {"timesteps": list(range(0, 500, 50)), "crops": [0.825], "noise": "loss_noise.npy, draw 0"}),
    "rediffuse": (rediffuse, {"t": 200, "stride": 100, "draws": DRAWS, "noise": "loss_noise.npy"}),
}


# ---- sampling ------------------------------------------------------------------------------------------------------------

SCHEDULE = dict(num_train_timesteps=T, beta_start=1e-4, beta_end=0.02, beta_schedule="linear", prediction_type="epsilon")
DDIM = dict(SCHEDULE, clip_sample=False, set_alpha_to_one=True, steps_offset=0, timestep_spacing="leading")


def ddim_sample(eps_of_step, noise, clip=False, steps=10):
    """diffusers' own DDIM sampler, eta 0; `eps_of_step(i)` is the noise predictor of step i."""
    scheduler = DDIMScheduler(**{**DDIM, "clip_sample": clip})
    scheduler.set_timesteps(steps)
    x = noise
    for i, t in enumerate(scheduler.timesteps.tolist()):
        x = scheduler.step(eps_of_step(i)(x, t), t, x, eta=0.0).prev_sample
    return x


def check_ddim(eps_of_step, noise, result):
    """The same by formula (f_{t} -> next t, the last to abar = 1): catches a setting diffusers would ignore."""
    x = noise
    for i, t in enumerate(range(900, -1, -100)):
        e = eps_of_step(i)(x, t)
        after = ABAR[t - 100] if t else 1.0
        x = (x - e * (1 - ABAR[t]) ** 0.5) / ABAR[t] ** 0.5 * after**0.5 + e * (1 - after) ** 0.5
    assert (x - result).abs().max() < 1e-4, (x - result).abs().max()


def ancestral_step(eps, x, t, noise, large):
    """x_{t-1} of Ho et al. 2020 without clipping; no noise at t = 0. f64 coefficients."""
    a, b = ABAR[t], BETAS[t]
    before = ABAR[t - 1] if t else 1.0
    clean = (x - eps(x, t) * (1 - a) ** 0.5) / a**0.5
    mean = clean * (before**0.5 * b / (1 - a)) + x * ((1 - b) ** 0.5 * (1 - before) / (1 - a))
    variance = b if large else b * (1 - before) / (1 - a)
    result = mean + noise * variance**0.5 if t else mean

    scheduler = DDPMScheduler(**SCHEDULE, clip_sample=False, variance_type="fixed_large" if large else "fixed_small")
    theirs = scheduler.step(eps(x, t), t, x, generator=None).pred_original_sample
    assert (theirs - clean).abs().max() < 1e-4 * clean.abs().max()
    if t:
        assert abs(float(scheduler._get_variance(t)) - variance) < 1e-6
    return result


# ---- writing -------------------------------------------------------------------------------------------------------------


def save(folder, name, array):
    np.save(folder / name, array.numpy() if isinstance(array, torch.Tensor) else array)
    return name


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def relative(a, b):
    return float(((a - b).abs() / b.abs()).max())


def scored(name, eps, eps64, x, loss_noise):
    """One attack with the f32 network and with the f64 one."""
    attack, parameters = ATTACKS[name]
    extra = [loss_noise] if name in NOISY else []
    score = attack(eps, x, *extra)
    score64 = attack(eps64, x.double(), *[n.double() for n in extra])
    return {"parameters": parameters, "score": score.tolist(), "score_f64": score64.tolist(),
            "f32_relative_error": relative(score, score64)}


def add_scores(folder, names):
    """Scores of further attacks on a checkpoint that is already there."""
    golden = json.loads((folder / "golden.json").read_text())
    model = UNet2DModel.from_pretrained(folder / "unet").eval()
    model64 = UNet2DModel.from_pretrained(folder / "unet").double().eval()
    x, loss_noise = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("x", "loss_noise"))
    for name in names:
        golden["scores"][name] = scored(name, noise_predictor(model), noise_predictor(model64), x, loss_noise)
        print(f"{folder.name}: {name}, f32 relative error {golden['scores'][name]['f32_relative_error']:.1e}")
    write_json(folder / "golden.json", golden)


def add_trained(folder):
    """golden.json of a model that dualmd trained: nothing but the attacks' scores."""
    x = np.load(folder / "x.npy")
    save(folder, "loss_noise.npy", normal((DRAWS, *x.shape), 60))
    write_json(folder / "golden.json", {
        "schema": 1, "made_by": "interop/make_golden.py --trained", "images": {"x": "x.npy", "range": "[-1, 1], clean"},
        "versions": {"torch": torch.__version__.split("+")[0], "diffusers": __import__("diffusers").__version__},
        "loss_noise": "loss_noise.npy", "scores": {},
    })
    add_scores(folder, ATTACKS)


def make(folder, config, seed, image_seed):
    print(folder.name)
    channels = config["in_channels"]
    train_images = smooth_images(N_TRAIN, channels, image_seed)
    x = torch.cat([train_images[: N_AUDIT // 2], smooth_images(N_AUDIT // 2, channels, image_seed + 1)])
    model = train(config, seed, train_images)
    DDPMPipeline(model, DDPMScheduler(**SCHEDULE, clip_sample=False)).save_pretrained(folder)

    model64 = UNet2DModel.from_pretrained(folder / "unet").double().eval()
    eps, eps64 = noise_predictor(model), noise_predictor(model64)

    # Plain predictions: image i noised to its own timestep (the ends of the schedule included).
    t = torch.tensor([0, 1, 10, 90, 200, 500, 750, 999])
    x_t = torch.stack([at(image, noise, int(s)) for image, noise, s in zip(x, normal(x.shape, seed + 10), t)]).float()
    with torch.no_grad():
        e32, e64 = model(x_t, t).sample, model64(x_t.double(), t).sample
    floor = float((e32 - e64).abs().max())

    loss_noise = normal((DRAWS, *x.shape), seed + 20)
    x_T = normal(x.shape, seed + 30)
    sample = ddim_sample(lambda _: eps, x_T)
    check_ddim(lambda _: eps, x_T, sample)
    sample64 = ddim_sample(lambda _: eps64, x_T.double())

    scores = {name: scored(name, eps, eps64, x, loss_noise) for name in ATTACKS}

    step_noise = normal(x.shape, seed + 40)
    ancestral = {}
    for step_t in (500, 0):
        for large in (True, False):
            kind = "fixed_large" if large else "fixed_small"
            file = f"ancestral_{kind}_{step_t}.npy"
            save(folder, file, ancestral_step(eps, x_T if step_t else x, step_t, step_noise, large))
            ancestral[f"{kind}_{step_t}"] = {"t": step_t, "variance": kind, "x": "x_T.npy" if step_t else "x.npy",
                                             "noise": "step_noise.npy" if step_t else None, "result": file}
    save(folder, "step_noise.npy", step_noise)

    golden = {
        "schema": 1,
        "made_by": "interop/make_golden.py",
        "versions": {"torch": torch.__version__.split("+")[0], "diffusers": __import__("diffusers").__version__},
        "parameters": sum(p.numel() for p in model.parameters()),
        "images": {"x": save(folder, "x.npy", x), "member": [1] * 4 + [0] * 4, "range": "[-1, 1], clean"},
        "predictions": {"x_t": save(folder, "x_t.npy", x_t), "t": save(folder, "t.npy", t),
                        "eps": save(folder, "eps.npy", e32), "eps_f64": save(folder, "eps_f64.npy", e64),
                        "f32_max_error": floor},
        "ddim": {"settings": {**DDIM, "eta": 0.0, "steps": 10, "timesteps": list(range(900, -1, -100))},
                 "x_T": save(folder, "x_T.npy", x_T), "sample": save(folder, "ddim_10.npy", sample),
                 "sample_clipped": save(folder, "ddim_10_clip.npy", ddim_sample(lambda _: eps, x_T, clip=True)),
                 "f32_max_error": float((sample - sample64).abs().max()),
                 "note": "sample: raw, neither x_0 nor the result is clipped; sample_clipped: clip_sample true "
                         "(predicted x_0 clipped to [-1, 1] at each step, the step's own eps kept)"},
        "ancestral": {"note": "one step x_t -> x_{t-1}, nothing clipped, no noise added at t = 0", "steps": ancestral},
        "loss_noise": save(folder, "loss_noise.npy", loss_noise),
        "secmi_z90": save(folder, "secmi_z90.npy", secmi_chain(eps, x)),
        "scores": scores,
        "schedule": {"t": [0, 10, 90, 100, 200, 500, 999], "alpha_bar": [ABAR[i] for i in (0, 10, 90, 100, 200, 500, 999)]},
    }
    write_json(folder / "golden.json", golden)
    print(f"  eps f32 - f64: {floor:.2e}; DDIM {golden['ddim']['f32_max_error']:.2e}; weights "
          f"{(folder / 'unet/diffusion_pytorch_model.safetensors').stat().st_size} bytes")
    for name, entry in scores.items():
        s = np.array(entry["score"])
        auc = float((s[:4, None] > s[None, 4:]).mean())
        print(f"  {name:6} AUC {auc:.2f}  f32 relative error {entry['f32_relative_error']:.1e}  first {s[0]:.6g}")
    return eps


def main(out):
    torch.set_num_threads(1)
    eps = {}
    for name, config, seed, image_seed in MODELS:
        (out / name).mkdir(parents=True, exist_ok=True)
        eps[name] = make(out / name, config, seed, image_seed)

    folder = out / "dual"
    folder.mkdir(exist_ok=True)
    x_T = normal((N_AUDIT, 1, SIZE, SIZE), 50)
    turns = [eps["tiny-grey"], eps["tiny-grey-2"]]
    first, second = lambda i: turns[i % 2], lambda i: turns[1 - i % 2]
    check_ddim(first, x_T, ddim_sample(first, x_T))
    write_json(folder / "golden.json", {
        "schema": 1, "made_by": "interop/make_golden.py", "models": ["tiny-grey", "tiny-grey-2"],
        "ddim": {**DDIM, "eta": 0.0, "steps": 10, "timesteps": list(range(900, -1, -100))},
        "x_T": save(folder, "x_T.npy", x_T),
        "first_starts": save(folder, "first_starts.npy", ddim_sample(first, x_T)),
        "second_starts": save(folder, "second_starts.npy", ddim_sample(second, x_T)),
        "note": "the models alternate by step; raw, nothing clipped",
    })


if __name__ == "__main__":
    if sys.argv[1:2] == ["--trained"] and len(sys.argv) == 3:
        torch.set_num_threads(1)
        add_trained(Path(sys.argv[2]))
        sys.exit()
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(ATTACKS):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    if sys.argv[2:]:
        for name, *_ in MODELS:
            add_scores(Path(sys.argv[1]) / name, sys.argv[2:])
    else:
        main(Path(sys.argv[1]))
