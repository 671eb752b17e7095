"""The evidence page on paper, as Chromium prints it."""

import io

import pytest
from pypdf import PdfReader

from tests.triage.worklist.browser import House, picture, violations
from tests.triage.worklist.test_paper import add_finding
from triage.worklist.context import DISCLAIMER


@pytest.mark.slow
def test_it_prints_on_few_sheets_each_with_the_intended_use(house: House) -> None:
    with house.database.begin() as session:
        study = add_finding(session)
    window = house.window()
    page = window.open(f"/studies/{study.id}/evidence")
    assert violations(page) == []
    picture(page, "evidence", whole=True)
    printed = PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True)))
    sheets = [" ".join(one.extract_text().split()) for one in printed.pages]
    assert 1 <= len(sheets) <= 3
    assert all(DISCLAIMER in one for one in sheets)
    assert "ACC-7" in sheets[0]
    assert "Sign out" not in " ".join(sheets)
    assert f"Page 1 of {len(sheets)}" in sheets[0]
    assert (window.complaints, window.foreign) == ([], [])
