"""Two diffusion models that take turns, step by step, while sampling (DualMD), as a pipeline of diffusers:

    pipe = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
    images = pipe("a cat on a mat", num_inference_steps=50).images

The first model, `unet`, takes the first (noisiest) step, `unet_2` the second, and so on. Under guidance one model does
both halves of its step. `dualmd` writes this file, as pipeline.py, into the folders of pairs that it exports: text to
image with an autoencoder or of pixels, and unconditional models.
"""

import torch
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor


class DualMDPipeline(DiffusionPipeline):
    """A pair of models of the same kind, trained on disjoint halves of the data."""

    _optional_components = ["vae", "text_encoder", "tokenizer"]

    def __init__(self, unet, unet_2, scheduler, vae=None, text_encoder=None, tokenizer=None):
        super().__init__()
        self.register_modules(unet=unet, unet_2=unet_2, scheduler=scheduler, vae=vae, text_encoder=text_encoder,
                              tokenizer=tokenizer)
        self._check_scheduler()

    def _check_scheduler(self):
        config = self.scheduler.config
        if not isinstance(self.scheduler, DDIMScheduler):
            raise ValueError(
                f"A DualMD pair samples with DDIMScheduler only, not {type(self.scheduler).__name__}: a step must be one "
                "model's alone, and schedulers that keep earlier outputs would mix both models' predictions.")
        for key in ("thresholding", "rescale_betas_zero_snr"):
            if config.get(key):
                raise ValueError(f"The scheduler's {key} = True is not supported here.")
        if config.prediction_type not in ("epsilon", "v_prediction", "sample"):
            raise ValueError(f"The scheduler's prediction_type = {config.prediction_type!r} is not known here.")

    @property
    def is_conditional(self):
        """The models are told a text embedding."""
        return not isinstance(self.unet, UNet2DModel)

    @property
    def vae_scale_factor(self):
        """Pixels per latent, 1 for models of pixels."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1) if self.vae is not None else 1

    def encode_prompt(self, prompts):
        """Embeddings [prompts, tokens, width] of a list of prompts."""
        if self.text_encoder is None or self.tokenizer is None:
            raise ValueError("This pair has no text encoder: give prompt_embeds (and negative_prompt_embeds) instead.")
        length = min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings)
        ids = self.tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        return self.text_encoder(ids.input_ids.to(self._execution_device))[0].to(self.unet.dtype)

    def _embeddings(self, prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, guided, repeats):
        """Embeddings of every image, and those without text, or None where there is no guidance."""
        if (prompt is None) == (prompt_embeds is None):
            raise ValueError("Give either prompt or prompt_embeds.")
        if negative_prompt is not None and negative_prompt_embeds is not None:
            raise ValueError("Give either negative_prompt or negative_prompt_embeds, or neither.")
        if prompt_embeds is None:
            prompt_embeds = self.encode_prompt([prompt] if isinstance(prompt, str) else list(prompt))
        count = prompt_embeds.shape[0]
        if not guided:
            return prompt_embeds.repeat_interleave(repeats, dim=0), None
        if negative_prompt_embeds is None:
            negative = "" if negative_prompt is None else negative_prompt
            negative_prompt_embeds = self.encode_prompt([negative] if isinstance(negative, str) else list(negative))
        if negative_prompt_embeds.shape[0] == 1:
            negative_prompt_embeds = negative_prompt_embeds.expand(count, -1, -1)
        if negative_prompt_embeds.shape != prompt_embeds.shape:
            raise ValueError(f"The embeddings differ in shape: {tuple(prompt_embeds.shape)} with text, "
                             f"{tuple(negative_prompt_embeds.shape)} without. Give one negative prompt, or one for each.")
        return (prompt_embeds.repeat_interleave(repeats, dim=0),
                negative_prompt_embeds.repeat_interleave(repeats, dim=0))

    def _initial_noise(self, count, height, width, latents, generator):
        device, dtype = self._execution_device, self.unet.dtype
        side, factor = self.unet.config.sample_size, self.vae_scale_factor
        if side is None and latents is None and (height is None or width is None):
            raise ValueError("The models' sample_size is not known: give height and width.")
        default = side if isinstance(side, (list, tuple)) else (side, side)
        pixels = (height, width)
        for given in pixels:
            if given is not None and given % factor:
                raise ValueError(f"height and width must be multiples of {factor}.")
        size = [given // factor if given is not None else usual for given, usual in zip(pixels, default)]
        shape = (count, self.unet.config.in_channels, *size)
        if latents is None:
            return randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        if latents.ndim != 4 or tuple(latents.shape[:2]) != shape[:2]:
            raise ValueError(f"latents has shape {tuple(latents.shape)}, expected {shape[:2]} and height and width.")
        return latents.to(device=device, dtype=dtype)

    def _noise_and_image(self, output, x, alpha_bar):
        """What a network's output at x says: the noise and the clean image."""
        signal, noise = alpha_bar ** 0.5, (1 - alpha_bar) ** 0.5
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            eps = signal * output + noise * x
        elif kind == "sample":
            eps = (x - signal * output) / noise
        else:
            eps = output
        image = output if kind == "sample" else (x - noise * eps) / signal
        if self.scheduler.config.clip_sample:
            limit = self.scheduler.config.clip_sample_range
            image = image.clamp(-limit, limit)
        return eps, image

    @torch.no_grad()
    def __call__(self, prompt=None, negative_prompt=None, height=None, width=None, num_inference_steps=50,
                 guidance_scale=7.5, num_images_per_prompt=1, batch_size=1, generator=None, latents=None,
                 prompt_embeds=None, negative_prompt_embeds=None, output_type="pil", return_dict=True):
        """Samples by DDIM (eta 0).

        prompt, negative_prompt: a text or a list; or their embeddings [prompts, tokens, width]. Not for unconditional
            models, which draw batch_size images.
        height, width: in pixels; the models' own by default.
        guidance_scale: 1 is no guidance and costs half.
        latents: the initial noise [images, channels, height, width] as the networks see it; else drawn with generator.
        output_type: "pil", "np" or "pt" for images, "latent" for what the networks see, not clipped.
        """
        self._check_scheduler()
        guided = self.is_conditional and guidance_scale != 1
        text = without = None
        if self.is_conditional:
            text, without = self._embeddings(prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, guided,
                                             num_images_per_prompt)
            count = text.shape[0]
        elif prompt is not None or prompt_embeds is not None:
            raise ValueError("These models are unconditional: they take no prompt.")
        else:
            count = batch_size if latents is None else latents.shape[0]
        x = self._initial_noise(count, height, width, latents, generator)

        # The step is written out here because scheduler.step reckons where it goes from the number of steps, which is
        # not always the next timestep of the spacings "linspace" and "trailing".
        self.scheduler.set_timesteps(num_inference_steps)
        last = self.scheduler.config.num_train_timesteps - 1
        timesteps = [min(int(t), last) for t in self.scheduler.timesteps]
        alphas = [float(self.scheduler.alphas_cumprod[t]) for t in timesteps] + [float(self.scheduler.final_alpha_cumprod)]
        for index, t in enumerate(self.progress_bar(timesteps)):
            unet = self.unet if index % 2 == 0 else self.unet_2
            if not self.is_conditional:
                output = unet(x, t).sample
            elif guided:
                both = unet(torch.cat([x, x]), t, torch.cat([without, text])).sample
                none, some = both.chunk(2)
                output = none + guidance_scale * (some - none)
            else:
                output = unet(x, t, text).sample
            eps, image = self._noise_and_image(output, x, alphas[index])
            goal = alphas[index + 1]
            x = goal ** 0.5 * image + (1 - goal) ** 0.5 * eps

        images = x
        if output_type != "latent":
            if self.vae is not None:
                images = self.vae.decode(x / self.vae.config.scaling_factor).sample
            images = VaeImageProcessor().postprocess(images, output_type=output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)
