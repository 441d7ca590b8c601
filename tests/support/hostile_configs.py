# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Configs that would run code in ppdet, and files that would work for ever; made by the tests, which fill in a path."""
import os
import pickle


class _Makes:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def write_pickle(path, sentinel):
    """A file that makes the folder ``sentinel`` when it is unpickled."""
    path.write_bytes(pickle.dumps({"weight": _Makes(sentinel)}, 2))
    return path


SMALL = "img_size: [32, 32], embed_dim: 8, num_heads: 2, depth: 1, "
CODE = "__import__('os').mkdir('{sentinel}')"

# name -> (text, words of the line); {sentinel}: what must not come to be, {pickle}: a file that would make it
PARSED = {
    "vision transformer": ("a: !VisionTransformer {{norm_layer: \"" + CODE + "\"}}", "line 1: the tag !VisionTrans"),
    "convnext": ("a: !ConvNeXt {{pretrained: {pickle}}}", "line 1: the tag !ConvNeXt is not for configs"),
    "neck": ("a: !CustomCSPPAN {{stage_fn: \"" + CODE + "\"}}", "the tag !CustomCSPPAN"),
    "block": ("a: !CustomCSPPAN {{block_fn: \"" + CODE + "\"}}", "the tag !CustomCSPPAN"),
    "timm": ("a: !TimmBackbone {{pretrained: {pickle}}}", "the tag !TimmBackbone"),
    "video": ("TestDataset: !MOTImageFolder {{video_file: 'a;mkdir {sentinel}'}}", "the tag !MOTImageFolder"),
    "cache": ("a: !DecodeCache {{cache_root: '{pickle}'}}", "the tag !DecodeCache"),
    "tracker": ("a: !DeepSORTTracker {{}}", "!DeepSORTTracker"),
    "slim": ("a: !Pruner {{}}", "!Pruner"),
    "function": ("a: !mpjpe_np [1, 2, 3]", "the tag !mpjpe_np"),
    "callable": ("TrainDataset: !Callable {{full_type: os.mkdir, args: ['{sentinel}']}}", "line 1: the tag !Callable"),
    "apply": ("a: !!python/object/apply:os.mkdir ['{sentinel}']", "line 1"),
    "new": ("a: !!python/object/new:os.mkdir ['{sentinel}']", "line 1"),
    "name": ("a: !!python/name:os.mkdir", "line 1"),
    "module": ("a: !!python/module:antigravity", "line 1"),
    "object": ("a: !!python/object:os.mkdir {{}}", "line 1"),
    "long tag": ("a: !<tag:yaml.org,2002:python/object/apply:os.mkdir> ['{sentinel}']", "line 1"),
    "tag directive": ("%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.mkdir ['{sentinel}']", "line 3"),
    "as a key": ("? !!python/object/apply:os.mkdir ['{sentinel}']\n: 1", "line 1"),
}
BUILT = {
    "norm_layer": ("DETR.backbone: VisionTransformer\nVisionTransformer: {{" + SMALL + "norm_layer: \"" + CODE + "\"}}",
                   "norm_layer is .* it takes only nn.LayerNorm"),
    "norm_layer, dotted": ("DETR.backbone: VisionTransformer\nVisionTransformer: {{" + SMALL + "norm_layer: nn.Layer}}",
                           "norm_layer is 'nn.Layer'"),
    "norm_layer, inline": ("DETR.backbone: {{name: VisionTransformer, " + SMALL + "norm_layer: \"" + CODE + "\"}}",
                           "norm_layer is"),
    "pretrained ViT": ("DETR.backbone: {{name: VisionTransformer, " + SMALL + "pretrained: '{pickle}'}}",
                       "it holds .*mkdir"),
    "pretrained ConvNeXt": ("DETR.backbone: ConvNeXt\nConvNeXt: {{arch: tiny, pretrained: '{pickle}'}}",
                            "it holds .*mkdir"),
    "a URL": ("DETR.backbone: ConvNeXt\nConvNeXt: {{pretrained: 'http://127.0.0.1:1/x.pdparams'}}", "cannot download"),
    "no file": ("DETR.backbone: ConvNeXt\nConvNeXt: {{pretrained: none.pdparams}}", "no weight file 'none.pdparams'"),
    "stage_fn": ("DETR.neck: CustomCSPPAN\nCustomCSPPAN: {{act: swish, stage_fn: \"" + CODE + "\"}}",
                 "stage_fn or block_fn"),
    "block_fn": ("DETR.neck: CustomCSPPAN\nCustomCSPPAN: {{act: swish, block_fn: \"" + CODE + "\"}}",
                 "stage_fn or block_fn"),
    "act_fn": ("DETR.backbone: {{name: TransEncoder, act_fn: \"" + CODE + "\"}}", "act_fn is"),
    "a shell": ("DETR.backbone: TestMOTDataset\n"
                "TestMOTDataset: {{name: video2frames, video_path: ';mkdir {sentinel};', outpath: '{sentinel}x'}}",
                "TestMOTDataset has no setting 'name'|'video2frames' is no data set"),
    "a shell, ours": ("DETR.backbone: TrainDataset\n"
                      "TrainDataset: {{name: video2frames, video_path: ';mkdir {sentinel};', outpath: '{sentinel}x'}}",
                      "'video2frames'"),
    "a video": ("TestDataset: {{name: MOTImageFolder, video_file: ';mkdir {sentinel};'}}", "'MOTImageFolder'"),
    "a tracker": ("DETR.backbone: DeepSORTTracker", "'DeepSORTTracker' is not registered"),
    "a re-identifier": ("DETR.backbone: PCBPyramid\nPCBPyramid: {{model_name: \"" + CODE + "\"}}", "'PCBPyramid' is"),
    "slim": ("architecture: Pruner", "'Pruner' is not registered"),
    "no transform": ("TrainReader: {{sample_transforms: [{{setup_logger: {{name: a, output: '{sentinel}'}}}}]}}",
                     "unknown transform 'setup_logger'"),
    "no scheduler": ("LearningRate: {{schedulers: [{{name: setup_logger, output: '{sentinel}'}}]}}",
                     "unknown scheduler 'setup_logger'"),
    "no optimizer": ("OptimizerBuilder: {{optimizer: {{type: lr}}}}", "unknown type 'lr'"),
    "wandb": ("use_wandb: true\nwandb: {{project: a, settings: {{_executable: '{sentinel}'}}}}", "wandb: .*'settings'"),
    "wandb_": ("wandb_settings: {{x_executable: '{sentinel}'}}", "wandb: the setting 'settings'"),
}


