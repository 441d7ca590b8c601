# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Getting a file from the network into the cache folder: requests, a progress bar, nothing left half-written."""
from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
import urllib.parse
from pathlib import Path

import requests
from urllib3.util.retry import Retry

from ..errors import UserError
from ..files import atomic_path, sha256

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


def home() -> Path:
    """Where converted weights land: $PPDET_EXT_HOME, or ``weights`` in the working directory."""
    return Path(os.environ.get("PPDET_EXT_HOME") or "weights")


def fetch(url: str, folder: str | Path | None = None) -> Path:
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
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise Unavailable(f"cannot download {url} ({_reason(error)})") from None


def cache_name(url: str) -> str:
    """A file name for ``url``, its suffix kept; a query, strange characters and great length go into a digest."""
    parts = urllib.parse.urlparse(url)
    plain = "--".join([parts.netloc.rpartition("@")[2].replace(":", "_"), *filter(None, parts.path.split("/"))])
    name = re.sub(r"[^\w.%+=-]", "_", plain, flags=re.ASCII)
    if name == plain and not parts.query and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return f"{name[:LONGEST // 3]}--{digest}--{name.rpartition('--')[2][-LONGEST // 3:]}"


def _download_again(url, target):
    """Only what broke off is tried again; answers such as 503 are ``RETRIES``'s, and 404 would stay 404."""
    for left in reversed(range(TRIES)):
        try:
            with atomic_path(target) as temporary:
                _download(url, temporary)
                check_hash(temporary, expected_hash(url), url)
            return
        except BrokenOff:
            if not left:
                raise


def expected_hash(url: str) -> str:
    """The sha256 prefix in the file name of the places that write one, else ''."""
    found = re.search(r"-([0-9a-f]{8,64})\.[a-z.]+$", url)
    return found.group(1) if found and url.startswith(HASHED) else ""


def check_hash(path: str | Path, prefix: str, origin: str) -> None:
    """Raise UserError unless the file's sha256 begins with ``prefix``."""
    digest = sha256(path) if prefix else ""
    if not digest.startswith(prefix):
        raise UserError(f"{origin} gave a file whose sha256 is {digest[:12]}..., not {prefix}...: it is damaged or "
                        "was replaced; get it again")


def _download(url, path):
    from tqdm import tqdm
    with _session() as session, \
            session.get(url, stream=True, timeout=(_connect_seconds(url), TIMEOUT)) as answer, open(path, "wb") as file:
        answer.raise_for_status()
        total = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=total or None, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar:
            try:
                for piece in answer.iter_content(CHUNK):
                    file.write(piece)
                    bar.update(len(piece))
            except requests.RequestException as error:
                received = f" after {answer.raw.tell()} of {total} bytes" if total else f": {_reason(error)}"
                raise BrokenOff(f"it broke off{received}") from None


def _session():
    session = requests.Session()
    # without compression: Content-Length is then what arrives, and the progress bar knows it
    session.headers.update({"User-Agent": "ppdet_ext", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=RETRIES))
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
    while not isinstance(error, BrokenOff) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    return " ".join(str(error).split()) or type(error).__name__
