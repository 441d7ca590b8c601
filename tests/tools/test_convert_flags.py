# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The command line of convert: three subcommands with flags of their own, and the spellings from before them."""
import pytest

from ppdet_ext.cli.convert_weights import COMMANDS, parse_args

# before, in documents and scripts -> now
SPELLINGS = [
    ("--arch cspresnet50 --checkpoint hub -o w.pdparams --verify",
     "backbone --arch cspresnet50 --checkpoint hub -o w.pdparams --verify"),
    ("--arch=vit_small_patch16_224.dino --checkpoint F.safetensors --allow head.* fc.* --num-classes 5",
     "backbone --arch vit_small_patch16_224.dino --checkpoint F.safetensors --allow head.* fc.* --num-classes 5"),
    ("--to torch --arch cspresnet50 --checkpoint best_model.pdparams --fill hub",
     "backbone --to torch --arch cspresnet50 --checkpoint best_model.pdparams --fill hub"),
    ("--model rtdetr_r50vd --from torch --to paddledet r50.pth r50.pdparams",
     "detector --model rtdetr_r50vd --from torch --to paddledet r50.pth r50.pdparams"),
    ("a.pdparams my_model --model rtdetr_r50vd --to hf --verify --part model --classes c.txt --allow x.*",
     "detector a.pdparams my_model --model rtdetr_r50vd --to hf --verify --part model --classes c.txt --allow x.*"),
    ("--via x2paddle --model net.onnx -o converted/net --input-shape 1 3 64 64",
     "onnx net.onnx -o converted/net --input-shape 1 3 64 64"),
    ("-o out --model=net.pt --via=x2paddle", "onnx net.pt -o out"),
]


@pytest.mark.parametrize("before, now", SPELLINGS)
def test_older_spellings_mean_a_subcommand(before, now):
    found = parse_args(now.split())
    assert parse_args(before.split()) == found and found.command == now.split()[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_subcommand_has_help_of_its_own(command, capsys):
    with pytest.raises(SystemExit) as end:
        parse_args([command, "--help"])
    shown = capsys.readouterr().out
    assert end.value.code == 0 and f" {command} [-h]" in shown
    assert ("--arch" in shown, "--from" in shown, "--input-shape" in shown) == \
        tuple(command == name for name in ("backbone", "detector", "onnx"))


@pytest.mark.parametrize("args, words", [
    ("", "required: {backbone,detector,onnx}"),
    ("detector --model rtdetr_r18vd --to torch a.pdparams", "required: OUT"),
    ("detector --to torch a.pdparams b.pth", "required: --model"),
    ("detector --model rtdetr_r18vd a.pdparams b.pth", "required: --to"),
    ("backbone --checkpoint hub", "required: --arch"),
    ("backbone --arch resnet18 --to hf", "argument --to: invalid choice: 'hf'"),
    ("onnx net.onnx", "required: -o/--output"),
    ("onnx -o out", "required: FILE"),
    ("--via x2paddle -o out", "required: FILE"),
    ("--to torch a.pdparams b.pth", "invalid choice: 'torch' (choose from "),
])
def test_wrong_arguments_are_one_line_and_code_2(args, words, capsys):
    with pytest.raises(SystemExit) as end:
        parse_args(args.split())
    assert end.value.code == 2 and words in capsys.readouterr().err.splitlines()[-1]
