"""From real units to display values in [0, 1]: the VOI LUT or window (PS3.3 C.11.2)."""

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_voi

Values = npt.NDArray[np.float32]


def apply(values: Values, header: Dataset) -> bool:
    """Replace real values by display values in place; false where the header states no VOI.

    The LUT wins over the window: it is what the modality meant, the window its approximation.
    """
    if header.get("VOILUTSequence"):
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        looked_up = apply_voi(np.rint(values).astype(np.int32), header, index=0)
        np.divide(looked_up, float(2**bits - 1), out=values, casting="unsafe")
        return True
    centre, width = _first(header, "WindowCenter"), _first(header, "WindowWidth")
    if centre is None or width is None or not width > 0:
        return False
    _window(values, centre, width, str(header.get("VOILUTFunction") or "LINEAR"))
    return True


def _window(values: Values, centre: float, width: float, function: str) -> None:
    """Apply the window in place (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    if function == "SIGMOID":
        np.multiply(values, -4.0 / width, out=values)
        np.add(values, 4.0 * centre / width, out=values)
        with np.errstate(over="ignore"):
            np.exp(values, out=values)
        np.reciprocal(1.0 + values, out=values)
        return
    if function != "LINEAR_EXACT":
        # LINEAR counts whole grey levels: its width is one less than its number of levels.
        centre, width = centre - 0.5, max(width - 1.0, 1e-6)
    np.subtract(values, centre - width / 2.0, out=values)
    np.divide(values, width, out=values)
    np.clip(values, 0.0, 1.0, out=values)


def _first(header: Dataset, keyword: str) -> float | None:
    value = header.get(keyword)
    if isinstance(value, MultiValue | list):
        value = value[0] if value else None
    if value is None or value == "":
        return None
    number = float(value)
    return number if np.isfinite(number) else None
