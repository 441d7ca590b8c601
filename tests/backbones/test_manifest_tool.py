# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""tools/make_manifest.py: the rows that it is asked for, the rest kept, and a check that changes nothing."""
import pytest
import yaml
from support.paths import REPO

from ppdet_ext.errors import UserError

pytest.importorskip("timm", reason="the rows are timm's own tables")
pytest.importorskip("torchvision", reason="the rows are torchvision's own tables")


@pytest.fixture
def manifest(tool, tmp_path):
    """The tool, and a copy of the manifest to try it on."""
    path = tmp_path / "manifest.yml"
    path.write_text((REPO / "weights" / "manifest.yml").read_text(encoding="utf-8"), encoding="utf-8")
    return tool("make_manifest"), path


def change(path, arch, row):
    """Replace an arch's row (None: remove it)."""
    head, _, body = path.read_text(encoding="utf-8").partition("defaults:")
    content = yaml.safe_load(f"defaults:{body}")
    content["models"] = {**content["models"], arch: row} if row else {
        key: value for key, value in content["models"].items() if key != arch}
    path.write_text(head + yaml.safe_dump(content, sort_keys=False, width=110, default_flow_style=None), "utf-8")


def test_the_manifest_is_what_the_tool_writes(tool):
    """Of the timm and torchvision that its first lines name."""
    module = tool("make_manifest")
    if not module.MANIFEST.read_text(encoding="utf-8").startswith(module.header()):
        pytest.skip("another timm or torchvision is installed than the manifest was written with")
    module.main(["--check"])


def test_a_row_is_written_anew_and_the_others_are_kept(manifest):
    module, path = manifest
    whole = path.read_text(encoding="utf-8")
    change(path, "resnet18", None)
    change(path, "resnet34", {"common": {}, "tags": {"mine": {}}})
    with pytest.raises(UserError, match="would write: resnet18, resnet34$"):
        module.main(["--file", str(path), "--check"])
    with pytest.raises(UserError, match="has no row of resnet18; name"):
        module.main(["--file", str(path), "resnet50"])
    module.main(["--file", str(path), "resnet18"])
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["models"]["resnet34"]["tags"] == {"mine": {}}
    module.main(["--file", str(path), "--check", "resnet18"])
    module.main(["--file", str(path), "resnet34"])
    assert path.read_text(encoding="utf-8") == whole


def test_rows_of_two_versions_do_not_mix(manifest):
    module, path = manifest
    path.write_text(path.read_text(encoding="utf-8").replace("from timm 1", "from timm 0", 1), "utf-8")
    before = path.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="written with other versions"):
        module.main(["--file", str(path), "resnet18"])
    assert path.read_text(encoding="utf-8") == before
    with pytest.raises(UserError, match="only its first lines"):
        module.main(["--file", str(path), "--check"])


def test_an_unknown_arch_is_refused(manifest):
    module, path = manifest
    with pytest.raises(UserError, match="unknown arch 'resnet19'; did you mean"):
        module.main(["--file", str(path), "resnet19"])
