# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The rows about ppdet."""
from .ledger import Change, Patch

_OPERATORS = "ppdet.data.transform.operators"
_READER = "ppdet.data.reader"
_DATA = "ppdet_ext.data"

ROWS = (
    Patch("safe_yaml",
          (Change("ppdet.core.workspace:_load_config_with_base", "ppdet_ext.config.config_file:safe_reader"),),
          "ppdet reads configs with a YAML loader that runs code which a file holds", "ppdet>=2.6"),
    Patch("unreadable_image", (Change(f"{_OPERATORS}:Decode.apply", f"{_DATA}.reading:decode_strictly"),),
          "Decode gives a file's bytes to whichever decoder of OpenCV knows them, and swallows the error of an "
          "unreadable image and the image's name", "ppdet>=2.6"),
    Patch("safe_decoders",
          (Change(f"{_OPERATORS}:cv2", f"{_DATA}.reading:only_safe_decoders", ("ppdet.data.source.sniper_coco:cv2",)),
           Change(f"{_OPERATORS}:DecodeCache.apply", f"{_DATA}.reading:naming_the_image"),
           Change(f"{_OPERATORS}:SniperDecodeCrop.__call__", f"{_DATA}.reading:naming_the_image")),
          "further transforms give a file's bytes to whichever decoder of OpenCV knows them", "ppdet>=2.6"),
    Patch("cache_of_whole_path",
          (Change(f"{_OPERATORS}:DecodeCache.cache_path", f"{_DATA}.reading:cache_of_whole_path"),),
          "DecodeCache keeps pictures of one name in two folders as one file, and gives the first for both",
          "ppdet>=2.6"),
    Patch("reader_errors",
          (Change(f"{_READER}:Compose.__call__", f"{_DATA}.reading:compose_safely"),
           Change(f"{_READER}:BatchCompose.__call__", f"{_DATA}.reading:collate_safely"),
           Change(f"{_READER}:BaseDataLoader.__next__", f"{_DATA}.reading:next_or_raise")),
          "an error, or a batch without boxes, inside a reader's worker hangs the training or ends it without a name",
          "ppdet>=2.6", after=("next_epoch",)),
    Patch("clipped_boxes",
          (Change("ppdet.data.source.coco:COCODataSet.parse_dataset", f"{_DATA}.reading:parse_and_clip"),),
          "boxes that reach over the image's border stay so", "ppdet>=2.6"),
    Patch("next_epoch", (Change(f"{_READER}:BaseDataLoader.__next__", f"{_DATA}.transform_schedule:next_of_epoch"),),
          "workers read ahead with the number of the epoch before", "ppdet>=2.6"),
    Patch("transform_schedulers",
          (Change(f"{_READER}:BaseDataLoader.__init__", f"{_DATA}.transform_schedule:schedule_transforms"),
           Change(f"{_READER}:BaseDataLoader.__call__", f"{_DATA}.transform_schedule:tell_dataset")),
          "readers do not know transform_schedulers, which develop has", "ppdet>=2.6"),
    Patch("transform_prob",
          (Change(f"{_OPERATORS}:RandomDistort.__init__", f"{_DATA}.transform_prob:take_prob"),
           Change(f"{_OPERATORS}:RandomDistort.apply", f"{_DATA}.transform_prob:apply_sometimes"),
           Change(f"{_OPERATORS}:RandomCrop.__init__", f"{_DATA}.transform_prob:take_prob"),
           Change(f"{_OPERATORS}:RandomCrop.apply", f"{_DATA}.transform_prob:apply_sometimes")),
          "RandomDistort and RandomCrop have no prob, which RT-DETR sets and develop has", "ppdet>=2.6",
          after=("fast_distort",)),
    Patch("fast_distort", (Change(f"{_OPERATORS}:RandomDistort.apply", f"{_DATA}.pixels:distort_at_once"),),
          "RandomDistort takes ten times as long as one pass of OpenCV", "ppdet>=2.6"),
    Patch("fast_normalize", (Change(f"{_OPERATORS}:NormalizeImage.apply", f"{_DATA}.pixels:normalize_at_once"),),
          "NormalizeImage takes fifteen times as long as one pass of OpenCV", "ppdet>=2.6"),
    Patch("fast_pad", (Change(f"{_OPERATORS}:Pad.apply_image", f"{_DATA}.pixels:pad_at_once"),),
          "Pad (and RandomExpand) fills the whole picture before it copies the image into it", "ppdet>=2.6"),
    Patch("fast_flip", (Change(f"{_OPERATORS}:RandomFlip.apply_image", f"{_DATA}.pixels:flip_at_once"),),
          "RandomFlip gives a reversed view, which the resize then copies pixel by pixel", "ppdet>=2.6"),
    Patch("ema_filter_no_grad",
          (Change("ppdet.optimizer.ema:ModelEMA", "ppdet_ext.engine.model_ema:keep_frozen",
                  ("ppdet.optimizer:ModelEMA", "ppdet.engine.trainer:ModelEMA")),),
          "ModelEMA fails on ema_filter_no_grad: true", "ppdet>=2.6"),
)
