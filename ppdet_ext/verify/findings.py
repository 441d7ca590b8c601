# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the checks of a backbone found: one line each, and the verdict that follows from them."""
from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..engine.metrics_file import strict

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"


class Finding(NamedTuple):
    """One check: its name, its status (OK, WARNING, FAILED, SKIPPED) and a line in words."""

    check: str
    status: str
    text: str


@dataclass
class Report:
    """All that is known of one backbone.

    Attributes:
        name, size: what was verified, at which [height, width].
        stages: one plain dict a feature, see ``stage_table.Stage``.
        parity: one plain dict a part that was compared with torch.
        findings: of the checks, in their order.
        seconds: {check: how long it took}.
    """

    name: str
    size: tuple[int, int]
    weights: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)
    parity: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def add(self, check: str, status: str, text: str) -> None:
        """Note what a check found."""
        self.findings.append(Finding(check, status, text))

    def of(self, *statuses: str) -> list[Finding]:
        """The findings of these statuses."""
        return [finding for finding in self.findings if finding.status in statuses]

    @property
    def passed(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return not self.of(FAILED)

    def verdict(self) -> str:
        """One line: whether the backbone can be used, and why not."""
        failed = list(dict.fromkeys(finding.check for finding in self.of(FAILED)))
        at = f"{self.name} at {self.size[0]}x{self.size[1]}"
        if failed:
            return f"FAILED: {at}: {', '.join(failed)}; {self.of(FAILED)[0].text}"
        counts = {"passed": self.of(OK), "warned": self.of(WARNING), "skipped": self.of(SKIPPED)}
        return f"OK: {at}: {', '.join(f'{len(found)} {words}' for words, found in counts.items() if found)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"name": self.name, "size": list(self.size), "weights": self.weights, "passed": self.passed,
                "verdict": self.verdict(), "stages": self.stages, "parity": strict(self.parity),
                "checks": [finding._asdict() for finding in self.findings],
                "seconds": {name: round(value, 2) for name, value in self.seconds.items()}}
