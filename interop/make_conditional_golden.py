"""Makes tests/golden/conditional: tiny text-to-image folders of Stable Diffusion's shape, and what Python's diffusers and
transformers compute with them; and checks that folders which dualmd wrote compute the same in Python.

    OMP_NUM_THREADS=1 python interop/make_conditional_golden.py make tests/golden/conditional
    OMP_NUM_THREADS=1 python interop/make_conditional_golden.py check tests/golden/conditional FOLDER

`check` takes a folder of folders that dualmd wrote: sd1 and sd2 are compared with what is in golden, any other with the
probe.safetensors in it, which holds dualmd's results for the prompts below. Exit code 0 = equal, 1 = not equal.

OUT/sd1: as Stable Diffusion 1 (1x1 convolutions around transformers, attention_head_dim one number, eps, quick_gelu,
DDIM scheduler, vocab.json and merges.txt), the text encoder named as transformers 5 does, the autoencoder's attention
named as diffusers did before 0.18.
OUT/sd2: as Stable Diffusion 2.1 (linear projections, attention_head_dim a list, v, gelu, PNDM scheduler, padded with
"!"), the network in f16 shards, the text encoder named as transformers 4 did and with its position_ids, the tokenizer
as tokenizer.json.
All weights are random: the folders show that arithmetic and files agree, nothing else. golden.safetensors holds
inputs and results, golden.json the prompts and settings.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH, WIDTH, STEPS, GUIDANCE = 16, 12, 10, 4.0
PROMPTS = ["a cat on a red mat", "Two  DOGS, and it's 42!", "", "caf\u00e9 \u6f22 \U0001f600 cafe\u0301",
           "a very long prompt about cats and dogs that does not fit into the positions", "!! a <|endoftext|> b"]
CORPUS = ["a cat on a mat", "a red dog and two cats", "the dog sat on the red mat", "it's about cats and dogs"] * 3

SCHEDULE = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                set_alpha_to_one=False, steps_offset=1)
GRADIENTS = ("conv_in.weight", "time_embedding.linear_1.weight", "down_blocks.0.resnets.0.norm2.weight",
             "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
             "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight",
             "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj.bias",
             "down_blocks.0.attentions.0.transformer_blocks.0.norm3.weight",
             "mid_block.attentions.0.proj_in.weight", "up_blocks.1.resnets.0.conv_shortcut.weight", "conv_out.bias")


def normal(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def shaken(model, seed):
    """Away from ones and zeros, so that every parameter matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def vocabulary():
    """Bytes, bytes at the end of a word, learnt pairs, start and end: the order of CLIP's. "!" is 0."""
    trainer_side = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trainer_side.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = [word.lower() for line in CORPUS for word in line.split()]
    trainer = trainers.BpeTrainer(vocab_size=60, end_of_word_suffix="</w>", show_progress=False)
    trainer_side.train_from_iterator(split, trainer)
    merges = [tuple(pair) for pair in json.loads(trainer_side.to_str())["model"]["merges"]]
    printable = [b for b in range(256) if b in range(33, 127) or b in range(161, 173) or b in range(174, 256)]
    names = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = names + [name + "</w>" for name in names] + [a + b for a, b in merges] + [START, END]
    assert len(set(tokens)) == len(tokens) and tokens[0] == "!"
    return {token: i for i, token in enumerate(tokens)}, merges


def write_tokenizer(folder, pad):
    """As Stable Diffusion's folders have it: SD 2 says its padding in special_tokens_map.json only."""
    folder.mkdir(parents=True)
    vocab, merges = vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start, end = {"content": START, **flags}, {"content": END, **flags}
    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "bos_token": {"__type": "AddedToken", **start}, "do_lower_case": True,
        "eos_token": {"__type": "AddedToken", **end}, "errors": "replace", "model_max_length": LENGTH, "pad_token": END,
        "tokenizer_class": "CLIPTokenizer", "unk_token": {"__type": "AddedToken", **end}})
    write_json(folder / "special_tokens_map.json", {"bos_token": start, "eos_token": end, "pad_token": pad, "unk_token": end})
    return len(vocab)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def rename(path, change):
    tensors = load_file(path)
    save_file({change(name): tensor for name, tensor in tensors.items()}, path, metadata={"format": "pt"})


def old_attention(name):
    for new, old in ((".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")):
        name = name.replace(new, old)
    return name


