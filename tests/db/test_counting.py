from datetime import timedelta

from db import counting
from db.engine import Database, now
from db.listing import Clock, Listing
from db.reader_claims import ReaderClaimRow
from db.states import StudyState
from db.tables import UserRow
from tests.triage.worklist.builders import add_study


def clock(database: Database) -> Clock:
    with database.reading() as session:
        return Clock(now(session), timedelta(hours=4), timedelta(minutes=15))


def test_every_list_is_counted(database: Database) -> None:
    with database.begin() as session:
        for outcome in ("prioritised", "not prioritised", "not prioritised", "held", "failed"):
            add_study(session, outcome)
        add_study(session, "pending", minutes=60, state=StudyState.READY)
        add_study(session, "pending", minutes=1, state=StudyState.READY, opened_at=now(session))
        found = counting.counts(session, clock(database))
    assert found == {
        Listing.ALL: 7, Listing.PRIORITISED: 1, Listing.NOT_PRIORITISED: 2, Listing.PENDING: 2,
        Listing.NOT_ANALYSED: 0, Listing.HELD: 1, Listing.FAILED: 1, Listing.OVERDUE: 1,
        Listing.UNREAD: 6, Listing.MINE: 0,
    }  # fmt: skip


def test_only_claims_that_hold_and_are_ones_own_are_counted(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        at = now(session)
        users = [
            UserRow(name=name, password_hash="", role="radiologist", created_at=at) for name in "ab"
        ]
        session.add_all(users)
        session.flush()
        for number, (hold, ended) in enumerate(((9, None), (-9, None), (9, at), (9, None))):
            session.add(
                ReaderClaimRow(
                    study_id=add_study(session).id, user_id=users[number // 3].id, owner="x",
                    claimed_at=at, expires_at=at + timedelta(minutes=hold), ended_at=ended,
                    changed_at=at,
                )
            )  # fmt: skip
        session.flush()
        mine = [
            counting.count(session, Listing.MINE, clock(sqlite_database), user.id) for user in users
        ]
    assert mine == [1, 1]


def test_no_list_is_counted_past_the_bound(sqlite_database: Database) -> None:
    with sqlite_database.begin() as session:
        for _ in range(3):
            add_study(session)
        before, counting.MOST = counting.MOST, 2  # type: ignore[misc] # ten thousand rows are slow
        try:
            assert counting.count(session, Listing.ALL, clock(sqlite_database)) == 2
        finally:
            counting.MOST = before  # type: ignore[misc]
