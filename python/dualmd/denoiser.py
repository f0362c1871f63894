"""Serves a model to the program: any callable, on its own device and with its own torch, behind a socket.

    dualmd.audit(lambda x, t, c: model(x, t).sample, shape=(3, 32, 32), schedule=scheduler, members="train/", nonmembers="heldout/")

or, in a script that `dualmd audit --denoiser "python serve.py"` starts:

    dualmd.serve(lambda x, t, c: model(x, t).sample, shape=(3, 32, 32), schedule=scheduler)

docs/denoiser.md describes what goes over the socket. torch or numpy is imported when the first question comes.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import math
import os
import socket
import struct
import sys
import tempfile
import threading
import traceback
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

VERSION = 1
"""Version of the protocol."""

SOCKET = "DUALMD_DENOISER_SOCKET"
"""The variable that tells a script which socket to connect to."""

PREDICTIONS = ("eps", "v", "x0", "flow", "edm")
"""What a model may answer. flow: the velocity eps - x0 at x = (1 - s) x0 + s eps; edm: x0 at x = x0 + sigma eps."""

# Most images of a question, and bytes that one has beside them.
_MOST_IMAGES = 1 << 16
_SLACK = 1 << 16
# Letters of an error that are sent.
_WORDS = 2000
_SIZES = {"F32": 4, "F64": 8, "I64": 8, "U8": 1}

Call = Callable[[Any, Any, Any], Any]
"""(x, level, texts) -> prediction."""


class ProtocolError(RuntimeError):
    """What came over the socket is no question."""


ASKED: ContextVar[bool] = ContextVar("dualmd asks a denoiser", default=False)
"""Whether an audit asks for a prediction: what answers by the order of the questions must not."""


# Said where torch finds tensors on two devices.
_ELSEWHERE = "; x lies on the CPU unless device=... says where the model is, as in device='cuda'"
_ARRAYS = (None, "torch", "numpy")


def check_sides(name: str, sides: Any) -> None:
    """Refuses what is no (channels, height, width)."""
    try:
        good = len(sides) == 3 and all(int(side) == side and side > 0 for side in sides)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(f"{name}={sides!r} must be (channels, height, width), as in (3, 32, 32)")


class Evaluated:
    """A callable with networks in evaluation mode: for one question; and as long as a program is served, which asks for gradients after the answer."""

    def __init__(self, call: Callable[..., Any], networks: Sequence[Any]) -> None:
        self.call = call
        self.networks = networks

    def __call__(self, *question: Any) -> Any:
        with self.asked():
            return self.call(*question)

    @contextlib.contextmanager
    def asked(self) -> Iterator[None]:
        """Each module is in the mode that it was in when the block is done."""
        training = [module for network in self.networks for module in network.modules() if module.training]
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True


@dataclass
class Denoiser:
    """A model, and what the program must know of it.

    What every model needs:

    call: `call(x, t, c)` answers what the network predicts: a tensor or array of floats of x's shape, or an object with one as `.sample`. x: [B, C, H, W]
        f32; t: [B], i64 timesteps where it predicts eps, v or x0, s in 0..1 for flow, sigma for edm (f32); c: a list of B texts, or None.
    shape: [C, H, W] of what the network sees: images in [-1, 1], or latents.
    prediction: what it predicts: eps (default), v, x0, flow or edm (`PREDICTIONS`).
    schedule: a scheduler of diffusers, or its alphas_cumprod; or `linear` or `cosine`, as improved- and guided-diffusion have them, of 1,000 steps. None: `linear`,
        which is DDPM's.

    Where it computes:

    arrays: `torch` or `numpy`: what `call` and the other callables are given. None: torch where it is installed, else numpy.
    device: where tensors of torch are put before they are given, such as "cuda". Answers may lie on any device. None: the CPU.
    parameters: `network.parameters()` of the torch module in `call`: then attacks on gradients (gsa1, gsa2) run as well, by torch.autograd, and
        for them `call` must not detach its answer. Or how many parameters the network has, for the report alone.

    Of a model of latents (the network sees latents, the audit has images):

    encode: `encode(images)`: images [B, C, H, W] in [-1, 1] to latents [B, *shape].
    decode: `decode(latents)`: latents to images. Needed where there is no `generate`.
    image_shape: [C, H, W] of the images. None: `shape`.

    Of a model that was trained on top of another one, such as a LoRA on its base:

    base: `base(x, t, c)`: what that other one predicts, as `call`. Then it is the reference model of the attack `reference`, at no training. Pipelines with a LoRA have it.

    Of a model that is told texts:

    texts: whether `call` looks at texts: then every image needs a caption, and c is a list, or None.

    How images are drawn, for the attacks that look at them:

    generate: `generate(seed, count, steps)`: images [count, C, H, W] in [-1, 1], drawn as users draw them, the same for the same seed; of a
        model with texts `generate(seed, count, steps, texts, guidance)`. None: the program draws by DDIM, through `call`.
    clip: that DDIM clips the predicted image to [-clip, clip], as schedulers with `clip_sample` do (1.0). None: no clipping.

    In the report:

    name: what the report calls it.
    fingerprint: whatever tells these weights from others, for scores that are kept in the folder. None: the program compares answers to one question.

        dualmd.audit(
            lambda z, t, c: unet(z, t).sample, shape=(4, 32, 32), schedule=scheduler, device="cuda", parameters=unet.parameters(),
            image_shape=(3, 256, 256), encode=lambda x: vae.encode(x).latent_dist.mean * 0.18215, decode=lambda z: vae.decode(z / 0.18215).sample,
            members="train/", nonmembers="heldout/",
        )
    """

    call: Call
    shape: Sequence[int]
    prediction: str = "eps"
    schedule: Any = None
    name: str | None = None
    fingerprint: str | None = None
    generate: Callable[..., Any] | None = None
    image_shape: Sequence[int] | None = None
    encode: Callable[[Any], Any] | None = None
    decode: Callable[[Any], Any] | None = None
    texts: bool = False
    clip: float | None = None
    # Not to be printed: all weights.
    parameters: int | Iterable[Any] | None = field(default=None, repr=False)
    device: Any = None
    arrays: str | None = None
    base: Call | None = None

    def __post_init__(self) -> None:
        if not callable(self.call):
            raise TypeError(f"a denoiser is a callable (x, t, c) -> prediction, and this is of type {type(self.call).__name__}")
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction {self.prediction!r} is not known: it is one of {', '.join(PREDICTIONS)}")
        for name in ("shape", "image_shape"):
            sides = getattr(self, name)
            if sides is not None or name == "shape":
                check_sides(name, sides)
        for name in ("generate", "encode", "decode", "base"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise TypeError(f"{name} is of type {type(getattr(self, name)).__name__}: give a callable (help(dualmd.Denoiser))")
        for name in ("name", "fingerprint"):
            if not isinstance(getattr(self, name), (str, type(None))):
                raise TypeError(f"{name}={getattr(self, name)!r} is of type {type(getattr(self, name)).__name__}: give a text")
        if self.clip is not None:
            self.clip = _clip(self.clip)
        if self.arrays not in _ARRAYS:
            raise ValueError(f"arrays={self.arrays!r}: give 'torch' or 'numpy'")
        # Told now and not in the middle of an audit.
        table = table_of(self.schedule)
        timesteps = self.prediction in ("eps", "v", "x0")
        if timesteps and table is not None:
            _check_table(table)
        elif timesteps and self.schedule is not None:
            raise ValueError(
                f"schedule is a {type(self.schedule).__name__}, of flow matching, and prediction={self.prediction!r} needs timesteps with noise "
                "levels: leave prediction out, or give the scheduler that the model was trained with"
            )
        if isinstance(self.parameters, Iterable):
            # An iterator of them is used up by the first look.
            self.parameters = tuple(self.parameters)
            if not self.parameters:
                raise ValueError("parameters is empty: give network.parameters() anew (an iterator of them is good for one use), or leave it out")
            for one in self.parameters:
                if not all(hasattr(one, name) for name in ("numel", "requires_grad_", "is_floating_point")):
                    raise TypeError(f"parameters holds something of type {type(one).__name__}: give network.parameters(), or how many there are")
            if self.arrays == "numpy":
                raise ValueError("gradients go through torch: with arrays='numpy' give parameters as the number of them, or leave it out")

        elif self.parameters is not None and not isinstance(self.parameters, Integral):
            raise TypeError(f"parameters is of type {type(self.parameters).__name__}: give network.parameters(), or how many there are")

    @property
    def weights(self) -> tuple[Any, ...] | None:
        """The parameters by which it can be differentiated; None where they were not given."""
        return self.parameters if isinstance(self.parameters, tuple) else None

    @property
    def parameter_count(self) -> int | None:
        """How many scalar parameters the network has, where that is known."""
        if self.weights is not None:
            return sum(int(one.numel()) for one in self.weights)
        return int(self.parameters) if self.parameters is not None and not isinstance(self.parameters, Iterable) else None


def prediction_of(schedule: Any) -> str | None:
    """What a model with this scheduler of diffusers answers; None where it does not say."""
    if "FlowMatch" in type(schedule).__name__:
        return "flow"
    config = getattr(schedule, "config", None)
    kind = config.get("prediction_type") if isinstance(config, Mapping) else None
    known = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
    if kind is not None and kind not in known:
        raise ValueError(f"the scheduler's prediction_type {kind!r} is not known: pass prediction= one of {', '.join(PREDICTIONS)}")
    return known[kind] if kind is not None else None


def table_of(schedule: Any) -> list[float] | None:
    """alphas_cumprod of a scheduler of diffusers, of a list or array of them, or of a schedule's name; None for one without (flow matching)."""
    if isinstance(schedule, str):
        if schedule not in ("linear", "cosine"):
            raise ValueError(f"schedule={schedule!r} is not known: give 'linear', 'cosine', a scheduler of diffusers, or a list of alphas_cumprod")
        return products(betas_of(schedule, 1000))
    if schedule is None or "FlowMatch" in type(schedule).__name__:
        return None
    betas = getattr(schedule, "betas", None)
    if betas is not None:
        # The scheduler's own product is an f32, in which 1 - abar has four digits at t = 0. Its betas have seven.
        return products(map(float, betas.tolist()))
    values = getattr(schedule, "alphas_cumprod", schedule)
    values = values.tolist() if hasattr(values, "tolist") else values
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"schedule: it is of type {type(schedule).__name__} and has no betas and no alphas_cumprod: pass a scheduler of diffusers, a list of alphas_cumprod, "
            "'linear' or 'cosine', or None for DDPM's linear schedule of 1,000 steps"
        ) from error


