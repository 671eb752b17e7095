"""rsyslog as an Audit Record Repository: syslog over TLS with our certificates."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import binary, end, wait_until

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
        path = self.folder / "messages"
        return path.read_text("utf-8-sig").splitlines() if path.exists() else []


def speaks_tls(port: int) -> bool:
    """Tell whether a handshake gets an answer: a port that is open may be another program's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=2) as plain,
            context.wrap_socket(plain),
        ):
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
        wait_until(lambda: speaks_tls(port), process, "rsyslog")
        yield Repository(port, folder, process)
    finally:
        end(process)
