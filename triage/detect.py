"""Detect: a prepared volume and a trained artifact become one Detection of a series."""

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from triage.errors import Broken, NotEligible
from triage.finding import Calibration, Carried, Detection, Detector, Look
from triage.maps import Alike, AnomalyMap
from triage.study import Series, Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from torch import Tensor

    from models.artifact import Artifact
    from models.calibrate import Place
    from models.contract import Anomaly, Volume

ADULT_FROM_YEARS: Final = 18
RADIOGRAPH: Final = "DX"
"""CR and DX make the same kind of picture; both are calibrated as DX."""
BODY_PARTS: Final = {
    "CHEST": "CHEST",
    "THORAX": "CHEST",
    "LUNG": "CHEST",
    "HEAD": "HEAD",
    "BRAIN": "HEAD",
    "SKULL": "HEAD",
}
"""From the words of Body Part Examined and of descriptions to those the strata use."""
BATCH_SLICES: Final = 32
MOST_CARRIED: Final = 5
"""Slices kept as those that carried the score."""
REGION_FROM: Final = 0.5
"""A slice's region is where its map is at least this share of the map's highest value."""
MAX_WORD: Final = 48
"""Characters kept of what a header says of view, institution or device."""
CLASSES: Final = {"organ": "organs", "modality": "modalities"}
"""By kind of look: the detector's parameter that lists the words."""


def strata(study: Study, series: Series) -> tuple[str, ...]:
    """Name the calibration strata of a series, most specific first.

    "DX/CHEST/child" then "DX/CHEST"; without an age only the latter. A child is under 18.
    """
    modality = RADIOGRAPH if series.modality == "CR" else series.modality
    pooled = f"{modality}/{_body_part(study, series)}"
    age_years = study.patient_age_years
    if age_years is None:
        return (pooled,)
    band = "child" if age_years < ADULT_FROM_YEARS else "adult"
    return (f"{pooled}/{band}", pooled)


def place_of(series: Series, keys: tuple[str, ...]) -> "Place":
    """Give where a series stands among the calibration's strata; ``keys`` are its ``strata``.

    The site is the Institution Name, the scanner the Manufacturer and its model name: two devices
    of one model are one scanner. What a header does not say is UNKNOWN, and a calibration that
    knows scanners speaks about an unknown one only if it has seen such.
    """
    from models.calibrate import Place

    views = sorted({view for view in series.view_position.split("\\") if view})
    return Place(
        base=keys,
        narrower={
            "view": _word(" ".join(views)),
            "site": _word(series.institution_name),
            "scanner": _word(f"{series.manufacturer} {series.manufacturer_model_name}"),
        },
    )


def detect(
    volume: "Volume", series: Series, artifact: "Artifact", keys: tuple[str, ...], *, min_n: int
) -> Detection:
    """Score every slice, and give the series the p-value of what they make together.

    That is the strangest slice's score, unless the calibration was made otherwise. ``keys`` are
    calibration strata, most specific first; the first with ``min_n`` healthy studies that has
    seen this view, site and scanner is used, or a part of it by these.

    Raises:
        NotEligible: uncalibrated, when no stratum fits.
        Broken: internal, when a score is not finite.
    """
    return _detection(score_slices(volume, artifact), volume, series, artifact, keys, min_n)


def detect_and_map(
    volume: "Volume", series: Series, artifact: "Artifact", keys: tuple[str, ...], *, min_n: int
) -> tuple[Detection, AnomalyMap | None]:
    """Do as ``detect``, and give the map too, where the detector makes one (research mode).

    Raises:
        NotEligible, Broken: as ``detect``.
    """
    anomaly = score_slices(volume, artifact, maps=True)
    detection = _detection(anomaly, volume, series, artifact, keys, min_n)
    if anomaly.map_NHW is None or volume.origin is None:
        return detection, None
    uids = [image.ref.sop_instance_uid for image in series.images]
    peaks = artifact.calibration.peaks.get(detection.calibration.stratum, ())
    found = AnomalyMap(
        values=anomaly.map_NHW.numpy(),
        to_source=volume.origin.to_source_N44.numpy(),
        frames=tuple((uids[image], frame + 1) for image, frame in volume.origin.frames),
        healthy=np.asarray(peaks, np.float32),
        alike=_alike(volume.voxels_NCHW[int(anomaly.score_N.argmax())], artifact, keys),
    )
    return with_regions(detection, series, found), found


def _alike(slice_: "Tensor", artifact: "Artifact", keys: tuple[str, ...]) -> Alike | None:
    """Give the healthy references nearest to a slice; None where the calibration keeps none."""
    from models.references import thumb

    if artifact.references is None:
        return None
    device = next(artifact.detector.parameters()).device
    (feature,) = artifact.detector.describe(slice_[None].to(device))
    found = artifact.references.nearest(feature, keys)
    if found is None:
        return None
    thumbs, distances = found.thumbs_KHW.numpy(), found.distances_K.numpy()
    return Alike(thumb(slice_).numpy(), thumbs, distances, found.usual)


