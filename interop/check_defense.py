"""DistillMD's targets and pairs that take turns, in Python's torch and diffusers. Run by crates/cli/tests/denoiser.rs.

    check_defense.py FOLDER

FOLDER is empty. Shown: each image's target is the prediction of the teacher that never saw it, whatever the order and under whatever
name; a pair of pipelines draws what the exported folder of the same pair draws, which `dualmd` itself draws (check_pair.py); two LoRAs over
one base take turns; a student learns from the targets in a loop of diffusers; and with these targets a step of the Rust trainer can be made anew
(check_targets.py).
"""

import socket
import sys
import warnings
from pathlib import Path

import check_targets
import torch

warnings.filterwarnings("ignore")

from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, DiffusionPipeline, PNDMScheduler, UNet2DConditionModel, UNet2DModel  # noqa: E402

import dualmd  # noqa: E402
from dualmd import denoiser  # noqa: E402


def refuses(error, words, call):
    try:
        call()
    except error as refused:
        assert words in str(refused), refused
    else:
        raise AssertionError(f"not refused: {words}")


def unet(seed):
    torch.manual_seed(seed)
    return UNet2DModel(sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
                       down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=8)


def routing(split):
    """Image by image."""
    ones, twos = (lambda x, t: torch.ones_like(x)), (lambda x, t: torch.full_like(x, 2.0))
    distill = dualmd.DistillMD(ones, twos, split)
    for image in split.members:
        x = torch.zeros(1, 3, 8, 8)
        # Of the first half by the second teacher, and the other way round.
        for key in (image.id, image.name):
            told = distill.target(x, torch.tensor([5]), images=[key])
            assert float(told.max()) == float(told.min()) == 3 - image.half, image
    refuses(ValueError, "is no member", lambda: distill.stranger(split.nonmembers[0].name))
    refuses(KeyError, "no name or id", lambda: distill.stranger("elsewhere.png"))
    refuses(ValueError, "one for each", lambda: distill.target(torch.zeros(2, 3, 8, 8), torch.tensor([5, 6]), images=[split.members[0].id]))
    wrong = dualmd.DistillMD(lambda x, t: x[:, :1], lambda x, t: x[:, :1], split)
    refuses(ValueError, "answered", lambda: wrong.target(torch.zeros(1, 3, 8, 8), torch.tensor([5]), images=[split.members[0].id]))

    # Real networks, a batch of both halves in any order, against one question for each image.
    first, second = unet(1), unet(2)
    distill = dualmd.DistillMD(first, second, split)
    torch.manual_seed(3)
    images = [split.members[i] for i in torch.randperm(len(split.members))[:12]]
    assert {image.half for image in images} == {1, 2}
    x, t = torch.randn(12, 3, 8, 8), torch.randint(0, 1000, (12,))
    target = distill.target(x, t, images=[image.name for image in images])
    assert not target.requires_grad
    for row, image in enumerate(images):
        with torch.no_grad():
            alone = (second if image.half == 1 else first)(x[row : row + 1], t[row : row + 1]).sample[0]
        assert torch.allclose(target[row], alone, atol=1e-6), image

    # A condition goes along row by row, as a tensor, a list or by name.
    def told(x, t, condition=None, labels=None):
        if condition is None:
            condition = labels
        values = torch.tensor([float(c) for c in condition])
        return values.view(-1, 1, 1, 1).expand_as(x)

    distill = dualmd.DistillMD(told, lambda *given, **named: told(*given, **named), split)
    names = [image.name for image in images]
    for condition in (torch.arange(12.0), list(range(12)), {"labels": torch.arange(12.0)}):
        assert distill.target(x, t, condition, names)[:, 0, 0, 0].tolist() == list(range(12))
    refuses(ValueError, "rows", lambda: distill.target(x, t, torch.arange(5.0), names))


