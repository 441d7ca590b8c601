# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Triton's ModelConfig as far as it is used here: fields, numbers and types of its documented model_config.proto.

https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

ENUMS = {
    "DataType": ("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8",
                 "TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING",
                 "TYPE_BF16"),
    "Kind": ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL"),
}
# message -> {field: (number, type)}; "*" before a type: repeated
MESSAGES = {
    "ModelInput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "*int64"), "optional": (8, "bool")},
    "ModelOutput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (3, "*int64"),
                    "label_filename": (4, "string")},
    "ModelInstanceGroup": {"name": (1, "string"), "count": (2, "int32"), "gpus": (3, "*int32"), "kind": (4, "Kind")},
    "Latest": {"num_versions": (1, "uint32")},
    "Specific": {"versions": (1, "*int64")},
    "ModelVersionPolicy": {"latest": (1, "Latest"), "specific": (3, "Specific")},
    "ModelParameter": {"string_value": (1, "string")},
    "ParametersEntry": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelConfig": {"name": (1, "string"), "platform": (2, "string"), "version_policy": (3, "ModelVersionPolicy"),
                    "max_batch_size": (4, "int32"), "input": (5, "*ModelInput"), "output": (6, "*ModelOutput"),
                    "instance_group": (7, "*ModelInstanceGroup"), "parameters": (14, "*ParametersEntry"),
                    "backend": (17, "string")},
}


def _model_config():
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, words in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, word in enumerate(words):
            enum.value.add(name=word, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            label, kind = ("LABEL_REPEATED", kind[1:]) if kind.startswith("*") else ("LABEL_OPTIONAL", kind)
            entry = message.field.add(name=field, number=number,
                                      label=getattr(descriptor_pb2.FieldDescriptorProto, label))
            if kind in ENUMS or kind in MESSAGES:
                entry.type_name = f".inference.{kind}"
                kind = "enum" if kind in ENUMS else "message"
            entry.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def parse(text):
    """The ModelConfig of a config.pbtxt. ParseError for a field, a word or a type that the schema does not have."""
    return text_format.Parse(text, _model_config()())
