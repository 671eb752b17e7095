"""A worker in a process of its own: ``python -m tests.db.worker claim|finish URL ID...``."""

import sys

from db.engine import Database, connect
from db.lifecycle import StaleStudyError
from tests.db import builders


def say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def claim_all(database: Database, ids: list[int]) -> None:
    for study_id in ids:
        with database.begin() as session:
            held = builders.claim(session, study_id)
        if held is not None:
            say(study_id)


def finish_late(database: Database, ids: list[int]) -> None:
    """Claim under a lease that ends at once, wait for a line, then write the result."""
    held = builders.claimed(database, ids[0], lease=builders.NO_TIME)
    say("claimed")
    sys.stdin.readline()
    try:
        builders.finish(database, held)
    except StaleStudyError:
        say("stale")
    else:
        say("written")


if __name__ == "__main__":
    what, url, *words = sys.argv[1:]
    work = {"claim": claim_all, "finish": finish_late}[what]
    work(connect(url), [int(word) for word in words])
