"""A manager by DIMSE: C-FIND, N-GET, N-SET and N-ACTION, an association for each exchange."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.association import Association

from triage.dimse import AssociationLost, Remote, associate
from triage.errors import Broken, TryAgain
from triage.ups import content
from triage.ups.client import RETURNED, WANTED, change_of
from triage.ups.words import PULL, PUSH, WATCH, Action, NotDone, State, Status
from triage.workflow import DimseManager

PENDING = frozenset({0xFF00, 0xFF01})


class DimseClient:
    """One manager behind an AE title."""

    def __init__(self, settings: DimseManager, *, hears: bool = True) -> None:
        self._settings = settings
        self._hears = hears
        """Whether event reports find a port of ours."""

    @property
    def name(self) -> str:
        """Give its name in the settings."""
        return self._settings.name

    @property
    def codes(self) -> frozenset[str]:
        """Give the Scheduled Workitem Codes that we take from it."""
        return frozenset(self._settings.codes)

    def offers(self) -> list[Dataset]:
        """Give the items that wait for a performer."""
        keys = Dataset()
        for keyword in RETURNED:
            setattr(keys, keyword, None)
        for keyword, value in WANTED.items():
            setattr(keys, keyword, value)
        with self._talk(PULL) as association:
            answers = list(association.send_c_find(keys, PULL))
        found = []
        for status, item in answers:
            if _code(status) in PENDING and item is not None:
                found.append(content.from_wire(item))
            else:
                _judge(status)
        return found

    def get(self, uid: str) -> Dataset:
        """Give one whole item."""
        with self._talk(PULL) as association:
            status, item = association.send_n_get([], PUSH, uid)
        _judge(status)
        return content.from_wire(item)

    def claim(self, uid: str, transaction_uid: str) -> None:
        """Take an item under our lock."""
        self._change(uid, change_of(State.IN_PROGRESS, transaction_uid))

    def update(self, uid: str, transaction_uid: str, change: Dataset) -> None:
        """Write attributes of an item that is ours."""
        given = Dataset()
        given.update(change)
        given.SpecificCharacterSet = "ISO_IR 192"
        given.TransactionUID = transaction_uid
        with self._talk(PULL) as association:
            status, _ = association.send_n_set(given, PUSH, uid)
        _judge(status)

    def finish(self, uid: str, transaction_uid: str, state: State) -> None:
        """Complete or cancel an item that is ours."""
        self._change(uid, change_of(state, transaction_uid))

    def watch(self, uid: str) -> None:
        """Subscribe our own title to an item, if anybody listens under it."""
        if not self._hears:
            return
        told = Dataset()
        told.ReceivingAE, told.DeletionLock = self._settings.calling_ae_title, "FALSE"
        with self._talk(WATCH) as association:
            status, _ = association.send_n_action(told, Action.SUBSCRIBE, PUSH, uid)
        _judge(status)

    def close(self) -> None:
        """Do nothing: every exchange releases its association."""

    def _change(self, uid: str, told: Dataset) -> None:
        with self._talk(PULL) as association:
            status, _ = association.send_n_action(told, Action.CHANGE_STATE, PUSH, uid)
        _judge(status)

    @contextmanager
    def _talk(self, sop_class: str) -> Iterator[Association]:
        of = self._settings
        to = Remote(of.ae_title, of.host, of.port, of.calling_ae_title, of.deadline_s, of.tls)
        try:
            with associate(to, [(sop_class, ExplicitVRLittleEndian)]) as association:
                yield association
        except Broken as why:  # it may be configured anew
            raise TryAgain(why.reason.sentence) from None
        except (RuntimeError, ValueError, OSError) as why:
            msg = f"{of.name}: the association broke ({type(why).__name__})"
            raise TryAgain(msg) from None


def _code(status: Any) -> int | None:  # noqa: ANN401 - a Dataset, empty when nobody answered
    value = status.get("Status")
    return None if value is None else int(value)


def _judge(status: Any) -> None:  # noqa: ANN401 - as above
    """Raise what a status means; warnings are success (PS3.7 C)."""
    code = _code(status)
    if code is None:
        msg = "no answer from the manager; what became of the request is in doubt"
        raise AssociationLost(msg)
    if code in {Status.DONE, Status.SOME_ATTRIBUTES} or 0xB000 <= code <= 0xBFFF:
        return
    if code in {Status.FAILED, Status.NOT_ALLOWED, 0xA700, 0x0213}:
        msg = f"the manager cannot do it now (0x{code:04X})"
        raise TryAgain(msg)
    known = Status(code) if code in set(Status) else Status.BAD_ARGUMENT
    raise NotDone(known, f"The manager refused (0x{code:04X})")
