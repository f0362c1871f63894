"""Makes tests/golden/torchscript: modules with the signature of StyleGAN's inception-2015-12-05.pt, and what Python says they answer.

    python interop/make_torchscript_golden.py tests/golden/torchscript

The network is a random linear map of mean and mean square of each channel: the files show that dualmd hands over bytes and asks for
features, nothing else. other.pt answers with three numbers.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


class Network(torch.nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.linear = torch.nn.Linear(6, dim)

    def forward(self, img: torch.Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False) -> torch.Tensor:
        assert img.dtype == torch.uint8
        x = (img.to(torch.float32) - 128.0) / 128.0
        seen = self.linear(torch.cat([x.mean([2, 3]), (x * x).mean([2, 3])], 1))
        if return_features:
            return seen
        return torch.softmax(seen[:, :3], 1)


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    network = torch.jit.script(Network(2048).eval())
    network.save(str(out / "inception.pt"))
    torch.jit.script(Network(3).eval()).save(str(out / "other.pt"))
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    save_file({"images": images, "features": network(images, return_features=True).detach()}, out / "golden.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
