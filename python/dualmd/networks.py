"""Networks that diffusers has not, computed from the tensors of their checkpoints by the names these have.

Each is a callable that holds tensors: `network(x, t)` is what the checkpoint's own code would answer in evaluation. Whatever a checkpoint
says of its network (levels, widths, where attention is, how a timestep enters) is read off its tensors. `dualmd.convert.load` opens the files.
"""

from __future__ import annotations

import abc
import importlib
import math
import re
from collections.abc import Mapping
from typing import Any

Weights = dict[str, Any]


class NotKnown(ValueError):
    """The file is no checkpoint that can be used; the text says what is missing."""


class _Network(abc.ABC):
    """Layers by the names of their tensors. It notes which it was asked for, so that tensors of another network do not go unseen."""

    def __init__(self, state: Mapping[str, Any], place: str, device: Any = None) -> None:
        torch = importlib.import_module("torch")
        self.torch, self.f, self.place = torch, torch.nn.functional, place
        self.state: Weights = {name: value.detach().to(device, torch.float32) for name, value in state.items() if torch.is_tensor(value)}
        self.asked: set[str] = set()

    def has(self, name: str) -> bool:
        """Is there such a tensor?"""
        return name in self.state

    def tensor(self, name: str) -> Any:
        """A tensor by its name."""
        if name not in self.state:
            raise NotKnown(f"{self.place}: no tensor {name}: it is not {self.what()}; audit it as a callable (dualmd.audit)")
        self.asked.add(name)
        return self.state[name]

    @abc.abstractmethod
    def what(self) -> str:
        """Whose checkpoint it has to be."""

    def count(self) -> int:
        """Parameters."""
        return sum(value.numel() for value in self.state.values())

    def conv(self, name: str, x: Any, stride: int = 1) -> Any:
        """A convolution that keeps the size, or halves it."""
        weight = self.tensor(f"{name}.weight")
        bias = self.tensor(f"{name}.bias") if self.has(f"{name}.bias") else None
        return self.f.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)

    def linear(self, name: str, x: Any) -> Any:
        """A linear layer."""
        return self.f.linear(x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"))

    def angles(self, t: Any, half: int, last: int) -> Any:
        """t times `half` frequencies from 1 to 1/10000, which number `last` would be."""
        steps = self.torch.arange(half, dtype=self.torch.float32, device=t.device)
        return t.float()[:, None] * self.torch.exp(steps * (-math.log(10000) / last))[None]

    def tried(self, channels: int, side: int, *told: Any) -> None:
        """Asks the network once, for an image of nothing: tensors of other shapes, and those that belong to no part of it, are told now."""
        torch = self.torch
        device = next(iter(self.state.values())).device
        try:
            with torch.no_grad():
                self(torch.zeros(1, channels, side, side, device=device), torch.zeros(1, dtype=torch.int64, device=device), *told)
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise NotKnown(f"{self.place}: its tensors do not fit {self.what()} ({first}); audit it as a callable (dualmd.audit)") from error
        left = sorted(set(self.state) - self.asked)
        if left:
            raise NotKnown(f"{self.place}: {len(left)} tensors belong to no part of {self.what()}, {left[0]} first; audit it as a callable (dualmd.audit)")

    @abc.abstractmethod
    def __call__(self, x: Any, t: Any, *told: Any) -> Any:
        """What the network answers."""


class DenoisingDiffusionPytorch(_Network):
    """The `Unet` of lucidrains' denoising-diffusion-pytorch: root-mean-square norms, linear attention, memory keys and values."""

    def __init__(self, state: Mapping[str, Any], place: str = "the checkpoint", device: Any = None) -> None:
        """`state`: the tensors of the `Unet`, without the prefix that the trainer's files put before them."""
        super().__init__(state, place, device)
        if self.has("downs.0.0.block1.norm.weight") or (self.has("downs.0.2.fn.fn.to_qkv.weight") and not self.has("downs.0.2.to_qkv.weight")):
            raise NotKnown(f"{place} is of an older version of denoising-diffusion-pytorch, with other norms: load it there and audit it as a callable")
        if self.has("time_mlp.0.weights"):
            raise NotKnown(f"{place}: learned or random frequencies of time (time_mlp.0.weights) are of continuous times: audit it as a callable")
        self.levels = sum(1 for name in self.state if re.fullmatch(r"downs\.\d+\.0\.block1\.proj\.weight", name))
        seen = int(self.tensor("init_conv.weight").shape[1])
        said = int(self.tensor("final_conv.weight").shape[0])
        self.conditioned = seen == 2 * said
        """Whether it also sees its last answer, which for a single question is nothing."""
        self.channels = said if self.conditioned else seen
        if said not in (self.channels, 2 * self.channels):
            raise NotKnown(f"{place}: it sees {seen} channels and answers {said}: that is no image, and no image with a variance")
        self.tried(self.channels, 2**self.levels)

    def what(self) -> str:
        """Whose checkpoint it has to be."""
        return "the Unet of denoising-diffusion-pytorch"

    def _norm(self, name: str, x: Any) -> Any:
        return self.f.normalize(x, dim=1) * self.tensor(f"{name}.g") * math.sqrt(x.shape[1])

    def _half(self, name: str, x: Any, told: Any = None) -> Any:
        x = self._norm(f"{name}.norm", self.conv(f"{name}.proj", x))
        if told is not None:
            scale, shift = told.chunk(2, dim=1)
            x = x * (scale + 1) + shift
        return self.f.silu(x)

    def _block(self, name: str, x: Any, time: Any) -> Any:
        told = self.linear(f"{name}.mlp.1", self.f.silu(time))[:, :, None, None]
        h = self._half(f"{name}.block2", self._half(f"{name}.block1", x, told))
        return h + (self.conv(f"{name}.res_conv", x) if self.has(f"{name}.res_conv.weight") else x)

    def _attention(self, name: str, x: Any) -> Any:
        b, _, height, width = x.shape
        memory = self.tensor(f"{name}.mem_kv")
        full = self.has(f"{name}.to_out.weight")
        if full:
            memory = memory.transpose(2, 3)
        _, heads, features, _ = memory.shape
        q, k, v = self.conv(f"{name}.to_qkv", self._norm(f"{name}.norm", x)).reshape(b, 3, heads, features, height * width).unbind(1)
        own_k, own_v = (part.expand(b, -1, -1, -1) for part in memory)
        k, v = self.torch.cat([own_k, k], dim=-1), self.torch.cat([own_v, v], dim=-1)
        if full:
            weight = self.torch.softmax(q.transpose(2, 3) @ k / math.sqrt(features), dim=-1)
            return self.conv(f"{name}.to_out", (v @ weight.transpose(2, 3)).reshape(b, heads * features, height, width))
        summed = v @ self.torch.softmax(k, dim=-1).transpose(2, 3)
        out = summed @ (self.torch.softmax(q, dim=2) / math.sqrt(features))
        return self._norm(f"{name}.to_out.1", self.conv(f"{name}.to_out.0", out.reshape(b, heads * features, height, width)))

    def __call__(self, x: Any, t: Any, *told: Any) -> Any:
        """The answer to noisy images at timesteps."""
        torch = self.torch
        half = self.tensor("time_mlp.1.weight").shape[1] // 2
        angles = self.angles(t, half, half - 1)
        time = self.linear("time_mlp.1", torch.cat([angles.sin(), angles.cos()], dim=1))
        time = self.linear("time_mlp.3", self.f.gelu(time))
        first = h = self.conv("init_conv", torch.cat([torch.zeros_like(x), x], dim=1) if self.conditioned else x)
        kept = []
        for n in range(self.levels):
            h = self._block(f"downs.{n}.0", h, time)
            kept.append(h)
            h = self._block(f"downs.{n}.1", h, time)
            h = h + self._attention(f"downs.{n}.2", h)
            kept.append(h)
            halves = self.has(f"downs.{n}.3.1.weight")
            h = self.conv(f"downs.{n}.3.1", self.f.pixel_unshuffle(h, 2)) if halves else self.conv(f"downs.{n}.3", h)
        h = self._block("mid_block1", h, time)
        h = h + self._attention("mid_attn", h)
        h = self._block("mid_block2", h, time)
        for n in range(self.levels):
            h = self._block(f"ups.{n}.0", torch.cat([h, kept.pop()], dim=1), time)
            h = self._block(f"ups.{n}.1", torch.cat([h, kept.pop()], dim=1), time)
            h = h + self._attention(f"ups.{n}.2", h)
            doubles = self.has(f"ups.{n}.3.1.weight")
            h = self.conv(f"ups.{n}.3.1", self.f.interpolate(h, scale_factor=2.0)) if doubles else self.conv(f"ups.{n}.3", h)
        h = self._block("final_res_block", torch.cat([h, first], dim=1), time)
        # The second half of the channels, if there is one, is a variance.
        return self.conv("final_conv", h)[:, : self.channels]


class GuidedDiffusion(_Network):
    """The `UNetModel` of improved- and guided-diffusion (ADM)."""

    def __init__(
        self,
        state: Mapping[str, Any],
        place: str = "the checkpoint",
        device: Any = None,
        *,
        heads: int | None = None,
        head_channels: int | None = None,
        new_attention_order: bool = False,
    ) -> None:
        """`heads` or `head_channels`: what the training was told as num_heads or num_head_channels. `new_attention_order`: its option of that name."""
        super().__init__(state, place, device)
        self.blocks = 1 + max((int(match.group(1)) for name in self.state if (match := re.match(r"output_blocks\.(\d+)\.", name))), default=-1)
        if not self.blocks:
            raise NotKnown(f"{place}: no output_blocks: it is not {self.what()}; audit it as a callable (dualmd.audit)")
        attended = [name.removesuffix(".qkv.weight") for name in self.state if name.endswith(".qkv.weight")]
        if attended and (heads is None) == (head_channels is None):
            raise NotKnown(
                f"{place}: its weights do not say how many heads attention has: pass either heads or head_channels, what the training was told "
                "as num_heads (4 where it was not) or num_head_channels"
            )
        self.heads: dict[str, int] = {}
        for name in attended:
            self._sort(name, heads, head_channels, new_attention_order)
        self.levels = self._count_levels()
        if self.blocks % self.levels:
            raise NotKnown(f"{place}: {self.blocks} blocks on {self.levels} levels are not as many on each: audit it as a callable (dualmd.audit)")
        self.each = self.blocks // self.levels
        """Blocks of a level of the decoder; the encoder's has one less, and what halves the size."""
        self.channels = int(self.tensor("input_blocks.0.0.weight").shape[1])
        said = int(self.tensor("out.2.weight").shape[0])
        if said not in (self.channels, 2 * self.channels):
            raise NotKnown(f"{place}: it sees {self.channels} channels and answers {said}: a model that enlarges images is audited as a callable")
        self.classes = int(self.state["label_emb.weight"].shape[0]) if self.has("label_emb.weight") else 0
        self.tried(self.channels, 2**self.levels, *([self.torch.zeros(1, dtype=self.torch.int64, device=device)] if self.classes else []))

    def what(self) -> str:
        """Whose checkpoint it has to be."""
        return "the UNetModel of improved- or guided-diffusion"

    def _sort(self, name: str, heads: int | None, head_channels: int | None, new_order: bool) -> None:
        """Puts the rows of queries, keys and values behind each other. The older order is by heads first."""
        channels = int(self.state[f"{name}.qkv.weight"].shape[1])
        number = heads if heads is not None else channels // (head_channels or 1)
        if not number or channels % number or (head_channels is not None and channels % head_channels):
            given = f"heads={heads}" if heads is not None else f"head_channels={head_channels}"
            raise NotKnown(f"{self.place}: {given} does not divide the {channels} channels of {name}")
        self.heads[name] = number
        for part in ("weight", "bias"):
            value = self.tensor(f"{name}.qkv.{part}").reshape(3 * channels, -1)
            if not new_order:
                value = value.reshape(number, 3, channels // number, -1).transpose(0, 1).reshape(3 * channels, -1)
            self.state[f"{name}.qkv.{part}"] = value if part == "weight" else value[:, 0]

    def _count_levels(self) -> int:
        """By what halves the size: convolutions, gaps where a mean has no tensors, or residual blocks, of which the decoder then has second ones."""
        halved = sum(
            self.has(f"input_blocks.{n}.0.op.weight") or not any(name.startswith(f"input_blocks.{n}.") for name in self.state) for n in range(self.blocks)
        )
        doubled = sum(any(self.has(f"output_blocks.{n}.{m}.in_layers.2.weight") for m in (1, 2)) for n in range(self.blocks))
        return 1 + (halved or doubled)

    def _norm(self, name: str, x: Any) -> Any:
        return self.f.group_norm(x, 32, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"))

    def _block(self, name: str, x: Any, emb: Any, size: float = 1.0) -> Any:
        h = self.f.silu(self._norm(f"{name}.in_layers.0", x))
        if size != 1.0:
            x, h = (self._sized(part, size) for part in (x, h))
        h = self.conv(f"{name}.in_layers.2", h)
        told = self.linear(f"{name}.emb_layers.1", self.f.silu(emb))[:, :, None, None]
        if told.shape[1] == 2 * h.shape[1]:
            scale, shift = told.chunk(2, dim=1)
            h = self._norm(f"{name}.out_layers.0", h) * (1 + scale) + shift
        else:
            h = self._norm(f"{name}.out_layers.0", h + told)
        h = self.conv(f"{name}.out_layers.3", self.f.silu(h))
        return h + (self.conv(f"{name}.skip_connection", x) if self.has(f"{name}.skip_connection.weight") else x)

    def _sized(self, x: Any, size: float) -> Any:
        return self.f.avg_pool2d(x, 2) if size < 1 else self.f.interpolate(x, scale_factor=size)

    def _attention(self, name: str, x: Any) -> Any:
        b, c, height, width = x.shape
        z = self._norm(f"{name}.norm", x).flatten(2)
        qkv = self.tensor(f"{name}.qkv.weight") @ z + self.tensor(f"{name}.qkv.bias")[:, None]
        q, k, v = qkv.reshape(b, 3, self.heads[name], c // self.heads[name], height * width).transpose(3, 4).unbind(1)
        mixed = self.f.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c, height * width)
        out = self.tensor(f"{name}.proj_out.weight").flatten(1) @ mixed + self.tensor(f"{name}.proj_out.bias")[:, None]
        return x + out.reshape(x.shape)

    def _parts(self, name: str, x: Any, emb: Any) -> Any:
        """A residual block, and attention where there is some."""
        h = self._block(f"{name}.0", x, emb)
        return self._attention(f"{name}.1", h) if f"{name}.1" in self.heads else h

    def _halved(self, name: str, x: Any, emb: Any) -> Any:
        if self.has(f"{name}.op.weight"):
            return self.conv(f"{name}.op", x, stride=2)
        return self._block(name, x, emb, 0.5) if self.has(f"{name}.in_layers.2.weight") else self._sized(x, 0.5)

    def _doubled(self, block: str, x: Any, emb: Any) -> Any:
        name = f"{block}.{2 if f'{block}.1' in self.heads else 1}"
        if self.has(f"{name}.in_layers.2.weight"):
            return self._block(name, x, emb, 2.0)
        x = self._sized(x, 2.0)
        return self.conv(f"{name}.conv", x) if self.has(f"{name}.conv.weight") else x

    def __call__(self, x: Any, t: Any, *told: Any) -> Any:
        """The answer to noisy images at timesteps; of a model that is told classes with the number of each image's."""
        torch = self.torch
        half = self.tensor("time_embed.0.weight").shape[1] // 2
        angles = self.angles(t, half, half)
        emb = self.linear("time_embed.0", torch.cat([angles.cos(), angles.sin()], dim=1))
        emb = self.linear("time_embed.2", self.f.silu(emb))
        if self.classes:
            emb = emb + self.tensor("label_emb.weight")[told[0]]
        h = self.conv("input_blocks.0.0", x)
        kept = [h]
        for n in range(1, self.blocks):
            name = f"input_blocks.{n}"
            h = self._parts(name, h, emb) if n % self.each else self._halved(f"{name}.0", h, emb)
            kept.append(h)
        h = self._block("middle_block.0", h, emb)
        h = self._block("middle_block.2", self._attention("middle_block.1", h), emb)
        for n in range(self.blocks):
            name = f"output_blocks.{n}"
            h = self._parts(name, torch.cat([h, kept.pop()], dim=1), emb)
            if (n + 1) % self.each == 0 and n + 1 < self.blocks:
                h = self._doubled(name, h, emb)
        # The second half of the channels, if there is one, is a variance.
        return self.conv("out.2", self.f.silu(self._norm("out.0", h)))[:, : self.channels]
