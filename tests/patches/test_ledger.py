# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The ledger: every name resolves, apply and undo leave the same objects, switches, order, versions, listing."""
import itertools
import os
import subprocess
import sys

import pytest

from ppdet_ext import kernels
from ppdet_ext.errors import UserError
from ppdet_ext.patches import ledger
from ppdet_ext.patches.ledger import Change, Patch

ROWS = {patch.name: patch for patch in ledger.rows()}
GROUPS = {"always", "kernels"}


@pytest.fixture(autouse=True)
def ledger_as_before():
    """Whatever a test leaves, the next one finds the rows of setup() in place."""
    yield
    ledger.undo("kernels")
    ledger.undo()
    ledger.apply()


def held(patch):
    """{place: what stands there} of all places of a row; None where its class has none of its own."""
    found = {}
    for change in patch.changes:
        for place in (change.target, *change.also):
            owner, attribute = ledger.resolve(place)
            found[place] = vars(owner).get(attribute)
    return found


def python(code, **environment):
    """What code prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env={**os.environ, **environment}, text=True,
                          capture_output=True)
    return done.returncode, done.stdout, done.stderr


def test_names_stand_once_and_rows_are_complete():
    names = [patch.name for patch in ledger.rows()]
    assert len(names) == len(set(names)) > 20
    for patch in ledger.rows():
        assert patch.reason and patch.versions and patch.changes and patch.group in GROUPS, patch.name
        assert set(patch.after) <= {name for name in names if ROWS[name].group == patch.group}


@pytest.mark.parametrize("name", ROWS)
def test_every_dotted_name_resolves(name):
    for change in ROWS[name].changes:
        for dotted in (change.target, change.replacement, *change.also):
            owner, attribute = ledger.resolve(dotted)
            assert hasattr(owner, attribute), dotted


def test_applied_and_undone_every_target_is_the_identical_object():
    ledger.undo()
    before = {name: held(patch) for name, patch in ROWS.items()}
    for _ in range(2):
        for group in GROUPS:
            ledger.apply(group)
            ledger.apply(group)  # a second time does nothing
        changed = {name: held(patch) for name, patch in ROWS.items()}
        for name in ROWS:
            for place in before[name]:
                assert changed[name][place] is not before[name][place], place
        for group in GROUPS:
            ledger.undo(group)
        after = {name: held(patch) for name, patch in ROWS.items()}
        for name in ROWS:
            for place in before[name]:
                assert after[name][place] is before[name][place], place


def test_what_somebody_else_has_replaced_since_stays_theirs():
    from ppdet.data.transform.operators import Pad

    original = Pad.apply_image.__wrapped__

    def theirs(self, *args):
        return original(self, *args)

    Pad.apply_image = theirs
    try:
        ledger.undo()
        assert Pad.apply_image is theirs
    finally:
        Pad.apply_image = original  # not what stood there before: that was the ledger's, which is out now


def test_order_matters_only_where_it_is_stated():
    """Two rows that change the same place: one says which comes first."""
    places = [(patch, change.target) for patch in ledger.rows() for change in patch.changes]
    for (one, place), (other, same) in itertools.combinations(places, 2):
        if place == same:
            assert one.name in other.after or other.name in one.after, place


@pytest.mark.parametrize("order", [1, -1])
def test_rows_are_applied_in_the_order_that_they_state(order):
    rows = ledger.rows()[::order]
    names = [patch.name for patch in ledger.in_order(rows)]
    assert sorted(names) == sorted(ROWS)
    for patch in rows:
        for other in patch.after:
            assert names.index(other) < names.index(patch.name)


# ---------------------------------------------------------------- a row of one's own
class Target:
    def number(self):
        return 1


def double(number):
    return lambda self: 2 * number(self)


def same(number):
    return number


@pytest.fixture
def own(monkeypatch):
    """Makes a table of one row; returns the row's state and what the target gives then."""
    def make(versions="paddle>=2", replacement="double", target="Target.number"):
        change = Change(f"{__name__}:{target}", f"{__name__}:{replacement}")
        monkeypatch.setattr(ledger, "rows", lambda: (Patch("own", (change,), "a test", versions, "test"),))
        ledger.apply("test")
        state, found = ledger.listing()[0]["state"], Target().number()
        ledger.undo("test")
        assert Target().number() == 1
        return state, found
    return make


@pytest.mark.parametrize("versions, applied", [
    ("paddle>=2", True), ("paddle>=2.6,<99", True), ("paddle>=99", False), ("paddle<2", False),
    ("paddle>=2,<2.6.0", False), ("ppdet>=2.6,<2.6.1", True), ("ppdet<2.6", False)])
def test_versions(own, versions, applied):
    assert own(versions) == (("applied", 2) if applied else ("not needed for this version", 1))


def test_a_factory_that_gives_the_original_back_says_that_nothing_is_needed(own):
    assert own(replacement="same") == ("not needed for this version", 1)


def test_a_target_that_a_release_lacks_is_said(own, monkeypatch):
    said = []
    monkeypatch.setattr(ledger.logger, "warning", lambda text, *given: said.append(text % given))
    assert own(target="Target.no_such_method") == ("its target is not in this version", 1)
    assert len(said) == 1 and "'own'" in said[0] and "no_such_method" in said[0]


# ---------------------------------------------------------------- switches
def test_the_switch_of_a_row(own, monkeypatch):
    monkeypatch.setenv(ledger.SWITCH, " own ,")
    assert own() == ("off by switch", 1)


def test_a_switch_with_an_unknown_name(monkeypatch):
    monkeypatch.setenv(ledger.SWITCH, "fast_pda")
    with pytest.raises(UserError, match="there is no patch 'fast_pda'; did you mean fast_pad"):
        ledger.apply()


def test_the_switch_is_obeyed_by_setup_and_a_wrong_one_is_one_line():
    code = ("import ppdet_ext; ppdet_ext.setup()\n"
            "from ppdet.data.transform.operators import Pad, RandomFlip\n"
            "print(hasattr(Pad.apply_image, '__wrapped__'), hasattr(RandomFlip.apply_image, '__wrapped__'))")
    status, out, _ = python(code, **{ledger.SWITCH: "fast_pad"})
    assert status == 0 and out.splitlines()[-1] == "False True"
    status, out, err = python(code, **{ledger.SWITCH: "fast_pda"})
    lines = [line for line in err.splitlines() if "patch" in line]
    assert status == 2 and len(lines) == 1 and lines[0].startswith("error: "), err
    assert "Traceback" not in err


# ---------------------------------------------------------------- the listing
def test_the_listing_of_a_new_process():
    done = subprocess.run([sys.executable, "-W", "ignore", "-m", "ppdet_ext.patches"], text=True, capture_output=True,
                          env={**os.environ, ledger.SWITCH: "fast_flip"})
    assert done.returncode == 0, done.stderr
    for name, patch in ROWS.items():
        state = "off by switch" if name == "fast_flip" else "applied"
        assert f"\n{name}: {state}\n" in f"\n{done.stdout}", name
        assert patch.changes[0].target in done.stdout and f"{ledger.SWITCH}={name}" in done.stdout
    assert done.stdout.count("  reason:") == done.stdout.count("  versions:") == len(ROWS)


def test_kernels_are_listed_as_applied_inside_enabled_only():
    def states():
        return {row["state"] for row in ledger.listing() if ROWS[row["name"]].group == "kernels"}

    assert states() == {"not applied"}
    with kernels.enabled():
        assert states() == {"applied"}
