# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A Paddle program in two, see cut: Paddle's bfloat16 is for all of a program (3.3.1 heeds no list of operations)."""
from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import paddle

from .cut import CHOICE, OTHER, SEVERAL, SHAPE, TOKENS, bottleneck
from .deploy_error import DeployError

KINDS = {"pd_op.shape": SHAPE, "pd_op.shape64": SHAPE, "pd_op.topk": CHOICE, "builtin.combine": SEVERAL}
FREE = ("im_shape", "scale_factor")
# Paddle has one static mode and one scope for all threads
_LOCK = threading.Lock()


def cut(program: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Write picture.json and decoder.json (which has an input ``TOKENS``) with their .pdiparams into ``folder``.

    Args:
        program: path of a model.json.

    Returns:
        [(program, weights)] of the two, paths.

    Raises:
        DeployError: it is no detector that can be cut so.
    """
    with _static():
        executor = paddle.static.Executor(paddle.CPUPlace())
        whole, _, outputs = paddle.static.load_inference_model(str(program.with_suffix("")), executor)
        inputs = {op.attrs()["name"]: op.result(0) for op in whole.global_block().ops if op.name() == "pd_op.data"}
        tokens = _tokens(whole, inputs)

        def save(name, inputs, outputs):
            paddle.static.save_inference_model(str(folder / name), inputs, outputs, executor, program=whole)
            return folder / f"{name}.json", folder / f"{name}.pdiparams"

        picture = save("picture", [inputs["image"]], [tokens])
        with paddle.static.program_guard(whole):
            entry = paddle.static.data(TOKENS, list(tokens.shape), "float32")
        tokens.replace_all_uses_with(entry)
        decoder = save("decoder", [entry, *(inputs[name] for name in FREE if name in inputs)], outputs)
    return [picture, decoder]


def _tokens(program, inputs):
    ops = {op.id(): op for op in program.global_block().ops}
    steps = [(key, _kind(op), [value.get_defining_op().id() for value in op.operands_source()])
             for key, op in ops.items()]
    found = "image" in inputs and bottleneck(steps, inputs["image"].get_defining_op().id())
    if not found:
        raise DeployError("bf16: this model has no decoder that could stay in float32; use --precision fp32")
    return ops[found].result(0)


def _kind(op):
    return KINDS.get(op.name(), OTHER if op.num_results() == 1 else SEVERAL)


@contextlib.contextmanager
def _static():
    """Paddle's static mode with a scope of its own; then as before."""
    with _LOCK:
        dynamic = paddle.in_dynamic_mode()
        paddle.enable_static()
        try:
            with paddle.static.scope_guard(paddle.static.Scope()):
                yield
        finally:
            if dynamic:
                paddle.disable_static()
