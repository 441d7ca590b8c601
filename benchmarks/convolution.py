#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Each convolution of a detector's training step on a CPU, forward and backward: Paddle's own code against oneDNN.

python benchmarks/convolution.py --backbone r18 --size 320 --output docs/benchmarks

The two take turns on random values. On one thread the clock is processor time, else wall time. Those that
ppdet_ext leaves to Paddle are measured in oneDNN as well. Writes convolution.json and .md.
"""
import argparse
import collections
import json
import os
import time
from pathlib import Path

from machine import about
from side_by_side import compare


def recorded(backbone, size, batch):
    """{(shape of x, shape of the weight, stride, padding, groups, bias or not, x has a gradient or not): times}."""
    import paddle
    from training_step import ours

    seen, module = collections.Counter(), paddle.nn.functional.conv
    run = module._conv_nd

    def watched(x, weight, bias=None, stride=1, padding=0, padding_algorithm=None, dilation=1, groups=1, *args,
                **kwargs):
        how = padding_algorithm if padding_algorithm == "SAME" else tuple(padding)
        seen[tuple(x.shape), tuple(weight.shape), tuple(stride), how, groups, bias is not None,
             not x.stop_gradient] += 1
        return run(x, weight, bias, stride, padding, padding_algorithm, dilation, groups, *args, **kwargs)

    module._conv_nd = watched
    ours(backbone, size, batch, "cpu", False, 300)()
    module._conv_nd = run
    return seen


def alternatives(shape, kernel, stride, padding, groups, bias, for_x):
    """Functions that do a forward and backward pass, and whether ppdet_ext takes oneDNN for it."""
    import paddle

    from ppdet_ext.kernels import convolution

    tensors = [paddle.randn(shape), paddle.randn(kernel), *([paddle.randn(kernel[:1])] if bias else [])]
    for tensor in tensors:
        tensor.stop_gradient = False
    tensors[0].stop_gradient = not for_x
    wanted = tensors[not for_x:]
    own = paddle.nn.functional.conv._conv_nd  # Paddle's: the kernels are off here
    how = ([0, 0], "SAME") if padding == "SAME" else (list(padding), "EXPLICIT")
    operands = tensors if bias else [*tensors, None]
    arguments = [*operands, list(stride), *how, [1, 1], groups]
    case = convolution._case(*arguments)
    y = paddle.randn(case.y)
    kind = "depthwise_conv2d" if groups == shape[1] and groups > 1 else "conv2d"

    def by_paddle():
        made = own(*arguments, "NCHW", 1, kind)
        return paddle.grad(made, wanted, y)

    def by_onednn():
        made = convolution._Differentiable.apply("y", *operands, case)
        return paddle.grad(made, wanted, y)

    return {"Paddle": by_paddle, "oneDNN": by_onednn}, not convolution._matrix_product(case)


def table(rows):
    lines = ["| input | kernel | stride | groups | bias | times | Paddle ms | oneDNN ms | ratio | taken |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append("| {} | {} | {} | {} | {} | {} | {:.1f} | {:.1f} | {:.2f} | {} |".format(
            *("x".join(map(str, row[name])) for name in ("input", "kernel", "stride")), row["groups"],
            "yes" if row["bias"] else "no", row["times"], row["Paddle"], row["oneDNN"], row["oneDNN"] / row["Paddle"],
            row["taken"]))
    before = sum(row["times"] * row["Paddle"] for row in rows)
    after = sum(row["times"] * row[row["taken"]] for row in rows)
    lines.append(f"\nAll of a step: Paddle {before:.0f} ms, as taken {after:.0f} ms ({after / before:.2f})")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="r18", help="as in training_step.py")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", default="docs/benchmarks")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    import ppdet_ext

    ppdet_ext.setup()

    clock, rows = time.process_time if args.threads == 1 else time.perf_counter, []
    for what, times in recorded(args.backbone, args.size, args.batch).items():
        functions, taken = alternatives(*what)
        medians = {name: row["median_ms"] for name, row in compare(functions, args.rounds, clock=clock).items()}
        rows.append({**dict(zip(("input", "kernel", "stride", "padding", "groups", "bias"), what)), "times": times,
                     **medians, "taken": "oneDNN" if taken else "Paddle"})
    facts = about("paddlepaddle", "paddlepaddle-gpu")
    title = (f"{', '.join(map(' '.join, facts.items()))}; {args.threads} threads; {args.backbone}, "
             f"{args.size}x{args.size}, batch {args.batch}\n\n")
    print(title + table(rows))
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    (output / "convolution.json").write_text(json.dumps({"machine": facts, "arguments": vars(args), "rows": rows},
                                                        indent=1) + "\n")
    (output / "convolution.md").write_text(title + table(rows))


if __name__ == "__main__":
    main()
