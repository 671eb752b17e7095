"""A list's filters where a hospital has hundreds of sites and rooms."""

import re
from urllib.parse import urlencode

from db.engine import Database
from tests.triage.worklist.builders import add_study
from tests.triage.worklist.client import Client
from triage.worklist.filters import ROOM_BYTES, Filter, light

MANY = 150
FEW = ("General Hospital", "Clinic of the Harbour & Quay")


def sites(count: int) -> list[str]:
    return [f"Hospital {number:03d} ".ljust(64, "x") for number in range(count)]


def fill(rows: Database, names: list[str]) -> None:
    with rows.begin() as session:
        for number, name in enumerate(names):
            add_study(
                session, institution_name=name, source_ae_title=f"ROOM_{number}", modality="CT",
                body_part="CHEST", minutes=number,
            )  # fmt: skip


def offered(page: str, key: str) -> list[str]:
    [select] = re.findall(rf'<select name="{key}".*?</select>', page, re.DOTALL)
    return re.findall(r"<option(?: selected)?>(.*?)</option>", select)


def test_few_choices_stand_on_the_list_itself(client: Client, rows: Database) -> None:
    fill(rows, list(FEW))
    page = client.get("/studies").text
    assert offered(page, "site") == ["Clinic of the Harbour &amp; Quay", "General Hospital"]
    assert offered(page, "source") == ["ROOM_0", "ROOM_1"]
    assert "data-later" not in page
    assert "/studies/filters" not in page


def test_many_choices_add_little_to_a_list_and_all_stand_on_their_own_page(
    client: Client, rows: Database
) -> None:
    fill(rows, sites(MANY))
    page = client.get("/studies?modality=CT").text
    form = page[page.index('id="filters"') : page.index('id="list"')]
    assert len(form) < 3000
    assert (offered(page, "site"), offered(page, "modality")) == ([], ["CT"])
    chosen = sites(MANY)[70]
    query = urlencode({"site": chosen, "list": "unread"})
    page = client.get(f"/studies?{query}").text
    assert offered(page, "site") == [chosen]  # what is asked for is always told
    whole = client.get(f"/studies/filters?{query}").text
    assert offered(whole, "site") == sites(MANY)
    assert f"<option selected>{chosen}</option>" in whole
    assert '<input type="hidden" name="list" value="unread">' in whole


def test_a_long_query_is_told_once_and_not_in_every_row(client: Client, rows: Database) -> None:
    name = "\u5927\u5b66\u75c5\u9662" * 8
    fill(rows, [name] * 50)
    plain = client.get("/studies").text
    query = urlencode({"site": name})
    page = client.get(f"/studies?{query}").text
    assert page.count('<a class="open" href="/studies/') == 50
    assert f'data-query="?{query}"' in page
    weights = [len(one[one.index('id="rows"') : one.index("</tbody>")]) for one in (plain, page)]
    assert weights[1] - weights[0] < 2 * len(query)  # said once, and not fifty times
    assert 'href="/studies/1?modality=CT"' in client.get("/studies?modality=CT").text


def test_the_lightest_filters_keep_their_choices() -> None:
    heavy = Filter("Site", "site", tuple(sites(ROOM_BYTES // 64)))
    small = Filter("Modality", "modality", ("CT", "MR"))
    assert light((heavy, small)) == (Filter("Site", "site", (), is_later=True), small)
    assert light((small,)) == (small,)
