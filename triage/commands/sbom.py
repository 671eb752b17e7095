"""``triage sbom``: what is installed as CycloneDX, and whether that still is what was released.

The bill is written from the environment itself, never from a list of wishes, and compared with the
environment again: a package that came by hand, went missing or changed its version is named. The
detectors' weights are in it too, each with its SHA-256.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from triage.commands.installed import OURS, UNKNOWN, Package, needed
from triage.errors import ConfigError

SPEC_VERSION: Final = "1.6"
LIBRARY: Final = "library"
MODEL: Final = "machine-learning-model"
WEIGHTS: Final = "weights.safetensors"


def bill(found: Sequence[Package], models: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Give a CycloneDX 1.6 document of what is installed.

    Its serial number is made of the content, so that the same environment has the same one.
    """
    listed = [*(_component(one) for one in found), *models]
    content = json.dumps([version(OURS), listed], sort_keys=True)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {
                "type": "application", "bom-ref": OURS, "name": OURS, "version": version(OURS),
            },
        },
        "components": listed,
        "dependencies": [
            {"ref": OURS, "dependsOn": [one["bom-ref"] for one in listed]},
            *({"ref": one["bom-ref"]} for one in listed),
        ],
    }  # fmt: skip


def _component(one: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": LIBRARY,
        "bom-ref": one.purl,
        "name": one.name,
        "version": one.version,
        "purl": one.purl,
    }
    if one.licence != UNKNOWN:
        found["licenses"] = [{"license": {"name": one.licence}}]
    return found


def detectors(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """Give the trained detectors of these folders as components, by the digest of their weights."""
    found: dict[str, dict[str, Any]] = {}
    for weights in (path for folder in folders for path in sorted(folder.glob(f"*/{WEIGHTS}"))):
        name, digest = weights.parent.name, sha256(weights.read_bytes()).hexdigest()
        found.setdefault(
            name,
            {
                "type": MODEL,
                "bom-ref": f"detector/{name}",
                "name": name,
                "version": digest[:12],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            },
        )
    return list(found.values())


def differences(path: Path, found: Iterable[Package]) -> list[str]:
    """Say where the environment is not what a bill lists: more, less or another version.

    Raises:
        ConfigError: the file cannot be read as CycloneDX.
    """
    listed, here = _read(path), {one.name: one.version for one in found}
    lines = []
    for name in sorted({*listed, *here}):
        said, is_there = listed.get(name), here.get(name)
        if said is None:
            lines.append(f"{name} {is_there} is installed and not in the bill")
        elif is_there is None:
            lines.append(f"{name} {said} is in the bill and not installed")
        elif said != is_there:
            lines.append(f"{name} is {is_there}, the bill says {said}")
    return lines


def _read(path: Path) -> dict[str, str]:
    """Give name and version of the libraries that a bill lists."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        listed = [one for one in written["components"] if one["type"] == LIBRARY]
        if written["bomFormat"] == "CycloneDX":
            return {str(one["name"]): str(one["version"]) for one in listed}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # told below, as any other fault
    msg = f"cannot read {path} as CycloneDX JSON; write one with `triage sbom --out FILE`"
    raise ConfigError(msg)


def licence_rows(found: Iterable[Package]) -> list[dict[str, str]]:
    """Give each package's licence, and whether the program needs it to run."""
    core, extra = needed(), needed("postgres")
    return [
        {
            "package": one.name,
            "version": one.version,
            "licence": one.licence,
            "needed": "core" if one.name in core else "extra" if one.name in extra else "no",
        }
        for one in found
    ]
