"""To a FHIR R4 server: the whole bundle in one transaction, all of it or nothing.

Every entry is a conditional create, so a bundle sent again after silence creates nothing twice.
"""

import json
from typing import Any, Final

import httpx

from triage.deliver.http_post import bearer, client, post, raise_for
from triage.destinations import Fhir
from triage.errors import Broken, InDoubt, TryAgain
from triage.finding import Document

MEDIA_TYPE: Final = "application/fhir+json"


def store(document: Document, to: Fhir) -> int:
    """POST the transaction to the base URL; gives the HTTP status.

    Raises:
        InDoubt, TryAgain, Broken: as ``http_post.post``; Broken too when an entry was not taken.
    """
    headers = {
        "Content-Type": f"{MEDIA_TYPE}; charset=utf-8",
        "Accept": MEDIA_TYPE,
        "Prefer": "return=minimal",
        **bearer(to.token_file),
    }
    answer = post(to, document.content, headers)
    outcomes = _outcomes(answer, to)
    if len(outcomes) != len(json.loads(document.content)["entry"]):
        msg = f"{to.name}: the answer is not that of the transaction"
        raise InDoubt(msg, status=answer.status_code)
    for status in outcomes:
        raise_for(status, to.name)
    return answer.status_code


def holds(document: Document, to: Fhir) -> bool:
    """Search for the DiagnosticReport by its identifier: a transaction is whole or not at all.

    Raises:
        TryAgain: nobody answers.
    """
    requests = [entry["request"] for entry in json.loads(document.content)["entry"]]
    reports = [one for one in requests if one["url"] == "DiagnosticReport"]
    if not reports:
        return False  # it takes a report back, and may do so twice
    _, _, identifier = reports[0]["ifNoneExist"].partition("=")
    query = {"identifier": identifier, "_summary": "count"}
    with client(to) as http:
        try:
            answer = http.get(
                f"{to.url.rstrip('/')}/DiagnosticReport",
                params=query,
                headers={"Accept": MEDIA_TYPE, **bearer(to.token_file)},
            )
            return answer.is_success and int(answer.json().get("total") or 0) > 0
        except httpx.HTTPError as why:
            msg = f"{to.name}: no answer ({type(why).__name__})"
            raise TryAgain(msg) from None
        except (ValueError, TypeError, AttributeError):
            return False


def _outcomes(answer: httpx.Response, to: Fhir) -> list[int]:
    """Give the HTTP status of each entry."""
    try:
        bundle: Any = answer.json()
        return [int(str(entry["response"]["status"])[:3]) for entry in bundle["entry"]]
    except (ValueError, TypeError, LookupError):
        detail = f"{to.name} answered no transaction-response; is {to.url} the base of FHIR?"
        raise Broken(code="refused", detail=detail, status=answer.status_code) from None