def betas_of(schedule: str, steps: int) -> list[float]:
    """The schedules of improved- and guided-diffusion by their names, `linear` and `cosine`."""
    if schedule == "linear":
        first, last = 0.1 / steps, 20 / steps
        return [first + (last - first) * n / max(steps - 1, 1) for n in range(steps)]
    abar = [math.cos((n / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for n in range(steps + 1)]
    return [min(1 - after / before, 0.999) for before, after in zip(abar, abar[1:])]


def products(betas: Iterable[float]) -> list[float]:
    """alphas_cumprod."""
    product, table = 1.0, []
    for beta in betas:
        product *= 1.0 - beta
        table.append(product)
    return table


def _check_table(table: Sequence[float]) -> None:
    """Refuses what are no alphas_cumprod, as the program does."""
    if not table:
        raise ValueError("schedule is empty: give alphas_cumprod, one for each timestep")
    for t, (before, value) in enumerate(zip([1.0, *table], table)):
        if not 0 < value < before:
            raise ValueError(
                f"schedule: alphas_cumprod[{t}] = {value} must lie between 0 and {before}, both excluded: it is the share of the image's variance in x_t, and "
                "falls with t (betas are none)"
            )


def _clip(value: Any) -> float:
    """To what the predicted image is clipped."""
    try:
        clip = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError):
        clip = math.nan
    if not 0 < clip < math.inf:
        raise ValueError(f"clip={value!r}: give a number above 0, as in clip=1.0, or None for no clipping")
    return clip


@dataclass
class _Message:
    kind: str
    settings: dict[str, str]
    tensors: dict[str, tuple[str, list[int], int, int]]
    payload: bytearray
    start: int


class _Stream:
    """Messages over a socket: 8 bytes of length, then a safetensors payload, whose metadata has the kind and the settings."""

    def __init__(self, connection: socket.socket, longest: int) -> None:
        self.connection = connection
        # Fewer changes between the two processes; the system allows what it does.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
        self.longest = longest
        self.last = bytearray()

    def _place(self, n: int) -> bytearray:
        """Room for n bytes: the last message's, if it was as long and nobody holds on to it (its tensors share its memory)."""
        # A reference here, one as the argument of the question.
        if len(self.last) != n or sys.getrefcount(self.last) > 2:
            self.last = bytearray(n)
        return self.last

    def _exactly(self, data: bytearray) -> bytearray | None:
        """The next bytes, as many as there is room for; None at the end of the stream."""
        view = memoryview(data)
        while view:
            got = self.connection.recv_into(view)
            if got == 0:
                return None
            view = view[got:]
        return data

    def _send(self, *parts: bytes | memoryview) -> None:
        """Parts in one go: after a first small one the other side would wake up for nothing."""
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            sent = self.connection.sendmsg(left)
            while left and sent >= left[0].nbytes:
                sent -= left.pop(0).nbytes
            if left:
                left[0] = left[0][sent:]

    def read(self) -> _Message | None:
        """The next message; None where there is no other."""
        head = self._exactly(bytearray(8))
        if head is None:
            return None
        (length,) = struct.unpack("<Q", head)
        if not 8 <= length <= self.longest:
            raise ProtocolError(f"a question of {length} bytes is none")
        payload = self._exactly(self._place(length))
        if payload is None:
            return None
        (size,) = struct.unpack_from("<Q", payload)
        if size > length - 8:
            raise ProtocolError("a question's header is longer than the question")
        header = json.loads(payload[8 : 8 + size])
        settings = dict(header.pop("__metadata__", {}))
        tensors = {name: (of["dtype"], list(of["shape"]), *of["data_offsets"]) for name, of in header.items()}
        for name, (dtype, shape, begin, end) in tensors.items():
            values = 1
            for side in shape:
                values *= side
            if not 0 <= begin <= end <= length - 8 - size or end - begin != values * _SIZES.get(dtype, -1):
                raise ProtocolError(f"the question's tensor {name} does not lie in it")
        return _Message(str(settings.pop("kind", "")), settings, tensors, payload, 8 + size)

    def send(self, kind: str, settings: Mapping[str, str], tensors: Mapping[str, tuple[str, list[int], memoryview]]) -> None:
        """Sends a message. Tensors by name: dtype, shape, bytes."""
        header: dict[str, Any] = {"__metadata__": {"kind": kind, **settings}}
        end = 0
        for name, (dtype, shape, data) in tensors.items():
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + data.nbytes]}
            end += data.nbytes
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._send(struct.pack("<QQ", 8 + len(text) + end, len(text)) + text, *(data for _, _, data in tensors.values()))


