"""An OpenID Connect issuer on loopback, of Authlib's server parts: the peer of the sign-in's tests.

It approves whoever comes as ``person``; ``twist`` changes claims of the ID tokens that it gives.
"""

import json
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import UserInfo
from authlib.oidc.core.grants import OpenIDCode
from joserfc.jwk import RSAKey

CLIENT, SECRET = "triage", "a secret of the issuer's making"
CALLBACK: Final = "http://127.0.0.1:8080/login/oidc/callback"


@dataclass
class Code:
    """An authorization code that waits."""

    code: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    code_challenge_method: str
    amr: list[str]

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> str:
        return ""

    def get_amr(self) -> list[str]:
        return self.amr


class Client(ClientMixin):
    """The one registered client."""

    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> str:
        return CALLBACK

    def get_allowed_scope(self, scope: Collection[str] | str) -> str:
        return scope if isinstance(scope, str) else " ".join(scope)

    def check_redirect_uri(self, uri: str) -> bool:
        return uri == CALLBACK

    def check_client_secret(self, secret: str) -> bool:
        return secret == SECRET

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, kind: str) -> bool:
        return kind == "code"

    def check_grant_type(self, kind: str) -> bool:
        return kind == "authorization_code"


@dataclass
class Provider:
    """What the issuer knows, and how it may go wrong."""

    url: str = ""
    person: dict[str, Any] = field(default_factory=dict)
    twist: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    """Instead of what the discovery document says."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    signs_with: RSAKey | None = None
    codes: dict[str, Code] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        } | self.document


class Request(OAuth2Request):
    """A request with its form, which grants read too."""

    def __init__(self, method: str, path: str, data: dict[str, str], headers: Any) -> None:  # noqa: ANN401 - http's
        # Authlib refuses http, which loopback is; nothing else reads this address.
        super().__init__(method, f"https://issuer{path}", None, headers)
        self.payload = BasicOAuth2Payload(data)
        self._data = data

    @property
    def form(self) -> dict[str, str]:
        return self._data

    @property
    def args(self) -> dict[str, str | None]:
        return dict(self._data)


class Grant(AuthorizationCodeGrant):
    """Keeps codes with the provider, of which the server is an attribute."""

    def save_authorization_code(self, code: str, request: Any) -> None:  # noqa: ANN401 - Authlib's
        provider, data = self.server.provider, request.payload.data
        provider.codes[code] = Code(
            code, request.payload.redirect_uri, request.payload.scope, data.get("nonce", ""),
            data["code_challenge"], data["code_challenge_method"],
            list(provider.person.get("amr", [])),
        )  # fmt: skip

    def query_authorization_code(self, code: str, client: ClientMixin) -> Code | None:
        del client
        found: Code | None = self.server.provider.codes.get(code)
        return found

    def delete_authorization_code(self, code: Code) -> None:
        del self.server.provider.codes[code.code]

    def authenticate_user(self, _code: Code) -> dict[str, Any]:
        found: dict[str, Any] = self.server.provider.person
        return found


class OpenId(OpenIDCode):
    """Signs ID tokens, twisted as the test wants."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(require_nonce=True)
        self.provider = provider

    def exists_nonce(self, nonce: str, request: object) -> bool:
        del nonce, request
        return False

    def resolve_client_private_key(self, _client: Client) -> RSAKey:
        return self.provider.signs_with or self.provider.key

    def get_client_claims(self, _client: Client) -> dict[str, Any]:
        return {"iss": self.provider.url, "aud": [CLIENT]}

    def get_encode_header(self, client: Client) -> dict[str, str]:
        del client
        return {"alg": "RS256", "kid": "1"}

    def generate_user_info(self, user: dict[str, Any], scope: str) -> UserInfo:
        del scope
        return UserInfo(user | self.provider.twist)


class Server(AuthorizationServer):
    """Answers with (status, body, headers)."""

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        self.provider = provider
        self.register_grant(Grant, [OpenId(provider), CodeChallenge(required=True)])
        generator = BearerTokenGenerator(lambda **_: "an-access-token-of-no-use")
        self.register_token_generator("default", generator)

    def query_client(self, client_id: str) -> ClientMixin:
        assert client_id == CLIENT
        return Client()

    def save_token(self, token: object, request: object) -> None:
        """Nothing here is asked for by token."""

    def send_signal(self, *_: object, **__: object) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: OAuth2Request) -> OAuth2Request:
        return request

    def handle_response(self, status: int, body: object, headers: object) -> object:
        return status, body, headers


class Handler(BaseHTTPRequestHandler):
    """The issuer's four addresses."""

    provider: Provider
    authorization: Any

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.provider.asked.append(parts.path)
        if parts.path == "/.well-known/openid-configuration":
            self._say(200, self.provider.discovery(), [])
        elif parts.path == "/keys":
            self._say(200, {"keys": [self.provider.key.as_dict(private=False)]}, [])
        else:
            request = self._request(dict(parse_qsl(parts.query)))
            person = self.provider.person
            grant = self.authorization.get_consent_grant(request, end_user=person)
            self._say(
                *self.authorization.create_authorization_response(
                    request, grant_user=person, grant=grant
                )
            )

    def do_POST(self) -> None:
        self.provider.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        request = self._request(dict(parse_qsl(body)))
        self._say(*self.authorization.create_token_response(request))

    def _request(self, data: dict[str, str]) -> OAuth2Request:
        return Request(self.command, self.path, data, self.headers)

    def _say(self, status: int, body: object, headers: Iterable[tuple[str, str]]) -> None:
        content = (json.dumps(body) if isinstance(body, dict) else str(body or "")).encode()
        self.send_response(status)
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@contextmanager
def running() -> Iterator[Provider]:
    """Run an issuer on a free port."""
    provider = Provider()
    handler = type("Mine", (Handler,), {"provider": provider, "authorization": Server(provider)})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield provider
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
