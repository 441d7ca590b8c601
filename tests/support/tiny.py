# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A detector small enough to train in seconds, as a config."""
# RT-DETR's own parts, as small as they go: tests of the plumbing need a network, not a good one, and no page of its run
TINY = """\
_BASE_: [{configs}/datasets/digits_detection.yml, {configs}/_base_/rtdetr.yml, {configs}/_base_/reader_640.yml,
         {configs}/_base_/optimizer_6x.yml, {configs}/_base_/runtime.yml]
TrainDataset: {{dataset_dir: {data}}}
EvalDataset: {{dataset_dir: {data}}}
TestDataset: {{dataset_dir: {data}}}
save_dir: {output}
epoch: 2
log_iter: 1
worker_num: 0
report: false
norm_type: bn
hidden_dim: 32
eval_size: [64, 64]
TimmBackbone: {{arch: tf_efficientnet_lite0, pretrained: false}}
HybridEncoder:
  hidden_dim: 32
  depth_mult: 0.34
  encoder_layer: {{name: TransformerLayer, d_model: 32, nhead: 2, dim_feedforward: 32, dropout: 0., activation: gelu}}
RTDETRTransformer: {{num_queries: 20, num_decoder_layers: 1, dim_feedforward: 32, nhead: 2, num_denoising: 5}}
DETRPostProcess: {{num_top_queries: 20}}
LearningRate:
  base_lr: 0.001
  schedulers: [!PiecewiseDecay {{gamma: 0.1, milestones: [1], use_warmup: true}}, !LinearWarmup {{steps: 2}}]
TrainReader:
  batch_size: 4
  sample_transforms: [Decode: {{}}, RandomFlip: {{}}]
  batch_transforms:
  - BatchRandomResize: {{target_size: [64], random_size: true, random_interp: false, keep_ratio: false}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - NormalizeBox: {{}}
  - BboxXYXY2XYWH: {{}}
  - Permute: {{}}
EvalReader:
  batch_size: 2
  sample_transforms: &transforms
  - Decode: {{}}
  - Resize: {{target_size: [64, 64], keep_ratio: false, interp: 2}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - Permute: {{}}
TestReader:
  inputs_def: {{image_shape: [3, 64, 64]}}
  sample_transforms: *transforms
"""
