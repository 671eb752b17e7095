from pathlib import Path

from models.files import sha256, write_atomically


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.json"]


def test_the_digest_is_sha_256() -> None:
    assert sha256(b"abc").startswith("ba7816bf8f01cfea")
