# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Each row of the ledger: without it the defect that it is for shows, with it not."""
import contextlib
import functools
import threading
import tracemalloc
import types
from pathlib import Path

import cv2
import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn
from paddle.io.dataloader import dataloader_iter
from ppdet.core import workspace
from ppdet.data import reader as readers
from ppdet.data.source.category import get_categories
from ppdet.data.source.dataset import CommonDataset
from ppdet.data.source.voc import VOCDataSet
from ppdet.data.transform import operators
from ppdet.modeling.backbones import vision_transformer
from ppdet.utils import download
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support import data_sets
from support.hostile_configs import write_pickle

from ppdet_ext import kernels
from ppdet_ext.data import transform_schedule, worker_threads
from ppdet_ext.errors import UserError
from ppdet_ext.kernels import convolution, dispatch, linear
from ppdet_ext.patches import ledger


def picture():
    return np.random.RandomState(0).randint(0, 256, (480, 640, 3)).astype("uint8")


# ---------------------------------------------------------------- each gives True where the defect shows
def safe_yaml(tmp_path):
    folder, config = tmp_path / "made by a config", tmp_path / "config.yml"
    config.write_text(f"a: !!python/object/apply:os.mkdir ['{folder}']\n")
    try:
        workspace._load_config_with_base(str(config))
    except UserError:
        return False
    return folder.is_dir()


def safe_eval(tmp_path):
    code = "__import__('os').mkdir('{}')"
    return runs(tmp_path, lambda folder: vision_transformer.Block(8, 2, norm_layer=code.format(folder)))


def safe_names(tmp_path):
    return runs(tmp_path, lambda folder: CommonDataset(
        name="video2frames", video_path=f";mkdir {folder};", outpath=str(tmp_path), frame_rate=1))


def safe_load(tmp_path):
    return runs(tmp_path, lambda folder: vision_transformer.VisionTransformer(
        img_size=[32, 32], embed_dim=8, num_heads=2, depth=1, out_indices=[0],
        pretrained=str(write_pickle(tmp_path / "a.pdparams", folder))))


def safe_cache(tmp_path):
    decode = operators.DecodeCache(str(tmp_path))
    cached = Path(decode.cache_path(str(tmp_path), "1.jpg"))
    return runs(tmp_path, lambda folder: write_pickle(cached, folder) and decode.apply({"im_file": "1.jpg"}))


def runs(tmp_path, function):
    """Whether what ``function`` is given to make has been made."""
    with contextlib.suppress(Exception):
        function(tmp_path / "made")
    return (tmp_path / "made").is_dir()


