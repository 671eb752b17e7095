"""rsyslog as an Audit Record Repository: syslog over TLS with our certificates."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import binary, end, wait_until

MESSAGES = "messages"
FIRST = "<13>1 - - ready - - - the repository is ready"
CONFIG = """
global(workDirectory="{folder}" maxMessageSize="256k"
  DefaultNetstreamDriverCAFile="{tls}/trusted.pem"
  DefaultNetstreamDriverCertFile="{tls}/server.pem"
  DefaultNetstreamDriverKeyFile="{tls}/server.key")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1"
  StreamDriver.AuthMode="x509/certvalid")
template(name="whole" type="string" string="%pri% %syslogtag% %msgid% %msg%\\n")
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="omfile" file="{folder}/messages" template="whole")
"""


@dataclass(frozen=True)
class Repository:
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    def lines(self) -> list[str]:
        """Give what came since the first line, which tells that it writes."""
        return (self.folder / MESSAGES).read_text("utf-8-sig").splitlines()[1:]


def keeps(port: int, tls: Path, messages: Path) -> bool:
    """Tell whether a message of ours is written: a port that is open may be another program's.

    rsyslog 8.2302 closes each session's socket twice. A file that it opens between the two is
    closed with it, and written into the next connection: so its file is open before any ends.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(tls / "server.pem", tls / "server.key")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=2) as plain,
            context.wrap_socket(plain) as wrapped,
        ):
            wrapped.sendall(f"{len(FIRST)} {FIRST}".encode())
            deadline = time.monotonic() + 10
            while not messages.exists() or not messages.stat().st_size:
                assert time.monotonic() < deadline, "rsyslog writes nothing"
                time.sleep(0.01)
            return True
    except OSError:
        return False


@contextmanager
def rsyslog(folder: Path, tls: Path, port: int) -> Iterator[Repository]:
    """Run rsyslog until the block ends."""
    folder.mkdir(exist_ok=True)
    config = folder / "rsyslog.conf"
    config.write_text(CONFIG.format(folder=folder, tls=tls, port=port))
    command = [binary("rsyslogd", "/usr/sbin"), "-n", "-f", str(config), "-i", str(folder / "pid")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: keeps(port, tls, folder / MESSAGES), process, "rsyslog")
        yield Repository(port, folder, process)
    finally:
        end(process)
