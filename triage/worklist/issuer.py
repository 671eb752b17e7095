"""The OpenID Connect issuer: where to send a browser, and who came back.

Authorization code with PKCE (RFC 7636), state and nonce; the ID token's signature, issuer,
audience, times and nonce are checked (OpenID Connect Core 1.0, 3.1.3.7). The issuer is the
configuration's: a document that names another is refused, and so is an address elsewhere.
"""

import secrets
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from triage.accounts import Oidc
from triage.deliver import credentials
from triage.errors import TriageError, TryAgain
from triage.worklist.foreign import Person, roles_of

DISCOVERY: Final = "/.well-known/openid-configuration"
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
                     "EdDSA")  # fmt: skip
"""Of signatures; none is keyed with what the issuer and we share, and none is "none"."""
LEEWAY_S: Final = 60
VERIFIER_BYTES: Final = 48
MOST_BYTES: Final = 1_000_000
MULTIPLE: Final = "mfa"
"""Of amr: more than one factor was asked for (RFC 8176)."""


class NotVouched(TriageError):
    """The issuer did not say, in a way that can be believed, who this is."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is sent to the issuer, and what its answer must fit."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Who came back."""

    person: Person
    strong: bool
    """The issuer asked for more than one factor."""


class Issuer:
    """One configured issuer."""

    def __init__(self, of: Oidc) -> None:
        self._of = of

    @property
    def name(self) -> str:
        """Give what it calls itself."""
        return self._of.issuer

    def question(self) -> Question:
        """Give where a browser goes to sign in.

        Raises:
            NotVouched: the issuer's document is not its own.
            TryAgain: the issuer does not answer.
        """
        with self._reached() as http:
            endpoint = self._endpoint(self._document(http), "authorization_endpoint")
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        verifier = secrets.token_urlsafe(VERIFIER_BYTES)
        url, _ = self._client(None).create_authorization_url(
            endpoint, state=state, nonce=nonce, code_verifier=verifier
        )
        return Question(url, state, nonce, verifier)

    def answer(self, code: str, *, nonce: str, verifier: str) -> Answer:
        """Give who an authorization code stands for.

        Raises:
            NotVouched: the code is none, or the ID token does not hold.
            TryAgain: the issuer does not answer.
        """
        with self._reached() as http:
            document = self._document(http)
            auth = httpx.BasicAuth(
                quote(self._of.client_id, safe=""),
                quote(credentials.secret(self._of.client_secret_file), safe=""),
            )
            token = self._client(http).fetch_token(
                self._endpoint(document, "token_endpoint"), grant_type="authorization_code",
                code=code, code_verifier=verifier, auth=auth,
            )  # fmt: skip
            keys = _read(http, self._endpoint(document, "jwks_uri"))
            known = KeySet.import_key_set(cast("KeySetSerialization", keys))
            claims = self._claims(token, known, nonce)
        return Answer(self._person(claims), MULTIPLE in (claims.get("amr") or ()))

    def _claims(self, token: dict[str, Any], keys: KeySet, nonce: str) -> dict[str, Any]:
        if not isinstance(token.get("id_token"), str):
            msg = "the issuer sent no ID token"
            raise NotVouched(msg)
        found = jwt.decode(token["id_token"], keys, algorithms=list(ALGORITHMS))
        claims = CodeIDToken(
            found.claims,
            found.header,
            {"iss": {"value": self._of.issuer}, "aud": {"value": self._of.client_id}},
            {
                "nonce": nonce,
                "client_id": self._of.client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(leeway=LEEWAY_S)
        return dict(claims)

    def _person(self, claims: dict[str, Any]) -> Person:
        name = claims.get(self._of.name_claim)
        if not isinstance(name, str) or not name.strip():
            msg = f"the ID token has no claim {self._of.name_claim}; see web.accounts.oidc"
            raise NotVouched(msg)
        roles = roles_of(_words(claims, self._of.roles_claim), self._of.roles)
        return Person(self._of.issuer, str(claims["sub"]), name.strip(), roles)

    @contextmanager
    def _reached(self) -> Iterator[httpx.Client]:
        """Give a client that follows no redirect and no proxy of the environment."""
        ca_file = None if self._of.ca_file is None else str(self._of.ca_file)
        context = ssl.create_default_context(cafile=ca_file)
        try:
            with httpx.Client(
                verify=context, timeout=self._of.timeout_s, follow_redirects=False, trust_env=False
            ) as http:
                yield http
        except (httpx.TransportError, OSError) as why:
            msg = f"the issuer does not answer ({type(why).__name__})"
            raise TryAgain(msg) from None
        except (httpx.HTTPStatusError, AuthlibBaseError, JoseError, ValueError, TypeError) as why:
            msg = f"the issuer's answer does not hold ({type(why).__name__})"
            raise NotVouched(msg) from None

    def _client(self, http: httpx.Client | None) -> OAuth2Client:
        return OAuth2Client(
            http, client_id=self._of.client_id, scope=" ".join(self._of.scopes),
            redirect_uri=self._of.redirect_url, code_challenge_method="S256",
        )  # fmt: skip

    def _document(self, http: httpx.Client) -> dict[str, Any]:
        found = _read(http, self._of.issuer.rstrip("/") + DISCOVERY)
        if found.get("issuer") != self._of.issuer:
            msg = "the discovery document is another issuer's; see web.accounts.oidc.issuer"
            raise NotVouched(msg)
        return found

    def _endpoint(self, document: dict[str, Any], name: str) -> str:
        """Give an address of the document: the issuer's own scheme, and a host that we know."""
        url, ours = document.get(name), urlsplit(self._of.issuer)
        parts = urlsplit(url if isinstance(url, str) else "")
        known = {ours.hostname, *self._of.other_hosts}
        if not isinstance(url, str) or parts.scheme != ours.scheme or parts.hostname not in known:
            msg = f"its {name} is elsewhere; name the host in web.accounts.oidc.other_hosts"
            raise NotVouched(msg)
        return url


def _read(http: httpx.Client, url: str) -> dict[str, Any]:
    answer = http.get(url, headers={"Accept": "application/json"})
    answer.raise_for_status()
    if answer.status_code != httpx.codes.OK or len(answer.content) > MOST_BYTES:
        msg = "no document"
        raise ValueError(msg)
    found = answer.json()
    if not isinstance(found, dict):
        msg = "no document"
        raise TypeError(msg)
    return found


def _words(claims: dict[str, Any], path: str) -> Iterable[object]:
    """Give what a claim says: a text, or a list; "a.b" looks into an object."""
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, list) else (found,)
