"""The server's side of --denoiser, without torch or numpy. Run by `cargo xtask wheel --check`, whose environment has neither."""

import contextlib
import io
import json
import socket
import struct
import sys
import tempfile
import threading
import unittest
from pathlib import Path
from unittest import mock

import dualmd
from dualmd import denoiser as server
from dualmd import adapters, engine, launcher, onnx


class Peer:
    """The program's side of a connection."""

    def __init__(self, denoiser):
        self.own, other = socket.socketpair()
        self.words = io.StringIO()

        def work():
            with other, contextlib.redirect_stderr(self.words):
                try:
                    server._Session(denoiser, other).run()
                except server.ProtocolError as error:
                    self.words.write(str(error))

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def send(self, header, data=b"", length=None):
        text = json.dumps(header).encode()
        payload = struct.pack("<Q", len(text)) + text + data
        self.own.sendall(struct.pack("<Q", length if length is not None else len(payload)) + payload)

    def ask(self, kind, tensors=None, data=b"", **settings):
        self.send({"__metadata__": {"kind": kind, **settings}, **(tensors or {})}, data)
        return self.read()

    def read(self):
        (n,) = struct.unpack("<Q", self.own.recv(8, socket.MSG_WAITALL))
        payload = self.own.recv(n, socket.MSG_WAITALL)
        (size,) = struct.unpack_from("<Q", payload)
        header = json.loads(payload[8 : 8 + size])
        return header.pop("__metadata__"), header, payload[8 + size :]

    def close(self):
        self.own.close()
        self.thread.join(timeout=10)
        assert not self.thread.is_alive()
        return self.words.getvalue()


class Scheduler:
    """What diffusers' schedulers have."""

    class List(list):
        def tolist(self):
            return list(self)

    betas = List([0.1, 0.5])
    config = {"prediction_type": "v_prediction"}


class FlowMatchScheduler:
    config = {}


def zeros(x, t, c):
    return x


class Parameter:
    """What torch's parameters have."""

    requires_grad = False

    def numel(self):
        return 6

    def requires_grad_(self, on):
        self.requires_grad = on
        return self

    def is_floating_point(self):
        return True


