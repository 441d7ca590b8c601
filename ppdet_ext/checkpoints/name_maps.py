# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One model's parameters in one project's names and layout: made from the rules, exact by name, in both directions."""
from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Callable, NamedTuple

import numpy as np

from ..errors import UserError
from ..weights.load_report import LoadReport, Mismatch, fold
from . import name_rules

log = logging.getLogger(__name__)
SCORE_BIAS = "transformer.enc_score_head.bias"  # its length is the number of classes, in every project
BACKBONE = "backbone."  # how its names begin in Paddle and in lyuwenyu's files
LABELS = "transformer.denoising_class_embed.weight"


class Link(NamedTuple):
    """A Paddle tensor and what it is elsewhere: one tensor, or several."""
    paddle: str
    foreign: tuple[str, ...]
    layout: name_rules.Layout


@dataclass(frozen=True)
class NameMap:
    """``links`` join a model's Paddle names with a project's; ``shapes`` are those of the project's tensors.

    ``optional`` are names that its files may hold and Paddle has no use for: they are dropped, and made again on the
    way out (``remade``: name -> function without arguments).
    """
    project: str
    links: tuple[Link, ...]
    shapes: dict[str, tuple[int, ...]]
    optional: frozenset[str] = frozenset()
    remade: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)

    def classes_of(self, state: dict[str, np.ndarray]) -> int | None:
        """The number of classes that a file's score heads are for; None where it has none."""
        wanted = next(link.foreign[0] for link in self.links if link.paddle == SCORE_BIAS)
        return next((len(value) for name, value in state.items()
                     if name_rules.canonical(name, self.project) == wanted), None)

    def coverage(self, state: Iterable[str]) -> int:
        """How many of the project's names are among ``state``."""
        return sum(name_rules.canonical(name, self.project) in self.shapes for name in state)

    def to_paddle(self, state: dict[str, np.ndarray], label: str, source: str,
                  allow: str | Sequence[str] = ()) -> tuple[dict[str, np.ndarray], LoadReport]:
        """A file's ``{name: array}`` as Paddle's, and the report that accounts for every one.

        Raises:
            UserError: a tensor is missing, unexpected or of another shape, and no pattern in ``allow`` names it; the
                file was fused for deployment.
        """
        state = self.tidy(state, source)
        report = self.account(state, label, source)
        report.raise_for_problems(allow)
        return self.translate({name: state[name] for name in report.matched}), report

    def tidy(self, state: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
        """``state`` under the table's names, without what Paddle has no use for.

        Raises:
            UserError: see ``one_name_each``, ``without_fused``.
        """
        state = without_fused(one_name_each(state, self.project, source), source)
        self._warn_of_padding(state, source)
        return {name: value for name, value in state.items() if name not in self.optional}

    def translate(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Paddle's ``{name: array}`` of all tensors that are there whole, whatever their shape."""
        return {link.paddle: link.layout.back(*(state[name] for name in link.foreign))
                for link in self.links if all(name in state for name in link.foreign)}

    def unknown(self, state: Iterable[str]) -> list[str]:
        """Names that are none of the model's."""
        return [name for name in state if name not in self.shapes]

    def account(self, state: dict[str, np.ndarray], label: str, source: str) -> LoadReport:
        """LoadReport of a file's names and shapes against the model's."""
        common = [name for name in self.shapes if name in state]
        good = [name for name in common if state[name].shape == self.shapes[name]]
        return LoadReport(
            matched=tuple(good),
            missing=tuple(name for name in self.shapes if name not in state),
            unexpected=tuple(self.unknown(state)),
            mismatched=tuple(Mismatch(name, self.shapes[name], state[name].shape) for name in common
                             if state[name].shape != self.shapes[name]),
            layer=f"{label} ({name_rules.TITLES[self.project]}'s names)", source=str(source))

    def from_paddle(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Paddle's ``{name: array}`` as the project's, with what its networks save beside the parameters."""
        found: dict[str, np.ndarray] = {}
        for link in self.links:
            if link.paddle in state:
                found.update(zip(link.foreign, link.layout.out(state[link.paddle])))
        found.update({name: make() for name, make in self.remade.items()})
        return found

    def _warn_of_padding(self, state, source):
        for link in self.links:
            if link.layout is name_rules.PADDED and link.foreign[0] in state and state[link.foreign[0]][-1].any():
                log.warning("'%s': the last row of '%s', which belongs to no class, is not zero; it is dropped (only "
                            "training's filled-up denoising queries use it)", source, link.foreign[0])


def name_map(shapes: dict[str, tuple[int, ...]], project: str, frozen_backbone: bool = False,
             anchors: Callable[[], dict[str, np.ndarray]] | None = None) -> NameMap:
    """The NameMap of a model.

    Args:
        shapes: ``{Paddle name: shape}``, such as of ``model.state_dict()``.
        frozen_backbone: the backbone's normalisation is frozen; torch's frozen layers count no batches.
        anchors: for torch's second version, function that makes its two anchor buffers; see ``anchor_buffers``.

    Raises:
        UserError: the project has no such network.
    """
    if project == "paddledet":
        same = tuple(Link(name, (name,), name_rules.SAME) for name in shapes)
        return NameMap(project, same, {name: tuple(shape) for name, shape in shapes.items()})
    second = is_second_version(shapes)
    begin, backbone = name_rules.TORCH_V2_BACKBONE
    if project == "torch" and not second and any(name.startswith(begin) for name in shapes):
        raise UserError(f"{name_rules.TITLES[project]} has {backbone} in its second version only: this model cannot be "
                        "converted to or from it")
    links: list[Link] = []
    counters: dict[str, bool] = {}
    for name in shapes:
        row, leaf, fields = _row_of(name, project)
        module = name_rules.module_in(row, project, second, fields)
        tails, layout = leaf.seen_by(project)
        links.append(Link(name, tuple(f"{module}.{tail}" for tail in tails), layout))
        if leaf.paddle == "_mean":
            counters[f"{module}.{name_rules.COUNTER}"] = not (frozen_backbone and name.startswith("backbone."))
    remade = {name: _no_batches for name, counts in counters.items() if counts}
    buffers = name_rules.TORCH_V2_ANCHORS if project == "torch" and second else ()
    if anchors is not None:
        remade.update({name: functools.partial(_anchors, anchors, name) for name in buffers})
    found = {name: shape for link in links for name, shape in zip(link.foreign, _foreign_shapes(link, shapes))}
    return NameMap(project, tuple(links), found, frozenset((*counters, *buffers)), remade)


def _row_of(name, project):
    rows = [entry for entry in name_rules.rows_of(name) if getattr(entry[0], project)]
    if len(rows) != 1:
        raise UserError(f"{name_rules.TITLES[project]} has no network with '{name}': this model cannot be converted to "
                        "or from it (ResNet-vd models can; docs/checkpoints.md has the table)")
    return rows[0]


def _foreign_shapes(link, shapes):
    # zeros that take no memory; layouts work on them as on numbers
    zeros = np.broadcast_to(np.float32(0), shapes[link.paddle])
    return [part.shape for part in link.layout.out(zeros)]


def _anchors(make, name):
    return make()[name]


def _no_batches():
    return np.array(0, np.int64)


def is_second_version(shapes: Iterable[str]) -> bool:
    """RT-DETRv2's checkpoints carry the scales of the sampled points."""
    return any(name.endswith(".num_points_scale") for name in shapes)


def with_classes(shapes: dict[str, tuple[int, ...]], classes: int) -> dict[str, tuple[int, ...]]:
    """``shapes`` of the same model for another number of classes."""
    def changed(name, shape):
        axis = name_rules.class_axis(name)
        return tuple(shape) if axis is None else (*shape[:axis], classes, *shape[axis + 1:])
    return {name: changed(name, shape) for name, shape in shapes.items()}


def reading_maps(shapes: dict[str, tuple[int, ...]]) -> dict[str, NameMap]:
    """``{project: NameMap}`` of every project that has this model, for reading its files."""
    found = {}
    for project in name_rules.PROJECTS:
        try:
            found[project] = name_map(shapes, project)
        except UserError:
            continue
    return found


def by_rules(state: dict[str, np.ndarray], project: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """What a project's file holds of an RT-DETR after its backbone, whatever its depth: no model has to be built.

    Args:
        state: ``{name: array}`` under the table's names; see ``NameMap.tidy``.
        project: of ``name_rules.PROJECTS``.

    Returns:
        ``({Paddle name: array in Paddle's layout}, names that belong to the backbone, or to no row)``.
    """
    if project == "paddledet":
        rest = [name for name in state if name.startswith(BACKBONE)]
        return {name: value for name, value in state.items() if not name.startswith(BACKBONE)}, rest
    parts: dict[str, dict[int, np.ndarray]] = {}
    leaves, rest = {}, []
    for name, value in state.items():
        found = name_rules.paddle_name(name, project)
        if found is None or found[0].startswith(BACKBONE):
            rest.append(name)
            continue
        own, leaf, place = found
        leaves[own] = leaf.seen_by(project)
        parts.setdefault(own, {})[place] = value
    return {own: layout.back(*(parts[own][place] for place in range(len(tails))))
            for own, (tails, layout) in leaves.items() if len(parts[own]) == len(tails)}, rest


def identify(state: Collection[str], maps: Iterable[NameMap]) -> tuple[NameMap | None, int]:
    """``(NameMap, names that fit)`` of the project whose names a file has; ``maps`` are all of one model's.

    Projects share some names (a backbone's), so that the most decide. (None, 0) where not one name fits.
    """
    fits = [(found.coverage(state), found) for found in maps]
    best, found = max(fits, key=lambda pair: pair[0], default=(0, None))
    return (found, best) if best else (None, 0)


def one_name_each(state: dict[str, np.ndarray], project: str, source: str) -> dict[str, np.ndarray]:
    """``state`` under the names of the table; what is there twice must be equal.

    Raises:
        UserError: two names of one tensor hold different numbers.
    """
    found: dict[str, np.ndarray] = {}
    for name, value in state.items():
        own = name_rules.canonical(name, project)
        if own in found and not np.array_equal(found[own], value):
            raise UserError(f"'{source}' holds '{own}' twice under different names, with different numbers: it is "
                            "damaged or was edited; give the file that training wrote")
        found[own] = value
    return found


def without_fused(state: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """``state`` without the fused convolutions of RepVGG blocks, where the branches are there as well.

    Raises:
        UserError: only the fused ones are there.
    """
    fused = [name for name in state if name_rules.FUSED.search(name)]
    lost = [name for name in fused if f"{name.rpartition('.conv.')[0]}.conv1.conv.weight" not in state]
    if lost:
        raise UserError(f"'{source}' was fused for deployment ({', '.join(fold(lost)[:2])}): each RepVGG block's two "
                        "branches are added up and cannot be taken apart again; give the checkpoint as training wrote "
                        "it, before convert_to_deploy")
    if fused:
        log.info("'%s': %d fused copies of RepVGG blocks are left out; their branches are there", source, len(fused))
    return {name: value for name, value in state.items() if name not in set(fused)}
