"""Nodes: the application entities a site talks to, beside those that site.yaml names.

``STATE/nodes.yaml`` is written by ``triage node``, and may be edited by hand. Its entries have the
same words as site.yaml's: ``peers`` may send to us, ``destinations`` get our results,
``count_sources`` are asked how many instances a study has, ``requesters`` hear our answers to
Storage Commitment, ``prior_sources`` are asked for older studies.
"""

import shlex
from pathlib import Path
from typing import Final, Literal

import yaml
from pydantic import ValidationError

from triage import yaml_text
from triage.completeness import Requester, Requesters, Source, Sources
from triage.destinations import Destination, Destinations
from triage.errors import ConfigError
from triage.frozen import AETitle, Frozen
from triage.prior_sources import PriorSource, PriorSources
from triage.tls import Fingerprint

FILE: Final = "nodes.yaml"
CALLED: Final = {
    "destinations": "destination",
    "count_sources": "source of counts",
    "requesters": "requester",
    "prior_sources": "source of priors",
}
"""The sections of those that we call, and what one of each is called."""
Asked = Source | Requester | PriorSource
Called = Destination | Asked


class Peer(Frozen):
    """A calling application entity that may send to us."""

    ae_title: AETitle
    addresses: tuple[str, ...] = ()
    """Allowed source addresses; empty means any."""
    certificates: tuple[Fingerprint, ...] = ()
    """It must call over TLS with one of these; empty means no certificate is asked of it."""


Peers = tuple[Peer, ...] | Literal["any"]
"""Who may associate. Nobody by default; "any" is for a machine that nobody else can reach."""


def label(one: Called) -> str:
    """Give what tells it from others of its section: its name, or a requester's AE title."""
    return one.ae_title if isinstance(one, Requester) else one.name


class Nodes(Frozen):
    """What nodes.yaml holds."""

    peers: tuple[Peer, ...] = ()
    destinations: Destinations = ()
    count_sources: Sources = ()
    """``completeness.sources`` in site.yaml."""
    requesters: Requesters = ()
    """``commitment.requesters`` in site.yaml."""
    prior_sources: PriorSources = ()
    """``priors.sources`` in site.yaml."""


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
        content = yaml_text.read(text)
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


def joined(own: Nodes, more: Nodes, path: Path) -> Nodes:
    """Give whom we call: those of site.yaml, then those of the file at ``path``.

    Raises:
        ConfigError: both have one of the same name.
    """
    for section, noun in CALLED.items():
        if twice := _labels(own, section) & _labels(more, section):
            msg = f"{path}: site.yaml has a {noun} {min(twice)} too; name one of them anew"
            raise ConfigError(msg)
    both = {section: (*getattr(own, section), *getattr(more, section)) for section in CALLED}
    return own.model_copy(update=both)


def without(known: Nodes, others: Nodes) -> Nodes:
    """Give the nodes without those that we call and that are among the others by their name."""
    left = {
        section: tuple(
            one for one in getattr(known, section) if label(one) not in _labels(others, section)
        )
        for section in CALLED
    }
    return known.model_copy(update=left)


def _labels(known: Nodes, section: str) -> set[str]:
    return {label(one) for one in getattr(known, section)}


def let_in(ae_title: str, address: str) -> str:
    """Give the command that lets a caller in; what the caller claims is quoted for the shell."""
    return shlex.join(["triage", "node", "add", ae_title, "--from", address])


def answer_to(ae_title: str) -> str:
    """Give the command that says where a requester of Storage Commitment hears our answers."""
    return f"{shlex.join(['triage', 'node', 'add', ae_title])} --answers HOST:PORT"
