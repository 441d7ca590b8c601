# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The engine openvino: an .onnx file, or OpenVINO's own .xml, on what OpenVINO calls CPU, GPU or NPU."""
from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import openvino

from . import devices, program_check
from .cut import TOKENS
from .deploy_error import DeployError, in_one_line
from .engines import Options
from .exported_model import ExportedModel
from .openvino_cut import cut

NAMES = {"cpu": ("CPU",), "gpu": ("GPU",), "npu": ("NPU",)}
HALF, FULL = "bf16", "f32"


@functools.cache
def shared_core() -> openvino.Core:
    """The one Core of this process, which is never given up.

    OpenVINO 2025.2 gives the thread that first asks a Core for its devices a stack for signals, and unmaps it with the
    Core. Where several Cores go in another order than they came, the thread is left with a stack that is not there, and
    the next signal (Ctrl-C, the end of a child process) ends the process without a word.
    """
    return openvino.Core()


class Engine:
    """A model compiled by ``shared_core`` for an ExportedModel; for bf16 in two parts, see ``cut``.

    Computes in float32 unless told otherwise: left to itself OpenVINO takes bfloat16 on processors that have it.

    Raises:
        DeployError: no such device here, or the file cannot be run as asked for.
    """

    def __init__(self, model: ExportedModel, options: Options):
        core = shared_core()
        # GPU.0, GPU.1: GPU is the first of them
        device = devices.choose(options, NAMES, sorted({name.split(".")[0] for name in core.available_devices}))
        if options.bf16 and not _has_bf16(core, device):
            raise DeployError("bf16: this processor has no bfloat16; use --precision fp32")
        settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            settings["INFERENCE_NUM_THREADS"] = options.threads
        self._failing = in_one_line(f"OpenVINO {openvino.__version__.split('-')[0]}", model.program, RuntimeError)
        program_check.check(model.program)
        with self._failing:
            whole = core.read_model(model.program)
            parts = zip(cut(whole), (HALF, FULL)) if options.bf16 else [(whole, FULL)]
            self._compiled = [core.compile_model(part, device, {**settings, "INFERENCE_PRECISION_HINT": precision})
                              for part, precision in parts]
        self._requests = [compiled.create_infer_request() for compiled in self._compiled]
        self.input_names = sorted({entry.get_any_name() for compiled in self._compiled for entry in compiled.inputs}
                                  - {TOKENS})

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in the file's order, for ``{name: array}``."""
        values = dict(inputs)
        for compiled, request in zip(self._compiled, self._requests):
            with self._failing:
                results = request.infer({entry: values[entry.get_any_name()] for entry in compiled.inputs})
            outputs = [results[output] for output in compiled.outputs]
            values[TOKENS] = outputs[0]
        return outputs


def _has_bf16(core, device):
    return "BF16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