def safe_download(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        asked = []
        patch.setattr(download.requests, "get", lambda url, **settings: asked.append(url))
        with contextlib.suppress(Exception):
            download._download_dist("http://127.0.0.1:1/data.tar", str(tmp_path))
    return bool(asked)


def unreadable_image(tmp_path):
    (tmp_path / "1.jpg").write_bytes(b"no image")
    try:
        operators.Decode().apply({"im_file": str(tmp_path / "1.jpg")})
    except Exception as error:
        return "1.jpg" not in str(error)


def safe_decoders(tmp_path):
    image = tmp_path / "cut.jpg"
    image.write_bytes(cv2.imencode(".jpg", picture())[1].tobytes()[:5000])
    try:
        operators.DecodeCache().apply({"im_file": str(image)})
    except Exception as error:
        return "cut.jpg' is unreadable: cut off" not in str(error)
    return True


def cache_of_whole_path(tmp_path):
    first, second, again = (operators.DecodeCache.cache_path("cache", f"{name}/1.jpg") for name in "aba")
    assert first == again and first.startswith("cache/1.jpg") and first.endswith(".pkl")
    return first == second


def reader_errors(tmp_path):
    try:
        readers.Compose([{"Resize": {"target_size": [8, 8], "keep_ratio": False}}])({"image": "none"})
    except Exception:
        return True
    return False


def data_set(tmp_path, change=lambda content: None):
    root = data_sets.write_coco(tmp_path / "set", change)
    data_sets.load(tmp_path, data_sets.coco_values(root))
    dataset = workspace.create("TrainDataset")()
    dataset.parse_dataset()
    return dataset


def clipped_boxes(tmp_path):
    boxes = data_set(tmp_path, lambda content: content["annotations"][0].update(bbox=[30, 20, 25, 25])).roidbs[0]
    return boxes["gt_bbox"].max() > max(data_sets.SIZE)


def boxes_alone(tmp_path):
    """Of two boxes of a picture one has an empty outline; of another's only box, too."""
    def outlines(content):
        first, second, _ = content["annotations"]
        content["annotations"].append({**first, "id": 9, "bbox": [1, 2, 3, 4], "segmentation": [[1, 2, 4, 2, 4, 6]]})
        first["segmentation"] = second["segmentation"] = [[]]

    records = data_set(tmp_path, outlines).roidbs
    whole = len(records) == 3 and records[0]["gt_bbox"].tolist() == [[5, 6, 15, 18], [1, 2, 4, 6]]
    return not whole


def lists_in_utf8(tmp_path):
    root = data_sets.write_voc(tmp_path / "set")
    for name in ("train.txt", "label_list.txt"):
        (root / name).write_text((root / name).read_text(), encoding="utf-8-sig")
    dataset = VOCDataSet(str(root), anno_path="train.txt", label_list="label_list.txt", data_fields=["image"])
    try:
        dataset.parse_dataset()
    except KeyError:  # the class cat
        return True
    _, names = get_categories("VOC", dataset.get_label_list())
    assert len(dataset.roidbs) == 3 and dataset.cname2cid == {"cat": 0, "dog": 1}
    return names[0] != "cat"


def mosaic(tmp_path):
    """Class numbers as floats, and boxes of nothing: the lower right corner is always cut off."""
    def sample(number):
        return {"image": picture(), "im_shape": np.zeros(2), "gt_class": np.full([2, 1], number, "int32"),
                "gt_bbox": np.array([[0, 0, 640, 480], [600, 400, 640, 480]], "float32"),
                "is_crowd": np.zeros([2, 1], "int32")}

    made = operators.Mosaic(input_dim=[64, 64], degrees=[0, 0], translate=[0, 0], scale=[1, 1], shear=[0, 0],
                            enable_mixup=False)([sample(number) for number in range(5)])
    assert len(made["gt_bbox"]) == len(made["gt_class"]) == len(made["is_crowd"]) > 0
    floats = made["gt_class"].dtype.kind == "f"
    assert floats == bool((made["gt_bbox"][:, 2:] - made["gt_bbox"][:, :2] <= 0).any())
    return floats


def mixup(tmp_path):
    """The size of the first picture, and arrays of the boxes that are one picture's."""
    made = operators.Mixup()(two_samples())
    return (made["h"], made["w"], len(made["gt_track_id"])) != (60, 90, len(made["gt_bbox"]))


def two_samples():
    return [{"image": np.zeros([*size, 3], "uint8"), "h": size[0], "w": size[1], "im_shape": np.array(size, "float32"),
             "gt_bbox": np.array([[0, 0, 40, 40]], "float32"), "gt_class": np.zeros([1, 1], "int32"),
             "gt_track_id": np.zeros([1, 1], "int32")} for size in ((40, 90), (60, 50))]


def cutmix(tmp_path):
    """A box that is wholly in the part of the second picture that was not pasted."""
    for seed in range(40):
        np.random.seed(seed)
        made = operators.Cutmix()(two_samples())
        if len(made["gt_bbox"]) < 2:
            return False
    return True


def scaled_crop(tmp_path):
    try:
        made = operators.RandomScaledCrop(target_dim=32)(two_samples()[0])
    except (KeyError, cv2.error):
        return True
    assert made["image"].shape == (32, 32, 3)
    return False


def mixing(tmp_path):
    dataset = data_set(tmp_path)
    reader = readers.TrainReader(sample_transforms=[{"Decode": {}}, {"Mixup": {}}], batch_size=1,
                                 mixing={"Mixup": 1.0})
    dataset.set_transform(reader._sample_transforms)
    dataset.set_kwargs(**reader.kwargs)
    transform_schedule.tell(reader, dataset)
    np.random.seed(0)
    return len(dataset[0]["gt_bbox"]) == len(dataset.roidbs[0]["gt_bbox"])


def next_epoch(tmp_path):
    dataset = types.SimpleNamespace(_epoch=4)
    dataset.set_epoch = lambda epoch: setattr(dataset, "_epoch", epoch)
    reader = types.SimpleNamespace(loader=iter(()), dataloader=[1], dataset=dataset)
    with pytest.raises(StopIteration):
        readers.BaseDataLoader.__next__(reader)
    return dataset._epoch == 4


def reads_later(tmp_path):
    before = set(threading.enumerate())
    batches = iter(readers.DataLoader(paddle.io.TensorDataset([paddle.ones([100])]), return_list=True))
    at_once = bool(set(threading.enumerate()) - before)
    assert len(list(batches)) == 100
    return at_once


def transform_schedulers(tmp_path):
    reader = readers.TrainReader(sample_transforms=[{"Decode": {}}], batch_size=1,
                                 transform_schedulers=[{"Decode": {"stop_epoch": 1}}])
    return not isinstance(reader._sample_transforms.transforms_cls[0], transform_schedule.Scheduled)


def transform_prob(tmp_path):
    try:
        kept = operators.RandomDistort(prob=0.0).apply({"image": picture()})["image"]
    except TypeError:
        return True
    operators.RandomCrop(prob=0.5)
    return not np.array_equal(kept, picture())


def fast_distort(tmp_path):
    left_out = [0, 0, 1.0]
    distort = operators.RandomDistort(hue=[10, 10, 0.0], saturation=left_out, contrast=left_out, brightness=left_out)
    return distort.apply({"image": picture()})["image"].dtype == np.float64


def most_memory(function):
    """Bytes that were held at most during the call, its result among them."""
    tracemalloc.start()
    function()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


class Watched(np.ndarray):
    """A picture that counts NumPy's passes over it."""

    passes = 0

    def __array_ufunc__(self, function, method, *inputs, out=(), **settings):
        Watched.passes += 1
        plain = [np.asarray(value) for value in inputs]
        made = getattr(function, method)(*plain, out=tuple(map(np.asarray, out)) or None, **settings)
        return np.asarray(made).view(Watched)


def fast_normalize(tmp_path):
    """Passes of NumPy over the whole picture, one for each step."""
    Watched.passes = 0
    operators.NormalizeImage().apply({"image": picture().view(Watched)})
    return Watched.passes >= 3


def fast_pad(tmp_path):
    """A copy of the image beside the result."""
    image = picture().astype("float32")
    padded = functools.partial(operators.Pad(960).apply_image, image, [9, 9], [480, 640], [960, 960])
    return most_memory(padded) > 4 * 3 * 960**2 + image.nbytes / 2


def fast_flip(tmp_path):
    return not operators.RandomFlip().apply_image(picture()).flags["C_CONTIGUOUS"]


def ema_filter_no_grad(tmp_path):
    from ppdet.engine import trainer

    net = nn.Linear(2, 2)
    net.bias.stop_gradient = True
    try:
        trainer.ModelEMA(net, ema_filter_no_grad=True)
    except AttributeError:
        return True
    return False


def dataloader_interval(tmp_path):
    return dataloader_iter.MP_STATUS_CHECK_INTERVAL > 1


def dataloader_end(tmp_path):
    """Whether workers are left for Python to stop when a program ends in the middle of an epoch."""
    batches = iter(paddle.io.DataLoader(Squares(), batch_size=1, num_workers=1, use_shared_memory=False))
    next(batches)
    worker_threads.end_all()
    left = batches._workers[0].is_alive()
    worker_threads.stop(batches)
    return left


class Squares(paddle.io.Dataset):
    def __getitem__(self, index):
        return np.float32(index**2)

    def __len__(self):
        return 50


def sync_batch_norm_on_cpu(tmp_path):
    try:
        nn.SyncBatchNorm(2)(paddle.ones([1, 2, 3, 3]))
    except RuntimeError:
        return True
    return False


def convert_sync_batch_norm_once(tmp_path):
    class Mine(nn.SyncBatchNorm):
        pass

    return type(nn.SyncBatchNorm.convert_sync_batchnorm(Mine(2))) is not Mine


def annotation_id_zero(tmp_path):
    """All boxes are found, and yet AP is not 1."""
    boxes = [{"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 40, 40], "area": 1600, "iscrowd": 0}
             for number in range(6)]
    wanted = COCO()
    wanted.dataset = {"images": [{"id": number} for number in range(6)], "categories": [{"id": 1}],
                      "annotations": boxes}
    wanted.createIndex()
    evaluation = COCOeval(wanted, wanted.loadRes([{**box, "score": 0.9} for box in boxes]), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[0] < 1


DEFECTS = (safe_yaml, safe_eval, safe_names, safe_load, safe_cache, safe_download, unreadable_image, safe_decoders,
           cache_of_whole_path, reader_errors, clipped_boxes, boxes_alone, lists_in_utf8, mosaic, mixup, cutmix,
           scaled_crop, mixing, next_epoch, reads_later, transform_schedulers, transform_prob,
           fast_distort, fast_normalize, fast_pad, fast_flip, annotation_id_zero, ema_filter_no_grad,
           dataloader_interval,
           dataloader_end, sync_batch_norm_on_cpu, convert_sync_batch_norm_once)

#: kernel -> (what uses it, where its computation begins); the defect is that Paddle's own runs
KERNELS = {
    "convolution": (lambda: F.conv2d(paddle.rand([1, 4, 8, 8]), paddle.rand([4, 4, 3, 3])), convolution, "run"),
    "linear": (lambda: nn.Linear(3, 4)(paddle.rand([2, 3])), linear, "repeated"),
    "relu": (lambda: nn.ReLU()(paddle.rand([256, 256])), dispatch, "run"),
    "silu": (lambda: nn.Silu()(paddle.rand([256, 256])), dispatch, "run"),
    "gelu": (lambda: nn.GELU()(paddle.rand([256, 256])), dispatch, "run"),
    "softmax": (lambda: nn.Softmax()(paddle.rand([256, 256])), dispatch, "run"),
    "layer_norm": (lambda: nn.LayerNorm(256)(paddle.rand([256, 256])), dispatch, "run"),
}


def test_every_row_has_its_test():
    assert sorted([*(defect.__name__ for defect in DEFECTS), *KERNELS]) == sorted(
        row.name for row in ledger.rows())


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.__name__)
def test_without_the_row_the_defect_shows(defect, tmp_path):
    (tmp_path / "without").mkdir()
    with ledger.without(defect.__name__):
        assert defect(tmp_path / "without")
    (tmp_path / "with").mkdir()
    assert not defect(tmp_path / "with")


@pytest.mark.parametrize("name", KERNELS)
def test_without_the_row_paddles_own_operation_runs(name, monkeypatch):
    if not dispatch.available():
        pytest.skip("Paddle came without oneDNN's library")
    use, module, begin = KERNELS[name]
    used, own = [], getattr(module, begin)
    with kernels.enabled():
        use()  # it is compared with Paddle's at its first use
    monkeypatch.setattr(module, begin, lambda *args: used.append(name) or own(*args))
    with monkeypatch.context() as patch:
        patch.setenv(ledger.SWITCH, name)
        with kernels.enabled():
            use()
    assert used == []
    with kernels.enabled():
        use()
    assert used == [name]
