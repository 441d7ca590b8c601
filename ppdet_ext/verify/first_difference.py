# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Where two networks part: the first module that differs, found by walking down the tree."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ..weights import parity
from ..weights.readers import need
from . import with_hooks
from .torch_original import FLAG, Pair, as_list

# an inner module may magnify rounding (the gate of a squeeze), so those that differ by more are looked for first
LIMITS = (10 * parity.LIMIT, parity.LIMIT)


def find(pair: Pair) -> str:
    """In words: the deepest module that differs while all that ran before it agree.

    One level of the tree is held in memory at a time. Modules that only one side calls, or that give another shape
    (another layout), are looked through.
    """
    torch = need("torch", FLAG)
    image = torch.from_numpy(pair.image.numpy())
    modules = dict(pair.module.named_modules())
    shared = [name for name in with_hooks.called(pair.layer, lambda: pair.layer(pair.image)) if name in modules]
    order = list(_torch_outputs(pair, image, shared))
    at, error = next((found for limit in LIMITS if (found := _walk(pair, image, order, limit))[0]), ("", 0.0))
    if not at:
        return "no module alone differs: it is in what forward does between them"
    return f"{'.'.join(filter(None, [pair.path, at]))} ({type(modules[at]).__name__}, {error:.1e}): {_why(pair, at)}"


def _walk(pair: Pair, image: Any, order: Sequence[str], limit: float) -> tuple[str, float]:
    """(path, error) of the deepest one; ('', 0.0) for none."""
    at, error = "", 0.0
    while True:
        children = _children(at, order)
        ours, theirs = _paddle_outputs(pair, children), _torch_outputs(pair, image, children)
        errors = {name: _error(ours[name], theirs[name]) for name in order if name in ours and name in theirs}
        worst = next((name for name, value in errors.items() if not value <= limit), None)
        if worst is None:
            return at, error
        at, error = worst, errors[worst]


def _why(pair, at):
    """Whether weights or computation differ, below a module."""
    theirs = pair.module.state_dict()
    different = [name for name, value in pair.weights.items() if name.startswith(f"{at}.") and name in theirs
                 and not np.array_equal(value, theirs[name].numpy())]
    if different:
        return f"its weights are not those of the file ({different[0]})"
    return "with the same weights and input it computes something else"


def _children(at, names):
    """Names below ``at`` with none of the names between."""
    below = [name for name in names if name != at and (not at or name.startswith(f"{at}."))]
    return [name for name in below if not any(name.startswith(f"{other}.") for other in below)]


def _error(ours: Sequence[np.ndarray], ways: Sequence[Sequence[np.ndarray]]) -> float:
    """The error to the nearest of the ways to see torch's module; 0 for another layout, what comes after it tells."""
    return min(max((parity.relative_error(one, other) for one, other in zip(ours, theirs)), default=0.0)
               if [value.shape for value in ours] == [value.shape for value in theirs] else 0.0 for theirs in ways)


def _paddle_outputs(pair: Pair, names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    layers = dict(pair.layer.named_sublayers())
    hooks = (layers[name].register_forward_post_hook(_keeper(found, name)) for name in names)
    with with_hooks.removing(hooks), paddle.no_grad():
        pair.layer(pair.image)
    return found


def _torch_outputs(pair: Pair, image: Any, names: Sequence[str]) -> dict[str, list[list[np.ndarray]]]:
    """{name: the ways to see what it gives}, in the order in which torch's modules end.

    timm's norms hold their activation; a layer of ours may be such a norm, or the norm without it.
    """
    torch = need("torch", FLAG)
    after: dict[str, list[np.ndarray]] = {}
    before: dict[str, list[np.ndarray]] = {}
    hooks = []
    for name in names:
        module = pair.module.get_submodule(name)
        hooks.append(module.register_forward_hook(_keeper(after, name)))
        if isinstance(getattr(module, "act", None), torch.nn.Module):
            hooks.append(module.act.register_forward_pre_hook(_keeper(before, name)))
    with with_hooks.removing(hooks), torch.no_grad():
        pair.run(image)
    return {name: [output, *([before[name]] if name in before else [])] for name, output in after.items()}


def _keeper(found: dict[str, list[np.ndarray]], name: str) -> Any:
    """A hook that keeps the first output (before a layer: input) in arrays of its own: later layers work in place."""
    def keep(_layer, inputs, output=None):
        if name not in found:
            found[name] = [np.array(parity.as_array(value)) for value in as_list(inputs if output is None else output)]
    return keep
