# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a server is told on its command line: names of models, replicas, the token."""
import hmac
import os
from types import SimpleNamespace

import pytest

from ppdet_ext.cli import serve
from ppdet_ext.errors import UserError
from ppdet_ext.scale import serve_settings, server
from ppdet_ext.scale.serve_settings import Replicas, has_token, named_models, read_token
from ppdet_ext.startup import environment

SECRET = "0123456789abcdef"


def test_models_have_names(tmp_path):
    given = [f"{tmp_path}/people", f"cars={tmp_path}/b", f"{tmp_path}/c/model.onnx", f"{tmp_path}/x=y/d"]
    assert named_models(given) == {"people": given[0], "cars": f"{tmp_path}/b", "c": given[2], "d": given[3]}


@pytest.mark.parametrize("given, said", [
    (["x/a", "y/a"], "two models are called 'a'"), (["a b=x"], "'a b' is no name"),
    (["x/杯"], "give it one: NAME=x/杯"), (["=x"], "'' is no name"), (["a" * 65 + "=x"], "is no name")])
def test_what_is_no_name(given, said):
    with pytest.raises(UserError, match=said):
        named_models(given)


def test_replicas():
    assert Replicas.read("2") == Replicas(2, 2)
    assert Replicas.read("1:4") == Replicas(1, 4)
    for text in ("", "0", "4:1", "1:2:3", "-1", "1:", "x", "2000", "1e3"):
        with pytest.raises(ValueError, match="LEAST:MOST"):
            Replicas.read(text)


def test_the_token_comes_from_a_file_or_the_environment_and_leaves_it(tmp_path, monkeypatch):
    monkeypatch.delenv(serve_settings.TOKEN, raising=False)
    assert read_token(None) is None
    monkeypatch.setenv(serve_settings.TOKEN, SECRET)
    assert read_token(None) == SECRET
    assert serve_settings.TOKEN not in os.environ  # the processes to come do not have it
    file = tmp_path / "token"
    file.write_text(f"{SECRET}{SECRET}\n")
    monkeypatch.setenv(serve_settings.TOKEN, SECRET)
    assert read_token(str(file)) == SECRET * 2
    assert serve_settings.TOKEN not in os.environ


@pytest.mark.parametrize("content", [b"", b"short", b"with a space in it", b"\xff" * 20, b"x" * 5000,
                                     "zu lang ist es nicht: ü".encode()])
def test_what_is_no_token(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"^--token_file .*(16 to 4096 signs|cannot be read)"):
        read_token(str(file))
    with pytest.raises(UserError, match="cannot be read"):
        read_token(str(tmp_path / "none"))


def test_a_header_carries_the_token(monkeypatch):
    compared = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda *both: compared.append(both) or compare(*both))
    assert has_token(f"Bearer {SECRET}", SECRET) and has_token(f"bearer  {SECRET} ", SECRET)
    for header in (None, "", "Bearer", "Bearer ", SECRET, f"Basic {SECRET}", f"Bearer {SECRET}x",
                   f"Bearer {SECRET[:-1]}", "Bearer ü", f"Bearer {SECRET.upper()}"):
        assert not has_token(header, SECRET)
    assert len(compared) >= 8  # never by ==, whose time tells how much of it was right


def test_flags(capsys):
    args = serve.parse_args(["--model_dir", "a", "b=c", "--replicas", "1:3"])
    assert (args.host, args.port, args.replicas, args.token_file) == ("127.0.0.1", 8000, Replicas(1, 3), None)
    for words, said in ((["--replicas", "3:1"], "LEAST:MOST"), (["--batch_wait", "x"], "a number from 0"),
                        (["--engine", "paddle", "paddle"], "each of the 1 models"),
                        (["--timeout", "0"], "a number from 1"), (["--port", "70000"], "0 to 65535"),
                        (["--max_requests", "0"], "above 0")):
        with pytest.raises(SystemExit):
            serve.parse_args(["--model_dir", "a", *words])
        assert said in capsys.readouterr().err


def test_the_models_know_that_they_share_the_cores():
    args = SimpleNamespace(engine=["onnxruntime"], cpu_threads=None, replicas=Replicas(1, 2), precision="fp32")
    settings = server._settings(args, {"a": "folder/a"})
    assert settings == {"a": {"engine": "onnxruntime", "precision": "fp32", "shared_cores": True,
                              "cpu_threads": max(1, environment.cores() // 2)}}
