"""Secrets and trust of the senders, read from files at each use: a new one needs no restart.

A file that is missing or open to others is mended by a person, so the document waits (TryAgain).
"""

import ssl
from pathlib import Path

from triage.destinations import ClientTls
from triage.errors import TryAgain


def secret(path: Path) -> str:
    """Give what a file of mode 0600 holds, without its line end.

    Raises:
        TryAgain: it is missing, empty, or readable by others.
    """
    try:
        mode, content = path.stat().st_mode, path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as why:
        msg = f"{path} cannot be read ({type(why).__name__}); put the secret there, mode 0600"
        raise TryAgain(msg) from None
    if mode & 0o077:
        msg = f"{path} is readable by others; run: chmod 600 {path}"
        raise TryAgain(msg)
    if not content:
        msg = f"{path} is empty; put the secret there"
        raise TryAgain(msg)
    return content


def trust(to: ClientTls) -> ssl.SSLContext:
    """Give a TLS context that checks the peer's certificate and its name, and shows ours.

    Raises:
        TryAgain: a file is not there, holds none, or its key is another's or open to others.
    """
    try:
        ca_file = None if to.ca_file is None else str(to.ca_file)
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as why:
        msg = f"{to.ca_file} holds no certificate authority ({type(why).__name__})"
        raise TryAgain(msg) from None
    if to.certificate_file is not None:
        _identify(context, to.certificate_file, to.key_file or to.certificate_file)
    return context


def _identify(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    secret(key)
    try:
        context.load_cert_chain(certificate, key, "")  # a locked key fails, and asks nobody
    except OSError as why:
        msg = f"{certificate} and {key} are no certificate and its key ({type(why).__name__})"
        raise TryAgain(msg) from None
