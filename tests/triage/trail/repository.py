"""rsyslog as an Audit Record Repository: syslog over TLS with our certificates."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers import accepts, binary, end, wait_until

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
        wait_until(lambda: accepts(port), process, "rsyslog")
        yield Repository(port, folder, process)
    finally:
        end(process)
