"""Nodes: the application entities a site talks to, beside those that site.yaml names.

``STATE/nodes.yaml`` is written by ``triage node``, and may be edited by hand. It has the same
words as site.yaml: ``peers`` may send to us, ``destinations`` get our results.
"""

import shlex
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import ValidationError

from triage.destinations import Destinations
from triage.errors import ConfigError
from triage.frozen import AETitle, Frozen
from triage.tls import Fingerprint

FILE: Final = "nodes.yaml"


class Peer(Frozen):
    """A calling application entity that may send to us."""

    ae_title: AETitle
    addresses: tuple[str, ...] = ()
    """Allowed source addresses; empty means any."""
    certificates: tuple[Fingerprint, ...] = ()
    """It must call over TLS with one of these; empty means no certificate is asked of it."""


Peers = tuple[Peer, ...] | Literal["any"]
"""Who may associate. Nobody by default; "any" is for a machine that nobody else can reach."""


class Nodes(Frozen):
    """What nodes.yaml holds."""

    peers: tuple[Peer, ...] = ()
    destinations: Destinations = ()


def read(path: Path) -> Nodes:
    """Read the nodes; a missing file has none.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), path)
    except (FileNotFoundError, NotADirectoryError):
        return Nodes()
    except (OSError, UnicodeDecodeError) as why:
        msg = f"cannot read {path} ({type(why).__name__})"
        raise ConfigError(msg) from None


def parse(text: str, path: Path) -> Nodes:
    """Read the nodes from a text that is, or would be, at ``path``.

    Raises:
        ConfigError: naming the key that is wrong.
    """
    try:
        content: Any = yaml.safe_load(text)
        if isinstance(content, dict):  # a list without entries is nothing in YAML
            content = {key: value for key, value in content.items() if value is not None}
        return Nodes.model_validate({} if content is None else content)
    except yaml.YAMLError as why:
        msg = f"{path} is not valid YAML: {str(why).splitlines()[0]}"
        raise ConfigError(msg) from None
    except ValidationError as why:
        first = why.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        msg = f"{path}: {key}: {first['msg']}"
        raise ConfigError(msg) from None


def allowed(own: Peers, nodes: Nodes) -> Peers:
    """Give who may associate: those of site.yaml and those of nodes.yaml."""
    return own if own == "any" else (*own, *nodes.peers)


def let_in(ae_title: str, address: str) -> str:
    """Give the command that lets a caller in; what the caller claims is quoted for the shell."""
    return shlex.join(["triage", "node", "add", ae_title, "--from", address])
