# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Protobuf's wire format, as much as it takes to see every part of a message that a table of field numbers names.

Neither onnx nor protobuf need be installed where an exported model runs, and nothing is copied: weights are skipped.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Union

Buffer = Union[bytes, memoryview]
# message -> {field number: the message that it holds, or None for bytes}
Schema = Mapping[str, Mapping[int, Union[str, None]]]
#: fields that are looked at in one file: seconds. A detector's have a hundredth of it
MAX_FIELDS = 4_000_000
VARINT, BYTES = 0, 2
FIXED = {1: 8, 5: 4}  # kind -> bytes


def parts(data: Buffer, message: str, schema: Schema) -> Iterator[tuple[str, int, Buffer]]:
    """Yield (message, field number, content) of every field in ``schema``, at any depth, in no certain order.

    Every occurrence is given, also where a reader would take the last one only.

    Raises:
        ValueError: the bytes are no such message.
    """
    waiting, seen = [(data, message)], 0
    while waiting:
        data, message = waiting.pop()
        for number, content in fields(data):
            seen += 1
            if seen > MAX_FIELDS:
                raise ValueError(f"it has more than {MAX_FIELDS} fields")
            if content is None or number not in schema[message]:
                continue
            yield message, number, content
            inner = schema[message][number]
            if inner:
                waiting.append((content, inner))


def fields(data: Buffer) -> Iterator[tuple[int, Buffer | None]]:
    """Yield (number, content) of the fields of one message; content None: a number, not bytes.

    Raises:
        ValueError: the bytes are no message.
    """
    data, position = memoryview(data), 0
    while position < len(data):
        key, position = _varint(data, position)
        number, kind = key >> 3, key & 7
        if kind == BYTES:
            length, position = _varint(data, position)
            end = position + length
            if end > len(data):
                raise ValueError(f"field {number} reaches beyond the end")
            yield number, data[position:end]
            position = end
            continue
        if kind == VARINT:
            position = _varint(data, position)[1]
        elif kind in FIXED:
            position += FIXED[kind]
        else:
            raise ValueError(f"field {number} is of the unknown kind {kind}")
        yield number, None
    if position > len(data):
        raise ValueError("the last field reaches beyond the end")


def _varint(data, position):
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number has too many bytes")
