"""Data sets for tests, as bytes: whole ones from pydicom, broken ones by hand."""

import io
import struct
import zlib

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, CTImageStorage, generate_uid

from triage.errors import Refused
from triage.receive.scan import scan
from triage.spool import Bytes

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG = "1.2.840.10008.1.2.2"
JPEG = "1.2.840.10008.1.2.4.50"
CT = str(CTImageStorage)
SOP = "1.2.826.0.1.3680043.8.498.1"
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def ct(rows: int = 16, columns: int = 16, /, **changes: object) -> Dataset:
    """Give a small CT image; ``changes`` are keywords, None removes the element."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, UID(SOP)
    one.StudyInstanceUID, one.SeriesInstanceUID = UID("1.2.3.4"), UID("1.2.3.4.5")
    one.PatientID, one.PatientName, one.Modality = "CANARY-ID", "CANARY^NAME", "CT"
    one.Rows, one.Columns = rows, columns
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 0
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, UID("1.2.9")
    one.ReferencedImageSequence = [item]
    one.add_new(0x7FE00010, "OW", bytes(rows * columns * 2))
    for keyword, value in changes.items():
        if value is None:
            del one[keyword]
        else:
            setattr(one, keyword, value)
    return one


def meta(sop_instance: str, sop_class: str = CT, syntax: str = EXPLICIT) -> FileMetaDataset:
    """Give the file meta that pydicom wants for a file."""
    one = FileMetaDataset()
    one.MediaStorageSOPClassUID, one.MediaStorageSOPInstanceUID = UID(sop_class), UID(sop_instance)
    one.TransferSyntaxUID = UID(syntax)
    return one


def encode(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    """Give the data set's bytes in a native transfer syntax."""
    buffer = pydicom.filebase.DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG
    write_dataset(buffer, dataset)
    data = buffer.getvalue()
    return deflate(data) if syntax == DEFLATED else data


def deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(data) + engine.flush()


def ct_bytes(syntax: str = EXPLICIT, rows: int = 16, columns: int = 16, **changes: object) -> bytes:
    return encode(ct(rows, columns, **changes), syntax)


def fresh_ct(rows: int = 16, columns: int = 16, **changes: object) -> tuple[str, bytes]:
    """Give a new instance's UID and bytes."""
    uid = generate_uid()
    return uid, encode(ct(rows, columns, SOPInstanceUID=uid, **changes))


def raw(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """Give one explicit little endian element, with any claim about its length."""
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"OF", b"OD"):
        return head + struct.pack("<HI", 0, length) + value
    return head + struct.pack("<H", length) + value


def identity(sop: bytes = SOP.encode(), study: bytes = b"1.2.3.4") -> bytes:
    """Give the four UIDs alone."""
    return (
        raw(0x00080016, b"UI", even(CT.encode()))
        + raw(0x00080018, b"UI", even(sop))
        + raw(0x0020000D, b"UI", even(study))
        + raw(0x0020000E, b"UI", even(b"1.2.3.4.5"))
    )


def even(value: bytes) -> bytes:
    return value + b"\0" * (len(value) % 2)


def nested(depth: int) -> bytes:
    """Give sequences within each other, of undefined length."""
    opening = raw(0x00081140, b"SQ", b"", 0xFFFFFFFF) + ITEM
    return opening * depth + (ITEM_END + SEQUENCE_END) * depth


def nested_defined(depth: int) -> bytes:
    """Give sequences within each other, each with its length."""
    data = b""
    for _ in range(depth):
        inner = struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data
        data = raw(0x00081140, b"SQ", inner)
    return data


def fragments(*values: bytes) -> bytes:
    """Give encapsulated pixel data with an empty offset table."""
    items = b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value for value in (b"", *values)
    )
    return raw(0x7FE00010, b"OB", b"", 0xFFFFFFFF) + items + SEQUENCE_END


def outcome(data: Bytes, syntax: str = EXPLICIT) -> int:
    """Give the status that the scanner has for these bytes; 0 when it takes them."""
    try:
        scan(data, syntax)
    except Refused as why:
        return why.status
    return 0


def parsed(data: bytes, syntax: str) -> Dataset:
    """Read bytes back with pydicom."""
    uid = UID(syntax)
    return pydicom.filereader.read_dataset(
        io.BytesIO(data), uid.is_implicit_VR, uid.is_little_endian
    )
