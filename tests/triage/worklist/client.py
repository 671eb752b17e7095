"""A browser without a window: httpx over ASGI, one cookie jar, forms filled as a person would."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Self

import httpx
from fastapi import FastAPI

NAME, PASSWORD = "dr.reader", "a long password"
HIDDEN = re.compile(r'name="(csrf_token|token)" value="([^"]*)"')


class Client:
    """Speaks to the application in this process."""

    def __init__(self, app: FastAPI, *, address: str = "10.0.0.7", secure: bool = False) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 4711))
        base = "https://triage.test" if secure else "http://triage.test"
        self._http = httpx.AsyncClient(transport=transport, base_url=base)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._http.aclose())
        self._runner.close()

    @property
    def cookies(self) -> httpx.Cookies:
        return self._http.cookies

    def ask(
        self,
        method: str,
        url: str,
        *,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        sent = None if data is None else dict(data)
        return self._runner.run(self._http.request(method, url, data=sent, headers=headers))

    def request(self, method: str, url: str, **given: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """Send whatever httpx can."""
        return self._runner.run(self._http.request(method, url, **given))

    def send(
        self, method: str, url: str, content: str, *, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Send a body as it is, as a program does."""
        sending = self._http.request(method, url, content=content, headers=headers)
        return self._runner.run(sending)

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
        return self.ask("GET", url, headers=headers)

    def post(
        self, url: str, data: Mapping[str, str], *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        return self.ask("POST", url, data=data, headers=headers)

    def hidden(self, url: str, field: str) -> str:
        """Give a hidden field's value of a page's form."""
        fields: dict[str, str] = dict(HIDDEN.findall(self.get(url).text))
        return fields.get(field, "")

    def sign_in(self, name: str = NAME, password: str = PASSWORD) -> httpx.Response:
        csrf_token = self.hidden("/login", "csrf_token")
        form = {"name": name, "password": password, "csrf_token": csrf_token}
        return self.post("/login", form)

    def csrf(self) -> str:
        return self.hidden("/studies", "csrf_token")