class _Torch:
    """Tensors of torch."""

    def __init__(self, device: Any) -> None:
        self.torch = importlib.import_module("torch")
        self.device = device
        self.kinds = {"F32": self.torch.float32, "I64": self.torch.int64}

    def of(self, message: _Message, name: str) -> Any:
        dtype, shape, begin, end = message.tensors[name]
        # It shares the memory of the message, which nothing else uses.
        count = (end - begin) // _SIZES[dtype]
        flat = self.torch.frombuffer(message.payload, dtype=self.kinds[dtype], count=count, offset=message.start + begin)
        made = flat.reshape(shape)
        return made if self.device is None else made.to(self.device)

    def quietly(self) -> contextlib.AbstractContextManager[Any]:
        """No graph for gradients is kept."""
        made: contextlib.AbstractContextManager[Any] = self.torch.no_grad()
        return made

    def data(self, made: Any) -> tuple[list[int], memoryview]:
        if not isinstance(made, self.torch.Tensor):
            made = self.torch.as_tensor(made)
        if not made.is_floating_point():
            raise TypeError(f"it is of dtype {made.dtype}: answer with floats")
        made = made.detach().to("cpu", self.torch.float32).contiguous()
        data = (ctypes.c_char * (4 * made.numel())).from_address(made.data_ptr())
        # The buffer holds no reference to the tensor: the array does.
        data._tensor = made
        return list(made.shape), memoryview(data).cast("B")

    def norms(self, weights: Sequence[Any], losses: Callable[[int], Any], samples: int, each: bool) -> list[list[list[float]]]:
        """[2, samples, P]: for each sample the L2 norm of the gradient of its mean loss by each of the weights; and the mean of the norms
        of the gradients of its losses, where `each` one is asked for. `losses`: the losses [K] of a sample, by its number."""
        torch = self.torch
        # What can have no gradient (whole numbers, as of quantised layers) takes no part.
        taking = [one for one in weights if one.is_floating_point() or one.is_complex()]
        before = [one.requires_grad for one in taking]
        of_mean: list[list[float]] = []
        mean_of: list[list[float]] = []

        def backward(loss: Any, keep: bool) -> list[Any]:
            if not loss.requires_grad:
                raise RuntimeError(
                    "the answer has no gradient by the parameters: the callable must compute with the network whose parameters were given, and "
                    "neither detach its answer nor work under torch.no_grad"
                )
            made: list[Any] = list(torch.autograd.grad(loss, taking, retain_graph=keep, allow_unused=True))
            return made

        def lengths(gradients: Sequence[Any]) -> list[float]:
            squares = {index: self._squares(one) for index, one in enumerate(gradients) if one is not None}
            roots = torch.stack(list(squares.values())).sqrt().tolist() if squares else []
            found = dict(zip(squares, roots))
            own = iter([found.get(index, 0.0) for index in range(len(gradients))])
            # At the places of the weights.
            return [next(own) if one.is_floating_point() or one.is_complex() else 0.0 for one in weights]

        try:
            for one in taking:
                one.requires_grad_(True)
            for sample in range(samples):
                with torch.enable_grad():
                    of_sample = losses(sample)
                    k = len(of_sample)
                    if not each:
                        of_mean.append(lengths(backward(of_sample.mean(), False)))
                        mean_of.append(of_mean[-1])
                        continue
                    sums: list[Any] = [None] * len(taking)
                    total = [0.0] * len(weights)
                    for row in range(k):
                        gradients = backward(of_sample[row], row + 1 < k)
                        total = [a + b / k for a, b in zip(total, lengths(gradients))]
                        sums = [self._added(a, b) for a, b in zip(sums, gradients)]
                    of_mean.append([length / k for length in lengths(sums)])
                    mean_of.append(total)
        finally:
            for one, took in zip(taking, before):
                one.requires_grad_(took)
        return [of_mean, mean_of]

    def _squares(self, gradient: Any) -> Any:
        """The sum of squares, f64. Apple's GPUs have none: there on the CPU."""
        gradient = gradient.detach()
        if gradient.device.type == "mps":
            gradient = gradient.cpu()
        return gradient.abs().to(self.torch.float64).square().sum().cpu()

    def _added(self, a: Any, b: Any) -> Any:
        """The sum of two gradients, either of which may be none, in f32 at least."""
        if b is None:
            return a
        b = b.detach()
        b = b.to(self.torch.promote_types(b.dtype, self.torch.float32))
        return b if a is None else a + b


