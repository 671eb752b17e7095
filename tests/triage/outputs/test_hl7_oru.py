"""The HL7 message: valid for another library, and nothing in it can end a field early."""

from dataclasses import replace
from pathlib import Path

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Message
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tests.triage.outputs import studies
from triage.finding import Assessment
from triage.outputs import hl7_oru, hl7_words

ORDERS = [
    {keyword: f"{letter}{number}" for keyword, letter in (
        ("AccessionNumber", "A"),
        ("PlacerOrderNumberImagingServiceRequest", "P"),
        ("RequestedProcedureID", "R"),
    )}
    for number in (1, 2)
]  # fmt: skip


def parsed(assessment: Assessment, mode: str = "triage") -> Message:
    """Let hl7apy read the message, holding it to the standard's tables."""
    context = studies.context(mode)
    document = hl7_oru.build(assessment, context)
    hl7_oru.check(document, assessment, context)
    text = document.content.decode()
    message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert message.validate()
    return message


def field(message: Message, segment: str, name: str) -> str:
    group = message.oru_r01_patient_result[0]
    order = group.oru_r01_order_observation[0]
    found = {
        "pid": lambda: group.oru_r01_patient.pid,
        "obr": lambda: order.obr,
        "msh": lambda: message.msh,
    }
    return str(getattr(found[segment](), name).value)


def dx(folder: Path, **attributes: object) -> Assessment:
    return studies.assessed([studies.generated(folder / "dx.dcm", studies.DX, **attributes)])


def test_it_is_a_valid_preliminary_result_of_2_5_1(tmp_path: Path) -> None:
    message = parsed(dx(tmp_path, StudyDate="20260102", StudyTime="0708", PatientSex="F",
                        TimezoneOffsetFromUTC="+0100", AccessionNumber="A7"))  # fmt: skip
    assert field(message, "msh", "msh_9") == "ORU^R01^ORU_R01"
    assert field(message, "msh", "msh_12") == "2.5.1"
    assert field(message, "msh", "msh_18") == "UNICODE UTF-8"
    assert field(message, "obr", "obr_25") == "P"
    assert field(message, "obr", "obr_3") == "A7"
    assert field(message, "obr", "obr_7") == "202601020708+0100"
    assert field(message, "pid", "pid_8") == "F"
    observations = (
        message.oru_r01_patient_result[0].oru_r01_order_observation[0].oru_r01_observation
    )
    assert {str(one.obx.obx_11.value) for one in observations} == {"P"}
    kinds = {str(one.obx.obx_3.obx_3_1.value): str(one.obx.obx_2.value) for one in observations}
    assert kinds["P-VALUE"] == "NM"
    assert kinds["TRIAGE-RESULT"] == "CWE"
    assert kinds["INTENDED-USE"] == "TX"


def test_a_message_without_its_required_fields_is_one_that_hl7apy_refuses(tmp_path: Path) -> None:
    document = hl7_oru.build(dx(tmp_path), studies.context())
    text = document.content.decode().replace("|P|||", "||||", 1)
    message = parse_message(text, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=True)
    with pytest.raises(HL7apyException):
        message.validate()


def test_names_keep_their_parts_and_their_alphabets(tmp_path: Path) -> None:
    message = parsed(dx(tmp_path, SpecificCharacterSet="ISO_IR 192",
                        PatientName="Yamada^Tarou^X^Dr^Jr=山田^太郎=やまだ^たろう"))  # fmt: skip
    names = [str(one.value) for one in message.oru_r01_patient_result[0].oru_r01_patient.pid.pid_5]
    assert names == [
        "Yamada^Tarou^X^Jr^Dr^^L^A", "山田^太郎^^^^^L^I", "やまだ^たろう^^^^^L^P",
    ]  # fmt: skip


def test_a_patient_without_a_name_has_an_unspecified_one(tmp_path: Path) -> None:
    assert field(parsed(dx(tmp_path, PatientName="")), "pid", "pid_5") == "^^^^^^U"


def test_who_assigned_the_patient_id_goes_with_it(tmp_path: Path) -> None:
    qualifiers = Dataset()
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = "1.2.3", "ISO"
    message = parsed(dx(tmp_path, PatientID="P&1", IssuerOfPatientID="CLINIC",
                        IssuerOfPatientIDQualifiersSequence=[qualifiers]))  # fmt: skip
    assert field(message, "pid", "pid_3") == "P\\T\\1^^^CLINIC&1.2.3&ISO^PI"


def test_each_order_of_the_study_gets_every_statement(tmp_path: Path) -> None:
    orders = []
    for given_ in ORDERS:
        order = Dataset()
        for keyword, value in given_.items():
            setattr(order, keyword, value)
        orders.append(order)
    message = parsed(dx(tmp_path, RequestAttributesSequence=orders))
    groups = message.oru_r01_patient_result[0].oru_r01_order_observation
    assert [str(one.obr.obr_2.value) for one in groups] == ["P1", "P2"]
    assert [str(one.obr.obr_18.value) for one in groups] == ["A1", "A2"]
    assert len({len(one.oru_r01_observation) for one in groups}) == 1


def test_research_is_no_production_message(tmp_path: Path) -> None:
    assert field(parsed(dx(tmp_path)), "msh", "msh_11") == "P"
    assert field(parsed(dx(tmp_path), "research"), "msh", "msh_11") == "T"


def test_delimiters_in_a_sentence_stay_in_their_field(tmp_path: Path) -> None:
    assessment = dx(tmp_path)
    sentence = "a|b^c&d~e\\f\\F\\ \r\nOBX|1|x"
    odd = replace(assessment, decision=replace(assessment.decision, sentence=sentence))
    message = parsed(odd)
    observations = (
        message.oru_r01_patient_result[0].oru_r01_order_observation[0].oru_r01_observation
    )
    (comment,) = (str(one.obx.obx_5[0].value) for one in observations
                  if str(one.obx.obx_3.obx_3_1.value) == "121106")  # fmt: skip
    assert comment == "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f\\E\\F\\E\\ OBX\\F\\1\\F\\x"


def test_the_control_id_is_the_documents_and_fits_its_field() -> None:
    first, second = hl7_oru.control_id("2.25.1"), hl7_oru.control_id("2.25.2")
    assert first == hl7_oru.control_id("2.25.1") != second
    assert len(first) == 20
    assert first.isalnum()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_have_no_exponent_and_read_back(value: float) -> None:
    digits = hl7_words.number(value)
    assert float(digits) == value
    assert set(digits) <= set("-.0123456789")


@given(st.text())
def test_no_text_ends_its_field_or_the_message(text: str) -> None:
    assert not set("|^&~\r\n\x0b\x1c") & set(hl7_words.text(text))
