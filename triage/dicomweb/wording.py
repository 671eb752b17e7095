"""Data sets as answers: DICOM JSON (PS3.18 F) and the Native DICOM Model in XML (PS3.19 A.1)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree as Xml

from pydicom.datadict import keyword_for_tag

JSON: Final = "application/dicom+json"
XML: Final = "application/dicom+xml"
NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
NAME_PARTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
Json = Mapping[str, Any]
"""A data set in the DICOM JSON Model."""


def wanted(accept: str, offered: Sequence[str]) -> str | None:
    """Give the first offered media type that an Accept header takes; None when it takes none.

    Weights are not compared: the header's own order decides (PS3.18 8.3.2).
    """
    ranges = [one.partition(";")[0].strip().lower() for one in accept.split(",")]
    if not accept.strip():
        return offered[0]
    for one in ranges:
        for media_type in offered:
            kind = media_type.partition("/")[0]
            if one in {media_type, f"{kind}/*", "*/*"}:
                return media_type
            if one == "application/json" and media_type == JSON:
                return media_type
    return None


def to_json(content: Json | Sequence[Json]) -> bytes:
    """Give one data set, or a list of them, as bytes."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def to_xml(content: Json) -> bytes:
    """Give one data set in the Native DICOM Model."""
    root = Xml.Element("NativeDicomModel", {"xmlns": NAMESPACE, "xml:space": "preserve"})
    _fill(root, content)
    written: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _fill(parent: Xml.Element, content: Json) -> None:
    for tag, element in content.items():
        node = Xml.SubElement(parent, "DicomAttribute", {"tag": tag, "vr": element["vr"]})
        if keyword := keyword_for_tag(int(tag, 16)):
            node.set("keyword", keyword)
        if "BulkDataURI" in element:
            Xml.SubElement(node, "BulkData", {"uri": element["BulkDataURI"]})
        elif "InlineBinary" in element:
            Xml.SubElement(node, "InlineBinary").text = element["InlineBinary"]
        for number, value in enumerate(element.get("Value", ()), 1):
            _value(node, element["vr"], str(number), value)


def _value(node: Xml.Element, vr: str, number: str, value: Any) -> None:  # noqa: ANN401 - JSON
    if vr == "SQ":
        _fill(Xml.SubElement(node, "Item", {"number": number}), value or {})
    elif vr == "PN":
        person = Xml.SubElement(node, "PersonName", {"number": number})
        for group, text in (value or {}).items():
            inner = Xml.SubElement(person, group)
            for part, said in zip(NAME_PARTS, str(text).split("^"), strict=False):
                if said:
                    Xml.SubElement(inner, part).text = _legal(said)
    elif value is not None:
        Xml.SubElement(node, "Value", {"number": number}).text = _legal(str(value))


def _legal(text: str) -> str:
    """Leave out what XML 1.0 cannot say."""
    return "".join(one for one in text if one in "\t\n\r" or one >= " ")
