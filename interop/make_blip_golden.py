"""Makes tests/golden/blip: two tiny BLIP folders, and what Python's transformers computes with them.

    OMP_NUM_THREADS=1 python interop/make_blip_golden.py tests/golden/blip [SEED]

Another SEED than 0 gives other weights: a test of dualmd's makes such folders anew each time it runs.

OUT/new: as transformers 5 writes it (processor_config.json, tokenizer.json, one weights file).
OUT/old: as Salesforce's folders on the hub (a config.json of transformers 4.26 with every key, preprocessor_config.json,
vocab.txt, tokenizer_config.json), the weights in two f16 shards, with position_ids and both names of the tied tensors.
All weights are random: the folders show that arithmetic and files agree, nothing else. golden.safetensors holds inputs
and results, golden.json texts and settings. OUT/images.safetensors holds pictures and what both folders prepare of them.

Pillow (13 or later: older ones resize tall pictures differently) prepares the images, by BlipImageProcessorPil:
transformers 5 takes torchvision's resize where that is installed.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

SIDE, PATCH = 16, 4
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ("a the of on in with and two red cat dog mat picture photo sitting standing man woman holding ball it s t don "
         "street car").split()
PIECES = ["##ing", "##ed", "##er"]
WIDTHS = {"crossattention": 0.3, "vision": 0.7, "position_embeddings": 2.0, "word_embeddings": 0.4, "transform.dense": 1.0}
SEEDS, BIAS = (20, 30), (3.0, 3.0)
PROMPTS = ["", "a picture of", "A  Photo OF\tcats,", "caf\u00e9 \u6f22 it's 42!", "the zebra [SEP] on [MASK]", "dogs' mats ."]
SIZES = [(37, 29, 3), (11, 14, 3), (19, 50, 1), (SIDE, SIDE, 3), (64, 7, 3)]  # width, height, channels
# Kept by transformers 4.26 in every part of a config.json, whatever the model.
OLD_KEYS = {
    "_name_or_path": "", "add_cross_attention": False, "architectures": None, "bad_words_ids": None,
    "begin_suppress_tokens": None, "chunk_size_feed_forward": 0, "cross_attention_hidden_size": None,
    "decoder_start_token_id": None, "diversity_penalty": 0.0, "do_sample": False, "early_stopping": False,
    "encoder_no_repeat_ngram_size": 0, "eos_token_id": 2, "exponential_decay_length_penalty": None, "finetuning_task": None,
    "forced_bos_token_id": None, "forced_eos_token_id": None, "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "initializer_factor": 1.0, "is_encoder_decoder": False, "label2id": {"LABEL_0": 0, "LABEL_1": 1}, "length_penalty": 1.0,
    "max_length": 20, "min_length": 0, "no_repeat_ngram_size": 0, "num_beam_groups": 1, "num_beams": 1,
    "num_return_sequences": 1, "output_attentions": False, "output_hidden_states": False, "output_scores": False,
    "prefix": None, "problem_type": None, "pruned_heads": {}, "remove_invalid_values": False, "repetition_penalty": 1.0,
    "return_dict": True, "return_dict_in_generate": False, "suppress_tokens": None, "task_specific_params": None,
    "temperature": 1.0, "tf_legacy_loss": False, "tie_encoder_decoder": False, "tie_word_embeddings": True,
    "tokenizer_class": None, "top_k": 50, "top_p": 1.0, "torch_dtype": None, "torchscript": False,
    "transformers_version": "4.26.0.dev0", "typical_p": 1.0, "use_bfloat16": False}


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def vocabulary():
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789")
    signs = list(".,!?'-")
    words = [word for word in WORDS if word not in letters]
    tokens = SPECIAL + signs + letters + ["##" + c for c in letters] + words + PIECES
    assert len(set(tokens)) == len(tokens)
    return tokens


def model(old, tokens, seed):
    """The start token is one that the tokenizer does not have, as BLIP's [DEC]."""
    torch.manual_seed(1 + old + 100 * seed)
    config = BlipConfig(
        text_config=dict(
            vocab_size=tokens + 2, hidden_size=18 if old else 16, intermediate_size=28, num_hidden_layers=2,
            num_attention_heads=3 if old else 4, max_position_embeddings=40, bos_token_id=tokens, sep_token_id=3, pad_token_id=0,
            eos_token_id=2),
        vision_config=dict(
            hidden_size=20, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4 + old, image_size=SIDE,
            patch_size=PATCH))
    blip = BlipForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(SEEDS[old] + 100 * seed)
    with torch.no_grad():
        for name, parameter in blip.named_parameters():
            # Wide enough that every parameter matters, and that captions depend on the image and on what went before.
            width = next((width for part, width in WIDTHS.items() if part in name), 0.25)
            parameter += width * torch.randn(parameter.shape, generator=generator)
        # Some captions end by themselves.
        blip.text_decoder.cls.predictions.bias[3] += BIAS[old]
    if old:
        blip = blip.half().float()
    return blip.eval()


