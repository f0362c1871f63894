"""Pipelines of diffusers and callables, audited through the socket. Run by crates/cli/tests/denoiser.rs.

    check_denoiser.py networks
    check_denoiser.py bases
    check_denoiser.py gradients
    check_denoiser.py audits MODEL MEMBERS NONMEMBERS FOLDER

`networks`: what the adapters ask of tiny random networks is what the pipelines ask of them when they draw. `bases`: a pipeline with a LoRA is also
asked without it. `gradients`: the norms of gradients that a server answers are those of a backward pass written down here. `audits`: a folder's
scores are those of its pipeline as an object, as a callable and as a script; every class is audited end to end.
"""

import csv
import json
import logging
import shutil
import socket
import struct
import sys
import threading
import warnings
from pathlib import Path

import safetensors.torch
import torch

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import diffusers  # noqa: E402
import peft  # noqa: E402
import transformers  # noqa: E402
from diffusers import (  # noqa: E402
    AutoencoderKL, DDIMScheduler, DDPMPipeline, DDPMScheduler, DiTPipeline, DiTTransformer2DModel, FlowMatchEulerDiscreteScheduler, FluxPipeline,
    FluxTransformer2DModel, LDMPipeline, PixArtAlphaPipeline, PixArtTransformer2DModel, SD3Transformer2DModel, StableDiffusion3Pipeline,
    StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel, UNet2DModel, VQModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5Config, T5EncoderModel  # noqa: E402

import dualmd  # noqa: E402
from dualmd import denoiser as server  # noqa: E402
from dualmd.adapters import denoiser_of_pipeline  # noqa: E402

WIDTH = 32
SIDE = 16


def clip_tokenizer():
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: n for n, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77)


def t5_tokenizer():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [(chr(c), -3.0) for c in range(ord("a"), ord("z") + 1)]
    inner = Tokenizer(models.Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), ("\u2581", -2.0), *letters], unk_id=2))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=16
    )


def clip_text(projection=None, width=WIDTH, seed=0):
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=54, hidden_size=width, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=77,
        bos_token_id=52, eos_token_id=53, pad_token_id=1, projection_dim=projection or width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def t5_text(seed=1):
    torch.manual_seed(seed)
    return T5EncoderModel(T5Config(vocab_size=40, d_model=WIDTH, d_kv=8, d_ff=37, num_layers=2, num_heads=4)).eval()


def autoencoder(latents=4, shift=None, seed=2):
    torch.manual_seed(seed)
    return AutoencoderKL(
        block_out_channels=(4, 8), in_channels=3, out_channels=3, latent_channels=latents, norm_num_groups=2, sample_size=SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.5, shift_factor=shift,
    ).eval()


def stable_diffusion(prediction="epsilon"):
    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=SIDE // 2, in_channels=4, out_channels=4, norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH,
        attention_head_dim=2,
    )
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, prediction_type=prediction)
    return StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=clip_text(), tokenizer=clip_tokenizer(), unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )


def xl():
    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        block_out_channels=(4, 8), layers_per_block=1, sample_size=SIDE // 2, in_channels=4, out_channels=4, norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=64,
        attention_head_dim=2, addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    return StableDiffusionXLPipeline(
        vae=autoencoder(), text_encoder=clip_text(), text_encoder_2=clip_text(WIDTH, seed=5), tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(),
        unet=unet, scheduler=scheduler, add_watermarker=False,
    )


