# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Getting a file from the network into the cache folder: requests, a progress bar, nothing left half-written."""
from __future__ import annotations

import hashlib
import logging
import os
import queue
import re
import socket
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from urllib3.util.retry import Retry

from ..errors import UserError, masked
from ..files import atomic_path, problem
from ..limits import limit, variable
from . import verified_file

logger = logging.getLogger(__name__)
CONNECT = 20  # seconds to reach a server, at all its addresses together
SHORTEST = 2  # seconds for one of them
TIMEOUT = 30  # seconds without a byte from it
TRIES = 2  # of a transfer that breaks off
# of an answer that another try may change; Retry-After may be hours, so that it is not heeded
RETRIES = Retry(total=2, connect=0, read=0, status=2, backoff_factor=1, status_forcelist=(429, 502, 503, 504),
                respect_retry_after_header=False, raise_on_status=False)
LONGEST = 150  # characters of a file name; the file system takes 255, with what a temporary file adds
CHUNK = 1 << 18
HTTP_HOSTS = "PPDET_EXT_HTTP_HOSTS"  # names of hosts, with commas between, that may be asked without encryption
ANNOUNCED = "X-Linked-Etag"  # the Hugging Face hub's header with the sha256 of a large file

# places that write the first digits of the sha256 into the file name (name-0676ba61.pth)
HASHED = (
    "https://download.pytorch.org/models/",
    "https://github.com/huggingface/pytorch-image-models/releases/",
    "https://github.com/rwightman/pytorch-image-models/releases/",
    "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/",
)


class Unavailable(UserError):
    """The weights could not be had (as opposed to: were had, and are wrong)."""


class BrokenOff(OSError):
    """A transfer that began and did not end."""


class NotAllowed(OSError):
    """A transfer that our limits end, or do not let begin."""


def home() -> Path:
    """Where converted weights land: $PPDET_EXT_HOME, or ``weights`` in the working directory."""
    return Path(os.environ.get("PPDET_EXT_HOME") or "weights")


def fetch(url: str, folder: str | Path | None = None, digest: str = "") -> Path:
    """Download ``url`` once; later calls find it in ``folder`` (default ``home()/cache``), and look whether it changed.

    Where the disk of ``folder`` is full or read-only, a warning says that the file lies in a temporary folder, which is
    removed when the process ends.

    Args:
        digest: the file's sha256 or the beginning of it, where it is known; else what the name announces.

    Raises:
        Unavailable: no answer, an error answer, a transfer that broke off twice, plain http from a host that
            $PPDET_EXT_HTTP_HOSTS does not name, more bytes or minutes than ``limits`` allows; the line says which.
        UserError: the file's sha256 is another than ``digest`` or than it was; the folder cannot be written.
    """
    digest = digest or expected_hash(url)
    try:
        target = Path(folder or home() / "cache") / cache_name(url)
        places = (target, *(Path(folder.name) / target.name for folder in _lent))
        found = next((path for path in places if path.exists()), None) or _of_older_version(url, target, digest)
        if found:
            verified_file.digest_of(found, digest, masked(url))
            return found
        logger.info("downloading %s", masked(url))
        try:
            return _download_again(url, target, digest)
        except (OSError, UserError) as error:
            reason = problem(error)
            if reason is None:
                raise
            lent = Path(_lent_folder()) / target.name
            logger.warning("'%s' cannot keep %s (%s): it lies in '%s', until this process ends", target.parent,
                           masked(url), reason, lent.parent)
            return _download_again(url, lent, digest)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise Unavailable(f"cannot download {masked(url)} ({_reason(error)})") from None


_lent: list[tempfile.TemporaryDirectory] = []


def _lent_folder() -> str:
    """A temporary folder that is removed when the process ends."""
    if not _lent:
        _lent.append(tempfile.TemporaryDirectory(prefix="ppdet_ext-"))
    return _lent[0].name


def cache_name(url: str) -> str:
    """A file name for ``url``, its suffix kept: readable, with a digest of scheme, host, path and query.

    Of ``user:password@`` the user is in the digest: others may be given another file.
    """
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    key = urllib.parse.urlunsplit((parts.scheme, f"{parts.username or ''}@{host}", parts.path, parts.query, ""))
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:16]
    front, _, last = _readable(_joined(host, parts.path)).rpartition("--")
    return f"{front[:LONGEST // 2] or 'file'}--{digest}--{last[-LONGEST // 3:]}"


def _joined(host, path):
    return "--".join([host.replace(":", "_"), *filter(None, path.split("/"))])


def _readable(name):
    return re.sub(r"[^\w.%+=-]", "_", name, flags=re.ASCII)


def _of_older_version(url, target, digest):
    """The file under the name that version 0.1.0 gave it, where it is sure to be this URL's; else None.

    That name is the same for http and https, and for ``a--b`` and ``a/b``. Only a known sha256 tells whose it is.
    """
    parts = urllib.parse.urlsplit(url)
    name = _joined(parts.netloc.rpartition("@")[2], parts.path)
    older = target.with_name(_readable(name))
    if older.name != name or parts.query or len(name) > LONGEST or not older.is_file():
        return None
    if digest and verified_file.digest_of(older).startswith(digest):
        return older
    logger.warning("'%s', which an older version downloaded, is not used: its name does not tell which address it is "
                   "from; where you know that it is %s, rename it to '%s'", older, masked(url), target.name)
    return None


