# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A model.onnx whose detections are known beforehand, written without Paddle: cheap for processes that only run it."""
import numpy as np
import yaml

SIDE = 32
# where the known network says objects are, as shares of the picture
SHARES = np.array([0.1, 0.2, 0.5, 0.6], np.float32)
SETTINGS = {
    "mode": "paddle", "draw_threshold": 0.5, "metric": "COCO", "use_dynamic_shape": False, "arch": "DETR",
    "min_subgraph_size": 3, "label_list": ["red", "green", "blue"],
    "Preprocess": [{"type": "Resize", "target_size": [SIDE, SIDE], "keep_ratio": False, "interp": 2},
                   {"type": "NormalizeImage", "mean": [0.0] * 3, "std": [1.0] * 3, "norm_type": "none"},
                   {"type": "Permute"}]}


def save(folder):
    """One detection per channel: its mean is the score, SHARES of the picture the box. Returns the new ``folder``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def node(kind, inputs, output, **settings):
        return helper.make_node(kind, inputs, [output], **settings)

    def constant(name, values):
        return numpy_helper.from_array(np.asarray(values), name)

    nodes = [
        node("ReduceMean", ["image"], "score", axes=[2, 3], keepdims=0),               # [N, 3]
        node("Mul", ["score", "zero"], "zeros"), node("Add", ["zeros", "classes"], "labels"),
        node("Div", ["im_shape", "scale_factor"], "size"),                              # (y, x) of the picture
        node("Gather", ["size", "yxyx"], "corners", axis=1),                            # x, y, x, y
        node("Mul", ["corners", "shares"], "box"), node("Unsqueeze", ["box", "one"], "boxes1"),
        node("Concat", ["boxes1", "boxes1", "boxes1"], "boxes", axis=1),
        node("Unsqueeze", ["labels", "two"], "labels3"), node("Unsqueeze", ["score", "two"], "score3"),
        node("Concat", ["labels3", "score3", "boxes"], "found", axis=2),
        node("Reshape", ["found", "rows"], "bbox"),
        node("ReduceMax", ["score"], "most", axes=[1], keepdims=0), node("Mul", ["most", "zero"], "none"),
        node("Add", ["none", "three"], "count"), node("Cast", ["count"], "bbox_num", to=TensorProto.INT32)]
    constants = [constant("zero", np.float32(0)), constant("three", np.float32(3)), constant("shares", SHARES),
                 constant("classes", np.arange(3, dtype=np.float32)), constant("yxyx", np.array([1, 0, 1, 0])),
                 constant("one", np.array([1])), constant("two", np.array([2])), constant("rows", np.array([-1, 6]))]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (
        ("image", ["N", 3, SIDE, SIDE]), ("im_shape", ["N", 2]), ("scale_factor", ["N", 2]))]
    outputs = [helper.make_tensor_value_info("bbox", TensorProto.FLOAT, ["M", 6]),
               helper.make_tensor_value_info("bbox_num", TensorProto.INT32, ["N"])]
    graph = helper.make_graph(nodes, "known", inputs, outputs, constants)
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    (folder / "infer_cfg.yml").write_text(yaml.safe_dump(SETTINGS))
    return folder


def boxes_of(image):
    """[3, 6] that the model gives for RGB pixels [H, W, 3] of one colour."""
    size = np.tile(image.shape[1::-1], 2)
    return np.array([[c, image[0, 0, c] / 255, *(SHARES * size)] for c in range(3)], np.float32)
