# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a trainer's model to a folder for Paddle Inference: program, weights, infer_cfg.yml; verified before it appears.

With ``onnx`` the folder gets model.onnx too.

The folder is PaddleDetection's (its tools/export_model.py), and its parts that still work are used.
"""
from __future__ import annotations

import copy
import functools
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import yaml
from paddle import nn
from paddle.static import InputSpec
from ppdet.core.workspace import create
from ppdet.engine.export_utils import TRT_MIN_SUBGRAPH, _parse_reader
from ppdet.utils.fuse_utils import fuse_conv_bn

from ..checkpoints.stamp import Stamp
from ..deploy.exported_model import CONFIG
from ..detector.attention import discrete_layers, sample_bilinearly
from ..errors import UserError
from ..files import require_room, require_writable, temporary_folder
from . import to_onnx, verify_export

if TYPE_CHECKING:
    from .trainer import Trainer

log = logging.getLogger("ppdet.engine")
# all that one model's program and weights can be called, by Paddle 2 or 3 and in ONNX
MODEL_FILES = ("model.json", "model.pdmodel", "model.pdiparams", "model.pdiparams.info", to_onnx.FILE)


@dataclass(frozen=True)
class ExportOptions:
    """``export:`` of PaddleDetection's runtime.yml. ``nms`` means nothing to RT-DETR, which has none."""

    post_process: bool = True
    nms: bool = True
    benchmark: bool = False
    fuse_conv_bn: bool = False

    @classmethod
    def of(cls, cfg: dict[str, Any]) -> ExportOptions:
        """Read ``cfg['export']``; UserError for a key it does not have."""
        given = dict(cfg.get("export") or {})
        unknown = sorted(set(given) - set(cls.__dataclass_fields__))
        if unknown:
            raise UserError(f"export: unknown key '{unknown[0]}'; it has {', '.join(cls.__dataclass_fields__)}")
        return cls(**given)

    @property
    def boxes(self) -> bool:
        """Whether the exported model ends in detections rather than in the head's output."""
        return self.post_process and not self.benchmark


def export_model(trainer: Trainer, output_dir: str | Path = "output_inference", onnx: bool = False,
                 picture: str | None = None) -> Path:
    """Write ``<output_dir>/<config name>/{model.json or model.pdmodel, model.pdiparams, infer_cfg.yml}``.

    Inputs: image [N, 3, H, W], im_shape [N, 2], scale_factor [N, 2]; N is free, H and W are those of
    ``TestReader.inputs_def.image_shape`` (-1: free). Outputs: bbox [sum, 6] (class, score, x1, y1, x2, y2 in pixels of
    the original picture), bbox_num [N]. The trainer's model stays as it is: a copy is exported.

    Args:
        trainer: a Trainer with weights loaded.
        output_dir: made where missing; files of an earlier export are replaced or, model.onnx without ``onnx``,
            removed; others stay.
        onnx: write model.onnx as well.
        picture: image file for the verification; None: a photograph of scikit-image's.

    Returns:
        The folder.

    Raises:
        UserError: the folder is not writable, the config cannot be exported, or a file that was written (the program
            run by Paddle Inference, model.onnx by ONNX Runtime) differs from the trainer's model on a random batch
            or on the picture by more than 1e-3 (max|d|/max|ref|). A model with discrete sampling is held to that in its
            bilinear form, which is not kept.
    """
    cfg, options = trainer.cfg, ExportOptions.of(trainer.cfg)
    shape = image_shape(cfg)
    target = Path(output_dir) / cfg["filename"]
    settings = infer_config(cfg, shape, trainer.categories[1] if trainer.checkpoint else ())
    if trainer.checkpoint and trainer.checkpoint.run:
        settings["checkpoint"] = _origin(trainer.checkpoint)
    engines = ["paddle", to_onnx.require()] if onnx else ["paddle"]
    model = _inference_copy(trainer.model, cfg, options)
    chance = bool(discrete_layers(model))
    with fresh_folder(target) as folder:
        write = functools.partial(_write, cfg=cfg, options=options, settings=settings, engines=engines, picture=picture)
        if chance:
            plain = copy.deepcopy(model)
            sample_bilinearly(plain)
            with temporary_folder(target) as beside:
                write(plain, beside)
        write(model, folder, chance=chance)
    log.info("Export model and saved in %s", target)
    return target


def _write(model: nn.Layer, folder: Path, *, cfg: dict[str, Any], options: ExportOptions, settings: dict[str, Any],
           engines: Sequence[str], picture: str | None, chance: bool = False) -> None:
    """Write a model's files into ``folder`` and verify each; see ``export_model`` and ``verify_export.verify``."""
    shape = image_shape(cfg)
    (folder / CONFIG).write_text(
        yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, allow_unicode=True), encoding="utf-8")
    # asked before anything is merged, so that the merging is verified too
    cases = verify_export.cases(model, settings["Preprocess"], shape, picture)
    _save(_merged(model, options), shape, folder / "model", all_inputs=options.boxes)
    require_room(folder)  # Paddle says nothing of a full disk
    if len(engines) > 1:
        to_onnx.convert(folder)
        require_room(folder)
    for engine in engines:
        verify_export.verify(folder, engine, cases, options.boxes, chance)


def _origin(mark: Stamp) -> dict[str, Any]:
    """Which checkpoint of which run was exported, for infer_cfg.yml."""
    return {"run": mark.run, "epoch": mark.epoch, "step": mark.step,
            "steps_per_epoch": mark.facts.steps_per_epoch, "data": mark.facts.data}


