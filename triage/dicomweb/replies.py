"""What answers have in common: the service's own address, and a refusal in plain words."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

USUAL_PORTS: Final = frozenset((80, 443))


def base_of(request: Request) -> str:
    """Give the URL of the service, as this client calls it.

    Some clients leave the port out of their Host header; where they speak to us and not to a
    server in front, it is the one they reached.
    """
    url, (host, port) = request.url, request.scope.get("server") or ("", None)
    netloc = url.netloc
    if netloc == host and port not in {None, *USUAL_PORTS}:
        netloc = f"{netloc}:{port}"
    return f"{url.scheme}://{netloc}{request.scope.get('root_path', '')}".rstrip("/")


def plain(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Give a refusal; who has no token is told which kind would do."""
    told = dict(headers or {})
    if status == 401:
        told["WWW-Authenticate"] = 'Bearer, Basic realm="dicomweb"'
    return JSONResponse({"detail": detail}, status, told)
