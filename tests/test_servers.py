"""The peers that other tests lean on really answer."""

import subprocess
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests import servers


def test_orthanc_takes_an_instance_and_finds_it_again(tmp_path: Path) -> None:
    content = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    with servers.orthanc(tmp_path / "orthanc") as pacs:
        assert pacs.post("/instances", content)["Status"] == "Success"
        assert pacs.post("/instances", content)["Status"] == "AlreadyStored"
        assert len(pacs.find("Study", PatientID="1CT1")) == 1
    assert pacs.process.returncode is not None


@pytest.mark.parametrize("server", [servers.storescp, servers.dcmqrscp])
def test_dcmtk_servers_answer_an_echo(tmp_path: Path, server: type) -> None:
    with server(tmp_path / "scp") as scp:
        echoscu = servers.binary("echoscu", "/usr/bin")
        command = [echoscu, "-aec", scp.ae_title, "127.0.0.1", str(scp.port)]
        assert subprocess.run(command, check=False).returncode == 0


def test_redis_runs_on_its_own_port(tmp_path: Path) -> None:
    import redis

    with servers.redis(tmp_path / "redis") as broker, redis.Redis.from_url(broker.url) as client:
        assert client.set("key", "value")
        assert client.get("key") == b"value"


@pytest.mark.postgres
def test_postgres_gives_fresh_databases() -> None:
    import psycopg

    with servers.postgres() as server:
        assert server.new_database("one").startswith("postgresql+psycopg://postgres@/one?")
        dsn = f"host={server.socket_folder} port={server.port} user=postgres dbname=one"
        with psycopg.connect(dsn) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    assert not server.socket_folder.exists()
