# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Headless Chromium over its debugging pipe, with the standard library alone: open a page, upload, take a picture.

It can reach 127.0.0.1 only; what a page asks for is kept in ``requests``, wherever it is.
"""
import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-pings",
         "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")


def find():
    """Path of a Chromium or Chrome; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A tab. ``requests``: addresses that its pages have asked for; ``console``: what they have complained of."""

    def __init__(self, binary, folder, width=1280, height=900):
        to_it, ours = os.pipe()
        self._in, from_it = os.pipe()
        self._out = ours
        self._buffer, self._number, self.requests, self.console = b"", 0, [], []

        def as_3_and_4():
            os.dup2(to_it, 10)  # first out of each other's way
            os.dup2(from_it, 11)
            os.dup2(10, 3)
            os.dup2(11, 4)

        command = [binary, *FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"]
        self.process = subprocess.Popen(command, preexec_fn=as_3_and_4, close_fds=False, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(to_it)
        os.close(from_it)
        self.session = None
        target = next(one for one in self._call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self.session = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "DOM", "Log"):
            self._call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.session = None
            self._call("Browser.close", seconds=10)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._in)
        os.close(self._out)

    # ---- the protocol: JSON with a zero byte after it
    def _call(self, method, seconds=60, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + seconds
        while True:
            answer = self._next(end)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self, end):
        import select
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(end - time.monotonic(), 0))
            piece = os.read(self._in, 1 << 20) if ready else b""
            if not piece:
                raise TimeoutError("the browser does not answer")
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        kind, values = message.get("method", ""), message.get("params", {})
        if kind == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        if kind == "Network.webSocketCreated":
            self.requests.append(values["url"])
        if kind == "Log.entryAdded":
            self.console.append(values["entry"]["text"])
        if kind == "Runtime.exceptionThrown":
            self.console.append(values["exceptionDetails"].get("exception", {}).get("description", "exception"))
        return message

    # ---- what a person does
    def resize(self, width, height):
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                   mobile=width < 600)

    def open(self, address):
        self._call("Page.navigate", url=address)

    def ask(self, script):
        """The value of a JavaScript expression."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script, seconds=60):
        """The value of a JavaScript expression as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.ask(script)
            if value:
                return value
            time.sleep(0.1)
        raise TimeoutError(f"{script}: not within {seconds} s; the page says: {self.ask('document.body.innerText')!r}; "
                           f"console: {self.console}")

    def choose_file(self, selector, path):
        """Give a file to an <input type=file>, as dropping it on the page does."""
        root = self._call("DOM.getDocument")["root"]["nodeId"]
        node = self._call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self._call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def click(self, selector):
        """With the mouse, in the middle of it."""
        x, y = self.ask(f"""(() => {{const one = document.querySelector({json.dumps(selector)});
                            one.scrollIntoView({{block: 'center'}}); const box = one.getBoundingClientRect();
                            return [box.x + box.width / 2, box.y + box.height / 2]}})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        """Into what has the focus, and Enter after it."""
        self._call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13,
                       text="\r" if kind == "keyDown" else "")

    def download(self, selector, folder, seconds=30):
        """Path of the file that a click brings into an empty folder."""
        self._call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        self.click(selector)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = [path for path in Path(folder).iterdir() if not path.name.endswith(".crdownload")]
            if found:
                return found[0]
            self.ask("1")
            time.sleep(0.1)
        raise TimeoutError(f"{selector}: no file; console: {self.console}")

    def picture(self, path, whole=True):
        """A PNG of the page."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(data))
