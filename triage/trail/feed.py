"""Audit messages to a FHIR server, one AuditEvent a request (IHE ITI-20, RESTful)."""

from collections.abc import Iterable
from typing import Any

import httpx

from triage import IMPLEMENTATION_VERSION_NAME
from triage.collectors import FhirFeed
from triage.errors import TryAgain

HEADERS = {
    "Content-Type": "application/fhir+json",
    "User-Agent": IMPLEMENTATION_VERSION_NAME,
    "Prefer": "return=minimal",
}


def deliver(resources: Iterable[dict[str, Any]], to: FhirFeed) -> None:
    """Create each resource at the server; what was created before stays when one fails.

    Raises:
        TryAgain: the server cannot be reached or takes one not.
    """
    limits = httpx.Timeout(to.deadline_s)
    with httpx.Client(timeout=limits, trust_env=False, headers=HEADERS) as http:
        for one in resources:
            try:
                answer = http.post(f"{to.url.rstrip('/')}/AuditEvent", json=one)
            except httpx.HTTPError as why:
                msg = f"audit repository {to.name}: {type(why).__name__}"
                raise TryAgain(msg) from None
            if not answer.is_success:
                msg = f"audit repository {to.name} answered {answer.status_code}"
                raise TryAgain(msg)