def pictures():
    rng = np.random.default_rng(5)
    made = {}
    for i, (width, height, channels) in enumerate(SIZES):
        # Noise on slopes: hard edges and soft ones, and both ends of the range.
        y, x = np.mgrid[:height, :width]
        slope = (x[..., None] * (3 + np.arange(channels)) + y[..., None] * 5) % 256
        noise = rng.integers(-120, 121, (height, width, channels))
        made[f"picture.{i}"] = torch.from_numpy(np.clip(slope + noise, 0, 255).astype(np.uint8))
    return made


def pillow(picture):
    return Image.fromarray(picture.squeeze(-1).numpy() if picture.shape[2] == 1 else picture.numpy())


def write_folder(folder, old, seed):
    folder.mkdir(parents=True)
    tokens = vocabulary()
    blip = model(old, len(tokens), seed)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    processor = BlipProcessor(BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}), BertTokenizer.from_pretrained(folder))
    if not old:
        (folder / "vocab.txt").unlink()
        blip.save_pretrained(folder)
        processor.save_pretrained(folder)
        return blip, processor
    config = blip.config.to_dict()
    for part in ("text_config", "vision_config"):
        config[part] = {**OLD_KEYS, **{k: v for k, v in config[part].items() if k != "dtype"}}
        config[part]["transformers_version"] = OLD_KEYS["transformers_version"]
    config["text_config"].pop("encoder_hidden_size")
    config["vision_config"] |= {"num_channels": 3, "dropout": 0.0, "is_decoder": False}
    write_json(folder / "config.json", {"_commit_hash": None, **config, "architectures": ["BlipForConditionalGeneration"],
                                        "torch_dtype": "float32", "transformers_version": None})
    write_json(folder / "preprocessor_config.json", {
        "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_processor_type": "BlipImageProcessor", "image_std": [0.26862954, 0.26130258, 0.27577711],
        "processor_class": "BlipProcessor", "resample": 3, "rescale_factor": 0.00392156862745098,
        "size": {"height": SIDE, "width": SIDE}, "size_divisor": 32})
    write_json(folder / "tokenizer_config.json", {
        "cls_token": "[CLS]", "do_basic_tokenize": True, "do_lower_case": True, "mask_token": "[MASK]",
        "clean_up_tokenization_spaces": True, "model_max_length": 512, "never_split": None, "pad_token": "[PAD]",
        "processor_class": "BlipProcessor", "sep_token": "[SEP]", "strip_accents": None, "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer", "unk_token": "[UNK]"})
    tensors = {name: tensor.half().clone() for name, tensor in blip.state_dict().items()}
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    place = {name: shards[name.startswith("text_decoder")] for name in tensors}
    for shard in shards:
        held = {name: tensor for name, tensor in tensors.items() if place[name] == shard}
        if shard == shards[1]:
            held["text_decoder.bert.embeddings.position_ids"] = torch.arange(40).expand(1, -1).contiguous()
        save_file(held, folder / shard, metadata={"format": "pt"})
    place["text_decoder.bert.embeddings.position_ids"] = shards[1]
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": place})
    return blip, BlipProcessor(processor.image_processor, BertTokenizer.from_pretrained(folder))


