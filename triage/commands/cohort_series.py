"""A study to the series a cohort takes of it, by the code that serves, and what it remembers.

What became of each study is journalled as it is found, so that a build that was killed goes on.

Shapes: N slices, C channels, H W rows and columns, F features of a thumbnail.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from torch.nn.functional import interpolate

from triage.assemble import Selection, plan, read
from triage.detect import strata
from triage.errors import CodedError
from triage.preprocess.pipeline import preprocess

if TYPE_CHECKING:
    from torch import Tensor

    from triage.keys import Keyed
    from triage.preprocess.decoder import Decoder
    from triage.settings import Recipe, Routes
    from triage.study import Study, StudyRef

JOURNAL: Final = ".building.jsonl"
THUMBNAIL_PX: Final = 32
Thumbnail = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One series that can be learnt from. No patient data."""

    study_instance_uid: str
    series_instance_uid: str
    patient: str
    """Keyed digest."""
    stratum: str
    route: str
    recipe: str
    slices: int
    pixels: str
    """SHA-256 of the prepared voxels, in 8 bits."""
    thumbnail: str
    """Of the middle slice, ``THUMBNAIL_PX`` square, float16, base64."""
    files: tuple[tuple[str, str, str], ...]
    """SOP Instance UID, digest of the content and path of each image, in geometric order."""

    def direction(self) -> Thumbnail:
        """Give the middle slice's thumbnail (F) with mean 0 and length 1."""
        flat = np.frombuffer(base64.b64decode(self.thumbnail), np.float16).astype(np.float32)
        flat = flat - flat.mean()
        length = float(np.linalg.norm(flat)) or 1.0
        return np.asarray(flat / length, np.float32)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a study came to: its series, or the coded reason why it gives none."""

    candidates: tuple[Candidate, ...] = ()
    refused: str = ""
    """Code of the reason."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """What is needed to look at a study."""

    routes: "Routes"
    recipes: Mapping[str, "Recipe"]
    decoder: "Decoder"
    patient: "Keyed"

    def look(self, ref: "StudyRef") -> Looked:
        """Read, select, decode and prepare a study as the pipeline does."""
        try:
            study = read(ref)
            chosen = plan(study, self.routes, self.recipes)
            found = tuple(self._candidate(study, one) for one in chosen)
        except CodedError as why:
            return Looked(refused=why.reason.code, detail=why.reason.sentence)
        return Looked(found)

    def _candidate(self, study: "Study", chosen: Selection) -> Candidate:
        volume = preprocess(chosen.series, chosen.recipe, self.decoder)
        images = [image.ref for image in chosen.series.images]
        person = study.patient
        return Candidate(
            study_instance_uid=study.ref.study_instance_uid,
            series_instance_uid=chosen.series.series_instance_uid,
            patient=self.patient(f"{person.issuer_of_patient_id}\0{person.patient_id}"),
            stratum=strata(study, chosen.series)[0],
            route=chosen.route.name,
            recipe=chosen.recipe.name,
            slices=len(volume.voxels_NCHW),
            pixels=_digest(volume.voxels_NCHW),
            thumbnail=_thumbnail(volume.voxels_NCHW),
            files=tuple((one.sop_instance_uid, one.sha256, str(one.path)) for one in images),
        )


class Journal:
    """What was found of each study, a line each; a line cut short by a kill is looked at again."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Read what a build with the same ``identity`` left in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / JOURNAL
        self._identity = identity
        self._known = dict(self._read())

    def known(self, ref: "StudyRef") -> Looked | None:
        """Give what was found of a study with these very files before."""
        return self._known.get(self._key(ref))

    def note(self, ref: "StudyRef", looked: Looked) -> None:
        """Remember it; on disk when this returns."""
        line = json.dumps({"key": self._key(ref), "looked": asdict(looked)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())

    def done(self) -> None:
        """Forget it all."""
        self._path.unlink(missing_ok=True)

    def _key(self, ref: "StudyRef") -> str:
        files = sorted(f"{one.sha256} {one.path}" for one in ref.instances)
        return hashlib.sha256("\n".join([self._identity, *files]).encode()).hexdigest()

    def _read(self) -> Iterator[tuple[str, Looked]]:
        if not self._path.is_file():
            return
        lines = self._path.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
            self._path.write_bytes(b"".join(lines))
        for line in lines:
            said = json.loads(line)
            yield said["key"], _looked(said["looked"])


def _looked(said: Mapping[str, Any]) -> Looked:
    found = tuple(
        Candidate(**{**one, "files": tuple(tuple(file) for file in one["files"])})
        for one in said["candidates"]
    )
    return Looked(found, said["refused"], said["detail"])


def _digest(voxels: "Tensor") -> str:
    """Give the digest of what is seen: too coarse for a decoder's rounding to matter often."""
    return hashlib.sha256((voxels * 255).round().byte().numpy().tobytes()).hexdigest()


def _thumbnail(voxels: "Tensor") -> str:
    middle = voxels[len(voxels) // 2][None]
    small = interpolate(middle, (THUMBNAIL_PX, THUMBNAIL_PX), mode="area")
    return base64.b64encode(small.numpy().astype(np.float16).tobytes()).decode()


def without_detectors(routes: "Routes", named: Sequence[str]) -> "Routes":
    """Give the routes as they choose series, whether they have a detector yet or not.

    All keep their place, because the first that fits takes a series; of those not ``named`` (if
    any is) nothing is taken.
    """
    kept = [
        route.model_copy(update={"detectors": ("any",) if not named or route.name in named else ()})
        for route in routes.routes
    ]
    return routes.model_copy(update={"routes": tuple(kept)})
