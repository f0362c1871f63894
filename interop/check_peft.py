"""PEFT's adapter folders over a tiny random base: the file that dualmd.lora makes of one, in diffusers and in the program.

    python interop/check_peft.py FOLDER     (peft besides the rest)

Called by check_convert.py.
"""

import csv
import json
import os
import sys
from pathlib import Path

import check_denoiser
import numpy
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file

import dualmd
from dualmd.convert import main
from dualmd.lora import NoLora, from_peft, is_peft, opened

logging.disable_progress_bar()
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.2"]
ADAPTERS = {
    "plain": {"r": 3, "lora_alpha": 6},
    "rooted": {"r": 4, "lora_alpha": 2, "use_rslora": True},
    "patterns": {"r": 2, "lora_alpha": 4, "rank_pattern": {"attn1.to_q": 5}, "alpha_pattern": {"attn2.to_v": 3, "attn1.to_q": 7}},
}


def adapter(base, out, seed, **config):
    """An adapter folder as a training with PEFT leaves it, and what the network with it answers."""
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    model = get_peft_model(unet, LoraConfig(target_modules=LAYERS, **config)).eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                # Away from B = 0, so that everything matters.
                parameter.copy_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(out)
    return answer(model.base_model.model)


def answer(unet):
    generator = torch.Generator().manual_seed(5)
    x, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 77, check_denoiser.WIDTH, generator=generator)
    with torch.no_grad():
        return unet(x, torch.tensor([3, 700]), text).sample


def refuses(words, call):
    try:
        call()
    except NoLora as refused:
        assert words in str(refused), refused
    else:
        raise AssertionError(f"not refused: {words}")