def write_folder(folder, second):
    shutil.rmtree(folder, ignore_errors=True)
    vocab = write_tokenizer(folder / "tokenizer", "!" if second else END)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    torch.manual_seed(1 + second)
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=vocab, hidden_size=WIDTH, intermediate_size=20, num_hidden_layers=2 + second, num_attention_heads=2,
        max_position_embeddings=LENGTH, hidden_act="gelu" if second else "quick_gelu", bos_token_id=vocab - 2,
        eos_token_id=vocab - 1, pad_token_id=1))
    vae = AutoencoderKL(
        block_out_channels=(8, 12), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2)
    if second:
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 12, 16), layers_per_block=1, norm_num_groups=4, cross_attention_dim=WIDTH,
            attention_head_dim=(1, 2, 4), use_linear_projection=True, upcast_attention=True,
            transformer_layers_per_block=(1, 2, 1),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"))
    else:
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8, 16), layers_per_block=2, norm_num_groups=4, cross_attention_dim=WIDTH,
            attention_head_dim=2, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    for i, model in enumerate((text, vae, unet)):
        shaken(model, 10 + 3 * second + i)
    scheduler = (PNDMScheduler(**SCHEDULE, prediction_type="v_prediction", skip_prk_steps=True) if second
                 else DDIMScheduler(**SCHEDULE, clip_sample=False))
    StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False).save_pretrained(folder)
    if second:
        for file in ("vocab.json", "merges.txt", "special_tokens_map.json"):
            (folder / "tokenizer" / file).unlink(missing_ok=True)
        shutil.rmtree(folder / "unet")
        unet.half().save_pretrained(folder / "unet", max_shard_size="90KB")
        path = folder / "text_encoder" / "model.safetensors"
        rename(path, lambda name: f"text_model.{name}")
        positions = {"text_model.embeddings.position_ids": torch.arange(LENGTH).expand(1, -1).contiguous()}
        save_file({**load_file(path), **positions}, path, metadata={"format": "pt"})
    else:
        shutil.rmtree(folder / "tokenizer")
        write_tokenizer(folder / "tokenizer", END)
        rename(folder / "vae" / "diffusion_pytorch_model.safetensors", old_attention)


def compute(folder):
    """Everything that is compared, by name, and the loss of the training step."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    out = {}
    with torch.no_grad():
        ids = pipe.tokenizer(PROMPTS, padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True,
                             return_tensors="pt").input_ids
        text = pipe.text_encoder(ids)[0]
        images = normal((2, 3, 16, 24), 50).tanh()
        gaussian = pipe.vae.encode(images).latent_dist
        draw = normal(gaussian.mean.shape, 51)
        latents = normal((2, 4, 8, 6), 52)
        x_t, t = normal((4, 4, 8, 12), 53), torch.tensor([0, 10, 500, 999])
        out |= {"ids": ids, "text": text, "images": images, "mean": gaussian.mean, "log_variance": gaussian.logvar,
                "draw": draw, "drawn": (gaussian.mean + gaussian.std * draw) * pipe.vae.config.scaling_factor,
                "latents": latents, "decoded": pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample,
                "x_t": x_t, "t": t, "output": pipe.unet(x_t, t, text[:4]).sample}
        # Never clipped, as the pipeline's constructor sees to; a PNDM configuration need not say so.
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        x_T = normal((2, 4, 8, 8), 54)
        sample = pipe(PROMPTS[:2], latents=x_T.clone(), num_inference_steps=STEPS, guidance_scale=GUIDANCE, eta=0.0,
                      output_type="latent").images
        out |= {"x_T": x_T, "sample": sample, "picture": pipe.vae.decode(sample / pipe.vae.config.scaling_factor).sample}
        out["timesteps"] = pipe.scheduler.timesteps
    target = normal(x_t.shape, 55)
    loss = (pipe.unet(x_t, t, text[:4]).sample - target).square().mean()
    loss.backward()
    gradients = dict(pipe.unet.named_parameters())
    out |= {"target": target, "loss": loss.detach()[None]}
    out |= {f"grad.{name}": gradients[name].grad for name in GRADIENTS}
    return {name: tensor.contiguous() for name, tensor in out.items()}, pipe


def make(out):
    for name in ("sd1", "sd2"):
        folder = out / name
        write_folder(folder, name == "sd2")
        golden, pipe = compute(folder)
        save_file(golden, folder / "golden.safetensors")
        count = lambda model: sum(p.numel() for p in model.parameters())
        write_json(folder / "golden.json", {
            "schema": 1, "made_by": "interop/make_conditional_golden.py", "prompts": PROMPTS, "steps": STEPS,
            "guidance": GUIDANCE, "gradients": GRADIENTS,
            "parameters": {"unet": count(pipe.unet), "vae": count(pipe.vae), "text_encoder": count(pipe.text_encoder)},
            "versions": {module: __import__(module).__version__.split("+")[0]
                         for module in ("torch", "diffusers", "transformers", "tokenizers")}})
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        largest = {key: f"{value.abs().max():.3g}" for key, value in golden.items() if value.is_floating_point()}
        print(name, size, "bytes", largest)


def probe_xl(folder):
    """The same of Stable Diffusion XL's kind. An empty prompt is told as the pipeline tells nothing."""
    pipe = StableDiffusionXLPipeline.from_pretrained(folder, use_safetensors=True, add_watermarker=False)
    given = load_file(folder / "probe.safetensors")
    x_t, t = given["x_t"], given["t"]
    with torch.no_grad():
        ids = pipe.tokenizer(PROMPTS, padding="max_length", max_length=pipe.tokenizer.model_max_length, truncation=True,
                             return_tensors="pt").input_ids
        text, nothing, pooled, none = pipe.encode_prompt(PROMPTS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True)
        empty = torch.tensor([prompt == "" for prompt in PROMPTS])
        text, pooled = torch.where(empty[:, None, None], nothing, text), torch.where(empty[:, None], none, pooled)
        side = (pipe.unet.config.sample_size * pipe.vae_scale_factor,) * 2
        size = pipe._get_add_time_ids(side, (0, 0), side, dtype=text.dtype, text_encoder_projection_dim=pooled.shape[-1]).repeat(len(text), 1)
        output = pipe.unet(x_t, t, text, added_cond_kwargs={"text_embeds": pooled, "time_ids": size}).sample
        decoded = pipe.vae.decode(x_t / pipe.vae.config.scaling_factor).sample
    return {"x_t": x_t, "t": t, "ids": ids, "text": text, "pooled": pooled, "size": size, "output": output, "decoded": decoded}, given


