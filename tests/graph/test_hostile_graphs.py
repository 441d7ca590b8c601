# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Graph files that somebody tampered with: each is refused in one line, at once, and nothing of it has run."""
import base64
import gzip
import json
import resource
import zlib

import paddle
import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.graph.graph import Graph, Node, Ref
from ppdet_ext.graph.graph_file import load, save
from ppdet_ext.graph.layer import GraphLayer
from ppdet_ext.graph.schema import Limits
from ppdet_ext.trace import on_demand

pytestmark = pytest.mark.timeout(120)  # endless work would else wait for the whole run's limit
SHIPPED = sorted(on_demand.SHIPPED.glob("*.graph.gz"))
SMALL = on_demand.SHIPPED / "vit_tiny_patch16_224.graph.gz"
CODE = "__import__('pathlib').Path(CANARY).touch()"  # what an attacker would like to run; CANARY becomes a path


@pytest.fixture(scope="module")
def text():
    """JSON of a small graph that ships, with a constant added, so that every kind of node is in it."""
    content = json.loads(gzip.decompress(SMALL.read_bytes()))
    content["consts"]["table"] = ["float32", [2], base64.b85encode(zlib.compress(bytes(8))).decode()]
    content["nodes"].insert(1, ["table", "const", "table", [], {}])
    return json.dumps(content)


def refusal(tmp_path, data, **limits):
    """The message of a file with these bytes, which takes no more than 300 MB."""
    path = tmp_path / "net.graph.gz"
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as error:
        run(path, limits)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    message = str(error.value)
    assert message.isprintable() and len(message) < 600 and str(path) in message
    assert not (tmp_path / "canary").exists(), "a file's text has run"
    return message


def run(path, limits):
    GraphLayer(load(path, **limits))(paddle.zeros([1, 3, 224, 224]))


def node(content, kind):
    return next(entry for entry in content["nodes"] if entry[1] == kind)


def leaf(content, kind):
    return next(spec for spec in content["leaves"].values() if spec["type"] == kind)


def put(path, value):
    """A change of one place: ``path`` leads to it through keys and indices."""
    def change(content):
        *parents, last = path
        for step in parents:
            content = content[step]
        content[last] = value
    return change


def in_node(kind, place, value):
    return lambda content: node(content, kind).__setitem__(place, value)


def drop(key):
    return lambda content: content.pop(key)


def in_leaf(kind, **args):
    return lambda content: leaf(content, kind)["args"].update(args)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def constant(dtype, shape, raw):
    return put(("consts", "table"), [dtype, shape, base64.b85encode(zlib.compress(raw)).decode()])


def later_ref(content):
    last = content["nodes"][-1][0]
    node(content, "leaf")[3][0] = {"$": last}


INJECTED = {
    "a guard's value": in_node("guard", 3, [{"$": "x"}, CODE, True]),
    "a guard's branch": in_node("guard", 3, [{"$": "x"}, True, CODE]),
    "a node's name": in_node("leaf", 0, f"x = {CODE}; y"),
    "a node's name over two lines": in_node("leaf", 0, f"x\n    {CODE}\n    y"),
    "a Ref": in_node("leaf", 3, [{"$": CODE}]),
    "a key of a call": in_node("call", 4, {f"x={CODE}, y": 1}),
    "a key of an argument": in_node("call", 3, [{CODE: 1}]),
    "a path": in_node("leaf", 2, f"x'][{CODE}]['y"),
    "a parameter": in_node("param", 2, f"x.{CODE}"),
    "a constant": in_node("const", 2, f"table[{CODE}]"),
    "a kind": in_node("leaf", 1, CODE),
    "a function": in_node("call", 2, "os.system"),
    "a number": in_node("call", 3, [{"$float": CODE}]),
    "an output": put(("outputs", "logits"), {"$": CODE}),
    "a key of the outputs": put(("outputs", f"'{CODE}'"), {"$": "x"}),
}
WRONG = {
    "no such kind": in_node("leaf", 1, "hoisted"),
    "an operation outside the table": in_node("call", 2, "builtins.eval"),
    "a method outside the table": in_node("call", 2, ".__reduce__"),
    "a leaf outside the table": lambda content: leaf(content, "Linear").update(type="Sequential"),
    "a setting that the leaf lacks": in_leaf("Linear", device="cpu"),
    "a keyword as a name": in_node("leaf", 0, "lambda"),
    "a name of ours": in_node("leaf", 0, "ops"),
    "a name with bars": in_node("leaf", 0, "__builtins__"),
    "a name twice": in_node("leaf", 0, "x"),
    "a name that is a number": in_node("leaf", 0, 3),
    "a node without arguments": put(("nodes", 3), ["x2", "leaf", "head"]),
    "a Ref to a later node": later_ref,
    "a Ref to nothing": in_node("leaf", 3, [{"$": "nobody"}]),
    "a Ref that is a list": in_node("leaf", 3, [{"$": ["x"]}]),
    "a slice of four": in_node("call", 3, [{"$slice": [1, 2, 3, 4]}]),
    "an unknown sign": in_node("call", 3, [{"$code": "1"}]),
    "a path with ..": in_node("leaf", 2, "../../etc/passwd"),
    "a state path with ..": put(("state", "../weight"), [3]),
    "a state path with bars": put(("state", "__class__.weight"), [3]),
    "a constant's path": put(("consts", "/tmp/table"), ["float32", [1], ""]),
    "a feature's path": put(("features", 0, "module"), "a/../b"),
    "a list for an object": put(("state",), []),
    "an object for a list": put(("nodes",), {}),
    "a text for a list": in_node("leaf", 3, "x"),
    "a field missing": drop("buffers"),
    "a field unknown": put(("reduce",), "os.system"),
    "a negative shape": put(("state", "cls_token"), [1, -1, 192]),
    "a shape of fractions": put(("state", "cls_token"), [1, 1.5]),
    "a shape of truths": put(("state", "cls_token"), [True, 1]),
    "a huge shape": put(("state", "cls_token"), [1 << 40, 1 << 40]),
    "a huge layer": in_leaf("Linear", out_features=1 << 40),
    "a layer larger than its weights": in_leaf("Linear", out_features=1 << 20),
    "a huge kernel": in_leaf("Conv2d", kernel_size=[1 << 15, 1 << 15]),
    "a huge number": in_node("call", 3, [10 ** 30]),
    "a dtype": put(("dtypes", "cls_token"), "object"),
    "a constant's dtype": constant("O", [1], bytes(8)),
    "a constant's shape": constant("float32", [3], bytes(8)),
    "a constant that is a bomb": constant("float32", [2], bytes(50_000_000)),
    "a constant that is huge": constant("float32", [1 << 30], bytes(8)),
    "a constant that is no base 85": put(("consts", "table"), ["float32", [2], "\u00e9 ~~~~"]),
    "an initializer": put(("start", "cls_token"), ["eval", 1.0]),
    "an initializer's numbers": put(("start", "cls_token"), ["normal", "0", 1.0]),
    "a buffer of nothing": put(("buffers",), ["nobody"]),
    "a deep argument": in_node("call", 3, nested(50)),
    "a deep info": put(("info", "settings"), nested(50)),
    "a file as an address": put(("info", "published"), {"tags": {"a": {"url": "file:///etc/passwd"}}}),
    "a hub's path": put(("info", "published"), {"tags": {"a": {"hf_hub_id": "../../x/"}}}),
    "a tag's path": put(("info", "published"), {"tags": {"../a": {}}}),
    "an unknown field of weights": put(("info", "published"), {"common": {"file": "x"}}),
    "an image of a million": put(("info", "input_size"), [3, 1 << 20, 1 << 20]),
    "two lines in the name": put(("name",), "net\nwarning"),
    "features without outputs": put(("features",), []),
    "no input": lambda content: content.update(nodes=[["x", "training", "", [], {}]], outputs={}, features=[]),
}


