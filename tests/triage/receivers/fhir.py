"""A FHIR R4 server, as far as a transaction of conditional creates needs one.

Independent of what we send by: FHIR 4.0.1 http.html#trules. Every resource is validated by
fhir.resources before it is kept; references within the bundle become those of what was created
or found; all is kept, or nothing.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from fhir.resources.R4B.bundle import Bundle
from pydantic import ValidationError

from tests.triage.receivers.http import Answer, Request, serving
from triage.destinations import Fhir

Json = dict[str, Any]
JSON = {"Content-Type": "application/fhir+json"}


@dataclass
class Server:
    """What it keeps, and how it misbehaves."""

    kept: dict[str, Json] = field(default_factory=dict)
    """By "Type/id"."""
    arrived: list[Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=lambda: [200])
    """For one POST after the other, the last one for the rest: 200 does the transaction; another
    is answered without doing it; -200 does it and then cuts the connection."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, kind: str) -> list[Json]:
        return [one for key, one in self.kept.items() if key.startswith(f"{kind}/")]

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.arrived.append(request)
            if request.method == "GET":
                return self._search(request)
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status not in {200, -200}:
                return Answer(status, b'{"resourceType": "OperationOutcome"}', JSON)
            done = self._transaction(request)
            return Answer(0) if status < 0 else done

    def _search(self, request: Request) -> Answer:
        asked = urlsplit(request.path)
        kind, (token,) = asked.path.rpartition("/")[2], parse_qs(asked.query)["identifier"]
        found = {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(self._find(kind, token)),
        }
        return Answer(200, json.dumps(found).encode(), JSON)

    def _transaction(self, request: Request) -> Answer:
        bundle = json.loads(request.content)
        try:
            Bundle.model_validate(bundle)
        except ValidationError:
            return Answer(400)
        places: dict[str, str] = {}
        answers: list[Json] = []
        new: list[tuple[str, Json]] = []
        for entry in bundle["entry"]:
            kind, _, query = entry["request"]["url"].partition("?")
            updates = entry["request"]["method"] == "PUT"  # if there, by http.html#cond-update
            token = unquote(query if updates else entry["request"]["ifNoneExist"]).partition("=")[2]
            found = self._find(kind, token)
            if len(found) > 1:
                return Answer(412)
            key = found[0] if found else f"{kind}/{len(self.kept) + len(new) + 1}"
            places[entry["fullUrl"]] = key
            if updates or not found:
                new.append((key, entry["resource"]))
            status = "200 OK" if found else "201 Created"
            answers.append({"response": {"status": status, "location": f"{key}/_history/1"}})
        for key, resource in new:
            self.kept[key] = _resolved(resource, places)
        done = {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}
        return Answer(200, json.dumps(done).encode(), JSON)

    def _find(self, kind: str, token: str) -> list[str]:
        system, _, value = token.partition("|")
        return [
            key
            for key, one in self.kept.items()
            if key.startswith(f"{kind}/")
            and {"system": system, "value": value} in one.get("identifier", [])
        ]


def _resolved(part: Any, places: dict[str, str]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(part, dict):
        return {
            name: places[value] if name == "reference" else _resolved(value, places)
            for name, value in part.items()
        }
    return [_resolved(one, places) for one in part] if isinstance(part, list) else part


@contextmanager
def server(script: Server, **changes: object) -> Iterator[Fhir]:
    """Run it; gives it as a destination."""
    with serving(script.answer) as url:
        given = {"name": "fhir", "url": f"{url}/r4", "deadline_s": 5.0, **changes}
        yield Fhir.model_validate(given)
