# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Configs changed in one place: each class of change ends in one line that names the place, or is what it may be."""
import re

import pytest
import yaml
from hypothesis import strategies as st
from ppdet.data import transform
from support import mutations
from support.paths import REPO

from ppdet_ext.cli import prepare, train
from ppdet_ext.errors import UserError

# class of what stood there -> classes that cannot take its place, whatever the setting
REFUSED = {"number": {"text", "not finite", "group", "flag"}, "flag": {"text", "not finite", "list", "group"},
           "text": {"not finite", "number", "flag", "group"}, "list": {"not finite", "flag", "text"},
           "group": {"text", "not finite", "number", "flag"}}
# places that may hold more than what stands there: settings of two kinds, names of parts, notes
WIDER = re.compile(r"(\.(encoder_layer|loss|matcher|backbone|neck|transformer|detr_head|post_process|act)"
                   r"|^(filename|pretrain_weights|TimmBackbone\.pretrained|TimmBackbone\.lr_mult_list)"
                   r"|regularizer|\.(gamma|num_decoder_points|target_size|fill_value|mean|std))$")
# messages about a place that name what it makes impossible instead of its own key
ELSEWHERE = re.compile("|".join([
    "num_classes is", "is missing", "class 0 is", "images are missing", "not registered", "annotation", "from_weights",
    "no weight file", "unknown", "has no", "needs the setting", "the first is", "wants a warm-up", "milestones",
    "is no native network", "the config names no", "YAML", "config '", "device", "normalis", "arch"]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small_digits):
    """The tiny detector's config with all that it inherits, as plain values."""
    return mutations.tiny_values(tmp_path_factory.mktemp("fuzz"), REPO / "configs", small_digits)


def outcome(folder, values, options=()):
    """The message that a config ends in, or None where it is accepted."""
    path = mutations.write(folder / "changed.yml", values)
    try:
        prepare.load_cfg(train.parse_args(["-c", str(path), *(["-o", *options] if options else [])]), "train")
    except UserError as error:
        message = str(error)
        assert mutations.is_one_line(message), message
        return message
    return None


def a_value_of_a_config(whole, tmp_path, data):
    place = data.draw(st.sampled_from(sorted(mutations.places(whole), key=str)), label="place")
    value, before = data.draw(mutations.VALUES, label="value"), mutations.at(whole, place)
    message = outcome(tmp_path, mutations.put(whole, place, value))
    name = ".".join(map(str, place))
    if message is not None:
        keys = [key for key in place if isinstance(key, str)]
        assert any(key in message for key in keys) or ELSEWHERE.search(message), message
    elif not WIDER.search(name):
        assert mutations.kind(value) not in REFUSED.get(mutations.kind(before), ()), f"{name}: {value!r} is taken"


test_a_value_of_a_config = mutations.cases(70, a_value_of_a_config)
test_many_a_value_of_a_config = mutations.many_cases(300, a_value_of_a_config)


def a_key_of_a_config(whole, tmp_path, data, log):
    """A misspelt key is an error or, at the top, a warning: it never just loses its value."""
    named = [place for place in mutations.places(whole) if isinstance(place[-1], str)]
    place = data.draw(st.sampled_from(sorted(named, key=str)), label="place")
    key = place[-1]
    cut = data.draw(st.integers(0, len(key) - 1))
    misspelt = key[:cut] + data.draw(st.sampled_from(["", "x", key[cut] * 2])) + key[cut + 1:]
    group = mutations.at(whole, place[:-1])
    if misspelt in group or not misspelt or hasattr(transform, misspelt):  # RResize is a transform, too
        return
    log.clear()
    changed = mutations.drop(mutations.put(whole, (*place[:-1], misspelt), group[key]), place)
    message = outcome(tmp_path, changed)
    assert message is not None or misspelt in log.text, f"{place}: '{misspelt}' is taken in silence"


test_a_key_of_a_config = mutations.cases(60, a_key_of_a_config)
test_many_a_key_of_a_config = mutations.many_cases(300, a_key_of_a_config)


def an_option(whole, tmp_path, data):
    """``-o`` takes any text: YAML that is none, keys that are none, values of any kind."""
    names = [".".join(place) for place in mutations.places(whole) if all(isinstance(key, str) for key in place)]
    name = data.draw(st.sampled_from(names) | st.text(max_size=10), label="name")
    text = data.draw(st.text(max_size=12) | mutations.VALUES.map(
        lambda value: yaml.safe_dump(value, default_flow_style=True).partition("\n...")[0].strip()), label="text")
    outcome(tmp_path, whole, [f"{name}={text}"] if not name.startswith("-") else [])


test_an_option = mutations.cases(60, an_option)
test_many_an_option = mutations.many_cases(300, an_option)


def test_what_stood_there_passes(whole, tmp_path):
    """The changes above start from a config that is accepted."""
    assert outcome(tmp_path, whole) is None
