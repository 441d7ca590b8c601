# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A model repository for Triton: its config by Triton's schema, versions that stay, another model that is refused."""
import pytest
import yaml
from google.protobuf import text_format
from support.known_onnx import SETTINGS
from support.triton_schema import parse

from ppdet_ext.cli import export_model
from ppdet_ext.errors import UserError
from ppdet_ext.scale import triton_repository as triton
from ppdet_ext.scale.triton_repository import Backend, Tensor

INPUTS = [Tensor("image", "TYPE_FP32", [-1, 3, 320, 320]), Tensor("im_shape", "TYPE_FP32", [-1, 2])]
OUTPUTS = [Tensor("bbox", "TYPE_FP32", [-1, 6]), Tensor("bbox_num", "TYPE_INT32", [-1])]


@pytest.fixture
def export(tmp_path, monkeypatch):
    """A folder as export_model writes it, and a backend that only copies its file."""
    folder = tmp_path / "out" / "known"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"one")
    (folder / "infer_cfg.yml").write_text(yaml.safe_dump(SETTINGS))

    def write(file, target):
        (target / file.name).write_bytes(file.read_bytes())
        return INPUTS, OUTPUTS

    monkeypatch.setitem(triton.BACKENDS, "onnxruntime", Backend(write, "KIND_AUTO"))
    return folder


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("backend, kind", [("onnxruntime", 0), ("openvino", 2)])
def test_the_config_is_one_by_tritons_schema(backend, kind):
    config = parse(triton.config_text('a "b" \\ 杯\n', backend, INPUTS, OUTPUTS))
    assert (config.name, config.backend, config.max_batch_size) == ('a "b" \\ 杯\n', backend, 0)
    assert [(port.name, port.data_type, list(port.dims)) for port in (*config.input, *config.output)] == [
        ("image", 11, [-1, 3, 320, 320]), ("im_shape", 11, [-1, 2]), ("bbox", 11, [-1, 6]), ("bbox_num", 8, [-1])]
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, kind)]
    assert config.version_policy.latest.num_versions == 1
    assert config.parameters[0].value.string_value == triton.LABELS


@pytest.mark.parametrize("text", ["names: 'a'", "max_batch_size: x", "input { dims: [1.5] }",
                                  "input { data_type: FP32 }", "instance_group { kind: KIND_TPU }"])
def test_the_schema_refuses_what_is_not_in_it(text):
    with pytest.raises(text_format.ParseError):
        parse(text)


def test_every_export_is_a_version_of_its_own(export, tmp_path):
    repository = tmp_path / "repository"
    assert triton.add_version(export, repository) == repository / "known" / "1"
    before = tree(repository)
    assert set(before) == {"known/config.pbtxt", "known/labels.txt", "known/1/model.onnx", "known/1/infer_cfg.yml"}
    assert before["known/labels.txt"] == b"red\ngreen\nblue\n"
    (repository / "known" / "7").mkdir()
    (export / "model.onnx").write_bytes(b"two")
    config = repository / "known" / "config.pbtxt"
    config.write_text(config.read_text() + "# mine\n")
    assert triton.add_version(export, repository).name == "8"
    after = tree(repository)
    assert after.pop("known/8/model.onnx") == b"two" and after.pop("known/8/infer_cfg.yml")
    assert after == {**before, "known/config.pbtxt": before["known/config.pbtxt"] + b"# mine\n"}


@pytest.mark.parametrize("name, change, said", [
    ("config.pbtxt", ("320, 320", "640, 640"), r"lacks the line 'dims: \[-1, 3, 320, 320\]'"),
    ("labels.txt", ("red\ngreen", "green\nred"), "in another order"),
    ("labels.txt", ("blue\n", ""), "lacks the line 'blue'"),
    ("labels.txt", ("blue\n", "blue\npink\n"), "its lines are others")])
def test_another_model_of_that_name_is_refused_and_nothing_changes(export, tmp_path, name, change, said):
    repository = tmp_path / "repository"
    triton.add_version(export, repository)
    file = repository / "known" / name
    file.write_text(file.read_text().replace(*change))
    before = tree(repository)
    with pytest.raises(UserError, match=said):
        triton.add_version(export, repository)
    assert tree(repository) == before and sorted(path.name for path in file.parent.iterdir()) == [
        "1", "config.pbtxt", "labels.txt"]


def test_a_backend_without_a_repository_is_a_mistake(capsys):
    with pytest.raises(SystemExit):
        export_model.parse_args(["-c", "x.yml", "--triton_backend", "openvino"])
    assert "--triton_backend says something about --triton" in capsys.readouterr().err
