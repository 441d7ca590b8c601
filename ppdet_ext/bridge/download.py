# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Getting a file from the network into the cache folder: plain urllib, a progress bar, nothing left half-written."""
import logging
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from ..errors import UserError
from ..files import atomic_path, sha256

logger = logging.getLogger(__name__)
TIMEOUT = 30  # seconds without an answer
TRIES = 2
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


def home():
    """Where converted weights land: $PPDET_EXT_HOME, or ``weights`` in the working directory."""
    return Path(os.environ.get("PPDET_EXT_HOME") or "weights")


def fetch(url, folder=None):
    """Download ``url`` once; later calls find it in ``folder`` (default ``home()/cache``).

    Raises:
        Unavailable: no answer, an error answer, or a transfer cut short, twice; the line has the URL and what to do.
        UserError: the file's sha256 is not the one its name announces.
    """
    parts = urllib.parse.urlparse(url)
    name = "--".join([parts.netloc.replace(":", "_"), *filter(None, parts.path.split("/"))])
    target = Path(folder or home() / "cache") / name
    if target.exists():
        return target
    logger.info("downloading %s", url)
    for left in reversed(range(TRIES)):
        try:
            with atomic_path(target) as temporary:
                _download(url, temporary)
                check_hash(temporary, expected_hash(url), url)
            return target
        except (OSError, ValueError) as error:
            if not left:
                raise Unavailable(f"cannot download {url} ({_reason(error)})") from None
    raise AssertionError("unreachable")


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
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, open(path, "wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=total or None, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1]) as bar:
            for piece in iter(lambda: answer.read(CHUNK), b""):
                file.write(piece)
                bar.update(len(piece))
            if total and bar.n != total:
                raise OSError(f"it broke off after {bar.n} of {total} bytes")


def _reason(error):
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return getattr(error, "reason", None) or error