class Serving(unittest.TestCase):
    def test_hello_says_what_the_denoiser_is(self):
        one = server.denoiser_of(zeros, shape=(3, 8, 8), schedule=Scheduler(), name="mine", clip=1.0, generate=zeros)
        peer = Peer(one)
        said, tensors, data = peer.ask("hello", version="1")
        self.assertEqual(
            said,
            {"kind": "hello", "version": "1", "shape": "3,8,8", "prediction": "v", "can": "generate", "name": "mine", "clip": "1.0"},
        )
        self.assertEqual(tensors, {"alphas_cumprod": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}})
        for found, wanted in zip(struct.unpack("<2d", data), [0.9, 0.45]):
            self.assertAlmostEqual(found, wanted, places=12)
        self.assertEqual(peer.close(), "")

    def test_hello_offers_the_base_that_was_given(self):
        peer = Peer(dualmd.Denoiser(zeros, shape=(1, 2, 2), base=zeros))
        self.assertEqual(peer.ask("hello", version="1")[0]["can"], "base")
        peer.close()
        with self.assertRaisesRegex(TypeError, "base is of type str: give a callable"):
            dualmd.Denoiser(zeros, shape=(1, 2, 2), base="stable-diffusion-v1-5/")

    def test_hello_offers_gradients_by_parameters_that_were_given(self):
        # A generator, as network.parameters() is.
        one = server.denoiser_of(zeros, shape=(1, 2, 2), parameters=(Parameter() for _ in range(3)))
        for _ in range(2):
            peer = Peer(one)
            said, _, _ = peer.ask("hello", version="1")
            self.assertEqual((said["can"], said["parameters"]), ("gradient", "18"))
            peer.close()
        # Their number alone is for the report.
        peer = Peer(dualmd.Denoiser(zeros, shape=(1, 2, 2), parameters=18))
        said, _, _ = peer.ask("hello", version="1")
        self.assertEqual((said["can"], said["parameters"]), ("", "18"))
        peer.close()

    def test_bye_and_the_end_of_the_stream_end_it(self):
        peer = Peer(dualmd.Denoiser(zeros, shape=(1, 2, 2)))
        peer.send({"__metadata__": {"kind": "bye"}})
        peer.thread.join(timeout=10)
        self.assertFalse(peer.thread.is_alive())
        peer.close()
        peer = Peer(dualmd.Denoiser(zeros, shape=(1, 2, 2)))
        peer.own.sendall(b"\x09\0\0")
        self.assertEqual(peer.close(), "")

    def test_what_it_cannot_do_is_told_and_the_next_question_is_answered(self):
        # torch is not to be looked for: the environment has one that must not be imported.
        peer = Peer(dualmd.Denoiser(zeros, shape=(1, 2, 2), prediction="flow", arrays="numpy"))
        x = {"x": {"dtype": "F32", "shape": [1, 1, 2, 2], "data_offsets": [0, 16]}}
        said, tensors, _ = peer.ask("predict", x, bytes(16))
        self.assertEqual((said["kind"], tensors), ("error", {}))
        # No arrays in this environment, or else a question without a level.
        self.assertRegex(said["message"], "this environment has none|level")
        said, _, _ = peer.ask("hello", version="1")
        self.assertEqual((said["kind"], said["prediction"]), ("hello", "flow"))
        self.assertIn("Traceback", peer.close())

    def test_who_asks_can_be_told(self):
        """An audit asks: what answers by the order of the questions must not. And what is raised is heard."""
        seen, heard = [], []
        one = dualmd.Denoiser(lambda x, t, c: seen.append(server.ASKED.get()), shape=(1, 2, 2))
        own, other = socket.socketpair()
        with own, other:
            session = server._Session(one, other, heard.append)
            self.assertFalse(server.ASKED.get())
            session.asked(None, None, None)
            self.assertEqual((seen, server.ASKED.get()), ([True], False))
            text = json.dumps({"__metadata__": {"kind": "nonsense"}}).encode()
            session.arrays = object()
            own.sendall(struct.pack("<QQ", 8 + len(text), len(text)) + text)
            self.assertTrue(session.answered())
        self.assertRegex(str(heard), "ProtocolError.*nonsense")

    def test_an_answer_that_is_none_is_named(self):
        class Wrapped:
            sample = [1.0]

        self.assertEqual(server._value(Wrapped(), "it"), [1.0])
        with self.assertRaisesRegex(TypeError, "the denoiser's answer is None: the callable must return it"):
            server._value(None, "the denoiser's answer")

    def test_the_only_place_of_a_tuple_is_the_answer(self):
        """Networks of diffusers answer so with return_dict=False."""

        class Array:
            shape = (1,)

        made = Array()
        self.assertIs(server._value((made,), "it"), made)
        both = (made, made)
        self.assertIs(server._value(both, "it"), both)

    def test_a_model_on_another_device_is_told_of_the_setting(self):
        def fails(x, t, c):
            raise RuntimeError("Expected all tensors to be on the same device, but found cpu and cuda:0")

        for device, told in ((None, True), ("cuda", False)):
            own, other = socket.socketpair()
            with own, other:
                session = server._Session(dualmd.Denoiser(fails, shape=(1, 2, 2), device=device), other, lambda error: None)
                session.answer = lambda asked: fails(None, None, None)
                text = json.dumps({"__metadata__": {"kind": "predict"}}).encode()
                own.sendall(struct.pack("<QQ", 8 + len(text), len(text)) + text)
                self.assertTrue(session.answered())
                (n,) = struct.unpack("<Q", own.recv(8, socket.MSG_WAITALL))
                self.assertEqual(b"device='cuda'" in own.recv(n, socket.MSG_WAITALL), told)

    def test_questions_that_are_none_end_the_connection(self):
        for length, header, words in [
            (1 << 60, {}, "1152921504606846976 bytes"),
            (None, {"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 16]}}, "tensor x does not lie in it"),
            (None, {"x": {"dtype": "F32", "shape": [4], "data_offsets": [-16, 0]}}, "tensor x does not lie in it"),
        ]:
            peer = Peer(dualmd.Denoiser(zeros, shape=(1, 2, 2)))
            peer.send(header, bytes(16), length)
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(peer.own.recv(1), b"")
            self.assertIn(words, peer.close())

    def test_room_of_a_message_is_used_again_when_nobody_holds_it(self):
        own, other = socket.socketpair()
        with own, other:
            stream = server._Stream(other, 1 << 30)
            first = stream._place(64)
            # A tensor shares the memory of its message, and may be kept.
            self.assertIsNot(stream._place(64), first)
            known = id(stream._place(64))
            self.assertEqual(id(stream._place(64)), known)
            self.assertEqual(len(stream._place(65)), 65)

    def test_long_messages_arrive_in_parts(self):
        own, other = socket.socketpair()
        parts = [b"head", b"", memoryview(bytes(range(256)) * (1 << 15)), b"tail"]
        with own, other:
            stream = server._Stream(other, 1 << 30)
            thread = threading.Thread(target=lambda: stream._send(*parts))
            thread.start()
            wanted = b"".join(parts)
            self.assertEqual(own.recv(len(wanted), socket.MSG_WAITALL), wanted)
            thread.join(timeout=10)
            self.assertFalse(thread.is_alive())

    def test_a_thread_serves_one_program_after_the_other(self):
        with dualmd.serving(dualmd.Denoiser(zeros, shape=(1, 2, 2))) as place:
            path = place.removeprefix("unix:")
            for _ in range(2):
                with socket.socket(socket.AF_UNIX) as own:
                    own.connect(path)
                    text = json.dumps({"__metadata__": {"kind": "hello"}}).encode()
                    own.sendall(struct.pack("<QQ", 8 + len(text), len(text)) + text)
                    self.assertEqual(len(own.recv(8, socket.MSG_WAITALL)), 8)
        with self.assertRaises(OSError), socket.socket(socket.AF_UNIX) as own:
            own.connect(path)


class Settings(unittest.TestCase):
    def test_what_makes_no_sense_is_named(self):
        for settings, words in [
            ({"shape": (3, 8)}, "channels, height, width"),
            ({"shape": (3, 8, 8), "prediction": "epsilon"}, "eps, v, x0, flow, edm"),
            ({}, "shape="),
            ({"shape": (3, 8, 8), "parameters": []}, "empty.*anew"),
            ({"shape": (3, 8, 8), "parameters": [("conv.weight", Parameter())]}, "of type tuple: give network.parameters"),
            ({"shape": (3, 8, 8), "parameters": [Parameter()], "arrays": "numpy"}, "gradients go through torch"),
            ({"shape": (3, 8, 8), "parameters": object()}, "of type object: give network.parameters"),
            ({"shape": 8}, "shape=8 must be"),
            ({"shape": (3, "a", 8)}, "channels, height, width"),
            ({"shape": (3, 8.5, 8)}, "channels, height, width"),
            ({"shape": (3, 8, 8), "image_shape": (0, 8, 8)}, "image_shape=.0, 8, 8. must be"),
            ({"shape": (3, 8, 8), "encode": 5}, "encode is of type int: give a callable"),
            ({"shape": (3, 8, 8), "arrays": "jax"}, "'torch' or 'numpy'"),
            ({"shape": (3, 8, 8), "schedule": object()}, "no betas and no alphas_cumprod"),
            ({"shape": (3, 8, 8), "schedule": FlowMatchScheduler(), "prediction": "eps"}, "of flow matching"),
            ({"shape": (3, 8, 8), "schedule": "sigmoid"}, "schedule='sigmoid' is not known: give 'linear', 'cosine'"),
            ({"shape": (3, 8, 8), "schedule": ["a"]}, "no betas and no alphas_cumprod"),
            ({"shape": (3, 8, 8), "schedule": []}, "schedule is empty"),
            ({"shape": (3, 8, 8), "schedule": [1e-4, 2e-2]}, "alphas_cumprod.1. = 0.02 must lie between 0 and 0.0001.*betas are none"),
            ({"shape": (3, 8, 8), "clip": "1"}, "clip='1': give a number above 0"),
            ({"shape": (3, 8, 8), "clip": -1.0}, "clip=-1.0: give a number above 0"),
            ({"shape": (3, 8, 8), "clip": True}, "clip=True: give a number above 0"),
            ({"shape": (3, 8, 8), "name": 5}, "name=5 is of type int: give a text"),
        ]:
            with self.assertRaisesRegex((TypeError, ValueError), words):
                server.denoiser_of(zeros, **settings)
        with self.assertRaisesRegex(TypeError, "callable"):
            dualmd.audit(5, members="a", nonmembers="b")
        with self.assertRaisesRegex(TypeError, "prediction"):
            dualmd.audit("folder", members="a", nonmembers="b", prediction="v")
        with self.assertRaisesRegex(TypeError, "alphas_cumprod"):
            server.table_of(object())
        with self.assertRaisesRegex(RuntimeError, "--denoiser"):
            dualmd.serve(zeros, shape=(1, 2, 2))
        with self.assertRaisesRegex(TypeError, "shape: a Denoiser has settings"):
            dualmd.serve(dualmd.Denoiser(zeros, shape=(1, 2, 2)), shape=(1, 2, 2))
        with self.assertRaisesRegex(TypeError, "of type function"), dualmd.serving(zeros):
            pass

    def test_schedulers_say_what_is_predicted(self):
        self.assertEqual(server.prediction_of(Scheduler()), "v")
        self.assertEqual(server.prediction_of(FlowMatchScheduler()), "flow")
        self.assertIsNone(server.prediction_of([0.9, 0.5]))
        self.assertIsNone(server.table_of(FlowMatchScheduler()))
        self.assertEqual(server.table_of((0.9, 0.5)), [0.9, 0.5])

    def test_schedules_have_names(self):
        linear, cosine = (server.table_of(name) for name in ("linear", "cosine"))
        self.assertEqual((len(linear), len(cosine)), (1000, 1000))
        # DDPM's: betas from 0.0001 to 0.02. The cosine's first value is the square of two cosines' quotient.
        self.assertAlmostEqual(linear[0], 1 - 1e-4, places=12)
        self.assertAlmostEqual(linear[-1] / linear[-2], 1 - 0.02, places=9)
        self.assertAlmostEqual(cosine[0], 0.99995871, places=7)
        self.assertEqual(dualmd.Denoiser(zeros, shape=(1, 2, 2), schedule="cosine").schedule, "cosine")

    def test_pipelines_of_an_unknown_class_get_the_list(self):
        class DiffusionPipeline:
            def __call__(self):
                return None

        class MyPipeline(DiffusionPipeline):
            pass

        with self.assertRaisesRegex(TypeError, "MyPipeline.*DDPMPipeline.*FluxPipeline.*callable"):
            dualmd.audit(MyPipeline(), members="a", nonmembers="b")
        with self.assertRaisesRegex(TypeError, "MyPipeline.*DDPMPipeline"):
            dualmd.serve(MyPipeline())


class Layer:
    """A layer of PEFT."""

    def __init__(self, left_out=False):
        self.disable_adapters = left_out
        self.weight = Parameter()

    def modules(self):
        return [self]

    def parameters(self):
        return [self.weight]

    def enable_adapters(self, enabled):
        self.disable_adapters = not enabled
        self.weight.requires_grad = enabled


class Bases(unittest.TestCase):
    def test_adapters_are_left_out_for_a_question_and_no_longer(self):
        class Pipe:
            components = {"unet": Layer(), "text_encoder": Layer(left_out=True), "tokenizer": object(), "vae": None}

        layers = adapters._adapters(Pipe())
        self.assertEqual(layers, [Pipe.components["unet"]])
        self.assertEqual(adapters._adapters(object()), [])
        seen = []

        def call(x, t, c):
            seen.append(layers[0].disable_adapters)
            return x / t

        ask = adapters._base(layers, call)
        self.assertEqual(ask(6, 3, None), 2)
        with self.assertRaises(ZeroDivisionError):
            ask(6, 0, None)
        self.assertEqual((seen, layers[0].disable_adapters, layers[0].weight.requires_grad), ([True, True], False, False))


class Module:
    """What torch's modules have."""

    def __init__(self, training, *inner):
        self.training, self.inner = training, inner

    def modules(self):
        return [self, *(one for part in self.inner for one in part.modules())]


class Pipelines(unittest.TestCase):
    def pipe(self):
        class Pipe:
            components = {"unet": Module(True, Module(False), Module(True)), "tokenizer": object()}
            _progress_bar_config = {"leave": False}

            def set_progress_bar_config(self, **settings):
                self._progress_bar_config = settings

        return Pipe()

    def test_networks_and_progress_bars_are_left_as_they_were(self):
        pipe = self.pipe()
        modules = pipe.components["unet"].modules()
        seen = []

        def look(*asked):
            seen.append(([one.training for one in modules], pipe._progress_bar_config.get("disable", False)))
            return asked[0] / asked[1]

        before = [True, False, True]
        made = adapters._left_as_it_was(pipe, dualmd.Denoiser(look, shape=(1, 2, 2), generate=look, encode=look))
        self.assertEqual((seen, [one.training for one in modules], made.decode), ([], before, None))
        for call, silent in ((made.call, False), (made.generate, True), (made.encode, False)):
            self.assertEqual(call(6, 3, None), 2)
            # Also where it fails.
            with self.assertRaises(ZeroDivisionError):
                call(6, 0, None)
            self.assertEqual((seen[-2:], [one.training for one in modules]), ([([False] * 3, silent)] * 2, before))
            self.assertEqual(pipe._progress_bar_config, {"leave": False})

    def test_they_are_in_evaluation_mode_as_long_as_they_are_served(self):
        """Gradients are asked for after the answer."""
        pipe = self.pipe()
        modules = pipe.components["unet"].modules()
        peer = Peer(adapters._left_as_it_was(pipe, dualmd.Denoiser(zeros, shape=(1, 2, 2))))
        peer.ask("hello", version="1")
        self.assertEqual([one.training for one in modules], [False] * 3)
        peer.close()
        self.assertEqual([one.training for one in modules], [True, False, True])


class Onnx(unittest.TestCase):
    def test_rows_are_asked_together_as_the_network_takes_them(self):
        levels = [3, 1, 3, 2, 1]
        self.assertEqual(onnx.groups(levels, None, False), [[0, 1, 2, 3, 4]])
        self.assertEqual(onnx.groups(levels, 2, False), [[0, 1], [2, 3], [4]])
        self.assertEqual(onnx.groups(levels, None, True), [[0, 2], [1, 4], [3]])
        self.assertEqual(onnx.groups(levels, 1, True), [[0], [2], [1], [4], [3]])
        self.assertEqual(onnx.groups([], None, False), [])

    def test_a_file_needs_its_runtime_and_settings_are_the_models(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "unet.onnx")
            for call in (dualmd.convert.onnx, lambda one: dualmd.audit(one, members="a", nonmembers="b", schedule=[0.9], device="cuda")):
                with self.assertRaisesRegex(FileNotFoundError, "unet.onnx is not there"):
                    call(file)
            file.touch()
            with mock.patch.dict(sys.modules, {"onnxruntime": None}), self.assertRaisesRegex(ModuleNotFoundError, "pip install onnxruntime"):
                dualmd.audit(str(file), members="a", nonmembers="b")
        # Folders and other texts are the program's.
        self.assertTrue(onnx.is_onnx("Model.ONNX"))
        self.assertFalse(onnx.is_onnx("model/") or onnx.is_onnx(None) or onnx.is_onnx({"a": "b.onnx"}))

    def test_sizes_are_said_as_in_a_shell(self):
        class One:
            def __init__(self, name, shape, kind="tensor(float)"):
                self.name, self.shape, self.type = name, shape, kind

        session = mock.Mock()
        session.get_inputs.return_value = [One("x", ["n", "c", "h", "w"]), One("t", ["n"])]
        session.get_outputs.return_value = [One("y", [])]
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(onnx, "_session", lambda *_: session):
            file = Path(folder, "unet.onnx")
            file.touch()
            self.assertEqual(onnx.onnx(file, shape="3, 8,8", schedule="cosine").shape, (3, 8, 8))
            for shape in (8, "3,8", "3,8,x", (3, 8)):
                with self.assertRaisesRegex(ValueError, "must be .channels, height, width."):
                    onnx.onnx(file, shape=shape)

    def test_the_program_is_told_who_serves_files(self):
        told = launcher.environment(engine.Engine(Path("/lib"), "of a test"), {})
        self.assertEqual(told["DUALMD_PYTHON"], sys.executable)
        told = launcher.environment(engine.Engine(Path("/lib"), "of a test"), {"DUALMD_PYTHON": "other"})
        self.assertEqual(told["DUALMD_PYTHON"], "other")


class Audits(unittest.TestCase):
    def test_errors_of_a_callable_reach_the_caller(self):
        """The program, its server in a thread, and back. There are no arrays here, so the first question fails."""
        with self.assertRaises(dualmd.ProgramError) as caught, contextlib.redirect_stderr(io.StringIO()):
            dualmd.audit(
                zeros, shape=(1, 8, 8), members="fashion#member", nonmembers="fashion#nonmember", split="run/split.json", quiet=True,
                arrays="numpy",
            )
        self.assertIn("install one of them", str(caught.exception))
        self.assertIsInstance(caught.exception.__cause__, RuntimeError)
        self.assertIn("install one of them", str(caught.exception.__cause__))


if __name__ == "__main__":
    unittest.main()
