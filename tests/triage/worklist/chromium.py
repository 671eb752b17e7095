"""A headless Chromium driven over its debugging socket (Chrome DevTools Protocol), no library."""

import base64
import http.client
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip
PATIENCE_S: Final = 30.0


class Tab:
    """One page. ``complaints`` collects exceptions, console errors and policy violations."""

    def __init__(self, url: str) -> None:
        host, _, path = url.removeprefix("ws://").partition("/")
        self._socket = _connect(host, f"/{path}")
        self._rest = b""
        self._numbers = itertools.count(1)
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **values: object) -> Any:  # noqa: ANN401 - the protocol's JSON
        """Call one method of the protocol and give its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": values}
        self._socket.sendall(_frame(json.dumps(message).encode()))
        while True:
            answer = json.loads(self._message())
            self._listen(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page and wait for its script."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - any value of a page
        """Give the value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression holds in the page."""
        wait_for(lambda: bool(self.evaluate(expression)), expression)

    def press(self, key: str) -> None:
        """Press and release one key."""
        code = {"Enter": 13, "Escape": 27}.get(key, ord(key[0].upper()))
        text = "\r" if key == "Enter" else key if len(key) == 1 else ""
        common = {"key": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def picture(self, path: Path) -> None:
        """Write what the page looks like."""
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _listen(self, message: dict[str, Any]) -> None:
        kind, values = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(values["exceptionDetails"]))
        elif kind == "Log.entryAdded" and values["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(json.dumps(values["entry"]))
        elif kind == "Runtime.consoleAPICalled" and values["type"] in {"error", "warning"}:
            self.complaints.append(json.dumps(values["args"]))

    def _message(self) -> bytes:
        content = b""
        while True:
            first, length = self._take(2)
            if length == 126:
                (length,) = struct.unpack(">H", self._take(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._take(8))
            content += self._take(length)
            if first & 0x80:
                return content

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            more = self._socket.recv(1 << 20)
            assert more, "the browser hung up"
            self._rest += more
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken


@contextmanager
def browser(profile: Path, *, width: int = 1600, height: int = 950) -> Iterator[Tab]:
    """Start Chromium with an empty profile; give its one tab; end it."""
    assert PROGRAM is not None
    size = f"--window-size={width},{height}"
    command = [PROGRAM, *FLAGS, size, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port_file = profile / "DevToolsActivePort"
        wait_for(lambda: port_file.is_file() and port_file.read_text().count("\n") > 0, "a port")
        port = int(port_file.read_text().splitlines()[0])
        tab = Tab(_page_url(port))
        try:
            yield tab
        finally:
            tab.close()
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def wait_for(question: Callable[[], bool], what: str) -> None:
    """Ask until yes."""
    deadline = time.monotonic() + PATIENCE_S
    while not question():
        assert time.monotonic() < deadline, f"waited too long for: {what}"
        time.sleep(0.05)


def _page_url(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/json/list")
    pages = [one for one in json.load(connection.getresponse()) if one["type"] == "page"]
    connection.close()
    return str(pages[0]["webSocketDebuggerUrl"])


def _connect(host: str, path: str) -> socket.socket:
    """Open a WebSocket (RFC 6455 4.1)."""
    name, _, port = host.partition(":")
    link = socket.create_connection((name, int(port)), timeout=PATIENCE_S)
    key = base64.b64encode(os.urandom(16)).decode()
    link.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += link.recv(1)
    assert b" 101 " in head
    return link


def _frame(content: bytes) -> bytes:
    """Give a masked text frame (RFC 6455 5.2)."""
    mask = os.urandom(4)
    size = len(content)
    if size < 126:
        head = struct.pack(">BB", 0x81, 0x80 | size)
    elif size < 65_536:
        head = struct.pack(">BBH", 0x81, 0x80 | 126, size)
    else:
        head = struct.pack(">BBQ", 0x81, 0x80 | 127, size)
    return head + mask + bytes(one ^ mask[n % 4] for n, one in enumerate(content))
