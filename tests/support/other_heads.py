# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""PaddleDetection's RetinaNet, FCOS and PicoDet on a TimmBackbone and the sample data set, as configs."""
COMMON = """\
_BASE_: [{configs}/datasets/digits_detection.yml, {configs}/_base_/runtime.yml]
TrainDataset: {{dataset_dir: {data}}}
EvalDataset: {{dataset_dir: {data}}}
TestDataset: {{dataset_dir: {data}}}
save_dir: {output}
epoch: 2
worker_num: 0
norm_type: bn
TimmBackbone: {{arch: mobilenetv3_small_050, pretrained: false}}
LearningRate:
  base_lr: 0.01
  schedulers: [!PiecewiseDecay {{gamma: 0.1, milestones: [1], use_warmup: true}}, !LinearWarmup {{steps: 2}}]
OptimizerBuilder:
  optimizer: {{type: Momentum, momentum: 0.9}}
  regularizer: {{type: L2, factor: 0.0001}}
EvalReader: &reader
  batch_size: 2
  sample_transforms: &transforms
  - Decode: {{}}
  - Resize: {{target_size: [{size}, {size}], keep_ratio: false, interp: 2}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - Permute: {{}}
TestReader:
  inputs_def: {{image_shape: [3, {size}, {size}]}}
  sample_transforms: *transforms
"""
NMS = "{{name: MultiClassNMS, nms_top_k: 1000, keep_top_k: 100, score_threshold: 0.025, nms_threshold: 0.6}}"
READER = """\
TrainReader:
  batch_size: 4
  sample_transforms:
  - Decode: {{}}
  - RandomFlip: {{prob: 0.5}}
  - Resize: {{target_size: [{size}, {size}], keep_ratio: false, interp: 2}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - Permute: {{}}
"""
HEADS = {
    "RetinaNet": """\
architecture: RetinaNet
RetinaNet: {{backbone: TimmBackbone, neck: FPN, head: RetinaHead}}
FPN: {{out_channel: 64, extra_stage: 2, has_extra_convs: true, use_c5: false}}
RetinaHead:
  conv_feat: {{name: RetinaFeat, feat_in: 64, feat_out: 64, num_convs: 2}}
  anchor_generator: {{name: RetinaAnchorGenerator, octave_base_scale: 4, scales_per_octave: 3,
                     aspect_ratios: [0.5, 1.0, 2.0], strides: [8.0, 16.0, 32.0, 64.0, 128.0]}}
  bbox_assigner: {{name: MaxIoUAssigner, positive_overlap: 0.5, negative_overlap: 0.4, allow_low_quality: true}}
  loss_class: {{name: FocalLoss, gamma: 2.0, alpha: 0.25, loss_weight: 1.0}}
  loss_bbox: {{name: SmoothL1Loss, beta: 0.0, loss_weight: 1.0}}
  nms: """ + NMS + "\n" + READER + """\
  batch_transforms:
  - PadBatch: {{pad_to_stride: 32}}
  collate_batch: false
""",
    "FCOS": """\
architecture: FCOS
FCOS: {{backbone: TimmBackbone, neck: FPN, fcos_head: FCOSHead}}
FPN: {{out_channel: 256, extra_stage: 2, has_extra_convs: true, use_c5: false}}
FCOSHead:
  fcos_feat: {{name: FCOSFeat, feat_in: 256, feat_out: 256, num_convs: 1, norm_type: gn, use_dcn: false}}
  fpn_stride: [8, 16, 32, 64, 128]
  prior_prob: 0.01
  norm_reg_targets: true
  centerness_on_reg: true
  fcos_loss: {{name: FCOSLoss, loss_alpha: 0.25, loss_gamma: 2.0, iou_loss_type: giou, reg_weights: 1.0}}
  nms: """ + NMS + "\n" + READER + """\
  batch_transforms:
  - PadBatch: {{pad_to_stride: 128}}
  - Gt2FCOSTarget: {{object_sizes_boundary: [64, 128, 256, 512], center_sampling_radius: 1.5,
                    downsample_ratios: [8, 16, 32, 64, 128], norm_reg_targets: true}}
""",
    "PicoDet": """\
architecture: PicoDet
PicoDet: {{backbone: TimmBackbone, neck: LCPAN, head: PicoHeadV2}}
LCPAN: {{out_channels: 64, use_depthwise: true, num_features: 4}}
PicoHeadV2:
  conv_feat: {{name: PicoFeat, feat_in: 64, feat_out: 64, num_convs: 2, num_fpn_stride: 4, norm_type: bn,
              share_cls_reg: true, use_se: true}}
  feat_in_chan: 64
  fpn_stride: [8, 16, 32, 64]
  prior_prob: 0.01
  reg_max: 7
  cell_offset: 0.5
  grid_cell_scale: 5.0
  static_assigner_epoch: 100
  use_align_head: true
  static_assigner: {{name: ATSSAssigner, topk: 9, force_gt_matching: false}}
  assigner: {{name: TaskAlignedAssigner, topk: 13, alpha: 1.0, beta: 6.0}}
  loss_class: {{name: VarifocalLoss, use_sigmoid: false, iou_weighted: true, loss_weight: 1.0}}
  loss_dfl: {{name: DistributionFocalLoss, loss_weight: 0.5}}
  loss_bbox: {{name: GIoULoss, loss_weight: 2.5}}
  nms: """ + NMS + """
TrainReader:
  batch_size: 4
  sample_transforms:
  - Decode: {{}}
  - RandomFlip: {{prob: 0.5}}
  batch_transforms:
  - BatchRandomResize: {{target_size: [{size}], random_size: true, random_interp: true, keep_ratio: false}}
  - NormalizeImage: {{mean: from_weights, std: from_weights}}
  - Permute: {{}}
  - PadGT: {{}}
""",
}


def config_text(head, configs, data, output, size=192):
    """The config of a head in HEADS; PicoDet's assigner wants 9 cells of stride 64."""
    return (COMMON + HEADS[head]).format(configs=configs, data=data, output=output, size=size)
