"""The door knows its peers, and there are so many places and no more."""

import pytest

from tests.triage.receive import raw
from triage.errors import ConfigError
from triage.nodes import Peer
from triage.receive.admission import Door
from triage.receive.negotiation import Rejection
from triage.receive.request import AssociateRequest, read_request
from triage.settings import Listener as Limits

CONTEXTS = [(raw.CT, [raw.EXPLICIT])]
PEERS = Limits(
    peers=(
        Peer(ae_title="CT1", addresses=("10.0.0.5", "10.1.0.0/16")),
        Peer(ae_title="ANYWHERE"),
        Peer(ae_title="V6", addresses=("fe80::/10",)),
    )
)


def request(calling: bytes = b"CT1", called: bytes = b"TRIAGE") -> AssociateRequest:
    return read_request(raw.associate_rq(CONTEXTS, calling=calling, called=called)[6:])


@pytest.mark.parametrize(
    ("calling", "address", "refusal"),
    [
        (b"CT1", "10.0.0.5", None),
        (b"CT1", "10.1.77.8", None),
        (b"CT1", "10.0.0.6", Rejection.CALLING_AE_TITLE),
        (b"CT1", "::ffff:10.0.0.5", None),
        (b"ANYWHERE", "192.0.2.1", None),
        (b"V6", "fe80::1%eth0", None),
        (b"V6", "10.0.0.5", Rejection.CALLING_AE_TITLE),
        (b"CT2", "10.0.0.5", Rejection.CALLING_AE_TITLE),
        (b"ct1", "10.0.0.5", Rejection.CALLING_AE_TITLE),
    ],
)
def test_a_peer_is_its_title_and_its_address(
    calling: bytes, address: str, refusal: Rejection | None
) -> None:
    assert Door(PEERS).refusal(request(calling), address) is refusal


def test_the_called_title_must_be_ours_unless_the_site_says_otherwise() -> None:
    wrong = request(called=b"OTHER")
    assert Door(Limits()).refusal(wrong, "10.0.0.5") is Rejection.CALLED_AE_TITLE
    assert Door(Limits(peers="any", check_called_ae_title=False)).refusal(wrong, "10.0.0.5") is None


@pytest.mark.parametrize("title", [b"", b"A\nB", b"\x1b[31mred", b"A\\B", b"\xc4RZT", b"A\0B"])
def test_titles_with_control_characters_are_refused(title: bytes) -> None:
    door = Door(Limits(check_called_ae_title=False))
    assert door.refusal(request(calling=title), "10.0.0.5") is Rejection.CALLING_AE_TITLE
    assert door.refusal(request(called=title), "10.0.0.5") is Rejection.CALLED_AE_TITLE


def test_a_request_for_nothing_we_do_is_refused() -> None:
    for contexts in ([], [("1.2.840.10008.5.1.4.1.2.2.1", [raw.IMPLICIT])]):
        asked = read_request(raw.associate_rq(contexts)[6:])
        assert Door(Limits(peers="any")).refusal(asked, "10.0.0.5") is Rejection.NO_CONTEXT


def test_protocol_version_and_application_context_are_checked() -> None:
    content = bytearray(raw.associate_rq(CONTEXTS)[6:])
    content[1] = 2
    refusal = Door(Limits()).refusal(read_request(content), "10.0.0.5")
    assert refusal is Rejection.PROTOCOL_VERSION
    other = raw.associate_rq(CONTEXTS)[6:].replace(b".10008.3.1.1.1", b".10008.3.1.1.2")
    refusal = Door(Limits()).refusal(read_request(other), "10.0.0.5")
    assert refusal is Rejection.APPLICATION_CONTEXT


def test_an_address_that_is_none_names_the_key() -> None:
    limits = Limits(peers=(Peer(ae_title="CT1", addresses=("ct1.local",)),))
    with pytest.raises(ConfigError, match=r"site\.yaml: listener\.peers: CT1"):
        Door(limits)
