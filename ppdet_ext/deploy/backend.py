# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Paddle Inference's Config in one place: devices, oneDNN, TensorRT, and what differs between Paddle 2.6 and 3.x."""
from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import paddle
from paddle import inference

from .errors import DeployError

RUN_MODES = ("paddle", "trt_fp32", "trt_fp16", "trt_int8")


@dataclass(frozen=True)
class Options:
    """How to run: PaddleDetection's deployment flags of the same names. ``cpu_threads`` None: all cores."""

    device: str = "cpu"
    run_mode: str = "paddle"
    batch_size: int = 1
    enable_mkldnn: bool = False
    enable_mkldnn_bfloat16: bool = False
    cpu_threads: int | None = None
    trt_min_shape: int = 1
    trt_max_shape: int = 1280
    trt_opt_shape: int = 640
    trt_calib_mode: bool = False
    collect_trt_shape_info: bool = False
    tuned_trt_shape_file: str = "shape_range_info.pbtxt"


def create_predictor(model, options):
    """A ``paddle.inference`` predictor for an ExportedModel.

    Raises:
        DeployError: the options contradict each other, or this machine or this Paddle cannot do what they ask for.
    """
    device = options.device.lower()
    _check(model, device, options)
    config = inference.Config(str(model.program), str(model.weights))
    config.disable_glog_info()
    DEVICES[device].enable(config, options)
    if options.run_mode != "paddle":
        _enable_tensorrt(config, model, options)
    if model.program.suffix == ".pdmodel":
        # a pass that the new IR (.json) does not have: there Paddle raises
        config.enable_memory_optim()
    with one_line_errors(model):
        return inference.create_predictor(config)


@contextlib.contextmanager
def one_line_errors(model):
    """Paddle's own errors as a DeployError; theirs span many lines, the last of which says what is wrong."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise DeployError(f"Paddle {paddle.__version__} cannot run '{model.program}': {_last_line(error)}") from error


def _check(model, device, options):
    if device not in DEVICES:
        raise DeployError(f"--device: '{options.device}' is unknown; it can be {', '.join(DEVICES)}")
    if options.run_mode not in RUN_MODES:
        raise DeployError(f"--run_mode: '{options.run_mode}' is unknown; it can be {', '.join(RUN_MODES)}")
    if options.enable_mkldnn_bfloat16 and not options.enable_mkldnn:
        raise DeployError("--enable_mkldnn_bfloat16 needs --enable_mkldnn True as well")
    if options.batch_size < 1:
        raise DeployError(f"--batch_size must be at least 1, not {options.batch_size}")
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


def _last_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@dataclass(frozen=True)
class _Device:
    available: callable
    enable: callable


def _enable_cpu(config, options):
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(options.cpu_threads or _cores())
    if not options.enable_mkldnn:
        # on by itself otherwise
        _onednn(config, "disable_{}")()
        return
    # one entry per input shape; unlimited it grows with every new one
    _onednn(config, "set_{}_cache_capacity")(10)
    _onednn(config, "enable_{}")()
    if options.enable_mkldnn_bfloat16:
        _onednn(config, "enable_{}_bfloat16")()


def _onednn(config, pattern):
    """The method under its name since Paddle 3, or the older one."""
    return getattr(config, pattern.format("onednn"), None) or getattr(config, pattern.format("mkldnn"))


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