def infer_config(cfg: dict[str, Any], shape: Sequence[int], classes: Sequence[str] = ()) -> dict[str, Any]:
    """The content of infer_cfg.yml, keys as PaddleDetection's, as plain Python values.

    Args:
        cfg: the trainer's config.
        shape: (H, W) of the exported model's input, -1 where free.
        classes: class names; without them TestDataset's.

    Raises:
        UserError: normalisation is not filled in, or the class names do not fit ``num_classes``.
    """
    reader = copy.deepcopy({key: cfg["TestReader"][key] for key in ("sample_transforms", "batch_transforms",
                                                                    "fuse_normalize") if key in cfg["TestReader"]})
    reader["sample_transforms"] = [{name: dict(settings or {}) for name, settings in step.items()}
                                   for step in reader["sample_transforms"]]
    dataset = cfg["TestDataset"] if hasattr(cfg["TestDataset"], "get_anno") else create("TestDataset")()
    steps, labels = _parse_reader(reader, dataset, cfg["metric"], "detection_arch", [3, *shape])[:2]
    steps = [_plain(step) for step in steps]
    for step in steps:
        if step["type"] == "NormalizeImage" and not all(isinstance(x, Number) for x in step["mean"] + step["std"]):
            raise UserError("TestReader: NormalizeImage has no numbers for mean and std; load the config with "
                            "ppdet_ext.cli.load_cfg, or write them out")
    labels = list(classes) or labels
    if len(labels) != cfg["num_classes"]:
        raise UserError(f"num_classes is {cfg['num_classes']}, but TestDataset's annotation file "
                        f"({dataset.get_anno()}) names {len(labels)} classes; set TestDataset.anno_path")
    return {"mode": "paddle", "draw_threshold": 0.5, "metric": cfg["metric"], "use_dynamic_shape": -1 in shape,
            "arch": cfg["architecture"], "min_subgraph_size": TRT_MIN_SUBGRAPH.get(cfg["architecture"], 3),
            "Preprocess": steps, "label_list": labels}


def _plain(value: Any) -> Any:
    """YAML's own types in place of ppdet's and numpy's."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def image_shape(cfg: dict[str, Any]) -> list[int]:
    """(H, W) of TestReader.inputs_def.image_shape, -1 where free; a leading batch size is dropped: batches are free."""
    given = (cfg["TestReader"].get("inputs_def") or {}).get("image_shape") or [3, -1, -1]
    sides = [-1 if side in (None, -1) else int(side) for side in given[-2:]]
    if len(given) not in (3, 4) or any(side == 0 or side < -1 for side in sides):
        raise UserError(f"TestReader.inputs_def.image_shape is {list(given)}; it must be [3, height, width]")
    return sides


def _inference_copy(model: nn.Layer, cfg: dict[str, Any], options: ExportOptions) -> nn.Layer:
    """A copy of the model in its form for inference; the original keeps training as if nothing had been."""
    model = copy.deepcopy(model)
    model.eval()
    model.fuse_norm = bool(cfg["TestReader"].get("fuse_normalize", False))
    model.exclude_post_process = not options.boxes
    return model


def _merged(model: nn.Layer, options: ExportOptions) -> nn.Layer:
    """The model in fewer steps: layers that know such a form (RepVGG, the neck), BatchNorm merged where asked for."""
    for layer in model.sublayers(include_self=True):
        if hasattr(layer, "convert_to_deploy"):
            layer.convert_to_deploy()
    return fuse_conv_bn(model) if options.fuse_conv_bn else model


def save_for_timing(model: nn.Layer, shape: Sequence[int], prefix: Path, options: ExportOptions = ExportOptions(),
                    all_inputs: bool = True) -> None:
    """Write ``prefix.json`` (or .pdmodel) and .pdiparams of a copy of ``model``: the program that an export runs.

    For what is measured and not kept: there is no infer_cfg.yml, and nothing is verified.

    Args:
        model: a detector, or (without ``all_inputs``) a backbone; it stays as it is.
        shape: (H, W) of the input image.
        all_inputs: False: the image alone.
    """
    model = copy.deepcopy(model)
    model.eval()
    _save(_merged(model, options), shape, prefix, all_inputs)


def _save(model: nn.Layer, shape: Sequence[int], prefix: Path, all_inputs: bool = True) -> None:
    """``all_inputs`` False: the image alone, as a graph may have no input that it does not use."""
    inputs = {"image": InputSpec([None, 3, *[None if side == -1 else side for side in shape]], name="image")}
    if all_inputs:
        inputs.update({name: InputSpec([None, 2], name=name) for name in ("im_shape", "scale_factor")})
    spec: list[Any] = [inputs]
    # full_graph: ppdet's own export lacks it, and Paddle 3 then traces op by op and fails
    static = paddle.jit.to_static(model, input_spec=spec, full_graph=True)
    try:
        paddle.jit.save(static, str(prefix), input_spec=spec)
    except Exception as error:
        if -1 not in shape:
            raise
        # Paddle's message is a page about control flow; what a user can do about it is this
        raise UserError("this model cannot be exported for inputs of any size (its anchors are made for one size); "
                        "set TestReader.inputs_def.image_shape to [3, height, width]") from error


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; on success its files replace those of an earlier export there."""
    require_writable(target.parent)
    if target.exists():
        require_writable(target)
    with temporary_folder(target) as temporary:
        yield temporary
        target.mkdir(exist_ok=True)
        # a model.pdmodel of another Paddle beside a new model.json would be one program with another's weights, and an
        # old model.onnx another model under the same name
        for name in MODEL_FILES:
            if not (temporary / name).exists() and (target / name).exists():
                (target / name).unlink()
                log.info("removed %s of an earlier export", target / name)
        for path in sorted(temporary.iterdir()):
            os.replace(path, target / path.name)
