# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Timing alternatives in one run: interleaved, median and spread, as ratios to the first one."""
import statistics
import time


def compare(alternatives, rounds=9, warm_up=2, clock=time.perf_counter):
    """Call each alternative in turn, ``rounds`` times over.

    Args:
        alternatives: {name: function without arguments}.
        clock: time.process_time leaves out, of work on one thread, what other processes take.

    Returns:
        {name: {'median_ms', 'low_ms', 'high_ms', 'ratio'}}; ratio is to the first alternative's median.
    """
    times = {name: [] for name in alternatives}
    for turn in range(rounds + warm_up):
        for name, function in alternatives.items():
            start = clock()
            function()
            if turn >= warm_up:
                times[name].append((clock() - start) * 1e3)
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = next(iter(medians.values()))
    return {name: {"median_ms": round(medians[name], 1), "low_ms": round(min(values), 1),
                   "high_ms": round(max(values), 1), "ratio": round(medians[name] / first, 3)}
            for name, values in times.items()}


def table(results):
    """The results of ``compare`` as a markdown table."""
    lines = ["| | median ms | low | high | ratio |", "|---|---|---|---|---|"]
    for name, row in results.items():
        lines.append(f"| {name} | {row['median_ms']} | {row['low_ms']} | {row['high_ms']} | {row['ratio']} |")
    return "\n".join(lines)
