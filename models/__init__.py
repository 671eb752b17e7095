"""TENSORS: detectors, their training, calibration and artifacts. Knows neither DICOM nor SQL.

Importing this package loads no torch: the table holds strings.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from models.contract import Detector

DETECTORS: Final[Mapping[str, str]] = {
    "anchor": "models.anchor:Anchor",
    "ensemble": "models.ensemble:Ensemble",
    "paste-net": "models.paste_net:PasteNet",
    "maddr": "models.maddr:MADDR",
    "dpa": "models.dpa:DPA",
    "f-anogan": "models.f_anogan:FAnoGAN",
    "ganomaly": "models.ganomaly:GANomaly",
    "memae": "models.memae:MemAE",
    "simsid": "models.simsid:SimSID",
    "mama-net": "models.mama_net:MAMANet",
    "memmc-mae": "models.memmc_mae:MemMCMAE",
}
"""Family to "module:Class"."""


class UnknownDetector(ValueError):
    """No such family in DETECTORS."""


def load(family: str) -> "type[Detector]":
    """Give the class of a family, importing its module now.

    Raises:
        UnknownDetector: the family is not in the table.
    """
    try:
        module, _, name = DETECTORS[family].partition(":")
    except KeyError:
        msg = f"unknown detector family {family!r}; known: {', '.join(sorted(DETECTORS))}"
        raise UnknownDetector(msg) from None
    return cast("type[Detector]", getattr(import_module(module), name))
