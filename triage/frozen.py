"""What every settings node is made of: frozen, no unknown keys, and the words of DICOM checked."""

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


AETitle = Annotated[str, AfterValidator(_ae_title)]
Port = Annotated[int, Field(ge=0, le=65535)]
