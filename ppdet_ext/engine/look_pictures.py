# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Sheets of small pictures: heat maps and sampling points over the picture that they belong to.

Places are given as shares of the network's input (x / width, y / height, padding included); ``extent`` says how many
pixels of the original that input covers. A place p is pixel floor(p): 0 is the left edge of the first one.
"""
from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

#: longest side of one small picture, and the side to which a large original is brought first, in pixels
PANEL, LARGEST = 320, 1600
#: no side of a small picture is shorter, so that flat originals stay visible
FLATTEST = 16
CAPTION, GAP, LEGEND = 18, 4, 120
FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.4)
#: radius in pixels of a point that has all the weight of its head; the area goes with the weight
RADIUS = 14
#: RGB, map after map
LEVELS = [(255, 80, 80), (70, 230, 70), (90, 160, 255), (255, 210, 0), (255, 90, 255), (0, 240, 240)]
#: what is added to half a picture, so that points stand out on it
PALE = np.uint8(48)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


class Detection(NamedTuple):
    """One detection: its place among those of the picture, class and score as text, corners in pixels."""
    place: int
    text: str
    left: float
    top: float
    right: float
    bottom: float

    def cell(self, size: tuple[int, int], extent: tuple[float, float]) -> tuple[int, int]:
        """(row, column) of the cell of a map [height, width] that its middle is in."""
        middle = (self.top + self.bottom) / 2 / extent[1], (self.left + self.right) / 2 / extent[0]
        row, column = (int(np.clip(share * cells, 0, cells - 1)) for share, cells in zip(middle, size))
        return row, column


class Heat(NamedTuple):
    """A map [h, w] of the whole input, numbers of any size; ``cell`` (row, column) is marked."""
    title: str
    values: np.ndarray
    cell: tuple[int, int] | None = None


class Points(NamedTuple):
    """What a query read in one layer: around ``box`` (cx, cy, w, h), at ``places`` [heads, P, 2] with ``weights``
    [heads, P]; ``level`` [P] is the map of each point."""
    title: str
    box: np.ndarray
    places: np.ndarray
    weights: np.ndarray
    level: np.ndarray


class View(NamedTuple):
    """A window of the original, in its pixels, shown in a small picture of width x height."""
    left: float
    top: float
    right: float
    bottom: float
    width: int
    height: int

    @classmethod
    def of(cls, left: float, top: float, right: float, bottom: float) -> View:
        """The window, its longest side PANEL pixels."""
        sides = max(right - left, 1e-6), max(bottom - top, 1e-6)
        width, height = (max(FLATTEST, round(PANEL * side / max(sides))) for side in sides)
        return cls(left, top, right, bottom, width, height)

    def places(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels [..., 2] (x, y) of the original -> of the small picture, float."""
        size = np.array([self.right - self.left, self.bottom - self.top])
        return (pixels - [self.left, self.top]) / size * [self.width, self.height]

    def show(self, image: np.ndarray, extent: tuple[float, float]) -> np.ndarray:
        """The window's part of an image [h, w, 3] that covers ``extent`` (width, height) pixels of the original."""
        x, y = self._sources(image, extent)
        return cv2.remap(image, *(each.astype("float32") for each in np.meshgrid(x, y)), cv2.INTER_LINEAR,
                         borderMode=cv2.BORDER_REPLICATE)

    def spread(self, values: np.ndarray, extent: tuple[float, float]) -> np.ndarray:
        """The same of a small map [h, w] of numbers, float; OpenCV knows 32 steps from cell to cell, which show."""
        across, down = (np.stack([np.interp(places, np.arange(cells), one) for one in np.eye(cells)])
                        for places, cells in zip(self._sources(values, extent), values.shape[1::-1]))
        return down.T @ values @ across

    def _sources(self, image, extent):
        """For each column and each row where in the image it is taken from: the middle of a pixel is half a pixel from
        its edge, in both."""
        edges = (self.left, self.right, self.width), (self.top, self.bottom, self.height)
        return [(low + (np.arange(size) + 0.5) * (high - low) / size) * pixels / covered - 0.5
                for (low, high, size), pixels, covered in zip(edges, image.shape[1::-1], extent)]


def features(picture: np.ndarray, extent: tuple[float, float], rows: Sequence[Sequence[Heat]]) -> np.ndarray:
    """A row of heat maps for each part of the detector, the picture at their head."""
    view = _whole(picture)
    plain = view.show(_bounded(picture), _size(picture))
    return _sheet("mean over channels of the absolute values; blue: the map's least, red: its most",
                  [[("picture", plain), *((f"{heat.title}: {_range(heat)}", _warm(plain, view, extent, heat))
                                          for heat in row)] for row in rows])


def attention(picture: np.ndarray, extent: tuple[float, float], detections: Sequence[Detection],
              rows: Sequence[Sequence[Heat]]) -> np.ndarray:
    """For each detection where the encoder's cell in its middle (white) draws from; mean over heads."""
    view = _whole(picture)
    plain = view.show(_bounded(picture), _size(picture))
    return _sheet("encoder self-attention of the cell in a box's middle (white), mean over heads; red: most",
                  [[(detection.text, _boxed(plain, view, detection)),
                    *((heat.title, _warm(plain, view, extent, heat)) for heat in row)]
                   for detection, row in zip(detections, rows)])


