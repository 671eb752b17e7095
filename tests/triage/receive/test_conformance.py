"""What the conformance statement says of the network is what comes out of it.

The statement asks our own negotiation code; here a peer by pynetdicom asks over the wire.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from db.engine import connect
from tests.triage.peers import Scripted, destination, scripted
from tests.triage.receive import raw
from tests.triage.receive.conftest import Start
from triage import IMPLEMENTATION_CLASS_UID, commitment
from triage import settings as configuration
from triage.commands.conformance_network import (
    Entity,
    listener,
    manager,
    performer,
    sender,
    sop_classes,
    transfer_syntaxes,
)
from triage.commands.conformance_objects import Made, specimens
from triage.deliver import dicom, probe
from triage.errors import TryAgain
from triage.settings import Settings
from triage.ups.client_dimse import DimseClient
from triage.ups.scp import Scp
from triage.ups.words import PULL, WATCH, NotDone
from triage.workflow import DimseManager, WorkManager, WorkPeer

Pair = tuple[str, str]
"""SOP class and transfer syntax."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return configuration.load(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="module")
def stated(settings: Settings) -> Entity:
    return listener(settings)


@pytest.fixture(scope="module")
def made(settings: Settings) -> dict[str, Made]:
    return specimens(settings)


@contextmanager
def associated(
    port: int, contexts: Sequence[PresentationContext], called: str, *, as_provider: str = ""
) -> Iterator[Association]:
    ae = AE(ae_title="PEER")
    roles: list[Any] = [build_role(UID(as_provider), scp_role=True)] if as_provider else []
    association = ae.associate("127.0.0.1", port, list(contexts), ae_title=called, ext_neg=roles)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def taken(port: int, offers: list[tuple[str, list[str]]], called: str) -> set[Pair]:
    """Propose so many presentation contexts, 128 an association; gives what was accepted."""
    found: set[Pair] = set()
    for start in range(0, len(offers), 128):
        contexts = [build_context(uid, syntaxes) for uid, syntaxes in offers[start : start + 128]]
        with associated(port, contexts, called) as association:
            found |= {
                (str(one.abstract_syntax), str(one.transfer_syntax[0]))
                for one in association.accepted_contexts
            }
    return found


def pairs(entity: Entity, role: str) -> set[Pair]:
    return {
        (one.sop_class_uid, syntax)
        for one in entity.accepts
        if one.role == role
        for syntax in one.transfer_syntax_uids
    }


def test_the_listener_takes_every_class_and_syntax_that_is_stated(
    stated: Entity, start: Start
) -> None:
    said = pairs(stated, "SCP")
    assert taken(start().port, [(uid, [syntax]) for uid, syntax in sorted(said)], "TRIAGE") == said


def test_the_listener_takes_nothing_that_is_not_stated(stated: Entity, start: Start) -> None:
    said = pairs(stated, "SCP")
    others = [
        (uid, [one for one in transfer_syntaxes() if (uid, one) not in said])
        for uid in sop_classes()
    ]
    assert len(others) > 300
    assert taken(start().port, others, "TRIAGE") == set()


def test_a_provider_of_storage_commitment_may_report_and_a_user_may_not(
    stated: Entity, start: Start
) -> None:
    uid = commitment.SOP_CLASS
    said = {syntax for name, syntax in pairs(stated, "SCU") if name == uid}
    assert said
    port = start().port
    contexts = [build_context(uid, syntax) for syntax in sorted(said)]
    with associated(port, contexts, "TRIAGE", as_provider=uid) as association:
        found = {str(one.transfer_syntax[0]) for one in association.accepted_contexts}
        assert {one.as_scp for one in association.accepted_contexts} == {True}
    assert found == said
    with associated(port, contexts, "TRIAGE") as association:
        assert {one.as_scp for one in association.accepted_contexts} == {False}
        assert {one.as_scu for one in association.accepted_contexts} == {True}


def test_the_listener_keeps_the_policies_that_are_stated(stated: Entity, start: Start) -> None:
    contexts = [build_context("1.2.840.10008.1.1")]
    port = start(max_associations_per_address=2).port
    echo = [("1.2.840.10008.1.1", ["1.2.840.10008.1.2"])]
    assert raw.rejection(port, echo, called=b"WRONG") == (1, 1, 7)
    with associated(port, contexts, "TRIAGE") as one, associated(port, contexts, "TRIAGE") as two:
        assert one.is_established
        assert two.is_established
        assert raw.rejection(port, echo) == (2, 3, 2)
        policies = stated.policies or {}
        most = one.acceptor.maximum_length
        assert policies["maximum PDU received"] == f"{most} bytes"
        assert one.acceptor.implementation_class_uid == IMPLEMENTATION_CLASS_UID


@pytest.mark.parametrize(
    "kinds", [("structured_report",), ("structured_report", "key_objects", "secondary_capture")]
)
def test_a_pacs_is_proposed_what_is_stated(kinds: tuple[str, ...], made: dict[str, Made]) -> None:
    script = Scripted()
    sent = (*kinds, "rejection_note")
    classes = tuple(dict.fromkeys(made[kind].document.sop_class_uid for kind in sent))
    with scripted(script, storage=classes) as peer:
        to = destination(peer.port, peer.ae_title, outputs=kinds)
        said = sender(to, made)
        for kind in sent:
            assert dicom.store(made[kind].document, to) == 0
        assert dicom.holds(made[kinds[0]].document, to)
        probe.probe(to)
    proposed = {pair for contexts in script.requested for pair in contexts}
    assert proposed == {
        f"{one.sop_class_uid} {syntax}"
        for one in said.initiates
        for syntax in one.transfer_syntax_uids
    }
    assert {caller for caller, _ in script.callers} == {said.ae_title}


def test_the_manager_of_work_items_takes_what_is_stated_and_nothing_else(tmp_path: Path) -> None:
    of = WorkManager(enabled=True, port=0, peers=(WorkPeer(ae_title="PEER"),))
    database = connect(f"sqlite:///{tmp_path / 'none.sqlite'}")
    scp = Scp(database, of)
    try:
        port = scp.start()
        offers = [(uid, [syntax]) for uid in sop_classes() if "34.6." in uid or uid.endswith("1.1")
                  for syntax in transfer_syntaxes()[:6]]  # fmt: skip
        assert taken(port, offers, of.ae_title) == pairs(manager(of), "SCP")
    finally:
        scp.stop()
        database.dispose()


def test_a_manager_is_proposed_what_is_stated_of_its_performer() -> None:
    proposed: list[str] = []

    def note(event: evt.Event) -> None:
        proposed.extend(
            f"{one.abstract_syntax} {one.transfer_syntax[0]}"
            for one in event.assoc.requestor.requested_contexts
        )

    ae = AE(ae_title="MANAGER")
    for sop_class in (PULL, WATCH):
        ae.add_supported_context(sop_class)
    server: Any = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, note)]
    )
    try:
        port = server.socket.getsockname()[1]
        to = DimseManager(name="ris", ae_title="MANAGER", host="127.0.0.1", port=port)
        client = DimseClient(to)
        for ask in (client.offers, lambda: client.watch("1.2.3")):
            with suppress(NotDone, TryAgain):  # it only takes note of what is proposed
                ask()
    finally:
        server.shutdown()
    assert set(proposed) == {
        f"{one.sop_class_uid} {syntax}"
        for one in performer(to).initiates
        for syntax in one.transfer_syntax_uids
    }
