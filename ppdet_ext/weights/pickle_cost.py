# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a pickle would cost, counted from its opcodes before it is unpickled.

Python's unpickler has no limits. A few bytes can make it allocate 64 GB (a memo's index), hash a tuple that unfolds to
2**40 others, or hash one so deep that the process dies. The opcodes and what they do to the stack are pickletools'.
"""
from __future__ import annotations

import pickletools
from typing import BinaryIO, NamedTuple

from ..limits import limit, refuse

WORK = 10  # visits of values in tuples, for each value of a pickle: a tuple lies in another, that in a third, ...
LONGEST_NUMBER = 4300  # decimal digits; reading more takes quadratic time before Python 3.9.14

# what they push holds what they pop, or may hand it back; lists, dicts and sets need not count, they have no hash
TUPLES = {"EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"}
HOLD = {*TUPLES, "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"}
LINES = {"GLOBAL": 2, "INST": 2}  # texts that end with a line; the others have one or none
LENGTH_BYTES = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4,
                pickletools.TAKEN_FROM_ARGUMENT4U: 4, pickletools.TAKEN_FROM_ARGUMENT8U: 8}


class Opcode(NamedTuple):
    """One of pickle's: its argument (bytes, lines, bytes of a length before it), and what it pops and pushes."""
    name: str
    size: int
    lines: int
    length: int
    pops: int  # below the mark where there is one
    to_mark: bool
    pushes: int


class Weight(NamedTuple):
    """A value on the stack: how many values a hash of it looks at, and how deep."""
    values: int = 1
    depth: int = 0


def _opcode(info):
    kind = info.arg.n if info.arg else 0
    before = [item.name for item in info.stack_before]
    to_mark = "mark" in before
    pops = before.index("mark") if to_mark else len(before)
    lines = LINES.get(info.name, 1) if kind == pickletools.UP_TO_NEWLINE else 0
    return Opcode(info.name, max(kind, 0), lines, LENGTH_BYTES.get(kind, 0), pops, to_mark, len(info.stack_after))


OPCODES = {info.code.encode("latin1"): _opcode(info) for info in pickletools.opcodes}
ONE = Weight()


def ensure_cheap(file: BinaryIO) -> int:
    """Go through the pickle at the position of ``file``, and back.

    Returns:
        Its length in bytes.

    Raises:
        TooMuch: it would cost more than ``limits`` allows.
        ValueError, EOFError: it is no pickle, or ends early.
    """
    start, most = file.tell(), limit("VALUES")
    machine = _Machine(most, limit("DEPTH"))
    try:
        for _ in range(most):
            code = file.read(1)
            opcode = OPCODES.get(code)
            if opcode is None:
                raise ValueError(f"no opcode of a pickle: {code!r}") if code else EOFError("it ends early")
            machine.step(opcode, _argument(file, opcode))
            if opcode.name == "STOP":
                return file.tell() - start
    finally:
        file.seek(start)
    refuse("VALUES", f"it is made of more than {most} values")


def _argument(file, opcode):
    """The bytes of a short argument; a text or a number of given length is passed by."""
    if opcode.size:
        return file.read(opcode.size)
    if opcode.lines:
        return b"".join(file.readline() for _ in range(opcode.lines))
    if opcode.length:
        length = int.from_bytes(file.read(opcode.length), "little")
        if length >= 1 << 48:
            raise EOFError("it ends early")
        file.seek(length, 1)
    return b""


class _Machine:
    """The unpickler's stack, marks and memo, with the weight of each value in place of the value."""

    def __init__(self, most: int, deepest: int):
        self.most, self.deepest = most, deepest
        self.stack: list[Weight] = []
        self.marks: list[int] = []
        self.memo: dict[int, Weight] = {}
        self.work = 0

    def step(self, opcode: Opcode, argument: bytes) -> None:
        """Do what ``opcode`` does."""
        special = SPECIAL.get(opcode.name)
        if special:
            special(self, argument)
            return
        if opcode.name in ("INT", "LONG") and len(argument) > LONGEST_NUMBER:
            raise ValueError(f"a number of {len(argument)} digits")
        taken = self.pop(opcode) if opcode.pops or opcode.to_mark else ()
        if opcode.name in HOLD:
            self.stack.append(self.holding(taken, opcode.name in TUPLES))
        elif opcode.pushes:
            self.stack.append(ONE)

    def pop(self, opcode: Opcode) -> list[Weight]:
        """Take off what ``opcode`` takes; the work of hashing it is counted."""
        if opcode.to_mark and not self.marks:
            raise ValueError("a pickle without a mark")
        first = (self.marks.pop() if opcode.to_mark else len(self.stack)) - opcode.pops
        if first < 0:
            raise ValueError("a pickle that takes more than it has")
        taken = self.stack[first:]
        del self.stack[first:]
        self.work += sum(weight.values for weight in taken)
        if self.work > WORK * self.most:
            refuse("VALUES", f"tuples that it shares unfold to more than {WORK * self.most} values")
        return taken

    def holding(self, taken, is_tuple):
        """The weight of what holds ``taken``."""
        values = sum(weight.values for weight in taken)
        depth = max((weight.depth for weight in taken), default=0)
        if depth >= self.deepest:
            refuse("DEPTH", f"its tuples lie more than {self.deepest} deep in each other")
        return Weight(1 + values, depth + is_tuple)

    def pop_one(self, _argument):
        """POP takes a mark where one is on top."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def put(self, index):
        """The memo is an array in the unpickler, made as long as its largest index."""
        if not 0 <= index <= self.most:
            refuse("VALUES", f"it files a value under number {index}")
        self.memo[index] = self.stack[-1]


SPECIAL = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": _Machine.pop_one,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    **{name: lambda machine, line: machine.put(int(line[:20])) for name in ("PUT",)},
    **{name: lambda machine, data: machine.put(int.from_bytes(data, "little")) for name in ("BINPUT", "LONG_BINPUT")},
    "GET": lambda machine, line: machine.stack.append(machine.memo[int(line[:20])]),
    **{name: lambda machine, data: machine.stack.append(machine.memo[int.from_bytes(data, "little")])
       for name in ("BINGET", "LONG_BINGET")},
}