def _download_again(url, target, digest):
    """``target``, downloaded. What broke off is tried again; answers such as 503 are ``RETRIES``'s, 404 would stay."""
    end = time.monotonic() + 60 * limit("DOWNLOAD_MINUTES")
    for left in reversed(range(TRIES)):
        try:
            with atomic_path(target) as temporary:
                found = _in_time(end, lambda stopped, path=temporary: _download(url, path, stopped))
                verified_file.check_prefix(found, digest, masked(url))
            verified_file.note(target, found)
            return target
        except BrokenOff:
            if not left:
                raise


def _in_time(end: float, work: Callable[[threading.Event], Any]) -> Any:
    """The result of ``work(stopped)`` in a thread of its own, which is left alone at the time ``end``.

    A server that sends a byte now and then keeps every single wait short, so that no socket's timeout ends it.
    """
    outcome: queue.SimpleQueue = queue.SimpleQueue()
    stopped = threading.Event()

    def run() -> None:
        try:
            outcome.put((work(stopped), None))
        except BaseException as error:  # raised in the thread that waits
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = outcome.get(timeout=max(end - time.monotonic(), 0.001))
    except queue.Empty:
        raise NotAllowed(f"it took more than {limit('DOWNLOAD_MINUTES')} minutes, the limit that "
                         f"{variable('DOWNLOAD_MINUTES')} sets") from None
    finally:
        stopped.set()
    if error is not None:
        raise error
    return result


def expected_hash(url: str) -> str:
    """The sha256 prefix in the file name of the places that write one, else ''."""
    found = re.search(r"-([0-9a-f]{8,64})\.[a-z.]+$", url)
    return found.group(1) if found and url.startswith(HASHED) else ""


def _download(url, path, stopped):
    """Write what ``url`` gives to ``path``; its sha256."""
    from tqdm import tqdm
    _require_safe(url)
    most, digest, received = limit("DOWNLOAD_GB") * 10**9, hashlib.sha256(), 0
    with _session() as session, \
            session.get(url, stream=True, timeout=(_connect_seconds(url), TIMEOUT)) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        total = int(answer.headers.get("Content-Length") or 0)
        _require_small(total, most)
        with tqdm(total=total or None, unit="B", unit_scale=True, desc=_title(url)) as bar:
            for piece in _pieces(answer, total):
                received += len(piece)
                _require_small(received, most)
                if stopped.is_set():
                    raise NotAllowed("it was stopped")
                file.write(piece)
                digest.update(piece)
                bar.update(len(piece))
        verified_file.check_prefix(digest.hexdigest(), _announced(answer), masked(url))
    return digest.hexdigest()


def _pieces(answer, total):
    """The bytes of an answer, as they come."""
    try:
        yield from answer.iter_content(CHUNK)
    except requests.RequestException as error:
        received = f" after {answer.raw.tell()} of {total} bytes" if total else f": {_reason(error)}"
        raise BrokenOff(f"it broke off{received}") from None


def _title(url):
    return urllib.parse.urlsplit(url).path.rpartition("/")[2]


def _announced(answer):
    """The sha256 that the hub's answer names, also where it sends on to another server; else ''."""
    for one in (*answer.history, answer):
        found = re.fullmatch(r'"?([0-9a-f]{64})"?', one.headers.get(ANNOUNCED, ""))
        if found:
            return found.group(1)
    return ""


def _require_small(size, most):
    if size > most:
        raise NotAllowed(f"it has more than {most // 10**9} GB, the limit that {variable('DOWNLOAD_GB')} sets")


def _require_safe(url):
    """Raise NotAllowed for plain http: whoever is on the way can read and exchange what it brings."""
    parts = urllib.parse.urlsplit(url)
    allowed = re.split(r"[\s,]+", os.environ.get(HTTP_HOSTS, "").lower())
    if parts.scheme == "http" and parts.hostname and parts.hostname not in allowed:
        raise NotAllowed("http is not encrypted, so that anybody on the way can exchange the file; use https, or allow "
                         f"this host by its name: {HTTP_HOSTS}={parts.hostname}")


class _Adapter(requests.adapters.HTTPAdapter):
    """Sees every request, also those that a server sends on to."""

    def send(self, request, *args, **kwargs):
        _require_safe(request.url)
        return super().send(request, *args, **kwargs)


def _session():
    session = requests.Session()
    # without compression: Content-Length is then what arrives, and the progress bar knows it
    session.headers.update({"User-Agent": "ppdet_ext", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(max_retries=RETRIES))
    return session


def _connect_seconds(url):
    """Seconds for each address of the server, so that all together take CONNECT.

    A large site has sixteen, and a network that drops packets would else cost minutes.
    """
    parts = urllib.parse.urlsplit(url)
    try:
        places = socket.getaddrinfo(parts.hostname, parts.port or parts.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a proxy may know the name
        return CONNECT
    return max(CONNECT / len(places), SHORTEST)


def _reason(error):
    """One line: of an error that libraries have wrapped several times the first, which says most."""
    if isinstance(error, requests.HTTPError):
        return f"HTTP {error.response.status_code} {error.response.reason}"
    while not isinstance(error, (BrokenOff, NotAllowed)) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    return " ".join(str(error).split()) or type(error).__name__