class _Numpy:
    """Arrays of numpy."""

    def __init__(self) -> None:
        self.numpy = importlib.import_module("numpy")

    def of(self, message: _Message, name: str) -> Any:
        dtype, shape, begin, end = message.tensors[name]
        kind = {"F32": "<f4", "I64": "<i8"}[dtype]
        count = (end - begin) // _SIZES[dtype]
        return self.numpy.frombuffer(message.payload, dtype=kind, count=count, offset=message.start + begin).reshape(shape)

    def quietly(self) -> contextlib.AbstractContextManager[Any]:
        """Nothing is to be done."""
        return contextlib.nullcontext()

    def data(self, made: Any) -> tuple[list[int], memoryview]:
        made = self.numpy.asarray(made)
        if made.dtype.kind != "f":
            raise TypeError(f"it is of dtype {made.dtype}: answer with floats")
        made = self.numpy.ascontiguousarray(made, dtype="<f4")
        return list(made.shape), memoryview(made).cast("B")


def _arrays(denoiser: Denoiser) -> _Torch | _Numpy:
    wanted = denoiser.arrays
    for name in [wanted] if wanted else ["torch", "numpy"]:
        try:
            return _Torch(denoiser.device) if name == "torch" else _Numpy()
        except ImportError:
            continue
    raise RuntimeError(f"a denoiser is asked with {wanted or 'torch or numpy'} arrays, and this environment has none: install one of them")


