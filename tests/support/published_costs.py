# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What timm and torchvision have published of their networks' operations and parameters."""
TOLERANCE = 0.02
# (side of the image, GMACs, millions of parameters); torchvision 0.29.1: meta["_ops"] and meta["num_params"]
TORCHVISION = {
    "convnext_tiny": (224, 4.456, 28.589), "densenet121": (224, 2.834, 7.979), "efficientnet_b0": (224, 0.386, 5.289),
    "efficientnet_v2_s": (384, 8.366, 21.458), "mobilenet_v2": (224, 0.301, 3.505),
    "mobilenet_v3_large": (224, 0.217, 5.483), "regnet_y_400mf": (224, 0.402, 4.344), "resnet18": (224, 1.814, 11.690),
    "resnet50": (224, 4.089, 25.557), "shufflenet_v2_x1_0": (224, 0.145, 2.279),
    "vgg16": (224, 15.470, 138.358),
}
# the same; timm's results/benchmark-infer-amp-nchw-pt113-cu117-rtx3090.csv and -pt210-cu121 (revision aa4b5850)
TIMM = {
    "convnext_tiny": (224, 4.47, 28.59), "cspresnet50": (256, 4.54, 21.62), "darknet53": (256, 9.31, 41.61),
    "ese_vovnet39b": (224, 7.09, 24.57), "focalnet_tiny_srf": (224, 4.42, 28.43), "hgnetv2_b4": (224, 2.75, 19.80),
    "hrnet_w18": (224, 4.32, 21.30), "poolformer_s12": (224, 1.82, 11.92), "regnety_032": (224, 3.20, 19.44),
    "res2net50_26w_4s": (224, 4.28, 25.70), "resnet50d": (224, 4.35, 25.58),
    "swin_tiny_patch4_window7_224": (224, 4.51, 28.29),
    "swinv2_tiny_window8_256": (256, 5.96, 28.35), "vit_tiny_patch16_224": (224, 1.26, 5.72),
}
PUBLISHED = {**{f"torchvision/{name}": facts for name, facts in TORCHVISION.items()}, **TIMM}