def _detection(
    anomaly: "Anomaly",
    volume: "Volume",
    series: Series,
    artifact: "Artifact",
    keys: tuple[str, ...],
    min_n: int,
) -> Detection:
    from models.calibrate import Rule, Uncalibrated, aggregate

    scores = anomaly.score_N.tolist()
    strangest = max(range(len(scores)), key=scores.__getitem__)
    calibration = artifact.calibration
    score = aggregate(scores, calibration.aggregation)
    try:
        found = calibration.p_value_at(score, place_of(series, keys), Rule(min_n))
    except Uncalibrated as why:
        raise NotEligible(code="uncalibrated", detail=str(why)) from None
    images = series.images
    return Detection(
        detector=Detector(
            name=artifact.card.name,
            family=artifact.card.family,
            version=artifact.card.version,
            weights_sha256=artifact.weights_sha256,
            artifact_sha256=artifact.sha256,
        ),
        calibration=Calibration(
            stratum=found.stratum,
            n=found.n,
            fallback=found.fallback,
            sha256=artifact.calibration_sha256,
            date=calibration.date or artifact.card.fingerprint.calibration_date,
        ),
        series_instance_uid=series.series_instance_uid,
        sop_instance_uids=tuple(image.ref.sop_instance_uid for image in images),
        key_sop_instance_uid=images[volume.source_N[strangest]].ref.sop_instance_uid,
        score=score,
        p_value=found.p,
        others={name: float(score_N[strangest]) for name, score_N in anomaly.others.items()},
        looks=_looks(anomaly, artifact, keys[-1]),
        carried=_carried(scores, volume, series, calibration.strata[found.stratum]),
    )


def _carried(
    scores: "Sequence[float]", volume: "Volume", series: Series, healthy: "Sequence[float]"
) -> tuple[Carried, ...]:
    """Give the images of the strangest slices, each once; the first is the key image."""
    from models.calibrate import conformal

    strangest: dict[str, float] = {}
    for at in sorted(range(len(scores)), key=lambda index: -scores[index]):
        image = series.images[volume.source_N[at]]
        strangest.setdefault(image.ref.sop_instance_uid, scores[at])
        if len(strangest) == MOST_CARRIED:
            break
    return tuple(Carried(uid, score, conformal(score, healthy)) for uid, score in strangest.items())


def with_regions(detection: Detection, series: Series, found: AnomalyMap) -> Detection:
    """Give the detection with the region of each slice that carried it (research mode)."""
    images = {image.ref.sop_instance_uid: image for image in series.images}
    top = float(found.values.max())
    carried = []
    for one in detection.carried:
        image = images[one.sop_instance_uid]
        region = None
        if image.number_of_frames <= 1 and top > 0 and (one.sop_instance_uid, 1) in found.frames:
            frame = found.frames.index((one.sop_instance_uid, 1))
            region = box(found.on_source(frame, image.rows, image.columns) >= REGION_FROM * top)
        carried.append(replace(one, region_px=region))
    return replace(detection, carried=tuple(carried))


def box(inside: "npt.NDArray[np.bool_]") -> tuple[int, int, int, int] | None:
    """Give the rows and columns that hold all that is True; None where nothing is."""
    rows, columns = (np.nonzero(inside.any(axis))[0] for axis in (1, 0))
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _word(said: str) -> str:
    """Give a header's words as a stratum's name has them: upper case, letters and digits."""
    plain = " ".join(re.sub(r"[\W_]+", " ", said.upper()).split())
    return plain[:MAX_WORD] or "UNKNOWN"


def _body_part(study: Study, series: Series) -> str:
    """Give the strata's word for the body part; where it is missing, from the descriptions."""
    if part := series.body_part_examined:
        return BODY_PARTS.get(part, part)
    said = (series.series_description, series.protocol_name, study.study_description)
    text = " ".join(said).upper()
    return next((part for word, part in BODY_PARTS.items() if word in text), "")


def score_slices(volume: "Volume", artifact: "Artifact", *, maps: bool = False) -> "Anomaly":
    """Score every slice; a series of hundreds of slices is scored in bounded memory.

    Raises:
        Broken: internal, when a score is not finite.
    """
    import torch

    from models.contract import Anomaly

    device = next(artifact.detector.parameters()).device
    pieces = [
        artifact.detector.score(slices_NCHW.to(device))
        for slices_NCHW in torch.split(volume.voxels_NCHW, BATCH_SLICES)
    ]
    scores = torch.cat([one.score_N.cpu() for one in pieces])
    if not torch.isfinite(scores).all():
        raise Broken(code="internal", detail="the detector's score is not finite")
    found = [one.map_NHW.cpu() for one in pieces if one.map_NHW is not None] if maps else []
    return Anomaly(
        score_N=scores,
        map_NHW=torch.cat(found) if found else None,
        others=_joined([one.others for one in pieces]),
        seen=_joined([one.seen for one in pieces]),
    )


def _joined(pieces: "Sequence[Mapping[str, Tensor]]") -> "dict[str, Tensor]":
    import torch

    return {name: torch.cat([one[name].cpu() for one in pieces]) for name in pieces[0]}


def _looks(anomaly: "Anomaly", artifact: "Artifact", pooled: str) -> tuple[Look, ...]:
    """Say what the series looks like, beside what its stratum ("DX/CHEST") says it is."""
    modality, _, part = pooled.partition("/")
    header = {"modality": modality, "organ": part}
    found = []
    for kind, shares_NK in anomaly.seen.items():
        words = [str(word).upper() for word in artifact.detector.params[CLASSES[kind]]]
        shares = dict(zip(words, shares_NK.mean(0).tolist(), strict=True))
        word = max(words, key=shares.__getitem__)
        said = header[kind] if header[kind] in shares else ""
        found.append(Look(kind, word, shares[word], said, shares.get(said)))
    return tuple(found)