def sd3():
    torch.manual_seed(6)
    transformer = SD3Transformer2DModel(
        sample_size=SIDE // 2, patch_size=1, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4, joint_attention_dim=WIDTH,
        caption_projection_dim=32, pooled_projection_dim=64, out_channels=4,
    )
    # The T5 states are as wide as both of CLIP's beside each other at most.
    return StableDiffusion3Pipeline(
        vae=autoencoder(shift=0.06), text_encoder=clip_text(WIDTH), text_encoder_2=clip_text(WIDTH, seed=5), text_encoder_3=None,
        tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer(), tokenizer_3=None, transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def flux(guided=True):
    torch.manual_seed(7)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH, axes_dims_rope=[4, 4, 8], guidance_embeds=guided,
    )
    return FluxPipeline(
        vae=autoencoder(shift=0.06), text_encoder=clip_text(), tokenizer=clip_tokenizer(), text_encoder_2=t5_text(), tokenizer_2=t5_tokenizer(),
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def pixart():
    torch.manual_seed(8)
    transformer = PixArtTransformer2DModel(
        sample_size=SIDE // 2, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=WIDTH, in_channels=4,
        cross_attention_dim=24, out_channels=8, attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
    )
    return PixArtAlphaPipeline(transformer=transformer, vae=autoencoder(), scheduler=DDIMScheduler(), text_encoder=t5_text(), tokenizer=t5_tokenizer())


def dit():
    torch.manual_seed(9)
    transformer = DiTTransformer2DModel(
        sample_size=SIDE // 2, num_layers=2, patch_size=4, attention_head_dim=8, num_attention_heads=2, in_channels=4, out_channels=8,
        attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000, norm_type="ada_norm_zero", norm_elementwise_affine=False,
    )
    return DiTPipeline(transformer=transformer, vae=autoencoder(), scheduler=DDIMScheduler(), id2label={1: "white cat", 7: "dog, hound"})


def small_unet(channels, side, **more):
    return UNet2DModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=side, in_channels=channels, out_channels=channels, norm_num_groups=4,
        attention_head_dim=4, down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"), **more,
    )