@pytest.mark.parametrize("change", [*INJECTED.values(), *WRONG.values()], ids=[*INJECTED, *WRONG])
def test_one_wrong_place_is_named(tmp_path, text, change):
    content = json.loads(text.replace("CANARY", repr(str(tmp_path / "canary"))[1:-1]))
    change(content)
    written = json.dumps(content).replace("CANARY", repr(str(tmp_path / "canary")))
    message = refusal(tmp_path, gzip.compress(written.encode()))
    print(message)
    assert "holds no traced network" in message


def test_the_graph_without_a_change_is_taken(tmp_path, text):
    (tmp_path / "net.graph.gz").write_bytes(gzip.compress(text.encode()))
    assert load(tmp_path / "net.graph.gz").consts["table"].tolist() == [0, 0]


FILES = {
    "no gzip": b"no gzip",
    "half a file": SMALL.read_bytes()[:2000],
    "nothing": b"",
    "no JSON": gzip.compress(b"import os"),
    "no text": gzip.compress(b"\xff\xfe\x00"),
    "a number": gzip.compress(b"1"),
    "a bomb": gzip.compress(bytes(1 << 28)),
    "brackets": gzip.compress(b"[" * 10_000_000),
    "deep brackets": gzip.compress(b"[" * 100_000),
    "small lists": gzip.compress(b"[" + b"[]," * 4_000_000 + b"[]]"),
    "digits": gzip.compress(b'{"format":' + b"9" * 10_000_000 + b"}"),
    "another format": gzip.compress(b'{"format": 7}'),
    "a format of letters": gzip.compress(b'{"format": "x\\ny"}'),
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
def test_files_that_are_no_graphs_are_refused(tmp_path, data):
    print(refusal(tmp_path, data))


@pytest.mark.parametrize("limits", [Limits(text=1000), Limits(values=100), Limits(nodes=3), Limits(depth=1),
                                    Limits(elements=1000), Limits(constants=4)], ids=repr)
def test_every_limit_holds_and_can_be_set(tmp_path, text, limits):
    refusal(tmp_path, gzip.compress(text.encode()), limits=limits)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name.partition(".")[0])
def test_every_graph_that_ships_is_taken_and_survives_its_file(tmp_path, path):
    graph = load(path)
    save(graph, tmp_path / path.name)
    assert gzip.decompress((tmp_path / path.name).read_bytes()) == gzip.decompress(path.read_bytes())


def built(*nodes, output="y"):
    return GraphLayer(Graph("net", [Node("x", "input"), *nodes], {"output": Ref(output)}))


@pytest.mark.parametrize("step", [
    Node("y = exit()", "call", ".abs", [Ref("x")]), Node("y", "call", ".abs", [Ref("x"), Ref("exit()")]),
    Node("y", "call", ".abs", [], {"x=exit(), z": 1}), Node("y", "exit()", "", [Ref("x")]),
    Node("y", "call", ".abs", [object()])])
def test_a_graph_in_memory_reaches_the_source_through_checked_names_alone(step):
    with pytest.raises((UserError, KeyError)):
        built(step, output=step.name)


def test_texts_are_values_and_never_source():
    hostile = "'); raise SystemExit(1); ('"
    net = built(Node("y", "call", ".to", [Ref("x"), hostile]), Node("g", "guard", hostile, [Ref("y"), 0.0, False]))
    assert net(paddle.zeros([1]))["output"].tolist() == [0.0]
    assert "SystemExit" not in net.code
    with pytest.raises(UserError, match="SystemExit"):
        net(paddle.ones([1]))