def probe(folder):
    """What a folder of any size gives for the inputs of its probe.safetensors."""
    if json.loads((folder / "model_index.json").read_text())["_class_name"] == "StableDiffusionXLPipeline":
        return probe_xl(folder)
    if json.loads((folder / "model_index.json").read_text())["vae"][1]:
        pipe = StableDiffusionPipeline.from_pretrained(folder, use_safetensors=True)
        tokenizer, encoder, unet, vae = pipe.tokenizer, pipe.text_encoder, pipe.unet, pipe.vae
    else:  # a model of pixels, for which diffusers has no pipeline
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
        unet, vae = UNet2DConditionModel.from_pretrained(folder / "unet").eval(), None
        DDIMScheduler.from_pretrained(folder / "scheduler")
    given = load_file(folder / "probe.safetensors")
    x_t, t = given["x_t"], given["t"]
    with torch.no_grad():
        ids = tokenizer(PROMPTS, padding="max_length", max_length=tokenizer.model_max_length, truncation=True,
                        return_tensors="pt").input_ids
        text = encoder(ids)[0]
        decoded = vae.decode(x_t / vae.config.scaling_factor).sample if vae else x_t
        return {"x_t": x_t, "t": t, "ids": ids, "text": text, "output": unet(x_t, t, text).sample, "decoded": decoded}, given


# Ten guided steps, each with eps + 4 (eps_c - eps), multiply what two processors round differently: the same Python
# on another machine than the golden file's gives 1.1e-5 for the sample of sd1.
LIMITS = {"sample": 1e-4, "picture": 1e-4}


def check(golden, written):
    good = True
    for folder in sorted(written.iterdir()):
        if (golden / folder.name).exists():
            ours, theirs = compute(folder)[0], load_file(golden / folder.name / "golden.safetensors")
        else:
            ours, theirs = probe(folder)
        good &= ours.keys() == theirs.keys()
        for name, value in theirs.items():
            error = float(((ours[name] - value).abs() / (1 + value.abs())).max())
            limit = LIMITS.get(name, 1e-5)
            good &= error <= limit  # a NaN is not
            print(f"{folder.name} {name}: {error:.1e} (limit {limit:.0e}){'' if error <= limit else ': DIFFERENT'}")
    print("equal" if good else "DIFFERENT")
    return 0 if good else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case ["make", out]:
            make(Path(out))
        case ["check", golden, folder]:
            sys.exit(check(Path(golden), Path(folder)))
        case _:
            sys.exit(__doc__)
