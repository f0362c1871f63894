"""Makes tests/golden/sentence: a tiny BERT folder, and the sentences that Python's transformers makes vectors of with it.

    OMP_NUM_THREADS=1 python interop/make_sentence_golden.py tests/golden/sentence
    OMP_NUM_THREADS=1 python interop/make_sentence_golden.py --of MODEL_FOLDER OUT.safetensors      # the same sentences by a real model

All weights are random: the folder shows that arithmetic and files agree, nothing else. As sentence-transformers does it for
all-MiniLM-L6-v2: the mean over tokens under the padding's mask, of length 1.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, BertTokenizer

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a red blue heart cat dog ##s , . sitting on the mat with two eyes".split()
SENTENCES = ["a red heart", "two cats, sitting on the mat.", "", "A BLUE dog with eyes on the mat with a cat on the mat", "zebra"]
POSITIONS = 12


def main(out):
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    torch.manual_seed(5)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                        max_position_embeddings=POSITIONS, type_vocab_size=2, layer_norm_eps=1e-12)
    model = BertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    model.save_pretrained(out)
    save(model, BertTokenizer(str(out / "vocab.txt")), POSITIONS, out / "golden.safetensors")
    (out / "sentences.json").write_text(json.dumps(SENTENCES) + "\n")


def save(model, tokenizer, longest, path):
    asked = tokenizer(SENTENCES, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    with torch.no_grad():
        states = model.double()(**asked).last_hidden_state
    mask = asked["attention_mask"].unsqueeze(-1)
    means = (states * mask).sum(1) / mask.sum(1)
    save_file({"sentences": torch.nn.functional.normalize(means).float().contiguous()}, path)


if __name__ == "__main__":
    if sys.argv[1] == "--of":
        folder = sys.argv[2]
        save(BertModel.from_pretrained(folder).eval(), BertTokenizer.from_pretrained(folder), 256, sys.argv[3])
    else:
        main(Path(sys.argv[1]))
