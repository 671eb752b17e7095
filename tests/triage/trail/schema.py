"""An audit message's structure in RELAX NG, written from PS3.15 A.5.1."""

from xml.etree import ElementTree

from lxml import etree  # type: ignore[import-untyped]

SOME = '<data type="string"><param name="minLength">1</param></data>'
CODED = f"""
  <attribute name="csd-code">{SOME}</attribute>
  <attribute name="codeSystemName">{SOME}</attribute>
  <attribute name="originalText"><text/></attribute>
  <optional><attribute name="displayName"/></optional>
"""


def _values(name: str, *values: int | str) -> str:
    choices = "".join(f"<value>{one}</value>" for one in values)
    return f'<attribute name="{name}"><choice>{choices}</choice></attribute>'


GRAMMAR = f"""
<element name="AuditMessage" xmlns="http://relaxng.org/ns/structure/1.0"
    datatypeLibrary="http://www.w3.org/2001/XMLSchema-datatypes">
  <element name="EventIdentification">
    {_values("EventActionCode", *"CRUDE")}
    <attribute name="EventDateTime"><data type="dateTime">
      <param name="pattern">.*(Z|[+-]\\d\\d:\\d\\d)</param>
    </data></attribute>
    {_values("EventOutcomeIndicator", 0, 4, 8, 12)}
    <element name="EventID">{CODED}</element>
    <zeroOrMore><element name="EventTypeCode">{CODED}</element></zeroOrMore>
    <optional><element name="EventOutcomeDescription"><text/></element></optional>
  </element>
  <oneOrMore><element name="ActiveParticipant">
    <attribute name="UserID">{SOME}</attribute>
    <optional><attribute name="AlternativeUserID"/></optional>
    <optional><attribute name="UserName"/></optional>
    <attribute name="UserIsRequestor"><data type="boolean"/></attribute>
    <optional>
      <attribute name="NetworkAccessPointID"/>
      {_values("NetworkAccessPointTypeCode", 1, 2, 3, 4, 5)}
    </optional>
    <zeroOrMore><element name="RoleIDCode">{CODED}</element></zeroOrMore>
  </element></oneOrMore>
  <oneOrMore><element name="AuditSourceIdentification">
    <optional><attribute name="AuditEnterpriseSiteID"/></optional>
    <attribute name="AuditSourceID"/>
    <zeroOrMore><element name="AuditSourceTypeCode">
      {_values("csd-code", *range(1, 10))}
    </element></zeroOrMore>
  </element></oneOrMore>
  <zeroOrMore><element name="ParticipantObjectIdentification">
    <attribute name="ParticipantObjectID">{SOME}</attribute>
    {_values("ParticipantObjectTypeCode", 1, 2, 3, 4)}
    {_values("ParticipantObjectTypeCodeRole", *range(1, 25))}
    <optional>{_values("ParticipantObjectDataLifeCycle", *range(1, 16))}</optional>
    <optional><attribute name="ParticipantObjectSensitivity"/></optional>
    <element name="ParticipantObjectIDTypeCode">{CODED}</element>
    <choice>
      <element name="ParticipantObjectName"><text/></element>
      <element name="ParticipantObjectQuery"><data type="base64Binary"/></element>
    </choice>
    <zeroOrMore><element name="ParticipantObjectDetail">
      <attribute name="type"/><attribute name="value"><data type="base64Binary"/></attribute>
    </element></zeroOrMore>
    <zeroOrMore><element name="ParticipantObjectDescription"><text/></element></zeroOrMore>
  </element></zeroOrMore>
</element>
"""
SCHEMA = etree.RelaxNG(etree.fromstring(GRAMMAR))


def valid(content: bytes) -> ElementTree.Element:
    """Give a message's root; fails where it is no audit message."""
    SCHEMA.assertValid(etree.fromstring(content))
    return ElementTree.fromstring(content)
