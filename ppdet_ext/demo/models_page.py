# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page: drop a picture, see what one or two exported models find; threshold and classes need no new inference."""
from __future__ import annotations

import html
import secrets
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ..deploy import DeployError, Predictor, visualize
from ..deploy.image_files import decode_image
from ..files import atomic_path
from . import shown_boxes
from .shown_boxes import Found

if TYPE_CHECKING:
    import gradio

SHOWN_SIDE = 1280  # pixels of the longer side of what is drawn on; a photograph's own pixels would only be slow
LETTERS = "AB"
HEADERS = ["class · 类别", "score · 得分", "x1", "y1", "x2", "y2"]
STAGES = {"preprocess": ("prepare", "预处理"), "inference": ("model", "推理"), "postprocess": ("split", "后处理")}
WAITING = "Drop a picture. · 请拖入一张图片。"
# of what the page keeps: seconds between two looks for old files, and the age from which they go
DELETE_EVERY, DELETE_AGE = 3600, 86400
STYLE = """
.line { overflow-wrap: anywhere; }
.wrong { color: #b42318; font-weight: 600; }
@media (prefers-color-scheme: dark) { .wrong { color: #fda29b; } }
.title { font-weight: 600; }
.times { font-variant-numeric: tabular-nums; }
"""


@dataclass(frozen=True)
class Look:
    """A picture that was dropped, and what the models found on it: all that the threshold and the classes need.

    Attributes:
        name: of the file.
        size: width and height in pixels.
        small: RGB uint8 [h, w, 3], of at most SHOWN_SIDE pixels a side.
        found: of each model.
        folder: where its downloads are written.
    """

    name: str
    size: tuple[int, int]
    small: np.ndarray
    found: tuple[Found, ...]
    folder: Path

    def drawn(self, one: Found, threshold: float, classes: Collection[str]) -> np.ndarray:
        """The small picture with a model's boxes."""
        boxes = one.kept(threshold, classes)
        boxes[:, 2:] *= self.small.shape[1] / self.size[0]
        return visualize.draw_boxes(self.small, boxes, one.labels, 0.0)


class Models:
    """One or two predictors and their titles; a picture goes through one after the other, so that times are honest."""

    def __init__(self, predictors: Sequence[Predictor], titles: Sequence[str], folder: Path) -> None:
        self.predictors, self.titles, self.folder = predictors, titles, folder
        self._one_picture = threading.Lock()

    def warm_up(self) -> None:
        """The first run of an engine takes longer, and is nobody's picture."""
        for predictor in self.predictors:
            predictor.predict([np.full((480, 640, 3), 127, np.uint8)])

    def look(self, path: str | Path) -> Look:
        """Detect on an uploaded file.

        Raises:
            DeployError: it is no picture, is too large, or a model cannot take it.
        """
        name = Path(path).name
        pixels = decode_image(Path(path).read_bytes(), name)
        found = []
        with self._one_picture:
            for title, predictor in zip(self.titles, self.predictors):
                boxes = predictor.predict([pixels])[0]["boxes"]  # type: ignore[index]  # what it cannot take raises
                found.append(Found(title, predictor.labels, boxes,
                                   dict(zip(predictor.timings.STAGES, predictor.timings.batches[-1]))))
        height, width = pixels.shape[:2]
        return Look(name, (width, height), _small(pixels), tuple(found), self.folder / secrets.token_hex(16))


def _small(pixels):
    scale = SHOWN_SIDE / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def line(text: str, kind: str = "") -> str:
    """A text as one line of HTML; names of files are text in it."""
    return f'<p class="line {kind}" role="status">{html.escape(text)}</p>'


def times(one: Found, kept: int) -> str:
    """How many boxes are shown of how many, and the milliseconds, in both languages."""
    total = sum(one.milliseconds.values())
    parts = [", ".join(f"{STAGES[name][number]} {value:.1f}" for name, value in one.milliseconds.items())
             for number in (0, 1)]
    return line(f"{kept} boxes · {kept} 个框 | {total:.1f} ms ({parts[0]} · {parts[1]})", "times")