def pairs(folder):
    """Two pipelines as one, against the exported folder."""
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    pipes = []
    for which in (1, 2):
        # As dualmd opens a folder: of DDPMPipeline.
        DDPMPipeline(unet(which), DDPMScheduler(num_train_timesteps=1000)).save_pretrained(folder / f"teacher-{which}")
        pipes.append(DDPMPipeline(unet(which), scheduler))
    dualmd.call(["export", "pair", str(folder / "teacher-1"), str(folder / "teacher-2"), "-o", str(folder / "pair")], quiet=True)
    exported = DiffusionPipeline.from_pretrained(folder / "pair", custom_pipeline=str(folder / "pair"), trust_remote_code=True)
    both = dualmd.DualMDPipeline(*pipes)
    swapped = dualmd.DualMDPipeline(*pipes[::-1])
    for pipe in (exported, both, swapped):
        pipe.set_progress_bar_config(disable=True)

    def drawn(pipe):
        return torch.from_numpy(pipe(batch_size=3, generator=torch.Generator().manual_seed(7), num_inference_steps=9, output_type="np").images)

    expected = drawn(exported)
    # Twice: a new image begins with the first model again, also after an odd number of steps.
    for _ in range(2):
        error = float((drawn(both) - expected).abs().max())
        assert error < 1e-4, error
    assert float((drawn(swapped) - expected).abs().max()) > 1e-3
    assert pipes[0].unet is not both.unet, "the first pipeline stays as it was"
    print(f"a pair of pipelines draws what the exported one draws: {error:.1e}")
    history = DDPMPipeline(unet(1), PNDMScheduler())
    refuses(ValueError, "keeps earlier predictions", lambda: dualmd.DualMDPipeline(history, DDPMPipeline(unet(2), PNDMScheduler())))
    # Also afterwards, while another sampler without memory may be set.
    refuses(ValueError, "keeps earlier predictions", lambda: setattr(both, "scheduler", PNDMScheduler()))
    refuses(ValueError, "keeps earlier predictions", lambda: both.register_modules(scheduler=PNDMScheduler()))
    both.scheduler = DDPMScheduler(num_train_timesteps=1000)
    assert pipes[0].scheduler is scheduler, "the first pipeline stays as it was"
    # One model twice: the same, or loaded twice.
    for second in (pipes[0], DDPMPipeline(pipes[0].unet, scheduler), DDPMPipeline(unet(1), scheduler)):
        refuses(ValueError, "the same model", lambda second=second: dualmd.DualMDPipeline(pipes[0], second))
    refuses(ValueError, "both teachers are one model", lambda: dualmd.DistillMD(unet(1), unet(1), "split.json"))
    refuses(TypeError, "a pair already", lambda: dualmd.DualMDPipeline(both, pipes[1]))
    refuses(ValueError, "no adapter 'a' and no 'b' (none is loaded)", lambda: dualmd.DualMDPipeline(pipes[0], adapters=("a", "b")))
    # It is no folder, and no model of an audit: neither the pipeline, its network, nor what asks it.
    for part in (both, both.unet):
        refuses(TypeError, "save the two pipelines apart", lambda part=part: part.save_pretrained(folder / "both"))
    assert not (folder / "both").exists()
    images = {"members": "fashion#member", "nonmembers": "fashion#nonmember", "quiet": True}
    for model in (both, both.unet, exported, dualmd.Denoiser(both.unet, shape=(3, 8, 8))):
        refuses(TypeError, "pair=('first', 'second')", lambda model=model: dualmd.audit(model, **images))
    own, other = socket.socketpair()
    with own, other:
        session = denoiser._Session(dualmd.Denoiser(lambda x, t, c: both.unet(x, t).sample, shape=(3, 8, 8)), own)
        refuses(TypeError, "not audited as one", lambda: session.asked(torch.zeros(1, 3, 8, 8), torch.tensor([5]), None))
    refuses(TypeError, "give the second pipeline", lambda: dualmd.DualMDPipeline(pipes[0]))
    other = UNet2DModel(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4,
                        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    refuses(ValueError, "in_channels", lambda: dualmd.DualMDPipeline(pipes[0], DDPMPipeline(other, scheduler)))


def adapters():
    """Two LoRAs over one base, through the network that a pipeline asks."""
    from peft import LoraConfig

    torch.manual_seed(0)
    base = UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
                                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                                cross_attention_dim=12, attention_head_dim=2)
    for name in ("a", "b"):
        base.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False), adapter_name=name)

    class Pipe:
        def __init__(self):
            self.unet, self.scheduler = base, DDIMScheduler()

    pair = dualmd.DualMDPipeline(Pipe(), adapters=("a", "b")).unet
    x, text = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 12)

    def alone(name, t):
        base.set_adapter(name)
        with torch.no_grad():
            return base(x, torch.tensor(t), text).sample

    timesteps = [900, 600, 600, 300, 900, 600]
    turns = ["a", "b", "b", "a", "a", "b"]
    for t, name in zip(timesteps, turns):
        expected = alone(name, t)
        with torch.no_grad():
            said = pair(x, torch.tensor(t), encoder_hidden_states=text).sample
        assert torch.equal(said, expected), (t, name)
    assert pair.config is base.config and pair.dtype == base.dtype
    assert not torch.equal(alone("a", 300), alone("b", 300))


def learns(split):
    """A student in a loop of diffusers: its error against the targets falls."""
    first, second, student = unet(1), unet(2), unet(3)
    distill = dualmd.DistillMD(first, second, split)
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3)
    torch.manual_seed(5)
    losses = []
    names = [image.name for image in split.members]
    pictures = torch.randn(len(names), 3, 8, 8)
    for _ in range(60):
        t = torch.randint(0, 1000, (len(names),))
        x_t = scheduler.add_noise(pictures, torch.randn_like(pictures), t)
        target = distill.target(x_t, t, images=names)
        loss = torch.nn.functional.mse_loss(student(x_t, t).sample, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss))
    assert all(p.grad is None for teacher in (first, second) for p in teacher.parameters()), "teachers stay as they are"
    before, after = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
    assert after < 0.5 * before, losses
    print(f"a student's loss against the targets: {before:.3f}, then {after:.3f}")


def main():
    folder = Path(sys.argv[1])
    split = dualmd.split("fashion", members=24, nonmembers=30, out=folder / "split.json", seed=3, near_duplicates="ignore")
    assert len(split.d1) == len(split.d2) == 12 and len(split.nonmembers) == 30 and split.hash, split
    routing(split)
    pairs(folder)
    adapters()
    learns(split)
    made_anew = folder / "targets"
    made_anew.mkdir()
    check_targets.check(made_anew)


if __name__ == "__main__":
    main()
