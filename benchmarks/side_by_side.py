# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Timing alternatives in one run: interleaved, median and spread, as ratios to the first one."""
import random
import statistics
import time


def compare(alternatives, rounds=9, warm_up=2, clock=time.perf_counter, pause=0.0, untimed=0):
    """Call each alternative once in each of ``rounds`` turns.

    Each turn has an order of its own, as it matters what ran before: behind its own like a function finds warm caches.
    With the same function in twice, its rival has to be in twice as well.

    Args:
        alternatives: {name: function without arguments}.
        clock: time.process_time leaves out, of work on one thread, what other processes take.
        pause: seconds before each turn's part, in which the threads of the one before stop spinning.
        untimed: calls before the timed one in each turn, which fill caches: for the time of one call among many alike.

    Returns:
        {name: {'median_ms', 'low_ms', 'high_ms', 'ratio'}}; ratio is to the first alternative's median.
    """
    times, turns = {name: [] for name in alternatives}, random.Random(0)
    for turn in range(rounds + warm_up):
        for name, function in turns.sample(list(alternatives.items()), len(alternatives)):
            time.sleep(pause)
            for _ in range(untimed):
                function()
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


def bars(path, groups, label):
    """A picture of the ratios of several ``compare``s: ``groups`` is {title: results}; spread as a line."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(groups), figsize=(3.6 * len(groups), 3.4), squeeze=False, sharey=True)
    for axis, (title, results) in zip(axes[0], groups.items()):
        first = next(iter(results.values()))["median_ms"]
        for place, (name, row) in enumerate(results.items()):
            axis.bar(place, row["ratio"], color=f"C{place}", label=name)
            axis.plot([place, place], [row["low_ms"] / first, row["high_ms"] / first], color="black", linewidth=1)
            axis.text(place, 0.03, f"{row['ratio']:.2f}", ha="center", color="white")
        axis.set_title(title)
        axis.set_xticks([])
    axes[0][0].set_ylabel(label, fontsize=9)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="lower center", ncols=len(results), frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