def _value(made: Any, what: str) -> Any:
    """What a callable answers: a tensor or array, or what is in `.sample` or the only place of what diffusers' networks answer."""
    value = made if hasattr(made, "shape") else getattr(made, "sample", made)
    if isinstance(value, tuple) and len(value) == 1 and hasattr(value[0], "shape"):
        # As networks of diffusers answer with return_dict=False.
        (value,) = value
    if value is None:
        raise TypeError(f"{what} is None: the callable must return it (is a `return` missing?)")
    return value


def _heard(error: Exception) -> None:
    traceback.print_exception(error)


class _Session:
    """One connection of the program."""

    def __init__(self, denoiser: Denoiser, connection: socket.socket, heard: Callable[[Exception], None] = _heard) -> None:
        self.denoiser = denoiser
        self.heard = heard
        values = max(math.prod(map(int, shape)) for shape in (denoiser.shape, denoiser.image_shape or denoiser.shape))
        self.stream = _Stream(connection, values * 4 * _MOST_IMAGES + _SLACK)
        self.arrays: _Torch | _Numpy | None = None

    def run(self) -> None:
        """Answers until the program says bye or is gone."""
        call = self.denoiser.call
        asked: contextlib.AbstractContextManager[Any] = call.asked() if isinstance(call, Evaluated) else contextlib.nullcontext()
        with asked:
            while self.answered():
                pass

    def answered(self) -> bool:
        """Answers a question; whether there may be another. Nothing of it is held on to afterwards."""
        asked = self.stream.read()
        if asked is None or asked.kind == "bye":
            return False
        try:
            settings, tensors = self.answer(asked)
        except Exception as error:  # The program reports it, and the audit goes on with other attacks.
            self.heard(error)
            words = f"{type(error).__name__}: {error}"[:_WORDS]
            if self.denoiser.device is None and "same device" in words:
                words += _ELSEWHERE
            self.stream.send("error", {"message": words}, {})
        else:
            self.stream.send(asked.kind, settings, tensors)
        return True

    def answer(self, asked: _Message) -> tuple[dict[str, str], dict[str, tuple[str, list[int], memoryview]]]:
        one = self.denoiser
        if asked.kind == "hello":
            return self.hello()
        if self.arrays is None:
            self.arrays = _arrays(one)
        if asked.kind == "predict":
            x, level = self.arrays.of(asked, "x"), self.arrays.of(asked, "level")
            texts = json.loads(asked.settings["texts"]) if "texts" in asked.settings else None
            call = one.base if asked.settings.get("base") == "1" else one.call
            if call is None:
                raise ProtocolError("this server has no base")
            return {}, {"prediction": self.made(lambda: self.asked(x, level, texts, call), list(x.shape), "the denoiser's answer")}
        if asked.kind == "generate" and one.generate is not None:
            seed, count, steps = (int(asked.settings[name]) for name in ("seed", "count", "steps"))
            generate, told = one.generate, []
            if one.texts:
                told = [json.loads(asked.settings["texts"]), float(asked.settings["guidance"])]
            shape = [count, *map(int, one.image_shape or one.shape)]
            return {}, {"images": self.made(lambda: generate(seed, count, steps, *told), shape, "what was generated")}
        if asked.kind == "encode" and one.encode is not None:
            encode, images = one.encode, self.arrays.of(asked, "x")
            return {}, {"latents": self.made(lambda: encode(images), [len(images), *map(int, one.shape)], "what was encoded")}
        if asked.kind == "decode" and one.decode is not None:
            decode, latents = one.decode, self.arrays.of(asked, "x")
            shape = [len(latents), *map(int, one.image_shape or one.shape)]
            return {}, {"images": self.made(lambda: decode(latents), shape, "what was decoded")}
        if asked.kind == "gradient" and one.weights is not None and isinstance(self.arrays, _Torch):
            return {}, {"norms": self.norms(self.arrays, one.weights, asked)}
        raise ProtocolError(f"this server does not know {asked.kind!r}")

    def norms(self, arrays: _Torch, weights: Sequence[Any], asked: _Message) -> tuple[str, list[int], memoryview]:
        """Norms of the gradients of mean (scale (answer - target))^2, [2, B, P], for B samples of K rows each."""
        x, level, target, scale = (arrays.of(asked, name) for name in ("x", "level", "target", "scale"))
        texts = json.loads(asked.settings["texts"]) if "texts" in asked.settings else None
        samples, each = int(asked.settings["samples"]), asked.settings["each"] == "1"
        if samples < 1 or len(x) == 0 or len(x) % samples:
            raise ProtocolError(f"{len(x)} rows are no {samples} samples of equally many each")
        if x.shape != target.shape or scale.shape != level.shape or level.shape != x.shape[:1]:
            raise ProtocolError("x and target, and level and scale, must be of one shape")
        k = len(x) // samples

        def losses(sample: int) -> Any:
            rows = slice(sample * k, (sample + 1) * k)
            made = _value(self.asked(x[rows], level[rows], texts[rows] if texts is not None else None), "the denoiser's answer")
            wanted = target[rows]
            if not isinstance(made, arrays.torch.Tensor):
                raise TypeError(
                    f"the denoiser's answer is of type {type(made).__name__}, by which nothing can be differentiated: answer with a tensor of torch"
                )
            if list(made.shape) != list(wanted.shape):
                raise ValueError(f"the denoiser's answer is of shape {list(made.shape)} and must be of {list(wanted.shape)}")
            apart = (made.to(arrays.torch.float32) - wanted.to(made.device)).flatten(1)
            return apart.mul(scale[rows].to(made.device).unsqueeze(1)).square().mean(1)

        found = arrays.norms(weights, losses, samples, each)
        data = array("d", (value for half in found for row in half for value in row))
        if sys.byteorder == "big":
            data.byteswap()
        return "F64", [2, samples, len(weights)], memoryview(data).cast("B")

    def asked(self, x: Any, level: Any, texts: list[str] | None, call: Call | None = None) -> Any:
        """What the model answers to an attack, or its base (`call`)."""
        before = ASKED.set(True)
        try:
            return (call or self.denoiser.call)(x, level, texts)
        finally:
            ASKED.reset(before)

    def made(self, work: Callable[[], Any], shape: list[int], what: str) -> tuple[str, list[int], memoryview]:
        """What `work` gives as f32, if it is of this shape."""
        assert self.arrays is not None
        with self.arrays.quietly():
            made = work()
        value = _value(made, what)
        if not hasattr(value, "shape") and not isinstance(value, (list, tuple)):
            raise TypeError(f"{what} is of type {type(value).__name__}: answer with a tensor or array")
        own, data = self.arrays.data(value)
        if own != shape:
            raise ValueError(f"{what} is of shape {own} and must be of {shape}")
        return "F32", own, data

    def hello(self) -> tuple[dict[str, str], dict[str, tuple[str, list[int], memoryview]]]:
        one = self.denoiser
        abilities = [name for name in ("generate", "encode", "decode", "base") if getattr(one, name) is not None]
        abilities += ["texts"] if one.texts else []
        abilities += ["gradient"] if one.weights is not None else []
        settings = {
            "version": str(VERSION),
            "shape": ",".join(str(int(side)) for side in one.shape),
            "prediction": one.prediction,
            "can": ",".join(abilities),
        }
        if one.image_shape is not None:
            settings["image_shape"] = ",".join(str(int(side)) for side in one.image_shape)
        own = {"name": one.name, "fingerprint": one.fingerprint, "clip": one.clip, "parameters": one.parameter_count}
        settings.update({name: str(value) for name, value in own.items() if value is not None})
        table = table_of(one.schedule)
        if table is None:
            return settings, {}
        data = array("d", table)
        if sys.byteorder == "big":
            data.byteswap()
        return settings, {"alphas_cumprod": ("F64", [len(table)], memoryview(data).cast("B"))}


