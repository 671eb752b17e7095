"""An interface engine: hl7's own MLLP server in a thread, acknowledging by script."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from triage.destinations import Mllp


@dataclass
class Engine:
    """What it answers, and what it got."""

    answers: list[str] = field(default_factory=lambda: ["AA"])
    """For one message after the other; the last one for the rest: an MSA-1 code, perhaps with
    an ERR-3 code behind it ("AE 207"), or "silence", "cut", "other", "noise"."""
    arrived: list[bytes] = field(default_factory=list)
    """Every message as it came."""

    @property
    def kept(self) -> dict[str, bytes]:
        """Give the messages by control id: one sent again is the same one."""
        return {control_id(one): one for one in self.arrived}

    async def serve(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        try:
            while True:
                content = bytes(await reader.readblock())
                self.arrived.append(content)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer == "cut":
                    break
                if answer == "silence":
                    await asyncio.sleep(30.0)
                writer.writeblock(acknowledgement(content, answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def control_id(content: bytes) -> str:
    return str(hl7.parse(content).segment("MSH")(10))


def acknowledgement(content: bytes, answer: str) -> bytes:
    if answer == "noise":
        return b"HTTP/1.1 400 Bad Request"
    code, _, error = answer.partition(" ")
    head = "MSH|^~\\&|RIS|HOSPITAL|TRIAGE||20261121103000||ACK^R01^ACK|A1|P|2.5.1"
    of_message = "SOMEONE-ELSE" if code == "other" else control_id(content)
    lines = [head, f"MSA|{'AA' if code == 'other' else code}|{of_message}"]
    if error:
        lines.append(f"ERR||PID^1^3|{error}^words of the receiver^HL70357|E")
    return "\r".join([*lines, ""]).encode()


@contextmanager
def engine(
    script: Engine, tls: tuple[Path, ...] | None = None, **changes: object
) -> Iterator[Mllp]:
    """Run it, over TLS by a certificate and its key; gives it as a destination.

    With a third file it asks for a certificate of that authority.
    """
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(_started(script, tls))
    port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    given = {"name": "ris", "host": "127.0.0.1", "port": port, "deadline_s": 5.0, **changes}
    try:
        yield Mllp.model_validate(given)
    finally:
        asyncio.run_coroutine_threadsafe(_stopped(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


async def _started(script: Engine, tls: tuple[Path, ...] | None) -> asyncio.Server:
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls[0], tls[1])
        for authority in tls[2:]:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_REQUIRED
    server = await start_hl7_server(script.serve, "127.0.0.1", 0, ssl=context)
    assert isinstance(server, asyncio.Server)
    return server


async def _stopped(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()
    current = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not current]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
