# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The engine onnxruntime: an .onnx file in ONNX Runtime, on the CPU or a GPU."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from . import devices, program_check
from .deploy_error import DeployError, in_one_line
from .engines import Options
from .exported_model import ExportedModel

# device -> execution providers, the first that this build has
PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "gpu": ("CUDAExecutionProvider", "MIGraphXExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider"),
    "npu": ("CANNExecutionProvider",),
}


class Engine:
    """An ``onnxruntime.InferenceSession`` for an ExportedModel; float32 as it is in the file.

    Raises:
        DeployError: no such device here, or the file cannot be run.
    """

    def __init__(self, model: ExportedModel, options: Options):
        provider = devices.choose(options, PROVIDERS, onnxruntime.get_available_providers())
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        if options.shared_cores:
            settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 3  # errors; a warning per operation that stays on the CPU otherwise
        # its exceptions have no common class of their own
        self._failing = in_one_line(f"ONNX Runtime {onnxruntime.__version__}", model.program, Exception)
        program_check.check(model.program)
        with self._failing:
            self._session = onnxruntime.InferenceSession(str(model.program), settings, providers=[provider])
        if provider not in self._session.get_providers():
            # it goes on without the device when that one's libraries do not load
            raise DeployError(f"--device {options.device.upper()}: ONNX Runtime cannot start {provider} (CUDA or "
                              "driver libraries missing?); use --device CPU")
        self.input_names = [entry.name for entry in self._session.get_inputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in the file's order, for ``{name: array}``."""
        with self._failing:
            return self._session.run(None, {name: inputs[name] for name in self.input_names})