def serve(call: Call | Denoiser | Any, **settings: Any) -> None:
    """Answers the program that started this script by `--denoiser`, until it is done.

        dualmd.serve(lambda x, t, c: model(x, t).sample, shape=(3, 32, 32), schedule=scheduler)
        dualmd.serve(pipe)                                              # a pipeline object of diffusers, as `dualmd.audit` takes them

    `call`: a callable, a `Denoiser` or a pipeline. `settings`: those of `Denoiser`, of which a `Denoiser` has its own. Raises `RuntimeError` where no program
    started the script.
    """
    if isinstance(call, Denoiser):
        if settings:
            raise TypeError(f"{', '.join(settings)}: a Denoiser has settings of its own")
        denoiser = call
    else:
        # These import this file.
        adapters, defense = (importlib.import_module(f"dualmd.{name}") for name in ("adapters", "defense"))
        if defense.is_pair(call):
            raise TypeError(defense.NOT_AS_ONE)
        make: Callable[..., Denoiser] = adapters.denoiser_of_pipeline if adapters.is_pipeline(call) else denoiser_of
        denoiser = make(call, **settings)
    path = os.environ.get(SOCKET)
    if not path:
        raise RuntimeError(f'{SOCKET} is not set: this script is started by dualmd audit --denoiser "python {Path(sys.argv[0]).name}" ...')
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        with contextlib.suppress(ConnectionError):
            _Session(denoiser, connection).run()


