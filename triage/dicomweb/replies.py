"""What answers have in common: the service's own address, and a refusal in plain words."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def base_of(request: Request) -> str:
    """Give the URL of the service, as this client calls it."""
    url = request.url
    return f"{url.scheme}://{url.netloc}{request.scope.get('root_path', '')}".rstrip("/")


def plain(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """Give a refusal; who has no token is told which kind would do."""
    told = dict(headers or {})
    if status == 401:
        told["WWW-Authenticate"] = 'Bearer, Basic realm="dicomweb"'
    return JSONResponse({"detail": detail}, status, told)
