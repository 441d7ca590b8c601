# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What lets a user's own class stand as a backbone: a plain class becomes an nn.Layer, and shapes are found.

The class as the guide writes it has an ``__init__`` that assigns sublayers and a ``forward`` from an image tensor
to feature maps. PaddleDetection wants an nn.Layer, its batch dict, a list of features and ``out_shape``.
"""
from __future__ import annotations

import contextlib
import functools
import inspect
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import paddle
from paddle import nn
from ppdet.modeling.shape_spec import ShapeSpec
from ppdet.utils.logger import setup_logger

from ..errors import Unsupported, UserError
from . import torch_bridge, torch_proxy
from .forward_input import ProbeBatch, declares_batch, takes_batch
from .weights_wanted import libraries_fetch_nothing, weights_wanted

logger = setup_logger("ppdet_ext")

# two sizes must agree; fixed-size networks are met by one of the later ones
DRY_RUN_SIZES = (64, 128, 224, 256, 384, 512, 640)
# what RT-DETR's neck takes; a user's class that gives these and others is taken at these
NECK_STRIDES = (8, 16, 32)
# packages whose errors in a user's constructor are about what was asked of them
LIBRARIES = ("timm", "torchvision", "torch", "huggingface_hub", "transformers")


#: {"make": backbones.adapters.make_adapter}; that floor is above this one, and enters it when it is loaded
adapters: dict[str, Callable[..., nn.Layer]] = {}


class NoFeatures(UserError):
    """What forward gives are no feature maps."""


def adapt(cls: Any) -> Any:
    """The class that PaddleDetection can use as a network; classes without ``forward`` come back untouched.

    - A plain class is made anew with nn.Layer as its last base, so its sublayers count although it never calls
      nn.Layer's constructor. Calling ``super().__init__()`` first stays allowed.
    - A torch module's class becomes an nn.Layer's, of the same name and constructor; its forward is bridged as a whole.
    - Called with PaddleDetection's batch (a dict with 'image'), it hands ``forward`` the image tensor; the whole dict
      if forward's first parameter is annotated ``dict``, or if it asks for a key of it: see ``forward_input``. Features
      in a tensor, tuple or dict are made a list.
    - Without ``out_shape``, a dry run finds it when it is first asked for: see ``infer_out_shape``. Where the features
      have strides 8, 16 and 32 and others, only the last feature at each of these three is used.
    - With an attribute ``adapter`` (a name of ``backbones.adapters``, or auto), that makes strides 8, 16 and 32.
    - With ``in_chans = 1`` the image tensor is the mean of its three channels.
    - Torch modules among the attributes become Paddle layers when an instance is made: see ``bridge_torch_modules``.

    Raises:
        UserError: a torch class without forward; when an instance is made, a torch module that cannot be bridged.
    """
    if torch_bridge.is_module_class(cls):
        cls = torch_bridge.layer_class(cls)
    if not callable(getattr(cls, "forward", None)):
        return cls
    if not issubclass(cls, nn.Layer):
        cls = _as_layer_class(cls)
    if not hasattr(vars(cls).get("__init__"), "users_init"):
        cls.__init__ = _bridging_init(cls.__init__)
    if hasattr(cls, "out_shape") and declares_batch(cls):
        return cls
    if cls.__call__ in (nn.Layer.__call__, _call):
        # not forward itself: static graphs are made from forward's source text, and a wrapper's closure is lost there
        cls.__call__ = _call
    if not hasattr(cls, "out_shape"):
        cls.out_shape = functools.cached_property(_found_out_shape)
        cls.out_shape.__set_name__(cls, "out_shape")
    return cls


def infer_out_shape(layer: nn.Layer) -> list[ShapeSpec]:
    """[ShapeSpec(channels, stride)] of a backbone, from running it on blank images of two sizes.

    Runs in eval mode without gradients; training flags and statistics stay as they are. The image has ``in_chans``
    channels where the layer has such an attribute, else 3.

    Raises:
        UserError: it cannot be run, does not give 4-D feature maps, or their strides are no whole numbers.
    """
    name = type(layer).__name__
    errors: list[UserError] = []
    found: list[list[ShapeSpec]] = []
    for size in getattr(layer, "dry_run_sizes", DRY_RUN_SIZES):
        try:
            found.append(_dry_run(layer, size))
        except NoFeatures:
            raise
        except Exception as error:  # whatever a user's forward may raise
            errors.append(_explained(error, layer, size, "has no out_shape", ", or define out_shape"))
        if len(found) == 2:
            break
    if not found:
        raise torch_bridge.most_telling(errors)
    if found[0] != found[-1]:
        raise UserError(f"{name}'s features do not grow with the image (strides {[s.stride for s in found[0]]}, then "
                        f"{[s.stride for s in found[-1]]} on a larger one); return feature maps, or define out_shape")
    return found[0]


def bridge_torch_modules(layer: nn.Layer) -> None:
    """Make Paddle layers of the torch modules that ``layer`` holds, from one run of its forward on a blank image.

    It is run at the first of some sizes at which it can be. ``layer.pretrained_cfg`` then is what the torch module says
    of its weights, where exactly one does (timm's: mean, std, input_size, ...).

    Raises:
        UserError: a module cannot be bridged, or forward does not run; the line says why.
    """
    proxies = torch_proxy.place_proxies(layer)
    if not proxies:
        return
    errors: list[UserError] = []
    sizes = proxies.sizes()
    wants_batch(layer)  # which may call proxies, too
    for size in sizes:
        proxies.forget_calls()
        try:
            _run_blank(layer, size)
            break
        except Exception as error:  # whatever a user's forward may raise
            errors.append(_explained(error, layer, size, "holds torch modules"))
        if isinstance(errors[-1], Unsupported):
            raise errors[-1]
    else:
        raise torch_bridge.most_telling(errors)
    cfg = proxies.pretrained_cfg()
    if cfg and not hasattr(layer, "pretrained_cfg"):
        layer.pretrained_cfg = cfg
    layer.dry_run_sizes = torch_bridge.unique([size, torch_bridge.SECOND_SIZE, *sizes])
    proxies.replace_with_layers()


def pretrained_cfg(cls: Any, settings: Mapping[str, Any] | Iterable = ()) -> types.SimpleNamespace | None:
    """timm's pretrained_cfg of the torch module inside the class ``cls``, or None: mean, std, ... as attributes.

    The constructor runs for it, with ``pretrained=False`` where it takes that, and nothing is bridged.

    Args:
        settings: of the constructor, as a config has them.
    """
    if not hasattr(cls.__init__, "users_init"):
        return None
    if hasattr(cls, "torch_module"):
        return torch_bridge.pretrained_cfg_of([_unbridged(cls, settings)])
    return torch_proxy.place_proxies(_unbridged(cls, settings)).pretrained_cfg()


def torch_originals(layer: nn.Layer, settings: Mapping[str, Any] | Iterable = ()) -> dict[str, Any]:
    """{path in ``layer``: torch module} of what it was bridged from, made anew with other random values.

    '' stands for a layer that is a torch module's as a whole; {} where nothing was bridged.

    Args:
        settings: of the constructor, as a config has them.
    """
    cls = type(layer)
    if not hasattr(cls.__init__, "users_init") or not torch_bridge.torch_types()[0]:
        return {}
    made = _unbridged(cls, settings)
    return {"": made} if hasattr(cls, "torch_module") else torch_proxy.modules_in(made)


def _unbridged(cls: Any, settings: Mapping[str, Any] | Iterable) -> Any:
    """What the constructor makes before anything is bridged, with ``pretrained=False`` where it takes that."""
    known = list(inspect.signature(cls.__init__).parameters)[1:]
    given = {key: value for key, value in dict(settings).items() if key in known}
    if "pretrained" in known:
        given["pretrained"] = False
    with _errors_of_libraries(cls.__name__), libraries_fetch_nothing():
        if hasattr(cls, "torch_module"):
            return cls.torch_module(**given)
        bare = cls.__new__(cls)
        cls.__init__.users_init(bare, **given)
    return bare


def as_features(output: Any, name: str = "the backbone") -> list[paddle.Tensor]:
    """A list of feature maps from a tensor, list, tuple or dict (in its order).

    Raises:
        UserError: anything else than [B, C, H, W] tensors.
    """
    if isinstance(output, Mapping):
        output = list(output.values())
    features = list(output) if isinstance(output, (list, tuple)) else [output]
    for feature in features:
        if not _is_tensor(feature) or len(feature.shape) != 4:
            got = f"a tensor of shape {list(feature.shape)}" if _is_tensor(feature) else type(feature).__name__
            raise NoFeatures(f"{name}.forward must give feature maps [B, C, H, W], finest first; among them is {got}")
    if not features:
        raise NoFeatures(f"{name}.forward gives no feature maps; return a list such as [c3, c4, c5]")
    return features


def wants_batch(layer: nn.Layer) -> bool:
    """Whether forward takes the batch, see ``forward_input``; found once and kept as the attribute ``takes_batch``."""
    if getattr(layer, "takes_batch", None) is None:
        with _quietly_in_eval_mode(layer):
            layer.takes_batch = takes_batch(layer, functools.partial(_gives_features, layer))
    return layer.takes_batch


def _gives_features(layer: nn.Layer) -> bool:
    try:
        return bool(as_features(type(layer).forward(layer, _blank_image(layer, DRY_RUN_SIZES[0]))))
    except Exception:  # whatever a user's forward may raise
        return False


def _call(self, *args, **kwargs):
    """nn.Layer.__call__, save that a batch dict is handed on as forward wants it and features come as a list."""
    batch = args[0] if len(args) == 1 and not kwargs else None
    if isinstance(batch, Mapping) and not isinstance(batch, ProbeBatch) and "image" in batch:
        output = nn.Layer.__call__(self, batch if wants_batch(self) else as_wanted(batch["image"], self))
        features = as_features(output, type(self).__name__)
        if "to_strides" in self._sub_layers:
            return self.to_strides(features)
        if paddle.in_dynamic_mode() and not self.__dict__.get("out_shape_holds"):
            _check_out_shape(self, batch["image"], features)
        taken = self.__dict__.get("taken_features")
        return [features[index] for index in taken] if taken else features
    return nn.Layer.__call__(self, *args, **kwargs)


def as_wanted(image: paddle.Tensor, network: nn.Layer) -> paddle.Tensor:
    """An image [B, C, H, W] for ``network``: the mean of three channels where it says ``in_chans = 1``."""
    grey = getattr(network, "in_chans", None) == 1 and image.shape[1] == 3
    return image.mean(axis=1, keepdim=True) if grey else image


def _check_out_shape(layer, image, features):
    """Raise UserError where a class's own out_shape is not what forward gives; once it is, it holds."""
    if "out_shape" not in layer.__dict__ and isinstance(type(layer).out_shape, functools.cached_property):
        return  # not asked for yet, and then found
    specs = layer.out_shape
    # another number of features is the neck's to tell, which may be built for it
    if len(specs) != len(features) or not all(isinstance(getattr(spec, "stride", None), int) for spec in specs):
        return
    sides = image.shape[2:]
    given = [(feature.shape[1], [side / cells for side, cells in zip(sides, feature.shape[2:])])
             for feature in features]
    # at other sizes a feature's cells are rounded
    wanted = [(spec.channels, [stride if side % spec.stride else spec.stride for side, stride in zip(sides, found)])
              for spec, (_, found) in zip(specs, given)]
    if wanted != given:
        shown = ", ".join(f"{strides[0]:g} ({channels})" for channels, strides in given)
        written = ", ".join(f"{spec.stride} ({spec.channels})" for spec in specs)
        raise UserError(f"{type(layer).__name__}.out_shape says strides (channels) {written}, but forward gives "
                        f"{shown}; mend it, or leave it out: it is found by itself")
    layer.__dict__["out_shape_holds"] = True


def _adapted(layer, specs):
    """``to_strides``, the adapter that the class names by its attribute ``adapter``; [ShapeSpec] of what it gives."""
    layer.to_strides = adapters["make"](layer.adapter, [spec.channels for spec in specs],
                                        [spec.stride for spec in specs])
    return [ShapeSpec(channels=channels, stride=stride)
            for channels, stride in zip(layer.to_strides.channels(), layer.to_strides.strides())]


def _found_out_shape(layer):
    """``infer_out_shape``, of the features that a neck takes; ``taken_features`` are their indices, where not all."""
    specs = infer_out_shape(layer)
    layer.__dict__["out_shape_holds"] = True
    if isinstance(getattr(layer, "adapter", None), str) and layer.adapter != "none":
        return _adapted(layer, specs)
    last = {spec.stride: index for index, spec in enumerate(specs)}
    if len(specs) == len(NECK_STRIDES) or not set(NECK_STRIDES) <= set(last):
        return specs
    layer.taken_features = [last[stride] for stride in NECK_STRIDES]
    logger.info("%s gives features at strides %s; taken are those at %s (define out_shape for others)",
                type(layer).__name__, [spec.stride for spec in specs], list(NECK_STRIDES))
    return [specs[index] for index in layer.taken_features]


def _as_layer_class(cls):
    """``cls`` made anew with nn.Layer as its last base."""
    namespace = {key: value for key, value in vars(cls).items() if key not in ("__dict__", "__weakref__")}
    bases = tuple(base for base in cls.__bases__ if base is not object) + (nn.Layer,)
    made = type(cls)(cls.__name__, bases, namespace)
    made.__qualname__ = cls.__qualname__
    _point_super_at(made, cls)
    if made.__init__ is not nn.Layer.__init__:
        made.__init__ = _layer_first(made.__init__)
    return made


def _point_super_at(made, cls):
    """A bare ``super()`` finds its class in a closure cell; those of ``cls`` must now hold ``made``."""
    for value in vars(cls).values():
        function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
        for cell in getattr(function, "__closure__", None) or ():
            if cell.cell_contents is cls:
                cell.cell_contents = made


def _layer_first(init):
    def __init__(self, *args, **kwargs):
        nn.Layer.__init__(self)
        init(self, *args, **kwargs)

    return _looks_like(__init__, init)


def _bridging_init(init: Callable) -> Callable:
    """The user's constructor ``init``, followed by ``bridge_torch_modules``."""
    def __init__(self, *args, **kwargs):
        with _errors_of_libraries(type(self).__name__):
            if weights_wanted():
                init(self, *args, **kwargs)
            else:
                _init_without_weights(self, init, args, kwargs)
        outermost = type(self).__init__
        if outermost is __init__ or not hasattr(outermost, "users_init"):  # not within a subclass's, which is not done
            bridge_torch_modules(self)

    __init__.users_init = init  # type: ignore[attr-defined]
    return _looks_like(__init__, init)


def _init_without_weights(layer: Any, init: Callable, args: tuple, kwargs: dict) -> None:
    """The user's constructor where a checkpoint of the whole detector follows: nothing is loaded or downloaded.

    Code that needs the weights for more than loading them fails so; it then gets them as in training.
    """
    parameters = inspect.signature(init).parameters
    bound = inspect.signature(init).bind(layer, *args, **kwargs)
    bound.apply_defaults()
    for given in (bound.arguments, *(bound.arguments[name] for name in parameters
                                     if parameters[name].kind is inspect.Parameter.VAR_KEYWORD)):
        if given.get("pretrained"):
            given["pretrained"] = False
    try:
        with libraries_fetch_nothing():
            init(*bound.args, **bound.kwargs)
    except UserError:
        raise
    except Exception as error:  # whatever a user's code may raise
        logger.info("%s is made with its own weights, for without them: %s: %s", type(layer).__name__,
                    type(error).__name__, _first_line(error))
        init(layer, *args, **kwargs)


@contextlib.contextmanager
def _errors_of_libraries(name: str) -> Iterator[None]:
    """Errors that timm and the like raise in a user's constructor, in one line: an unknown name, no network, ..."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = [(_package(frame), f"{Path(frame.f_code.co_filename).name}:{line}")
                  for frame, line in traceback.walk_tb(error.__traceback__)]
        if not any(package in LIBRARIES for package, _ in frames):
            raise
        where = next((place for package, place in frames if package not in (*LIBRARIES, _package())), frames[-1][1])
        hint = ("; without a network: pretrained=False, or a local file (timm: pretrained=True, pretrained_cfg_overlay="
                "dict(file='PATH'))")
        raise UserError(f"{name} cannot be made ({where}): {type(error).__name__}: {' '.join(str(error).split())[:300]}"
                        f"{hint if isinstance(error, OSError) else ''}") from error


def _looks_like(function, other):
    """Signature and doc of ``other``: ppdet reads a class's settings from its constructor's signature."""
    function.__signature__ = inspect.signature(other)
    function.__doc__ = other.__doc__
    return function


def _run_blank(layer, size):
    """What forward gives for a blank image."""
    image = _blank_image(layer, size)
    batch = wants_batch(layer)
    with _quietly_in_eval_mode(layer):
        return layer({"image": image} if batch else image)


def _blank_image(layer, size):
    return paddle.zeros([1, getattr(layer, "in_chans", 3), size, size])


def _dry_run(layer, size):
    """The specs of a blank image's features; ValueError where a stride is no whole number at this size."""
    features = as_features(_run_blank(layer, size), type(layer).__name__)
    for feature in features:
        height, width = feature.shape[2:]
        if feature.shape[1] == height != width and size % height == 0:
            raise NoFeatures(f"{type(layer).__name__}.forward gives features with channels last ({list(feature.shape)} "
                             f"at {size}x{size}); give [B, C, H, W]: feature.transpose([0, 3, 1, 2])")
        if height != width or size % height:
            raise ValueError(f"a feature of shape {list(feature.shape)} is no [B, C, H, W] of a whole stride")
    return [ShapeSpec(channels=feature.shape[1], stride=size // feature.shape[2]) for feature in features]


def _explained(error, layer, size, why, remedy=""):
    """UserError for what went wrong in forward on a blank image, which it is run on because the class ``why``."""
    if isinstance(error, UserError):
        return error
    name = type(layer).__name__
    torch_line = _line_with_torch(error)
    remedy = (f"{torch_line} uses torch on Paddle tensors: use paddle.* there, or derive {name} from torch.nn.Module, "
              "so that the whole class is bridged" if torch_line else
              f"mend forward (it gets the image; annotate its parameter ': dict' to get the batch){remedy}")
    kind = Unsupported if torch_line else UserError
    return kind(f"{name} {why}, and running it on a blank image failed ({size}x{size}: {type(error).__name__}: "
                f"{_first_line(error)}); {remedy}")


def _line_with_torch(error):
    """'file.py:12' of the innermost frame of the user's own code that uses a name of torch's; '' where none does."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if _package(frame) in ("torch", "paddle", _package()):
            continue
        code = frame.f_code
        used = [frame.f_globals.get(name) for name in code.co_names]
        used += [frame.f_locals.get(name) for name in code.co_freevars]
        if any(_is_torchs(value) for value in used):
            found = f"{Path(code.co_filename).name}:{line}"
    return found


def _package(frame=None):
    """Name of the package that a frame's code belongs to; without a frame, of this one."""
    return str(frame.f_globals.get("__name__", "") if frame else __name__).partition(".")[0]


def _is_torchs(value):
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return isinstance(name, str) and name.partition(".")[0] == "torch"


class _quietly_in_eval_mode:
    """Eval mode without gradients for the layer and all below it; each one's own flag comes back."""

    def __init__(self, layer):
        self.flags = [(part, part.training) for part in layer.sublayers(include_self=True)]
        self.no_grad = paddle.no_grad()

    def __enter__(self):
        self.no_grad.__enter__()
        for part, _ in self.flags:
            part.training = False

    def __exit__(self, *error):
        for part, flag in self.flags:
            part.training = flag
        return self.no_grad.__exit__(*error)


def _is_tensor(value):
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "Error" in line), lines[-1] if lines else "")