def bomb(inner, width, levels):
    """Aliases of aliases: width**levels values in a few lines."""
    lines = [f"a0: &a0 {inner}"]
    for level in range(1, levels + 1):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]")
    return "\n".join(lines)


MERGED = "a0: &a0 {x: 1}\n" + "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12))
TOO_MANY, TOO_DEEP = "more than 20000 keys and values", "more than 50 deep"
# name -> (text, words of the line)
ENDLESS = {
    "laughs": (bomb("[lol, lol]", 9, 12), f"line 5: {TOO_MANY}"),
    "laughs in mappings": (bomb("{a: lol}", 9, 12).replace("[*", "[{b: 1}, *"), TOO_MANY),
    "merged": (MERGED, TOO_MANY),
    "itself": ("a: &a [1, *a]", "line 1: an alias .* inside"),
    "itself, mapping": ("a: &a {b: *a}", "inside of what it means"),
    "many": ("a: [" + "1," * 400_000 + "1]", TOO_MANY),
    "long": ("a: " + "b" * (1 << 20), "larger than 1048576 bytes"),
    "deep lists": ("a: " + "[" * 100_000, TOO_DEEP),
    "deep mappings": ("{a: " * 100_000, TOO_DEEP),
    "deep blocks": ("- " * 100_000, TOO_DEEP),
    "deep keys": ("? " * 100_000, TOO_DEEP),
    "deep lines": ("\n".join(" " * n + "a:" for n in range(1000)), "line 50: .*" + TOO_DEEP),
    "a number to base 60": ("a: " + "1:" * 500_000 + "1", "a number of more than 100 characters"),
    "a hexadecimal number": ("a: 0x" + "f" * 500_000, "a number of more than 100 characters"),
    "an explicit number": ("a: !!int '" + "7" * 500_000 + "'", "a number of more than 100 characters"),
    "a long key": ("a" * 500_000 + ": 1\n" + "a" * 500_000, ""),
}
ODD = ("a: !!int ''", "a: !!float ''", "a: !!bool maybe", "a: !!timestamp x", "a: 2001-99-99", "a: !!binary '\u00e9'",
       "? [1]\n: 2", "a: !!omap 3", "a: *none", "\x00", "a: \ud83d", "--- a\n--- b", "a: !LinearWarmup 3",
       "a: !LinearWarmup {steps: {}, x: 1}", "a: !COCODataSet [1,2,3,4,5,6,7,8,9,10,11]", "a: !<>")
