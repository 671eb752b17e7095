"""Who may do what: the roles, and ONE table of every route with the roles that it serves.

A route that is not in the table serves nobody (``guard`` refuses it) and fails a test. A new page
is one line here, and ``triage user matrix > docs/access.md``.

A person may hold several roles, because in a small hospital the administrator is a radiologist
too: an admin alone reads no image. Two pairs never meet in one account: whoever watches the admins
(auditor) is none of them, and a program (service) is no person.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What an account is for."""

    RADIOLOGIST = "radiologist"
    TECHNOLOGIST = "technologist"
    ADMIN = "admin"
    AUDITOR = "auditor"
    SERVICE = "service"


MEANINGS: Final[Mapping[Role, str]] = {
    Role.RADIOLOGIST: "reads studies and images, says what became of a finding",
    Role.TECHNOLOGIST: "sees studies and images, changes nothing",
    Role.ADMIN: "runs the installation, sees studies, and no image",
    Role.AUDITOR: "sees the audit trail, and no study",
    Role.SERVICE: "is a program with a token",
}
ANONYMOUS: Final = "anonymous"
REFUSED: Final = "Your role may not do this."

PUBLIC: Final = frozenset((ANONYMOUS, *Role))
PEOPLE: Final = frozenset((Role.RADIOLOGIST, Role.TECHNOLOGIST, Role.ADMIN, Role.AUDITOR))
HOUSE: Final = PEOPLE - {Role.AUDITOR}
"""Who sees studies: identity, state, finding."""
CLINICIANS: Final = frozenset((Role.RADIOLOGIST, Role.TECHNOLOGIST))
"""Who sees images."""
READERS: Final = frozenset((Role.RADIOLOGIST,))
ADMINS: Final = frozenset((Role.ADMIN,))
WATCHERS: Final = frozenset((Role.ADMIN, Role.AUDITOR))
"""Who sees the audit trail."""
MACHINES: Final = frozenset((Role.SERVICE,))

ROUTES: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    # the session
    ("GET", "/login"): PUBLIC,
    ("POST", "/login"): PUBLIC,
    ("GET", "/setup"): PUBLIC,
    ("POST", "/setup"): PUBLIC,
    ("POST", "/logout"): PEOPLE,
    ("POST", "/session/active"): PEOPLE,
    ("POST", "/login/code"): PUBLIC,
    ("GET", "/login/oidc"): PUBLIC,
    ("GET", "/login/oidc/callback"): PUBLIC,
    ("GET", "/"): PEOPLE,
    ("GET", "/account"): PEOPLE,
    ("POST", "/account/password"): PEOPLE,
    ("POST", "/account/factor"): PEOPLE,
    ("POST", "/account/factor/confirm"): PEOPLE,
    ("POST", "/account/factor/remove"): PEOPLE,
    # the lists
    ("GET", "/studies"): HOUSE,
    ("GET", "/studies/rows"): HOUSE,
    ("GET", "/studies/filters"): HOUSE,
    ("GET", "/studies/stream"): HOUSE,
    ("GET", "/studies/next"): HOUSE,
    ("POST", "/studies/search"): HOUSE,
    ("POST", "/studies/export"): HOUSE,
    ("POST", "/studies/saved"): HOUSE,
    ("POST", "/studies/saved/{saved_id}/remove"): HOUSE,
    ("POST", "/studies/{study_id}/claim"): READERS,
    ("POST", "/studies/{study_id}/release"): READERS,
    ("GET", "/api/studies"): HOUSE | MACHINES,
    ("GET", "/quarantine"): HOUSE,
    ("GET", "/waiting"): HOUSE,
    # one study
    ("GET", "/studies/{study_id}"): HOUSE,
    ("GET", "/studies/{study_id}/evidence"): HOUSE,
    ("GET", "/studies/{study_id}/preview.png"): CLINICIANS,
    ("GET", "/studies/{study_id}/view"): CLINICIANS,
    ("GET", "/studies/{study_id}/pacs"): CLINICIANS,
    ("GET", "/studies/{study_id}/view/next"): CLINICIANS,
    ("GET", "/studies/{study_id}/view/series"): CLINICIANS,
    ("GET", "/studies/{study_id}/view/frames/{sop}/{frame}"): CLINICIANS,
    ("GET", "/studies/{study_id}/view/heat/{sop}/{frame}"): CLINICIANS,
    ("GET", "/studies/{study_id}/view/references/{place}"): CLINICIANS,
    ("GET", "/studies/{study_id}/view/priors/{prior_id}/series"): CLINICIANS,
    ("GET", "/studies/{study_id}/view/priors/{prior_id}/frames/{sop}/{frame}"): CLINICIANS,
    ("GET", "/studies/{study_id}/emergency"): PEOPLE,
    ("POST", "/studies/{study_id}/emergency"): PEOPLE,
    ("POST", "/studies/{study_id}/feedback"): READERS,
    ("POST", "/studies/{study_id}/feedback/undo"): READERS,
    ("POST", "/studies/{study_id}/withdraw"): READERS | ADMINS,
    # what needs a person
    ("GET", "/deliveries"): HOUSE,
    ("POST", "/deliveries/{outbox_id}/resend"): ADMINS,
    ("GET", "/conflicts"): HOUSE,
    ("POST", "/conflicts/{conflict_id}/resolve"): ADMINS,
    # what runs the installation
    ("GET", "/admin"): ADMINS,
    ("GET", "/admin/failures"): ADMINS,
    ("POST", "/admin/failures/retry"): ADMINS,
    ("POST", "/admin/failures/{study_id}/retry"): ADMINS,
    ("GET", "/admin/destinations"): ADMINS,
    ("POST", "/admin/destinations/resend"): ADMINS,
    ("GET", "/admin/detectors"): ADMINS,
    ("GET", "/admin/users"): ADMINS,
    ("POST", "/admin/users"): ADMINS,
    ("POST", "/admin/users/roles"): ADMINS,
    ("POST", "/admin/users/access"): ADMINS,
    ("GET", "/admin/health"): ADMINS,
    ("POST", "/admin/health"): ADMINS,
    # the audit trail
    ("GET", "/audit"): WATCHERS,
    ("POST", "/audit/find"): WATCHERS,
    ("POST", "/audit/export"): WATCHERS,
    ("GET", "/emergencies"): WATCHERS,
    ("POST", "/emergencies/{number}/reviewed"): WATCHERS,
    # queries and retrievals of DICOMweb, mounted (``triage.worklist.dicomweb``)
    ("GET", "/dicomweb"): CLINICIANS | MACHINES,
    # OHIF, where it is installed (``triage.worklist.ohif``)
    ("GET", "/ohif"): CLINICIANS,
    ("GET", "/ohif/{path:path}"): CLINICIANS,
}
"""(method, path template) to the roles it serves. HEAD is GET."""

