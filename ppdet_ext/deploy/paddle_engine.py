# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The engine paddle: Paddle Inference's Config, its devices, oneDNN, TensorRT, what differs between 2.6 and 3.x."""
from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import paddle
from paddle import inference

from . import program_check
from .cut import TOKENS
from .deploy_error import DeployError, in_one_line
from .engines import Options
from .exported_model import ExportedModel
from .paddle_cut import cut

RUN_MODES = ("paddle", "trt_fp32", "trt_fp16", "trt_int8")
#: GiB that may wait to be freed. Paddle's own 0 wakes a thread for every tensor, which takes 3 % of two busy cores
WAITING_TO_BE_FREED = {"FLAGS_eager_delete_tensor_gb": 0.03}


class Engine:
    """A ``paddle.inference`` predictor for an ExportedModel; for bf16 two, see ``cut``.

    Args:
        whole: bf16 for all of the model, uncut: for one that has no decoder.

    Raises:
        DeployError: the options contradict each other, or this machine or this Paddle cannot do what they ask for.
    """

    def __init__(self, model: ExportedModel, options: Options, whole: bool = False):
        _check(model, options)
        program_check.check(model.program)
        self._failing = in_one_line(f"Paddle {paddle.__version__}", model.program, RuntimeError, ValueError,
                                    SystemError)
        if options.bf16 and whole:
            config = _config(model.program, model.weights, model, replace(options, enable_mkldnn=True))
            _enable_bfloat16(config)
            self._predictors = [self._create(config)]
        elif options.bf16:
            self._predictors = self._of_two_parts(model, replace(options, enable_mkldnn=True))
        else:
            self._predictors = [self._create(_config(model.program, model.weights, model, options))]
        self.input_names = sorted({name for predictor in self._predictors for name in predictor.get_input_names()}
                                  - {TOKENS})

    def _of_two_parts(self, model, options):
        with tempfile.TemporaryDirectory() as folder, self._failing:
            picture, decoder = (_config(*files, model, options) for files in cut(model.program, Path(folder)))
            _enable_bfloat16(picture)
            return [self._create(picture), self._create(decoder)]

    def _create(self, config):
        with self._failing:
            return inference.create_predictor(config)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in the program's order, for ``{name: array}``."""
        values = dict(inputs)
        for predictor in self._predictors:
            for name in predictor.get_input_names():
                predictor.get_input_handle(name).copy_from_cpu(values[name])
            with self._failing:
                predictor.run()
            outputs = [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]
            values[TOKENS] = outputs[0]
        return outputs


def _config(program, weights, model, options):
    config = inference.Config(str(program), str(weights))
    config.disable_glog_info()
    DEVICES[options.device].enable(config, options)
    if options.run_mode != "paddle":
        _enable_tensorrt(config, model, options)
    if model.program.suffix == ".pdmodel":
        # a pass that the new IR (.json) does not have: there Paddle raises
        config.enable_memory_optim()
    return config


def _check(model, options):
    device = options.device
    if options.run_mode not in RUN_MODES:
        raise DeployError(f"--run_mode: '{options.run_mode}' is unknown; it can be {', '.join(RUN_MODES)}")
    if options.enable_mkldnn_bfloat16 and not options.enable_mkldnn:
        raise DeployError("--enable_mkldnn_bfloat16 needs --enable_mkldnn True as well")
    if options.bf16 and model.program.suffix != ".json":
        raise DeployError(f"bf16: '{model.program}' cannot be cut into a bfloat16 and a float32 part; export it with "
                          "Paddle 3, or with --onnx for --engine openvino --precision bf16")
    if options.bf16 and not paddle.base.core.supports_bfloat16_fast_performance():
        raise DeployError("bf16: this processor has no bfloat16; use --precision fp32")
    if options.run_mode != "paddle" and device != "gpu":
        raise DeployError(f"--run_mode {options.run_mode} is TensorRT and needs --device GPU, not {device.upper()}")
    if model.program.suffix == ".json" and int(paddle.__version__.split(".")[0]) == 2:
        # Paddle 2 ends with a segmentation fault on it
        raise DeployError(f"'{model.program}' was exported by Paddle 3 and Paddle {paddle.__version__} cannot read it; "
                          "export it with this Paddle, or install Paddle 3")
    if not DEVICES[device].available():
        raise DeployError(f"--device {device.upper()}: this Paddle ({paddle.__version__}) finds none here; use "
                          "--device CPU, or install Paddle for that device")
    if options.run_mode != "paddle" and inference.get_trt_compile_version() == (0, 0, 0):
        raise DeployError(f"--run_mode {options.run_mode}: this Paddle was built without TensorRT; use paddle")


@dataclass(frozen=True)
class _Device:
    available: Callable[[], bool]
    enable: Callable[[inference.Config, Options], None]


def _enable_cpu(config, options):
    paddle.set_flags({flag: value for flag, value in WAITING_TO_BE_FREED.items() if flag not in os.environ})
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(options.threads)
    if not options.enable_mkldnn:
        # on by itself otherwise
        _onednn(config, "disable_{}")()
        return
    # one entry per input shape; unlimited it grows with every new one
    _onednn(config, "set_{}_cache_capacity")(10)
    _onednn(config, "enable_{}")()
    # it lets an operation overwrite a value that one of oneDNN's still needs: x - floor(x) comes out as 0 (3.3.1)
    config.delete_pass("inplace_pass")


def _enable_bfloat16(config):
    _onednn(config, "enable_{}_bfloat16")()


def _onednn(config, pattern):
    """The method under its name since Paddle 3, or the older one."""
    return getattr(config, pattern.format("onednn"), None) or getattr(config, pattern.format("mkldnn"))


def _enable_gpu(config, options):
    config.enable_use_gpu(200, 0)


def _enable_xpu(config, options):
    config.enable_xpu(10 * 1024 * 1024)


def _custom(name):
    return _Device(lambda: paddle.device.is_compiled_with_custom_device(name),
                   lambda config, options: config.enable_custom_device(name))


def _has_gpu():
    return paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


DEVICES = {
    "cpu": _Device(lambda: True, _enable_cpu),
    "gpu": _Device(_has_gpu, _enable_gpu),
    "xpu": _Device(paddle.device.is_compiled_with_xpu, _enable_xpu),
    "npu": _custom("npu"),
    "mlu": _custom("mlu"),
}


def _enable_tensorrt(config, model, options):
    precision = {"trt_fp32": inference.PrecisionType.Float32, "trt_fp16": inference.PrecisionType.Half,
                 "trt_int8": inference.PrecisionType.Int8}[options.run_mode]
    config.enable_tensorrt_engine(
        workspace_size=(1 << 25) * options.batch_size, max_batch_size=options.batch_size,
        min_subgraph_size=model.min_subgraph_size, precision_mode=precision, use_static=False,
        use_calib_mode=options.trt_calib_mode)
    if options.collect_trt_shape_info:
        config.collect_shape_range_info(options.tuned_trt_shape_file)
    elif Path(options.tuned_trt_shape_file).is_file():
        config.enable_tuned_tensorrt_dynamic_shape(options.tuned_trt_shape_file, True)
    elif model.use_dynamic_shape:
        def shapes(side):
            return {"image": [options.batch_size, 3, side, side], "im_shape": [options.batch_size, 2],
                    "scale_factor": [options.batch_size, 2]}
        config.set_trt_dynamic_shape_info(shapes(options.trt_min_shape), shapes(options.trt_max_shape),
                                          shapes(options.trt_opt_shape))
