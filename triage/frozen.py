"""What every settings node is made of: frozen, no unknown keys, and the words of DICOM checked."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A settings node: unknown keys are errors and nothing changes after the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _ae_title(value: str) -> str:
    if not 1 <= len(value.strip()) <= 16 or not value.isascii() or "\\" in value:
        msg = "an AE title has 1 to 16 ASCII characters and no backslash (PS3.5 6.2)"
        raise ValueError(msg)
    return value.strip()


def refuse_twice(labels: Sequence[str], nouns: str, why: str) -> None:
    """Refuse entries of which two have one label, where something is kept by it.

    Raises:
        ValueError: naming the label, and why it must tell them apart.
    """
    if twice := sorted({one for one in labels if labels.count(one) > 1}):
        msg = f"two {nouns} are named {twice[0]}; {why}: name one anew, or take it out"
        raise ValueError(msg)


AETitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=0, le=65535)]
