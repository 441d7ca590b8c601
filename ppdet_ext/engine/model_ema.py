# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""ppdet's average of the weights, with ``ema_filter_no_grad`` working: frozen parameters stay as they are."""
from __future__ import annotations

from ppdet.optimizer import ema


def keep_frozen(base: type) -> type:
    """For ``ModelEMA``: a subclass that averages no frozen parameter (ppdet 2.6.0 appends to a set and fails)."""
    class ModelEMA(base):
        __doc__ = base.__doc__

        def __init__(self, model, decay=0.9998, ema_decay_type="threshold", cycle_epoch=-1, ema_black_list=None,
                     ema_filter_no_grad=False):
            super().__init__(model, decay, ema_decay_type, cycle_epoch, ema_black_list)
            if ema_filter_no_grad:
                statistics = ema.get_bn_running_state_names(model)
                frozen = {n for n, p in model.named_parameters() if p.stop_gradient and n not in statistics}
                self.ema_black_list = set(self.ema_black_list) | frozen
                self.state_dict.update({k: v for k, v in model.state_dict().items() if k in frozen})
    return ModelEMA
