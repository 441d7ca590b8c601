# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write ppdet_ext/graph/shipped anew: the graphs of much used networks that have no native port, so that they need no torch.

Only for the package's authors: run it when the tracer or timm changes. It takes names: make_graphs.py NAME ...
"""
import sys

import ppdet_ext

ppdet_ext.setup()

from ppdet_ext.graph import graph_file, store
from ppdet_ext.trace import on_demand

NAMES = ["darknet53", "densenet121", "densenet201", "dla34", "dla60", "dpn68", "eca_nfnet_l0", "edgenext_small", "efficientnet_es", "fastvit_sa12", "fastvit_t8", "fbnetc_100", "focalnet_tiny_srf", "ghostnet_100", "ghostnetv2_100", "hgnet_small", "hrnet_w18", "hrnet_w32", "inception_next_tiny", "lcnet_100", "mnasnet_100", "mobilenetv2_100", "mobilenetv4_conv_large", "mobilenetv4_conv_medium", "mobilenetv4_conv_small", "mobileone_s0", "nextvit_small", "poolformer_s12", "poolformerv2_s12", "pvt_v2_b0", "pvt_v2_b1", "pvt_v2_b2", "regnetz_c16", "repvgg_a0", "repvgg_b0", "res2net50_26w_4s", "resnest50d", "resnet26d", "resnet152", "resnetaa50", "resnetrs50", "resnetv2_50", "rexnet_100", "seresnet50", "seresnext50_32x4d", "starnet_s1", "swin_s3_tiny_224", "tf_efficientnetv2_b0", "tf_efficientnetv2_m", "tf_efficientnet_b5", "vgg16", "vgg16_bn", "vovnet39a", "ese_vovnet39b", "wide_resnet101_2", "xcit_tiny_12_p16_224", "davit_tiny", "deit3_small_patch16_224", "deit_small_patch16_224", "deit_tiny_patch16_224", "deit_base_patch16_224", "eva02_small_patch14_224", "vit_base_patch14_dinov2", "vit_base_patch16_224", "vit_base_patch16_clip_224", "vit_base_patch16_dinov3", "vit_base_patch16_siglip_224", "vit_large_patch14_dinov2", "vit_large_patch16_224", "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_224", "vit_small_patch16_dinov3", "vit_tiny_patch16_224", "torchvision/convnext_tiny", "torchvision/densenet121", "torchvision/efficientnet_b0", "torchvision/efficientnet_v2_s", "torchvision/mobilenet_v2", "torchvision/mobilenet_v3_large", "torchvision/mobilenet_v3_small", "torchvision/regnet_y_400mf", "torchvision/shufflenet_v2_x1_0", "torchvision/swin_t", "torchvision/vgg16"]


def main():
    for name in sys.argv[1:] or NAMES:
        made = on_demand.traced(name)
        path = store.SHIPPED / store.file_of(name)
        graph_file.save(made, path)
        limits = made.guards() + (["fixed size"] if made.info["fixed"] else [])
        print(f"{name}: {len(made.nodes)} nodes, {path.stat().st_size} bytes; {len(limits)} limits {limits[:2]}")


if __name__ == "__main__":
    main()
