# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The engine openvino: an .onnx file, or OpenVINO's own .xml, on what OpenVINO calls CPU, GPU or NPU."""
import openvino

from . import devices
from .errors import in_one_line

NAMES = {"cpu": ("CPU",), "gpu": ("GPU",), "npu": ("NPU",)}


class Engine:
    """A model compiled by ``openvino.Core`` for an ExportedModel.

    Computes in float32: left to itself OpenVINO takes bfloat16 on processors that have it.

    Raises:
        DeployError: no such device here, or the file cannot be run.
    """

    def __init__(self, model, options):
        core = openvino.Core()
        # GPU.0, GPU.1: GPU is the first of them
        device = devices.choose(options, NAMES, sorted({name.split(".")[0] for name in core.available_devices}))
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            settings["INFERENCE_NUM_THREADS"] = options.threads
        self._failing = in_one_line(f"OpenVINO {openvino.__version__.split('-')[0]}", model.program, RuntimeError)
        with self._failing:
            self._compiled = core.compile_model(core.read_model(model.program), device, settings)
        self._request = self._compiled.create_infer_request()
        self.input_names = [entry.get_any_name() for entry in self._compiled.inputs]

    def run(self, inputs):
        """The outputs, in the file's order, for ``{name: array}``."""
        with self._failing:
            results = self._request.infer({name: inputs[name] for name in self.input_names})
        return [results[output] for output in self._compiled.outputs]
