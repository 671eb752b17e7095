"""``retention`` in site.yaml: how long received bytes stay, and when the nightly work is done."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat

from triage.frozen import Frozen


class Retention(Frozen):
    """What may be deleted. Nothing is unless the site says so; rows and hashes always stay.

    Images go only with a study at rest whose report every PACS that was asked has promised to
    keep, and never while we have promised somebody to keep any of them (``commitment.keep_days``).
    Held and failed studies, and the quarantine, are never touched. How long the audit trail
    stays is ``audit.retention_years``.
    """

    images_days: PositiveFloat | None = None
    """Received images are kept this long after their study came to rest; empty: for ever."""
    documents_days: PositiveFloat | None = None
    """Reports and whatever else was sent are kept this long after their study came to rest, and as
    long as its images; empty: for ever. A withdrawal and feedback are written from them."""
    maps_days: PositiveFloat | None = None
    """Research mode: anomaly maps are kept this long; empty: for ever."""
    sent_is_enough_after_days: PositiveFloat | None = None
    """Where a destination gives no Storage Commitment: a report sent this long ago counts as
    committed; empty: never."""
    unreported_after_days: PositiveFloat | None = None
    """Studies at rest of which no report was due are kept this long; empty: for ever."""
    free_bytes: NonNegativeInt = 0
    """With less free space than this, what may be deleted goes before its time, oldest first."""
    least_days: PositiveFloat = 1.0
    """Not even then before this."""
    nightly_hour_utc: Annotated[int, Field(ge=0, le=23)] = 2
    """When what was received is reconciled and what is due is deleted, each day."""


def struck(at: datetime, hour: int) -> datetime:
    """Give when an hour of the day (UTC) last struck."""
    today = at.astimezone(UTC).replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today <= at else today - timedelta(days=1)
