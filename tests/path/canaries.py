"""Studies whose every text attribute holds a canary: a string that occurs nowhere else on earth."""

from collections.abc import Iterator
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import JPEGLSLossless, generate_uid

from tests.builders import dx

MARK = "ZQXW"
"""In every canary; in no word, digest or name of ours."""
LENGTHS = {"SH": 16, "LO": 60, "PN": 60, "LT": 200, "ST": 200, "UT": 200, "UC": 200}
"""Free text by value representation. Coded strings decide how a picture is read."""
GROUPS = {0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x0088, 0x2110, 0x4008}
KEEP = {"CodeValue", "CodingSchemeDesignator", "LongCodeValue"}


ADDRESSES = ("RetrieveURL", "RetrieveURI", "PixelDataProviderURL", "ContactURI")


def canaries(number: int) -> Iterator[DataElement]:
    """Give an element with a canary for every text attribute of one value."""
    for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items():
        if Tag(tag).group not in GROUPS or vr not in LENGTHS or not keyword or retired:
            continue
        if keyword in KEEP or dictionary_VM(tag) != "1" or vm != "1":
            continue
        value = f"{MARK}{number}{tag:08X}"
        yield DataElement(tag, vr, (value + "^" + MARK if vr == "PN" else value)[: LENGTHS[vr]])


def marked(number: int, *, study: str, rows: int) -> FileDataset:
    """Give a radiograph full of canaries, also in a sequence and in private elements."""
    dataset = dx(study=study, seed=number, rows=rows)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for element in canaries(number):
        dataset.add(element)
    inner = Dataset()
    inner.RequestedProcedureDescription = f"{MARK}{number}INNER"
    inner.ScheduledProcedureStepDescription = f"{MARK}{number}STEP"
    dataset.RequestAttributesSequence = [inner]
    block = dataset.private_block(0x0011, f"{MARK} PRIVATE", create=True)
    block.add_new(1, "LO", f"{MARK}{number}SECRET")
    dataset.PatientBirthDate = "19310203"
    return dataset


def written(dataset: Dataset, path: Path) -> Path:
    """Write it as a file."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def studies(folder: Path, trap: str) -> list[Path]:
    """Write studies that come to every kind of end; gives their files in the order to send.

    Args:
        folder: for the files.
        trap: an address that the first one names wherever an attribute can hold one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    healthy = marked(1, study="canary healthy", rows=128)
    for keyword in ADDRESSES:
        setattr(healthy, keyword, trap)
    paths = [written(healthy, folder / "1.dcm")]

    twin = marked(2, study="canary twins", rows=64)
    paths.append(written(twin, folder / "2a.dcm"))
    twin.PatientID, twin.PatientName = f"{MARK}OTHER", f"{MARK}OTHER^PERSON"
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    paths.append(written(twin, folder / "2b.dcm"))

    other = marked(3, study="canary content", rows=64)
    paths.append(written(other, folder / "3a.dcm"))
    other.PatientComments = f"{MARK}CHANGED"
    paths.append(written(other, folder / "3b.dcm"))

    odd = marked(4, study="canary odd", rows=64)
    odd.file_meta.TransferSyntaxUID = JPEGLSLossless
    odd.PixelData = encapsulate([b"no picture at all "])
    odd["PixelData"].is_undefined_length = True
    paths.append(written(odd, folder / "4.dcm"))

    unread = marked(5, study="canary unread", rows=64)
    unread.BodyPartExamined = f"{MARK}PART"  # no route
    paths.append(written(unread, folder / "5.dcm"))
    return paths
