# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The rows about Paddle."""
from .ledger import Change, Patch

_F = "paddle.nn.functional"
_KERNELS = "ppdet_ext.kernels"


def _pointwise(name, *modules):
    return Patch(name, (Change(f"{_F}:{name}", f"{_KERNELS}.pointwise:in_place_of_{name}",
                               tuple(f"{module}:{name}" for module in modules)),),
                 f"eager {name} on a CPU runs on one thread and not in oneDNN", "paddle>=2.6,<4", "kernels")


ROWS = (
    Patch("dataloader_interval",
          (Change("paddle.io.dataloader.dataloader_iter:MP_STATUS_CHECK_INTERVAL",
                   "ppdet_ext.data.worker_threads:look_often"),),
          "a reader's thread that ends late holds a lock which a newly forked worker then never gets", "paddle>=2.6"),
    Patch("dataloader_end",
          (Change("paddle.io.dataloader.dataloader_iter:_DataLoaderIterMultiProcess._init_workers",
                  "ppdet_ext.data.worker_threads:remember"),),
          "Python stops the workers that read ahead when a run ends, and Paddle then warns of a crash", "paddle>=2.6"),
    Patch("sync_batch_norm_on_cpu",
          (Change("paddle.nn:SyncBatchNorm.forward", f"{_KERNELS}.sync_batch_norm:forward_anywhere"),),
          "SyncBatchNorm has no kernel for a CPU", "paddle>=2.6"),
    Patch("convert_sync_batch_norm_once",
          (Change("paddle.nn:SyncBatchNorm.convert_sync_batchnorm", f"{_KERNELS}.sync_batch_norm:convert_once"),),
          "convert_sync_batchnorm makes a plain one of a subclass that is a SyncBatchNorm already, and forgets that a "
          "norm is frozen", "paddle>=2.6"),
    Patch("convolution",
          (Change(f"{_F}.conv:_conv_nd", f"{_KERNELS}.convolution:in_place_of_conv_nd"),
           Change(f"{_F}.conv:_C_ops", f"{_KERNELS}.convolution:in_place_of_operations")),
          "eager convolutions on a CPU do not run in oneDNN", "paddle>=2.6,<4", "kernels"),
    Patch("linear", (Change(f"{_F}:linear", f"{_KERNELS}.linear:in_place_of_linear"),),
          "the gradient of a bias is summed by one thread on a CPU", "paddle>=2.6,<4", "kernels"),
    *(_pointwise(name, f"{_F}.activation") for name in ("relu", "silu", "softmax")),
    _pointwise("gelu"),
    _pointwise("layer_norm", f"{_F}.norm", "paddle.nn.layer.norm"),
)
