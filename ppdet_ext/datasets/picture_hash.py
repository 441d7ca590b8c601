# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures that look alike: a hash of few bits finds candidates, a small grey picture confirms them.

The hash is the usual difference hash: of 9 x 8 grey pixels, whether each is darker than its right neighbour. It
survives another size, another compression, a little more light. By itself it also takes pictures of one plain kind for
each other, so 16 x 16 grey pixels must go together as well. A picture that was turned, mirrored or cut is another one.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

SIDE = 16  # pixels of the small picture
BITS = 64
#: so many bits of the hash may differ
MOST_BITS = 4
#: so alike the small pictures must be: the correlation of their grey values
LEAST_CORRELATION = 0.98
#: grey levels; where a small picture spreads less there is nothing to compare: a black frame, a blank page
LEAST_SPREAD = 2.0


def fingerprint(grey: np.ndarray) -> tuple[int, bytes]:
    """(hash of 64 bits, SIDE x SIDE grey pixels) of a picture [h, w] uint8."""
    nine = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA)
    bits = np.packbits(nine[:, :-1] < nine[:, 1:])
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return int.from_bytes(bits.tobytes(), "big"), small.tobytes()


def groups(hashes: Sequence[int], small: Sequence[bytes]) -> list[list[int]]:
    """Groups of two and more pictures that look alike, as their places in the lists, in their order."""
    pixels = np.frombuffer(b"".join(small), np.uint8).reshape(-1, SIDE * SIDE).astype(np.float32)
    spread = pixels.std(1)
    unit = (pixels - pixels.mean(1, keepdims=True)) / (np.maximum(spread, 1e-6) * SIDE)[:, None]
    parent = list(range(len(hashes)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    heads: dict[int, list[int]] = defaultdict(list)  # hash -> one picture of each kind that has it
    for place in np.flatnonzero(spread >= LEAST_SPREAD).tolist():
        known = heads[hashes[place]]
        alike = np.flatnonzero(unit[known] @ unit[place] >= LEAST_CORRELATION)
        if len(alike):
            parent[place] = known[alike[0]]
        else:
            known.append(place)
    for one, other in near_hashes(list(heads)):
        alike = np.argwhere(unit[heads[one]] @ unit[heads[other]].T >= LEAST_CORRELATION)
        for first, second in alike.tolist():
            parent[root(heads[one][first])] = root(heads[other][second])
    found = defaultdict(list)
    for place in range(len(hashes)):
        found[root(place)].append(place)
    return sorted(members for members in found.values() if len(members) > 1)


def near_hashes(hashes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Pairs of different hashes of which at most MOST_BITS bits differ.

    Cut into MOST_BITS + 1 pieces, two such hashes have at least one piece in common.
    """
    values = np.array(sorted(set(hashes)), np.uint64)
    edges = np.linspace(0, BITS, MOST_BITS + 2).astype(int)
    seen: set[tuple[int, int]] = set()
    for low, high in zip(edges, edges[1:]):
        pieces = (values >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(pieces, kind="stable")
        starts = np.flatnonzero(np.diff(pieces[order], prepend=pieces[order][:1] + np.uint64(1)))
        for members in np.split(order, starts[1:]):
            seen.update(_near_among(values[members]))
    yield from sorted(seen)


def _near_among(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """Those among hashes [n], each against the later ones: as much memory as n numbers take."""
    for place in range(len(values) - 1):
        near = values[place + 1:][bits_apart(values[place + 1:], values[place]) <= MOST_BITS]
        one = int(values[place])
        yield from ((min(one, other), max(one, other)) for other in near.tolist())


def bits_apart(values: np.ndarray, one: np.uint64) -> np.ndarray:
    """How many bits of the hashes [n] differ from those of one."""
    differ = (values ^ one).view(np.uint8).reshape(-1, BITS // 8)
    return np.unpackbits(differ, axis=1).sum(1)