def spoiled(folder, adapter, **settings):
    """A copy of an adapter folder with other settings."""
    folder.mkdir(exist_ok=True)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **settings}))
    (folder / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    return folder


def scores(audit, model="model"):
    rows = csv.DictReader((audit.folder / f"scores/{model}.csv").open())
    return {(row["attack"], row["sample_id"]): float(row["score"]) for row in rows}


def check(folder):
    folder = Path(folder)
    os.environ["DUALMD_CACHE"] = str(folder / "cache")
    base = folder / "base"
    check_denoiser.stable_diffusion().save_pretrained(base)
    plain = answer(StableDiffusionPipeline.from_pretrained(base).unet)
    expected = {name: adapter(base, folder / name, 7, **config) for name, config in ADAPTERS.items()}
    assert main([str(folder / "plain"), "-o", str(folder / "files/plain.safetensors")]) == 0
    for name, answered in expected.items():
        assert is_peft(folder / name)
        file = from_peft(folder / name, folder / f"files/{name}.safetensors")
        pipe = StableDiffusionPipeline.from_pretrained(base)
        pipe.load_lora_weights(file.parent, weight_name=file.name)
        found = answer(pipe.unet)
        apart, matters = float((found - answered).abs().max()), float((plain - answered).abs().max())
        print(f"{name}: diffusers with the file and PEFT with the folder differ by {apart:.1e}; the adapter changes {matters:.2f}")
        assert apart < 1e-5 < 0.01 < matters

    random = numpy.random.default_rng(1)
    sides = {}
    for side in ("members", "nonmembers"):
        place = folder / side
        place.mkdir()
        for n in range(6):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=numpy.uint8)).save(place / f"{n}.png")
        lines = [json.dumps({"file_name": f"{n}.png", "text": f"{side} {n}"}) for n in range(6)]
        (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        sides[side] = place
    asked = {**sides, "attacks": ["loss", "sima"], "images": 2, "steps": 2, "per_prompt": 1, "quiet": True}
    alone = scores(dualmd.audit(base, out=folder / "of base", **asked))
    for name in ADAPTERS:
        audited = dualmd.audit(base, lora=folder / name, out=folder / f"of {name}", **asked)
        pipe = StableDiffusionPipeline.from_pretrained(base)
        file = folder / f"files/{name}.safetensors"
        pipe.load_lora_weights(file.parent, weight_name=file.name)
        pipe.fuse_lora()
        pipe.unload_lora_weights()
        pipe.save_pretrained(folder / f"fused {name}")
        fused = dualmd.audit(folder / f"fused {name}", out=folder / f"of fused {name}", **asked)
        one, other = scores(audited), scores(fused)
        assert one.keys() == other.keys() and len(one) == 2 * 12
        worst = max(abs(one[key] - other[key]) / max(abs(one[key]), 1e-9) for key in one)
        least = min(abs(one[key] - alone[key]) / max(abs(one[key]), 1e-9) for key in one)
        print(f"{name}: scores with the adapter and of the fused model differ by {worst:.1e} of their size at most, and from the base's by {least:.1e} at least")
        assert worst < 1e-3 and worst < least / 10
    # Several at once have their folders' names; the file is the same for the same folder.
    both = dualmd.audit(base, lora=[f"first={folder / 'plain'}", folder / "patterns"], out=folder / "of both", **{**asked, "attacks": ["loss"]})
    assert {"first", "patterns"} <= set(both.models), list(both.models)
    same = scores(dualmd.Audit(folder / "of plain"))
    assert all(abs(same[key] - value) <= 1e-5 * abs(value) for key, value in scores(both, "first").items() if key[0] == "loss")
    assert opened(folder / "plain") == opened(str(folder / "plain")) and opened(folder / "plain") != opened(folder / "rooted")
    assert opened((folder / "plain", 1.5)) == (f"plain={opened(folder / 'plain')}", 1.5)
    assert opened(str(folder / "files/plain.safetensors")) == str(folder / "files/plain.safetensors")

    wrong, whole = folder / "wrong", folder / "plain"
    for settings, words in [
        ({"use_dora": True}, "use_dora = true"),
        ({"modules_to_save": ["conv_out"]}, 'modules_to_save = ["conv_out"]'),
        ({"bias": "all"}, "bias = 'all'"),
        ({"init_lora_weights": "pissa"}, "'pissa'"),
        ({"peft_type": "LOHA"}, "LOHA"),
        ({"r": "x"}, "r = 'x'"),
        ({"lora_alpha": None}, "lora_alpha = None"),
    ]:
        refuses(words, lambda: from_peft(spoiled(wrong, whole, **settings), folder / "none.safetensors"))  # noqa: B023
    spoiled(wrong, whole)
    tensors = load_file(wrong / "adapter_model.safetensors")
    for name, words in [
        ("base_model.model.mid_block.attentions.0.to_q.lora_magnitude_vector", "DoRA"),
        ("base_model.model.conv_out.weight", "conv_out.weight is no matrix"),
        ("base_model.model.text_model.q_proj.lora_A.weight", "text encoder"),
    ]:
        save_file({**tensors, name: torch.zeros(2)}, wrong / "adapter_model.safetensors")
        refuses(words, lambda: from_peft(wrong, folder / "none.safetensors"))
    save_file({}, wrong / "adapter_model.safetensors")
    refuses("no tensors", lambda: from_peft(wrong, folder / "none.safetensors"))
    (wrong / "adapter_model.safetensors").write_bytes(b"\xff" * 64)
    refuses("no safetensors file", lambda: from_peft(wrong, folder / "none.safetensors"))
    (wrong / "adapter_model.safetensors").write_bytes(b"\x08")
    refuses("cannot be read", lambda: from_peft(wrong, folder / "none.safetensors"))
    (wrong / "adapter_model.safetensors").unlink()
    refuses("safe_serialization=True", lambda: from_peft(wrong, folder / "none.safetensors"))
    (wrong / "adapter_config.json").write_text("no json")
    refuses("cannot be read", lambda: from_peft(wrong, folder / "none.safetensors"))
    refuses("name a file", lambda: from_peft(whole, folder))
    assert main([str(whole), "-o", str(folder / "none.safetensors"), "--heads", "2"]) == 1
    assert not (folder / "none.safetensors").exists()


if __name__ == "__main__":
    torch.set_num_threads(1)
    check(sys.argv[1])