@contextlib.contextmanager
def serving(denoiser: Denoiser, heard: Callable[[Exception], None] = _heard) -> Iterator[str]:
    """Serves in a thread as long as the block runs, one program after the other. Gives what `--denoiser` is to be: `unix:PATH`.

        with dualmd.serving(dualmd.Denoiser(call, shape=(3, 32, 32))) as address:
            dualmd.call(["attack", "--denoiser", address, "--members", "train/", "--nonmembers", "heldout/", "-o", "scores.csv"])

    `heard` is called with what the model raises, in that thread (default: it is printed). The program is told either way.
    """
    if not isinstance(denoiser, Denoiser):
        raise TypeError(f"serving needs a dualmd.Denoiser, and this is of type {type(denoiser).__name__}")
    with tempfile.TemporaryDirectory(prefix="dualmd-") as folder, socket.socket(socket.AF_UNIX) as listener:
        # The folder is its owner's alone: whoever connects is the same user.
        path = str(Path(folder, "denoiser"))
        listener.bind(path)
        listener.listen(1)

        def work() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        _Session(denoiser, connection, heard).run()
                    except ConnectionError:
                        pass
                    except Exception as error:
                        # The program reads the end of the stream and says so.
                        heard(error)

        thread = threading.Thread(target=work, name="dualmd denoiser", daemon=True)
        thread.start()
        try:
            yield f"unix:{path}"
        finally:
            # Wakes the thread out of accept, which closing alone does not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)


def denoiser_of(call: Call, *, prediction: str | None = None, schedule: Any = None, **settings: Any) -> Denoiser:
    """A denoiser with what its scheduler says of it. `prediction`: where the scheduler does not say, or is wrong."""
    known = prediction if prediction is not None else prediction_of(schedule) or "eps"
    if "shape" not in settings:
        raise TypeError("shape=(channels, height, width) of what the model sees is missing, as in shape=(3, 32, 32)")
    return Denoiser(call, prediction=known, schedule=schedule, **settings)
