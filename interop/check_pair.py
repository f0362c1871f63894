"""Does an exported pair draw in Python what dualmd draws?

    python interop/check_pair.py PAIR_DIR PROBE.safetensors [--guidance 4.0] [--steps 10] [--limit 1e-4]

PAIR_DIR: a folder of dualmd's export_pair. PROBE: the initial noise x_T and dualmd's sample; for text-to-image pairs also
text and none, embeddings with and without text; for those with an autoencoder also picture, the decoded sample. Where the
folder has a text encoder, prompts.json beside PROBE holds the prompts of text, and Python encodes them itself.
Equal within the limit times 1 + |value|. Also shown: schedulers with a history are refused, and the order of the two models
matters. Prints the largest errors; exit code 0 = equal, 1 = not equal.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, DPMSolverMultistepScheduler, PNDMScheduler
from safetensors.torch import load_file


def compare(what, ours, theirs, limit):
    if ours.shape != theirs.shape:
        print(f"{what}: shapes differ: diffusers {tuple(ours.shape)}, file {tuple(theirs.shape)}")
        return False
    error = float(((ours.detach() - theirs).abs() / (1 + theirs.abs())).max())
    good = error <= limit  # a NaN is not
    print(f"{what}: max error {error:.3e} (limit {limit:.0e}): {'ok' if good else 'DIFFERENT'}")
    return good


def refuses_history(pipe):
    good = True
    own = pipe.scheduler
    for other in (PNDMScheduler, DPMSolverMultistepScheduler):
        pipe.scheduler = other()
        try:
            pipe(num_inference_steps=2, prompt_embeds=None)
            message = "nothing"
        except ValueError as error:
            message = str(error)
        if "DDIMScheduler only" not in message or other.__name__ not in message:
            print(f"{other.__name__} was not refused: {message}")
            good = False
    pipe.scheduler = own
    return good


def draws_what_is_asked(pipe, options):
    """Images of another size than the models' own, from noise of the pipeline's own, two for each prompt."""
    side = pipe.unet.config.sample_size
    height, width = side if isinstance(side, (list, tuple)) else (side, side)
    height, width = 2 * height * pipe.vae_scale_factor, width * pipe.vae_scale_factor
    if pipe.is_conditional:
        count = 2 * len(options.get("prompt", options.get("prompt_embeds")))
        more = {"num_images_per_prompt": 2}
    else:
        count, more = 3, {"batch_size": 3}
    drawn = pipe(**{**options, "latents": None, "num_inference_steps": 2}, **more, height=height, width=width,
                 generator=torch.Generator().manual_seed(0), output_type="np").images
    good = drawn.shape[:3] == (count, height, width) and drawn.min() >= 0 and drawn.max() <= 1
    if not good:
        print(f"images of shape {drawn.shape} in [{drawn.min()}, {drawn.max()}], not {count} of {height} x {width}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pair")
    parser.add_argument("probe")
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--limit", type=float, default=1e-4)
    args = parser.parse_args()

    torch.set_num_threads(1)
    pipe = DiffusionPipeline.from_pretrained(args.pair, custom_pipeline=args.pair, trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    given = load_file(args.probe)
    options = {"num_inference_steps": args.steps, "latents": given["x_T"]}
    if pipe.is_conditional:
        options["guidance_scale"] = args.guidance
        if pipe.text_encoder is not None:
            prompts = json.loads((Path(args.probe).parent / "prompts.json").read_text())
            options["prompt"] = prompts
            good = compare("embeddings", pipe.encode_prompt(prompts), given["text"], args.limit)
        else:
            options |= {"prompt_embeds": given["text"], "negative_prompt_embeds": given["none"]}
            good = True
    else:
        good = True
    sample = pipe(**options, output_type="latent").images
    # dualmd clips the images of unconditional models.
    good &= compare("sample", sample if pipe.is_conditional else sample.clamp(-1, 1), given["sample"], args.limit)
    if pipe.vae is not None:
        picture = pipe(**options, output_type="pt").images
        good &= compare("picture", picture, (given["picture"] / 2 + 0.5).clamp(0, 1), args.limit)
    good &= draws_what_is_asked(pipe, options)
    good &= refuses_history(pipe)
    pipe.unet, pipe.unet_2 = pipe.unet_2, pipe.unet
    if float((pipe(**options, output_type="latent").images - sample).abs().max()) < 1e-3:
        print("DIFFERENT: the order of the models does not matter, so nothing was shown")
        good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
