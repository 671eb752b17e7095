"""Work items from anybody: either whole and writable, or refused with a code."""

import json
import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from tests.triage.ups.items import new_item, performed, stopped
from triage.ups import content
from triage.ups.words import NotDone, State, Status

ITEM: dict[str, Any] = new_item().to_json_dict()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
ELEMENT = st.fixed_dictionaries(
    {},
    optional={
        "vr": st.sampled_from(["LO", "UI", "SQ", "DT", "OB", "AT", "FL", "PN", "US", "XX"]),
        "Value": st.lists(JSON | st.just({"Alphabetic": "A^B"}), max_size=3),
        "InlineBinary": st.text(max_size=4),
        "BulkDataURI": st.just("file:///etc/passwd"),
    },
)


@given(
    changes=st.dictionaries(
        st.sampled_from([*ITEM, "00741002", "00081195", "7FE00010", "00091001", "zz"]),
        ELEMENT | JSON,
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_comes_is_taken_whole_or_refused(changes: dict[str, Any]) -> None:
    body = json.dumps({**ITEM, **changes})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if refusal(body) is Status.BAD_ARGUMENT:
            return
        found = content.parse(body)
        kept = content.dump(found)
        assert content.dump(content.parse(kept)) == kept
        assert encode(found, is_implicit_vr=False, is_little_endian=True) is not None
        assert isinstance(content.matches(found, new_item()), bool)


def refusal(body: str) -> Status | None:
    try:
        content.parse(body)
    except NotDone as why:
        return why.status
    return None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "body",
    [
        {"00100020": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}},
        {"00100020": {"vr": "LO", "Value": [{"Alphabetic": 5}], "InlineBinary": "A"}},
        {"00404018": {"vr": "SQ", "Value": [{"00080100": {"vr": "OB", "InlineBinary": "AAAA"}}]}},
        [],
        [{}, {}],
        "text",
        None,
    ],
)
def test_what_is_no_work_item_is_refused(body: object) -> None:
    with pytest.raises(NotDone):
        content.from_json(body)


def test_depth_has_an_end() -> None:
    nested: dict[str, Any] = {}
    for _ in range(40):
        nested = {"00404018": {"vr": "SQ", "Value": [nested]}}
    with pytest.raises(NotDone):
        content.from_json(nested)


@pytest.mark.parametrize(
    ("make", "state"), [(performed, State.COMPLETED), (stopped, State.CANCELED)]
)
def test_a_final_state_names_what_it_lacks(make: Any, state: State) -> None:  # noqa: ANN401
    item = make()
    content.check_final(item, state)
    [told] = next(iter(item)).value
    for keyword in [one.keyword for one in told]:
        less = make()
        delattr(next(iter(less)).value[0], keyword)
        with pytest.raises(NotDone, match=keyword):
            content.check_final(less, state)
    with pytest.raises(NotDone):
        content.check_final(Dataset(), state)
