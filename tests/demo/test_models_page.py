# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page of two exported models as its user sees it: a server in its own process, headless Chromium before it."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from skimage import data
from support import browser, known_network
from support.paths import REPO

from ppdet_ext.deploy import Predictor, media

pytest.importorskip("gradio", reason='pip install "ppdet-ext[demo]"; Python 3.10 or newer')
pytestmark = [pytest.mark.slow, pytest.mark.net]

# whatever this process asks the network for, beside this machine, is a line of the file
SERVER = """
import sys
def watch(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        to = given[1] if event in ("socket.connect", "socket.sendto") else given[0]
        host = to[0] if isinstance(to, tuple) else to
        if host not in (None, "", "127.0.0.1", "localhost", "::1"):
            print(event, to, file=open(sys.argv[1], "a"))
sys.addaudithook(watch)
from ppdet_ext.cli import demo, run
run(lambda: demo.main(sys.argv[2:]))
"""
CELLS = r"(document.querySelector('#boxes_A')?.innerText ?? '').split('y2').pop().trim().split(/\s+/)"
TIMES = "(document.querySelector('#times_{}')?.innerText ?? '')"


def words_of(log, words, process):
    """The text of a log as soon as it has the words."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if words in log.read_text():
            break
        time.sleep(0.1)
    assert words in log.read_text(), log.read_text()
    return log.read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Its page's address, what it said before, its models' folders and that of its temporary files."""
    root = tmp_path_factory.mktemp("demo")
    folders = [known_network.save(root / "one"),
               known_network.save(root / "two", shape=(48, 48), label_list=["red", "green", "violet"])]
    temporary, log, asked = root / "temporary", root / "log", root / "asked"
    temporary.mkdir()
    with socket.socket() as other, open(log, "wb") as out:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        command = [sys.executable, "-c", SERVER, asked, "--model_dir", *folders, "--port", str(taken), "--threshold",
                   "0.2", "--cpu_threads", "1"]
        process = subprocess.Popen(command, cwd=REPO, stdout=out, stderr=subprocess.STDOUT,
                                   env={**os.environ, "TMPDIR": str(temporary)})
        try:
            said = words_of(log, "page: ", process)
            yield SimpleNamespace(address=said.split("page: ")[1].split()[0], said=said.replace(str(taken), "TAKEN"),
                                  folders=folders, temporary=temporary)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert not asked.exists(), asked.read_text()
    assert list(temporary.iterdir()) == []  # what was dropped goes with the server


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """A photograph, 600 wide and 400 high, as JPEG, under a name that HTML has another meaning for."""
    path = tmp_path_factory.mktemp("pictures") / "cup &lt; 杯.jpg"
    media.write_image(path, data.coffee())
    return path


@pytest.fixture(scope="module")
def no_picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "notes.jpg"
    path.write_text("no picture\n")
    return path


def test_what_is_said_before_the_page_is_there(server):
    assert server.address.startswith("http://127.0.0.1:")
    assert [line.split(" ")[0] for line in server.said.splitlines()] == ["loading", "model", "loading", "model", "port",
                                                                         "page:"]
    assert "port TAKEN is taken; " in server.said


def test_a_client_gets_detections_and_one_line(server, photograph, no_picture):
    from gradio_client import Client, handle_file

    client = Client(server.address, verbose=False, analytics_enabled=False)
    status, _, times, table, *_, as_json, as_csv = client.predict(handle_file(photograph), 0.2, [], api_name="/looked")
    assert "600 x 400" in status and "ms" in times
    wanted = Predictor(server.folders[0], cpu_threads=1).predict([photograph])[0]["boxes"]
    wanted = wanted[np.argsort(-wanted[:, 1], kind="stable")]
    wanted = wanted[wanted[:, 1] >= 0.2]
    assert len(wanted) >= 2
    np.testing.assert_allclose([row[1] for row in table["data"]], wanted[:, 1], atol=2e-4)
    np.testing.assert_allclose([row[2:] for row in table["data"]], wanted[:, 2:], atol=0.02)
    with open(as_csv, encoding="utf-8-sig") as file:
        assert len(file.readlines()) == 1 + 2 * len(wanted)
    with open(as_json, encoding="utf-8") as file:
        assert [len(model["boxes"]) for model in json.load(file)["models"]] == [len(wanted)] * 2
    status, *_ = client.predict(handle_file(no_picture), 0.2, [], api_name="/looked")
    assert status.count("<p") == 1 and "notes.jpg" in status and "not an image" in status
    assert str(server.temporary) not in status  # where it lies on the server is nobody's concern


@pytest.mark.skipif(not browser.find(), reason="there is no Chromium: apt-get install chromium")
def test_a_browser_asks_nobody_else(server, photograph, no_picture, tmp_path):
    with browser.Browser(browser.find(), tmp_path / "profile") as tab:
        tab.open(server.address)
        tab.wait_for("document.querySelector('#upload input[type=file]') !== null")
        tab.choose_file("#upload input[type=file]", photograph)
        tab.wait_for(TIMES.format("B") + ".includes('ms')")
        tab.wait_for(f"{CELLS}.length === 18")
        rows = np.reshape(tab.ask(CELLS), (3, 6)).tolist()
        assert [row[0] for row in rows] == ["red", "green", "blue"]
        assert [row[2:] for row in rows] == [["60", "80", "300", "240"]] * 3
        tab.wait_for("[...document.querySelectorAll('#picture_A img, #picture_B img')].filter("
                     "image => image.naturalWidth === 600).length === 2")
        assert "cup &lt; 杯.jpg: 600 x 400" in tab.ask("document.querySelector('#status').innerText")

        before = tab.ask(TIMES.format("A")).split("|")[1]
        tab.click("#threshold input[type=number]")
        tab.ask("document.querySelector('#threshold input[type=number]').select()")
        tab.type("0.99")
        tab.wait_for(TIMES.format("A") + ".startsWith('0 boxes')")
        assert tab.ask(TIMES.format("A")).split("|")[1] == before  # the milliseconds of the one run that there was
        tab.click("#threshold button")  # back to where it began
        tab.wait_for(f"{TIMES.format('A')}.startsWith('{len(rows)} boxes')")

        # a class that only the second model has
        tab.click("#classes input")
        tab.type("violet")
        tab.wait_for(TIMES.format("A") + ".startsWith('0 boxes')")
        tab.wait_for(TIMES.format("B") + ".startsWith('1 boxes')")
        (tmp_path / "downloads").mkdir()
        file = tab.download("#csv", tmp_path / "downloads")
        assert file.name.endswith("_boxes.csv")
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        assert [line.split(",")[-6] for line in lines] == ["class", "violet"]

        tab.click("#upload button[aria-label=Clear]")
        tab.wait_for("document.querySelector('#upload input[type=file]') !== null")
        tab.choose_file("#upload input[type=file]", no_picture)
        line = tab.wait_for("document.querySelector('#status .wrong')?.innerText")
        assert "notes.jpg" in line and "\n" not in line.strip()
        tab.wait_for(f"{CELLS}.length === 1")
        others = [address for address in tab.requests
                  if not address.startswith((server.address, "data:", "blob:", "about:"))]
        assert len(tab.requests) > 20 and others == [] and tab.console == []