def sampling(picture: np.ndarray, extent: tuple[float, float], detections: Sequence[Detection],
             rows: Sequence[Sequence[Points]], maps: Sequence[str]) -> np.ndarray:
    """For each detection its picture, and for each decoder layer the points that were read around the layer's box.

    All layers of a detection show the same window: its box and all points that lie within the picture.
    """
    small, whole = _bounded(picture), _whole(picture)
    panels = []
    for detection, layers in zip(detections, rows):
        view = _window(picture, extent, detection, layers)
        pale = view.show(small, _size(picture)) // 2 + PALE
        panels.append([(detection.text, _boxed(whole.show(small, _size(picture)), whole, detection)),
                       *((_title(points), draw_points(pale, view, extent, points)) for points in layers)])
    return _sheet("a point: read here; its area: the weight; its colour: the map; white: the box that it started from",
                  panels, maps)


def draw_points(panel: np.ndarray, view: View, extent: tuple[float, float], points: Points) -> np.ndarray:
    """A copy of a small picture with the points that lie within the network's input, the weightiest on top."""
    panel = panel.copy()
    x, y, width, height = points.box
    corners = np.array([[x - width / 2, y - height / 2], [x + width / 2, y + height / 2]])
    _rectangle(panel, *view.places(corners * extent))
    places, weights, levels = (each.reshape(-1, *each.shape[2:]) for each in (
        points.places, points.weights, np.broadcast_to(points.level, points.weights.shape)))
    for number in np.argsort(weights, kind="stable"):
        if _inside(places[number]):
            centre = [int(value) for value in np.floor(view.places(places[number] * extent))]
            radius = round(RADIUS * float(weights[number]) ** 0.5)
            cv2.circle(panel, centre, radius + 1, BLACK, cv2.FILLED)
            cv2.circle(panel, centre, radius, LEVELS[levels[number] % len(LEVELS)], cv2.FILLED)
    return panel


def _title(points):
    outside = float(points.weights[~_inside(points.places)].sum() / len(points.weights))
    return points.title + (f", {outside:.0%} outside" if outside >= 0.005 else "")


def _inside(places):
    return ((places >= 0) & (places < 1)).all(-1)


def _window(picture, extent, detection, layers):
    """The part of the picture around a box and all that was read for it."""
    places = np.concatenate([points.places[_inside(points.places)] for points in layers]) * extent
    places = np.concatenate([places, [[detection.left, detection.top], [detection.right, detection.bottom]]])
    size = np.array(_size(picture), float)
    low, high = (np.clip(edge, 0, size) for edge in (places.min(0), places.max(0)))
    margin = 0.08 * (high - low) + 4
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, size)
    return View.of(*low, *high)


def _whole(picture):
    return View.of(0, 0, *_size(picture))


def _size(picture):
    return float(picture.shape[1]), float(picture.shape[0])


def _bounded(picture):
    """The picture with no side above LARGEST."""
    share = LARGEST / max(picture.shape[:2])
    if share >= 1:
        return picture
    size = [max(1, round(side * share)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _range(heat):
    return f"{heat.values.min():.2g} to {heat.values.max():.2g}"


def _warm(plain, view, extent, heat):
    """Half the picture, in grey, and half the map in colours."""
    values = np.nan_to_num(heat.values.astype("float64"))
    shares = (values - values.min()) / max(np.ptp(values), 1e-12)
    colours = cv2.applyColorMap(np.uint8(view.spread(shares, extent) * 255), cv2.COLORMAP_JET)[..., ::-1]
    grey = cv2.cvtColor(cv2.cvtColor(plain, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    panel = cv2.addWeighted(grey, 0.5, np.ascontiguousarray(colours), 0.5, 0)
    if heat.cell is not None:
        cell = np.array(heat.cell[::-1])
        step = np.array(extent) / heat.values.shape[::-1]
        _rectangle(panel, *view.places(np.array([cell * step, (cell + 1) * step])))
    return panel


def _boxed(plain, view, detection):
    panel = plain.copy()
    corners = np.array([[detection.left, detection.top], [detection.right, detection.bottom]])
    _rectangle(panel, *view.places(corners))
    return panel


def _rectangle(panel, first, second):
    # far outside OpenCV's own numbers overflow
    first, second = (tuple(int(value) for value in np.clip(corner, -9999, 9999)) for corner in (first, second))
    cv2.rectangle(panel, first, second, BLACK, 3)
    cv2.rectangle(panel, first, second, WHITE, 1)


def _sheet(note, rows, maps=()):
    """Rows of (caption, small picture) under a line of explanation; ``maps`` are named in their colours."""
    columns = [max(max(panel.shape[1], min(_wide(caption), PANEL)) + GAP for caption, panel in column)
               for column in itertools.zip_longest(*rows, fillvalue=("", np.zeros([1, 1, 3], np.uint8)))]
    width = max(sum(columns), _wide(note), LEGEND * len(maps))
    header, legend = (np.full([CAPTION * shown, width, 3], 255, np.uint8) for shown in (True, bool(maps)))
    _write(header, note, 2)
    for number, name in enumerate(maps):
        left = LEGEND * number
        _write(legend, f"map {name}", left + 16)
        cv2.rectangle(legend, (left + 2, 4), (left + 12, 14), LEVELS[number % len(LEVELS)], cv2.FILLED)
    return np.vstack([header, legend, *(_row(row, columns, width) for row in rows)])


def _row(row, columns, width):
    strip = np.full([max(panel.shape[0] for _, panel in row) + CAPTION + GAP, width, 3], 255, np.uint8)
    for (caption, panel), left, wide in zip(row, itertools.accumulate(columns, initial=0), columns):
        _write(strip[:, left:left + wide - GAP], caption, 2)
        strip[CAPTION:CAPTION + panel.shape[0], left:left + panel.shape[1]] = panel
    return strip


def _wide(text):
    return cv2.getTextSize(text, *FONT, 1)[0][0] + 4


def _write(image, text, left):
    cv2.putText(image[:CAPTION], text, (left, CAPTION - 5), *FONT, BLACK, 1, cv2.LINE_AA)