def views(look: Look | None, models: Models, threshold: float, classes: Collection[str]) -> list[Any]:
    """What the page shows of a picture: for each model the drawn picture, its times and its table; then two files."""
    if look is None:
        return [None, "", None] * len(models.predictors) + [None, None]
    shown: list[Any] = []
    for one in look.found:
        rows = one.rows(threshold, classes)
        shown += [look.drawn(one, threshold, classes), times(one, len(rows)),
                  [[row[key] for key in shown_boxes.COLUMNS[2:]] for row in rows]]
    texts = {"json": shown_boxes.as_json(look.name, look.size, look.found, threshold, classes),
             "csv": shown_boxes.as_csv(look.found, threshold, classes)}
    for suffix, text in texts.items():
        path = look.folder / f"{Path(look.name).stem[:100] or 'picture'}_boxes.{suffix}"
        with atomic_path(path) as temporary:
            # the mark at the start is how Excel knows UTF-8
            temporary.write_text(text, encoding="utf-8-sig" if suffix == "csv" else "utf-8")
        shown.append(str(path))
    return shown


def build(models: Models, threshold: float) -> gradio.Blocks:
    """The page of ``models``; ``threshold`` is where the slider begins."""
    import gradio as gr

    with gr.Blocks(title="ppdet_ext demo", analytics_enabled=False, delete_cache=(DELETE_EVERY, DELETE_AGE)) as page:
        state = gr.State(None, time_to_live=DELETE_AGE)
        gr.Markdown("## What the models find · 模型的检测结果")
        with gr.Row():
            upload = gr.File(label="Picture: drop it here · 图片:拖到这里", height=150, elem_id="upload")
            with gr.Column():
                slider = gr.Slider(0, 1, threshold, step=0.01, label="Least score (threshold) · 最低得分 (阈值)",
                                   elem_id="threshold")
                names = shown_boxes.class_names([predictor.labels for predictor in models.predictors])
                classes = gr.Dropdown(names, value=[], multiselect=True, elem_id="classes",
                                      label="Classes (none: all) · 类别 (不选即全部)")
        status = gr.HTML(line(WAITING), elem_id="status")
        shown: list[Any] = []
        with gr.Row():
            for letter, title in zip(LETTERS, models.titles):
                with gr.Column(min_width=320):
                    shown += _model_column(gr, letter, title)
        with gr.Row():
            shown += [gr.DownloadButton(f"Boxes as {kind} · 下载 {kind}", elem_id=kind.lower())
                      for kind in ("JSON", "CSV")]

        def looked(path, threshold, classes):
            if not path:
                return [None, line(WAITING), *views(None, models, threshold, classes)]
            try:
                look = models.look(path)
            except DeployError as error:
                return [None, line(str(error), "wrong"), *views(None, models, threshold, classes)]
            text = f"{look.name}: {look.size[0]} x {look.size[1]}"
            return [look, line(text), *views(look, models, threshold, classes)]

        def filtered(look, threshold, classes):
            return views(look, models, threshold, classes)

        upload.change(looked, [upload, slider, classes], [state, status, *shown], concurrency_limit=1)
        for chosen in (slider, classes):
            chosen.change(filtered, [state, slider, classes], shown, show_progress="hidden",
                          trigger_mode="always_last")
    return page


def _model_column(gr: Any, letter: str, title: str) -> list[Any]:
    """The drawn picture, times and table of a model, below its title."""
    gr.HTML(line(title, "title"))
    # without the button that would share the picture with a site
    return [gr.Image(show_label=False, interactive=False, format="jpeg", buttons=["download", "fullscreen"],
                     elem_id=f"picture_{letter}"),
            gr.HTML("", elem_id=f"times_{letter}"),
            gr.Dataframe(headers=HEADERS, datatype=["str", *["number"] * 5], interactive=False, max_height=320,
                         label="Boxes · 检测框", elem_id=f"boxes_{letter}")]
