# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Getting a file from the network into the cache folder: plain urllib, a progress bar, nothing left half-written."""
import hashlib
import http.client
import logging
import os
import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from ..errors import UserError
from ..files import atomic_path, sha256

logger = logging.getLogger(__name__)
CONNECT = 10  # seconds to reach a server
TIMEOUT = 30  # seconds without a byte from it
TRIES = 2
LONGEST = 150  # characters of a file name; the file system takes 255, with what a temporary file adds
CHUNK = 1 << 18

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


def home():
    """Where converted weights land: $PPDET_EXT_HOME, or ``weights`` in the working directory."""
    return Path(os.environ.get("PPDET_EXT_HOME") or "weights")


def fetch(url, folder=None):
    """Download ``url`` once; later calls find it in ``folder`` (default ``home()/cache``).

    Raises:
        Unavailable: no answer, an error answer, or a transfer that broke off twice; the line has the URL and why.
        UserError: the file's sha256 is not the one its name announces; the folder cannot be written.
    """
    try:
        target = Path(folder or home() / "cache") / cache_name(url)
        if not target.exists():
            logger.info("downloading %s", url)
            _download_again(url, target)
        return target
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Unavailable(f"cannot download {url} ({_reason(error)})") from None


def cache_name(url):
    """A file name for ``url``, its suffix kept; a query, strange characters and great length go into a digest."""
    parts = urllib.parse.urlparse(url)
    host, *path = [parts.netloc.rpartition("@")[2].replace(":", "_"), *filter(None, parts.path.split("/"))]
    plain = "--".join([host, *path])
    name = re.sub(r"[^\w.%+=-]", "_", plain, flags=re.ASCII)
    if name == plain and not parts.query and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return f"{name[:LONGEST // 3]}--{digest}--{name.rpartition('--')[2][-LONGEST // 3:]}"


def _download_again(url, target):
    """Only what broke off is tried again: an answer such as 404, or none, would be the same the second time."""
    for left in reversed(range(TRIES)):
        try:
            with atomic_path(target) as temporary:
                _download(url, temporary)
                check_hash(temporary, expected_hash(url), url)
            return
        except BrokenOff:
            if not left:
                raise


def expected_hash(url):
    """The sha256 prefix in the file name of the places that write one, else ''."""
    found = re.search(r"-([0-9a-f]{8,64})\.[a-z.]+$", url)
    return found.group(1) if found and url.startswith(HASHED) else ""


def check_hash(path, prefix, origin):
    """Raise UserError unless the file's sha256 begins with ``prefix``."""
    digest = sha256(path) if prefix else ""
    if not digest.startswith(prefix):
        raise UserError(f"{origin} gave a file whose sha256 is {digest[:12]}..., not {prefix}...: it is damaged or "
                        "was replaced; get it again")


def _download(url, path):
    from tqdm import tqdm
    request = urllib.request.Request(url, headers={"User-Agent": "ppdet_ext"})
    opener = urllib.request.build_opener(_Handler, _SecureHandler)
    with opener.open(request, timeout=TIMEOUT) as answer, open(path, "wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=total or None, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar:
            for piece in _pieces(answer):
                file.write(piece)
                bar.update(len(piece))
            if total and bar.n != total:
                raise BrokenOff(f"it broke off after {bar.n} of {total} bytes")


def _pieces(answer):
    try:
        yield from iter(lambda: answer.read(CHUNK), b"")
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOff(f"it broke off: {error or type(error).__name__}") from None


def _connect(address, timeout=None, _source=None):
    """``socket.create_connection`` for the first address of each family (IPv6, IPv4), CONNECT seconds for each.

    Trying all addresses of a large site on a network that drops packets would take minutes.
    """
    places = {}
    for family, _kind, _protocol, _name, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        places.setdefault(family, place[:2])
    for left, place in zip(reversed(range(len(places))), places.values()):
        try:
            connected = socket.create_connection(place, CONNECT)
            connected.settimeout(timeout)
            return connected
        except OSError:
            if not left:
                raise
    raise OSError(f"{address[0]} has no address")


class _Connection(http.client.HTTPConnection):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self._create_connection = _connect


class _SecureConnection(http.client.HTTPSConnection):
    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self._create_connection = _connect


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, request):
        return self.do_open(_Connection, request)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, request):
        return self.do_open(_SecureConnection, request)


def _reason(error):
    """One line."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    reason = str(getattr(error, "reason", None) or error) or type(error).__name__
    return " ".join(reason.split())