def ldm():
    torch.manual_seed(10)
    vqvae = VQModel(
        block_out_channels=(4, 8), in_channels=3, out_channels=3, latent_channels=3, norm_num_groups=2, num_vq_embeddings=8,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )
    return LDMPipeline(vqvae=vqvae.eval(), unet=small_unet(3, SIDE // 2), scheduler=DDIMScheduler())


def ddpm(prediction="epsilon"):
    torch.manual_seed(11)
    return DDPMPipeline(unet=small_unet(3, SIDE), scheduler=DDPMScheduler(prediction_type=prediction))


def ddpm_of_classes():
    torch.manual_seed(12)
    return DDPMPipeline(unet=small_unet(3, SIDE, num_class_embeds=5), scheduler=DDPMScheduler())


TEXTS = {"sd": stable_diffusion, "sd-v": lambda: stable_diffusion("v_prediction"), "sdxl": xl, "sd3": sd3, "flux": flux, "flux-schnell": lambda: flux(False),
         "pixart": pixart}  # fmt: skip
IMAGES = {"ddpm": ddpm, "ddpm-x0": lambda: ddpm("sample"), "ldm": ldm}


def recorded(pipe, **told):
    """What the pipeline asks of its network while it draws one image, and what that answers."""
    network = getattr(pipe, "transformer", None) or pipe.unet
    calls = []

    def note(_, positional, named, out):
        x = positional[0] if positional else named["hidden_states"]
        t = positional[1] if len(positional) > 1 else named["timestep"]
        calls.append((x.clone(), torch.as_tensor(t).reshape(-1).clone(), (out[0] if isinstance(out, tuple) else out.sample).clone()))

    hook = network.register_forward_hook(note, with_kwargs=True)
    pipe.set_progress_bar_config(disable=True)
    pipe(num_inference_steps=3, generator=torch.Generator().manual_seed(0), output_type="np", **told)
    hook.remove()
    return calls


def check_networks():
    for name, make in {**TEXTS, **IMAGES, "dit": dit}.items():
        pipe = make()
        # As `from_pretrained` opens them: what a network leaves out in training is no part of the comparison.
        for part in pipe.components.values():
            if isinstance(part, torch.nn.Module):
                part.eval()
        extra = {"image_size": SIDE} if name.startswith("flux") else {}
        denoiser = denoiser_of_pipeline(pipe, **extra)
        c, h, w = denoiser.shape
        told, texts = {}, None
        if name in TEXTS:
            told, texts = {"prompt": "a red cat", "guidance_scale": 1.0, "height": SIDE, "width": SIDE}, ["a red cat"]
            if name.startswith("flux"):
                told["guidance_scale"] = 3.5
            if name == "pixart":
                told["use_resolution_binning"] = False
        if name == "dit":
            told, texts = {"class_labels": [7], "guidance_scale": 1.0}, ["hound"]
        calls = recorded(pipe, **told)
        assert len(calls) == 3, (name, len(calls))
        flow = denoiser.prediction == "flow"
        assert flow == (name in ("sd3", "flux", "flux-schnell")), name
        for x, t, out in calls:
            if name.startswith("flux"):
                turn = lambda z: z.reshape(1, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(1, c, h, w)  # noqa: E731
                x, out = turn(x), turn(out)
            level = t.float() / (1000 if name == "sd3" else 1) if flow else t.long()
            with torch.no_grad():
                got = denoiser.call(x, level.expand(1), texts)
                other = denoiser.call(x, level.expand(1), ["3"]) if texts else None
            apart = (got - out[:, :c]).abs().max().item()
            assert apart < 1e-5, f"{name}: {apart} apart from what the pipeline asks"
            if texts:
                assert (other - got).abs().max().item() > 1e-6, f"{name}: the text does not matter"
        with torch.no_grad():
            drawn = denoiser.generate(3, 2, 2, *([["1", "7"], 2.0] if texts else []))
            again = denoiser.generate(3, 2, 2, *([["1", "7"], 2.0] if texts else []))
            assert list(drawn.shape) == [2, *(denoiser.image_shape or denoiser.shape)] and torch.equal(drawn, again), name
            assert -1 <= drawn.min() and drawn.max() <= 1
            if denoiser.encode:
                latents = denoiser.encode(drawn)
                assert list(latents.shape) == [2, c, h, w] and list(denoiser.decode(latents).shape) == list(drawn.shape), name
        print(name, "asked as by its pipeline:", denoiser.prediction, denoiser.shape, denoiser.name)
    check_classes()


def with_adapters(pipe):
    """LoRAs in the network, and in a text encoder that there is, all away from zero."""
    torch.manual_seed(11)
    network = getattr(pipe, "transformer", None) or pipe.unet
    settings = {"r": 2, "lora_alpha": 2, "init_lora_weights": False}
    peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["to_q", "to_v"], **settings), network)
    encoder = getattr(pipe, "text_encoder", None)
    if isinstance(encoder, CLIPTextModel):
        peft.inject_adapter_in_model(peft.LoraConfig(target_modules=["q_proj"], **settings), encoder)
    return network


def check_bases():
    """A pipeline with a LoRA has its base as a second model, and stays as it was."""
    for name, make in {**TEXTS, "ddpm": ddpm, "dit": dit}.items():
        pipe = make()
        extra = {"image_size": SIDE} if name.startswith("flux") else {}
        plain = denoiser_of_pipeline(pipe, **extra)
        assert plain.base is None, name
        texts = ["a red cat"] if name in TEXTS else ["7"] if name == "dit" else None
        question = (torch.randn(1, *plain.shape), torch.tensor([0.5] if plain.prediction == "flow" else [300]), texts)
        with torch.no_grad():
            of_base = plain.call(*question)
            network = with_adapters(pipe)
            made = denoiser_of_pipeline(pipe, **extra)
            before, trained = made.call(*question), [one.requires_grad for one in network.parameters()]
            assert (before - of_base).abs().max().item() > 1e-5, f"{name}: the adapters do nothing"
            torch.testing.assert_close(made.base(*question), of_base, rtol=1e-5, atol=1e-6)
            assert torch.equal(made.call(*question), before) and [one.requires_grad for one in network.parameters()] == trained, name
        assert denoiser_of_pipeline(pipe, base=None, **extra).base is None
    program = Program(dualmd.Denoiser(lambda x, t, c: x, base=lambda x, t, c: 2 * x, shape=(1, 2, 2)))
    assert program.ask("hello", version="1")[0]["can"] == "base"
    x = {"x": torch.ones(1, 1, 2, 2), "level": torch.tensor([3])}
    for told, value in (({}, 1.0), ({"base": "1"}, 2.0)):
        assert (program.ask("predict", x, **told)[1]["prediction"] == value).all(), told
    program.close()
    program = Program(dualmd.Denoiser(lambda x, t, c: x, shape=(1, 2, 2)))
    assert "no base" in program.ask("predict", x, base="1")[0]["message"]
    program.close()
    print("bases of adapters are asked")


def check_classes():
    """A DDPM with classes is told the number of each image's."""
    pipe = ddpm_of_classes()
    pipe.unet.eval()
    denoiser = denoiser_of_pipeline(pipe)
    assert denoiser.fingerprint == denoiser_of_pipeline(pipe).fingerprint
    x, t = torch.randn(2, 3, SIDE, SIDE), torch.tensor([300, 20])
    with torch.no_grad():
        assert torch.equal(denoiser.call(x, t, ["4", "0"]), pipe.unet(x, t, class_labels=torch.tensor([4, 0])).sample)
        drawn = denoiser.generate(3, 2, 2, ["4", "0"], 7.5)
        assert list(drawn.shape) == [2, 3, SIDE, SIDE] and torch.equal(drawn, denoiser.generate(3, 2, 2, ["4", "0"], 7.5))
        assert not torch.equal(drawn, denoiser.generate(3, 2, 2, ["1", "0"], 7.5))
    for texts, words in ((None, "always told a class"), (["5", "0"], "0 to 4"), (["cat", "0"], "0 to 4")):
        try:
            denoiser.call(x, t, texts)
        except ValueError as error:
            assert words in str(error), error
        else:
            raise AssertionError(f"{texts} are taken")


class Program:
    """The program's side of the socket, written with safetensors' own functions."""

    def __init__(self, denoiser):
        self.own, other = socket.socketpair()
        self.thread = threading.Thread(target=lambda: server._Session(denoiser, other).run(), daemon=True)
        self.thread.start()

    def ask(self, kind, tensors=None, **settings):
        # It needs a tensor.
        payload = safetensors.torch.save(tensors or {"nothing": torch.zeros(1)}, {"kind": kind, **settings})
        self.own.sendall(struct.pack("<Q", len(payload)) + payload)
        (n,) = struct.unpack("<Q", self.own.recv(8, socket.MSG_WAITALL))
        payload = self.own.recv(n, socket.MSG_WAITALL)
        (size,) = struct.unpack_from("<Q", payload)
        return json.loads(payload[8 : 8 + size])["__metadata__"], safetensors.torch.load(payload)

    def close(self):
        self.own.close()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()


def question(denoiser, samples, k, texts):
    """Rows of noise at levels from everywhere, with targets and scales."""
    torch.manual_seed(20)
    rows = samples * k
    x, target = torch.randn(rows, *denoiser.shape), torch.randn(rows, *denoiser.shape)
    level = torch.rand(rows) * 0.9 + 0.05 if denoiser.prediction in ("flow", "edm") else torch.randint(0, 1000, (rows,))
    asked = {"x": x, "level": level, "target": target, "scale": torch.rand(rows) + 0.1}
    return asked, {"texts": json.dumps(["a red cat", "3"] * (rows // 2))} if texts else {}


def by_hand(denoiser, network, asked, texts, samples, k, each):
    """The norms by one backward pass for each loss, and by another one for their mean."""

    def norms(rows, of):
        network.zero_grad(set_to_none=True)
        made = denoiser.call(asked["x"][rows], asked["level"][rows], texts[rows] if texts else None)
        apart = (getattr(made, "sample", made) - asked["target"][rows]) * asked["scale"][rows].reshape(-1, 1, 1, 1)
        of((apart**2).mean(dim=(1, 2, 3))).backward()
        found = [0.0 if p.grad is None else p.grad.double().norm().item() for p in network.parameters()]
        network.zero_grad(set_to_none=True)
        return torch.tensor(found, dtype=torch.float64)

    halves = [[], []]
    for sample in range(samples):
        first = sample * k
        halves[0].append(norms(slice(first, first + k), torch.mean))
        alone = [norms(slice(first, first + k), lambda losses, i=i: losses[i]) for i in range(k)]
        halves[1].append(torch.stack(alone).mean(0) if each else halves[0][-1])
    return torch.stack([torch.stack(half) for half in halves])


def check_gradients():
    for name, make in {**TEXTS, **IMAGES, "dit": dit}.items():
        pipe = make()
        extra = {"image_size": SIDE} if name.startswith("flux") else {}
        denoiser = denoiser_of_pipeline(pipe, **extra)
        network = getattr(pipe, "transformer", None) or pipe.unet
        has_texts = name in TEXTS or name == "dit"
        asked, settings = question(denoiser, 2, 3, has_texts)
        if name == "dit":
            settings = {"texts": json.dumps(["hound", "3", "", "1", "1", "2"])}
        texts = json.loads(settings["texts"]) if has_texts else None
        # What took no gradients takes none afterwards; and a question without gradients before and after is answered.
        network.requires_grad_(False)
        next(network.parameters()).requires_grad_(True)
        program = Program(denoiser)
        said, _ = program.ask("hello", version="1")
        assert "gradient" in said["can"].split(","), said
        assert said["parameters"] == str(sum(p.numel() for p in network.parameters())), said
        plain = {"x": asked["x"], "level": asked["level"]}
        before = program.ask("predict", plain, **settings)[1]["prediction"]
        answers = {}
        for each in ("1", "0", "1"):
            said, answer = program.ask("gradient", asked, samples="2", each=each, **settings)
            assert said["kind"] == "gradient", said
            norms = answer["norms"]
            assert norms.dtype == torch.float64 and list(norms.shape) == [2, 2, len(list(network.parameters()))], name
            assert torch.equal(answers.setdefault(each, norms), norms), f"{name}: the same question has another answer"
        assert torch.equal(before, program.ask("predict", plain, **settings)[1]["prediction"]), name
        program.close()
        assert [p.requires_grad for p in network.parameters()] == [True, *[False] * (len(list(network.parameters())) - 1)], name
        assert all(p.grad is None for p in network.parameters()), name
        network.requires_grad_(True)
        for each, found in answers.items():
            wanted = by_hand(denoiser, network, asked, texts, 2, 3, each == "1")
            # Gradients that are zero in theory are rounding.
            telling = wanted > 1e-5 * wanted.max()
            apart = ((found - wanted).abs() / wanted)[telling].max().item()
            assert apart < 1e-4, f"{name}, each {each}: {apart} apart from a backward pass"
            assert (found[~telling] < 1e-4 * wanted.max()).all(), name
        assert torch.equal(answers["0"][0], answers["0"][1]) and (answers["1"][0] <= answers["1"][1] * (1 + 1e-6) + 1e-12).all(), name
        print(f"{name}: gradients of {norms.shape[2]} tensors as by hand")

    torch.manual_seed(30)
    network = torch.nn.Conv2d(3, 3, 1)
    unused = torch.nn.Parameter(torch.zeros(2))
    whole = torch.nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    asked, _ = question(dualmd.Denoiser(network, shape=(3, 4, 4)), 2, 2, False)

    def answer(call, asked=asked, samples="2", **settings):
        program = Program(dualmd.Denoiser(call, shape=(3, 4, 4), **{"parameters": [unused, *network.parameters(), whole], **settings}))
        said, made = program.ask("gradient", asked, samples=samples, each="1")
        program.close()
        return said.get("message"), made.get("norms")

    _, norms = answer(lambda x, t, c: network(x))
    assert list(norms.shape) == [2, 2, 4] and (norms[:, :, [0, 3]] == 0).all() and (norms[:, :, 1:3] > 0).all(), norms
    half = network.to(torch.bfloat16)
    _, coarse = answer(lambda x, t, c: half(x.bfloat16()), parameters=half.parameters())
    assert ((coarse - norms[:, :, 1:3]).abs() < 0.05 * norms[:, :, 1:3]).all(), (coarse, norms)
    network.float()
    for call, settings, words in [
        (lambda x, t, c: network(x).detach(), {}, "has no gradient by the parameters"),
        (torch.no_grad()(lambda x, t, c: network(x)), {}, "torch.no_grad"),
        (lambda x, t, c: network(x).detach().numpy(), {}, "answer with a tensor of torch"),
        (lambda x, t, c: network(x)[:, :1], {}, "is of shape [2, 1, 4, 4] and must be of [2, 3, 4, 4]"),
        (lambda x, t, c: network(x), {"samples": "3"}, "4 rows are no 3 samples"),
        (lambda x, t, c: network(x), {"parameters": 5}, "does not know 'gradient'"),
    ]:
        words_of_server, made = answer(call, **settings)
        assert made is None and words in words_of_server, words_of_server
    print("parameters that take no part, half precision and refusals: as they should be")


def scores(folder):
    rows = csv.DictReader(Path(folder, "scores/model.csv").open())
    return {(row["attack"], row["sample_id"]): float(row["score"]) for row in rows}


# Scores that are differences of nearly equal losses keep fewer digits.
DIFFERENCES = {"clid", "clid-gap", "clid-vec", "pfami", "reference"}
# Rules that are learnt on a handful of images, from features whose order another program chose: log-odds, of which those near 0 have few
# digits. Compared with the largest of the attack.
LEARNT = {"gsa1": 1e-3, "gsa2": 1e-3}


def equal(name, one, other, attacks, of_differences=1e-5):
    worst = dict.fromkeys(sorted(attacks), 0.0)
    largest = {attack: max(abs(score) for (a, _), score in one.items() if a == attack) for attack in LEARNT if attack in worst}
    for (attack, image), score in one.items():
        if attack in worst:
            worst[attack] = max(worst[attack], abs(score - other[attack, image]) / max(largest.get(attack, abs(score)), 1e-30))
    print(f"{name}: largest relative difference of a score", ", ".join(f"{a} {w:.1e}" for a, w in worst.items()))
    for attack, apart in worst.items():
        assert apart < (of_differences if attack in DIFFERENCES else LEARNT.get(attack, 1e-5)), (name, attack, apart)


def check_audits(model, members, others, out):
    out = Path(out)
    plain = {"members": members, "nonmembers": others, "images": 4, "steps": 2, "quiet": True}
    native = dualmd.audit(model, out=out / "native", **plain)
    of_native = scores(out / "native")
    # What learns a classifier by gradient descent turns other last digits of the answers into another classifier. Over the socket of a
    # server with the program's own libtorch these too are equal: the test beside this one.
    learns = {"secmi-nn", "rediffuse-nn"}
    attacks = {name for name, _ in of_native} - {"nn", "nn-features"} - learns
    assert len(attacks) >= 7, attacks
    pipe = DDPMPipeline.from_pretrained(model)
    dualmd.audit(pipe, out=out / "pipeline", **plain)
    equal("a pipeline object", of_native, scores(out / "pipeline"), attacks)
    unet = pipe.unet
    kept = []

    def keeping(x, t, c):
        kept.append((x, x.clone()))
        return unet(x, t).sample

    found = dualmd.audit(keeping, shape=(3, 16, 16), schedule=pipe.scheduler, name="mine", out=out / "callable", **plain)
    # What a callable holds on to stays as it was, although messages use the same memory where nobody does.
    assert len(kept) > 10 and all(torch.equal(held, copied) for held, copied in kept)
    # Without `generate` the program draws by DDIM, as from the folder.
    equal("a callable", of_native, scores(out / "callable"), attacks | {"nn"})
    assert found.models["model"].attacks["sima"].auc == native.models["model"].attacks["sima"].auc
    assert "mine" in json.loads((out / "callable/plan.json").read_text())["name"]
    numpy = dualmd.audit(
        lambda x, t, c: unet(torch.tensor(x), torch.tensor(t)).sample.detach().numpy(), shape=(3, 16, 16), schedule=pipe.scheduler, arrays="numpy",
        attacks=["sima", "loss"], out=out / "numpy", **plain,
    )  # fmt: skip
    equal("arrays of numpy", scores(out / "numpy"), of_native, {"sima", "loss"})
    assert str(numpy)
    # A tuple, as networks of diffusers answer where they are told to.
    checked = dualmd.audit(lambda x, t, c: unet(x, t, return_dict=False), shape=(3, 16, 16), attacks=["sima"], check=True, **plain)
    assert checked.models[0].says["prediction"] == "eps" and checked.models[0].attacks == ["sima"] and checked.seconds is not None, checked
    # Attacks on gradients: of the folder, and by torch.autograd. A model that keeps its parameters to itself cannot be asked.
    learnt = {**plain, "attacks": ["gsa2", "gsa1"], "known_fraction": 0.4}
    dualmd.audit(model, out=out / "gradients-native", **learnt)
    of_gradients = scores(out / "gradients-native")
    assert {a for a, _ in of_gradients} == set(LEARNT), of_gradients
    dualmd.audit(pipe, out=out / "gradients-pipeline", **learnt)
    equal("gradients of a pipeline object", of_gradients, scores(out / "gradients-pipeline"), LEARNT)
    given = {"shape": (3, 16, 16), "schedule": pipe.scheduler}
    dualmd.audit(lambda x, t, c: unet(x, t), parameters=unet.parameters(), out=out / "gradients-callable", **given, **learnt)
    equal("gradients of a callable", of_gradients, scores(out / "gradients-callable"), LEARNT)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        kept = dualmd.audit(lambda x, t, c: unet(x, t), out=out / "gradients-kept", **given, **{**learnt, "attacks": "sima, gsa1"})
    assert any("gsa1 gave no result on model" in str(one.message) for one in warned) and "gsa1 gave no result" in str(kept)
    results = kept.models["model"].attacks
    assert results["sima"].status == "ok" and results["gsa1"].status != "ok", results
    assert "parameters=" in results["gsa1"].reason, results["gsa1"].reason
    script = out / "serve.py"
    script.write_text(
        "import dualmd\nfrom diffusers import DDPMPipeline\n"
        f"pipe = DDPMPipeline.from_pretrained({model!r})\n"
        "dualmd.serve(lambda x, t, c: pipe.unet(x, t), shape=(3, 16, 16), schedule=pipe.scheduler)\n"
    )
    arguments = ["--members", members, "--nonmembers", others, "--images", "4", "--steps", "2", "--attacks", "sima,pia", "-o", str(out / "script")]
    dualmd.call(["audit", "--denoiser", f"{sys.executable} {script}", *arguments], quiet=True)
    equal("a script", scores(out / "script"), of_native, {"sima", "pia"})
    # The pipeline itself, as it is.
    served = out / "serve-pipeline.py"
    served.write_text(f"import dualmd\nfrom diffusers import DDPMPipeline\ndualmd.serve(DDPMPipeline.from_pretrained({model!r}))\n")
    whole = {**plain, "attacks": ["sima"], "out": out / "served"}
    dualmd.audit(denoiser=f"{sys.executable} {served}", **whole)
    equal("a script that serves a pipeline", scores(out / "served"), of_native, {"sima"})

    for failing, words, cause in [
        (lambda x, t, c: unet(x, t).sample[:, :1], "and must be of", ValueError),
        (lambda x, t, c: x * float("nan"), "NaN or infinite", type(None)),
        (lambda x, t, c: 1 / 0, "ZeroDivisionError: division by zero", ZeroDivisionError),
        (lambda x, t, c: t, "answer with floats", TypeError),
        (lambda x, t, c: None, "is None: the callable must return it", TypeError),
        (lambda x, t, c: "eps", "is of type str", TypeError),
    ]:
        try:
            dualmd.audit(failing, shape=(3, 16, 16), attacks=["sima"], out=out / f"failing {words[:8]}", **plain)
        except dualmd.ProgramError as error:
            assert words in str(error), error
            assert isinstance(error.__cause__, cause), error.__cause__
        else:
            raise AssertionError(f"no error with {words!r}")
    try:
        dualmd.audit(diffusers.StableDiffusionInpaintPipeline.__new__(diffusers.StableDiffusionInpaintPipeline), **plain)
    except TypeError as error:
        assert "DDPMPipeline" in str(error) and "callable" in str(error), error
    else:
        raise AssertionError("an unknown class is taken")

    captions = {**plain, "per_prompt": 1, "guidance": 2.0}
    for name, make in {**TEXTS, **IMAGES, "dit": dit, "ddpm of classes": ddpm_of_classes}.items():
        extra = {"image_size": SIDE} if name.startswith("flux") else {}
        pipe = make()
        told = plain if name in IMAGES else captions
        if name == "ddpm of classes":
            # Whose images have the classes of the ones before.
            told = {**captions, "members": out / "m", "nonmembers": out / "n"}
        if name == "dit":
            told = {**captions, "members": of_classes(members, out / "m"), "nonmembers": of_classes(others, out / "n")}
        # All usual attacks once; of the other classes one that is told nothing, one that compares captions, and one on drawn images.
        some = {"sd": None, "ddpm-x0": ["loss", "sima", "nn"], "ddpm": ["nn"], "ldm": ["loss", "sima", "nn"], "ddpm of classes": ["loss", "sim-mean"]}
        attacks = some.get(name, ["sima", "clid-gap", "sim-mean"])
        found = dualmd.audit(pipe, out=out / name, attacks=attacks, **told, **extra)
        results = found.models["model"].attacks.values()
        failed = [f"{r.attack}: {r.reason}" for r in results if r.status != "ok"]
        assert not failed, (name, failed)
        print(f"{name}: audited, {len(results)} attacks")
        if name == "sd":
            # The same network as a folder, by the program's own code.
            pipe.save_pretrained(out / "sd-folder")
            dualmd.audit(out / "sd-folder", out=out / "sd-native", **captions)
            of_native = scores(out / "sd-native")
            asked = {a for a, _ in of_native if not a.startswith(("nn", "sim", "pw"))} - learns
            equal("Stable Diffusion", of_native, scores(out / name), asked, of_differences=1e-3)
            learnt = {**captions, "attacks": ["gsa2", "gsa1"], "known_fraction": 0.4}
            dualmd.audit(out / "sd-folder", out=out / "sd-gradients-native", **learnt)
            dualmd.audit(pipe, out=out / "sd-gradients", **learnt)
            equal("gradients of Stable Diffusion", scores(out / "sd-gradients-native"), scores(out / "sd-gradients"), LEARNT)


    # A LoRA in memory is audited as its file over the base's folder, which is the reference model of both.
    pipe = TEXTS["sd"]()
    network = with_adapters(pipe)
    pipe.text_encoder = TEXTS["sd"]().text_encoder
    StableDiffusionPipeline.save_lora_weights(out / "lora", unet_lora_layers=peft.get_peft_model_state_dict(network))
    told = {**captions, "attacks": ["loss", "reference"]}
    dualmd.audit(out / "sd-folder", lora=out / "lora/pytorch_lora_weights.safetensors", out=out / "lora-native", **told)
    dualmd.audit(pipe, out=out / "lora-pipeline", **told)
    equal("a LoRA", scores(out / "lora-native"), scores(out / "lora-pipeline"), {"loss", "reference"}, of_differences=1e-2)
    kept = dualmd.audit(pipe, **captions, check=True)
    assert "reference" in kept.models[0].attacks, kept


def of_classes(folder, out):
    """A copy of a folder of images, whose captions are numbers of classes."""
    shutil.copytree(folder, out)
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    told = [json.dumps({**line, "text": str(n % 5)}) for n, line in enumerate(lines)]
    (out / "metadata.jsonl").write_text("\n".join(told) + "\n")
    return out


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"networks": check_networks, "bases": check_bases, "gradients": check_gradients, "audits": check_audits}[sys.argv[1]](*sys.argv[2:])
