"""The list of software of others covers what the program names, in the versions of the lock."""

import pytest

from tests.house import soup


def test_the_page_is_what_the_project_and_the_lock_say() -> None:
    assert soup.PAGE.read_text(encoding="utf-8") == soup.page(), "run `make lists`"


def test_every_direct_dependency_is_described_and_locked() -> None:
    found = soup.direct()
    assert len(found) > 30
    assert {name for name in found if name not in soup.ABOUT} == set()
    assert {name for name, version in found.items() if version == "not locked"} == set()


@pytest.mark.parametrize("name", ["pydicom", "pynetdicom", "celery", "torch", "python-gdcm"])
def test_what_is_known_to_be_wrong_with_the_riskiest_is_told(name: str) -> None:
    assert soup.ABOUT[name][1] != soup.NONE


def test_a_package_without_a_description_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(soup.ABOUT, "pydicom")
    with pytest.raises(KeyError, match="pydicom"):
        soup.page()