SCOPES: Final[Mapping[tuple[str, str], str]] = {
    ("GET", "/api/studies"): "worklist",
    ("GET", "/dicomweb"): "reader",
}
"""What a program's token must say, of the routes that serve programs."""

HOMES: Final = ("/studies", "/audit", "/account")
"""Where an account starts: the first that its roles may open."""


def allowed(method: str, path: str) -> frozenset[str]:
    """Give the roles that a route serves; nobody for a route that is not in the table."""
    return ROUTES.get(("GET" if method == "HEAD" else method, path), frozenset())


def scope(method: str, path: str) -> str | None:
    """Give the scope that a program needs; None where no program is served."""
    return SCOPES.get(("GET" if method == "HEAD" else method, path))


def may(roles: Collection[str], method: str, path: str) -> bool:
    """Tell whether one of these roles may use a route."""
    return not allowed(method, path).isdisjoint(roles)


def opens_in_emergency(method: str, path: str) -> bool:
    """Tell whether a route reads one study, so that breaking the glass may open it."""
    reads = method in {"GET", "HEAD"} and path.startswith("/studies/{study_id}")
    return reads and not CLINICIANS.isdisjoint(allowed(method, path))


def home(roles: Collection[str]) -> str | None:
    """Give the page where somebody with these roles starts; None where none is theirs."""
    return next((path for path in HOMES if may(roles, "GET", path)), None)


def matrix() -> str:
    """Give the page that says it all: every route by every role, in Markdown."""
    columns = (ANONYMOUS, *Role)
    lines = [
        "# Who may do what",
        "",
        "Written by `triage user matrix`; a test calls every route as every role and compares.",
        "What is not in the table is refused. Roles: [accounts.md](accounts.md).",
        "",
        "| | " + " | ".join(columns) + " |",
        "|---|" + ":-:|" * len(columns),
    ]
    for (method, path), roles in sorted(ROUTES.items(), key=lambda one: (one[0][1], one[0][0])):
        marks = " | ".join("yes" if one in roles else "" for one in columns)
        lines.append(f"| `{method} {path}` | {marks} |")
    return "\n".join(lines) + "\n"