def ids_of(rows, end=3):
    """Start, prompt and caption, without the end and the padding behind it."""
    return [row[:row.index(end)] if end in row else row for row in rows.tolist()]


def make(out, seed):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    images = [pillow(picture) for picture in pictures().values()]
    prepared = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})(images, return_tensors="pt")["pixel_values"]
    save_file({**pictures(), "pixels": prepared.contiguous()}, out / "images.safetensors")
    for name in ("new", "old"):
        folder = out / name
        blip, processor = write_folder(folder, name == "old", seed)
        again, found = BlipForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
        assert not found["missing_keys"] and all(torch.equal(a, b) for a, b in zip(blip.parameters(), again.parameters()))
        tokenizer, tokens = processor.tokenizer, len(vocabulary())
        with torch.no_grad():
            pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
            assert torch.equal(pixels, prepared)
            ids = torch.randint(0, tokens + 2, (len(pixels), 7), generator=torch.Generator().manual_seed(3))
            output = blip(pixel_values=pixels, input_ids=ids)
            golden = {"ids": ids, "image_tokens": output.image_embeds, "logits": output.logits}
            greedy, margins = {}, []
            for prompt in ("", "a picture of"):
                for least in (0, 5):
                    given = {"input_ids": tokenizer([prompt] * len(pixels), return_tensors="pt").input_ids} if prompt else {}
                    result = blip.generate(pixel_values=pixels, **given, do_sample=False, max_new_tokens=20,
                                           min_new_tokens=least, return_dict_in_generate=True, output_scores=True)
                    greedy[f"{prompt}|{least}"] = {
                        "ids": ids_of(result.sequences),
                        "text": processor.batch_decode(result.sequences, skip_special_tokens=True)}
                    length = result.sequences.shape[1] - len(result.scores)
                    for step, scores in enumerate(result.scores):
                        best = scores.topk(2).values
                        open_rows = ~(result.sequences[:, length:length + step] == 3).any(1)
                        margins += (best[:, 0] - best[:, 1])[open_rows].tolist()
            torch.manual_seed(7)
            sampled = blip.generate(pixel_values=pixels, do_sample=True, top_p=0.9, top_k=50, repetition_penalty=1.1,
                                    temperature=1.0, max_new_tokens=8, min_new_tokens=5, return_dict_in_generate=True,
                                    output_scores=True)
            golden |= {"sampled": sampled.sequences, "probabilities": torch.stack([s.softmax(-1) for s in sampled.scores])}
        rng = np.random.default_rng(8)
        lists = [rng.integers(0, tokens + 2, 12).tolist() for _ in range(20)]
        lists += [tokenizer(text).input_ids for text in ("it's a man's dog, isn't it?", "don't ! - i'm . we've", "' a ' s")]
        write_json(folder / "golden.json", {
            "schema": 1, "made_by": "interop/make_blip_golden.py", "greedy": greedy,
            "encode": [[text, tokenizer(text, add_special_tokens=False).input_ids] for text in PROMPTS],
            "decode": [[ids, tokenizer.decode(ids, skip_special_tokens=True)] for ids in lists],
            "parameters": sum(p.numel() for p in blip.parameters()),
            "versions": {module: __import__(module).__version__.split("+")[0]
                         for module in ("torch", "transformers", "tokenizers", "PIL")}})
        save_file({k: v.contiguous() for k, v in golden.items()}, folder / "golden.safetensors")
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(name, size, "bytes; smallest greedy margin", min(margins))
        for key, value in greedy.items():
            print(" ", key, [len(row) for row in value["ids"]], value["text"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case [out]:
            make(Path(out), 0)
        case [out, seed]:
            make(Path(out), int(seed))
        case _:
            sys.exit(__doc__)
