"""routes.yaml, policy.yaml and the recipes: which series go where, how, and what comes of it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from triage.frozen import Frozen


class When(Frozen):
    """Conditions on a series; every one that is given must hold. Values are upper case."""

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    """Matched against Body Part Examined; "" matches a missing one."""
    description_any: tuple[str, ...] = ()
    """Words of which one must occur in the study, series or protocol description, where the
    body part is missing."""
    min_age_years: float | None = None
    max_age_years: float | None = None


class Route(Frozen):
    """Which series go to which detectors."""

    name: str
    when: When
    require: tuple[str, ...] = ()
    """Names of RULES; the first that fails is the series' reason."""
    recipe: str
    detectors: tuple[str, ...] = ()
    """Artifact names. Empty: such a study is "not analysed: no detector"."""


class Routes(Frozen):
    """routes.yaml: the first route whose ``when`` fits a series takes it."""

    routes: tuple[Route, ...]


class Level(Frozen):
    """One step of the policy: at this p-value or below, this priority."""

    name: str
    p_at_most: Annotated[float, Field(gt=0, lt=1)]
    priority: PositiveInt


class Disagreement(Frozen):
    """When an image looks so unlike its header's word that a person is warned."""

    image_at_least: Annotated[float, Field(gt=0.5, le=1)] = 0.9
    """Probability of the organ or modality that the image looks like."""
    header_at_most: Annotated[float, Field(ge=0, lt=0.5)] = 0.05
    """Probability of the one that the header says."""


class Policy(Frozen):
    """policy.yaml: levels from rarest to commonest."""

    levels: tuple[Level, ...]
    min_calibration_n: PositiveInt = 50
    """Fewer healthy studies than this and the stratum is not scored."""
    promote_after_s: PositiveFloat = 14_400.0
    """A study that has waited longer is listed above routine, whatever its score."""
    disagreement: Disagreement = Disagreement()


class Recipe(Frozen):
    """How pixels become a volume. The order of operations is code, not configuration."""

    name: str
    kind: Literal["projection", "volume"]
    window: Literal["voi", "fixed", "percentiles"] = "percentiles"
    """voi: the header's VOI LUT or window, then its range; fixed: ``window_range``."""
    window_range: tuple[float, float] | None = None
    """In the modality's unit: HU for CT."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    orientation: str | None = None
    """Three letters, MONAI's axcodes, for volumes: "LPS"."""
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    crop: Literal["none", "foreground", "square"] = "none"
    size_px: tuple[PositiveInt, PositiveInt]
    """Rows, columns of each slice given to the detector."""
    min_slices: PositiveInt = 1
    max_slices: PositiveInt = 512
