"""The list of software of unknown provenance: ``python -m tests.house.soup`` writes docs/soup.md.

What each package is for and what is known to be wrong with it is written here by hand; names come
from pyproject.toml, versions from the lock.
"""

import re
import tomllib
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "soup.md"
NONE: Final = "none known that matters here"
HEAD: Final = """\
# Software of others

What the program is built on, in the versions of `requirements.lock`, what each part is for, what is
known to be wrong with it, and what is done about it (IEC 62304, 5.3.3, 5.3.4, 7.1.3). Written by
`make lists` from `tests/house/soup.py`; a test holds it against `pyproject.toml` and the lock.
Published weaknesses are in `triage/commands/advisories.py`: no version on that list is installed
or locked, and `triage doctor` looks again on every site. `triage sbom` gives the whole tree of
packages with versions, licences and the detectors' weights as CycloneDX; `triage sbom --licences`
lists the licences; `triage sbom --against FILE` tells what is installed and was not released, and
the reverse.

## Python packages

| package | version | for | known anomalies, and what is done |
|---|---|---|---|
"""
BESIDE: Final = """
## Beside them

| | version | for | known anomalies, and what is done |
|---|---|---|---|
"""
OTHERS: Final = {
    ("CPython", "3.11"): (
        "runs everything",
        "`-O` strips the asserts that pynetdicom relies on: never used, and no function of ours "
        "guards by assert",
    ),
    ("PostgreSQL", "15 or later"): (
        "rows, where a site wants a server",
        "`synchronous_commit=off` would lose commits: set on every connection; error lines quote "
        "values: hidden in ours, and `log_parameter_max_length_on_error=0` is advised for its own",
    ),
    ("SQLite", "of CPython"): (
        "rows without a server",
        "a deferred BEGIN that then writes fails at once: every writer begins IMMEDIATE; WAL with "
        "NORMAL loses commits: FULL; not for network file systems",
    ),
    ("Redis", "7 or later"): (
        "hands job numbers to Celery",
        "CVE-2025-49844 (a Lua script leaves its sandbox): patch Redis; eviction loses messages: "
        "`noeviction`, checked by `triage doctor`; may be emptied at any time without loss",
    ),
    ("htmx", "see `triage/worklist/static/VENDORED.md`"): (
        "the worklist's pages",
        "can evaluate attributes: the content security policy forbids it",
    ),
    ("Orthanc, DCMTK, dicom3tools", "Debian's"): (
        "tests only, on loopback",
        "CVE-2026-5437 to -5445, CVE-2026-5663, ICSMA-26-181-01: not shipped",
    ),
}
ABOUT: Final[dict[str, tuple[str, str]]] = {
    "alembic": ("migrations of the schema", NONE),
    "authlib": ("sign-in by OpenID Connect", "takes any algorithm it is told: ours are named"),
    "bandit": ("development: looks for weaknesses", NONE),
    "celery": (
        "executes job numbers where a broker is set",
        "with Redis it loses messages when killed, also with acks_late; MemoryError ends the whole "
        "worker; workers stop consuming after a broker restart: the database owns the work, leases "
        "run out, messages are published again",
    ),
    "cryptography": ("certificates, signatures", NONE),
    "dicom-anonymizer": (
        "the table of PS3.15 Annex E",
        "its own walk leaves nested sequences alone and empties SR content: only its table is "
        "used, on every level",
    ),
    "fastapi": ("the worklist and the APIs", "its 422 answers quote the input: replaced by ours"),
    "highdicom": ("SR, SEG, KOS and parametric maps", "trusts its input: ours is checked first"),
    "hl7": ("HL7 v2 messages", "escapes what it is told to: every field is escaped by ours"),
    "httpx": ("outgoing HTTP", "follows redirects if told so: it is not; one origin a client"),
    "itsdangerous": ("signed values", NONE),
    "jinja2": ("pages", "escapes only if told so: it is, for every template"),
    "joserfc": ("tokens of sign-in", "takes any algorithm it is told: ours are named"),
    "ldap3": (
        "sign-in by LDAP (an extra)",
        "LGPL-3.0: imported, unchanged, replaceable; few keep it: TLS required",
    ),
    "matplotlib": ("charts of evaluations", NONE),
    "monai": (
        "transforms and networks",
        "bundles and Auto3DSeg download and unpickle: neither is imported",
    ),
    "nibabel": ("reads research volumes in training", NONE),
    "numpy": ("arrays", "np.load unpickles if told so: a house rule forbids it"),
    "packaging": ("reads versions and requirements", NONE),
    "pillow": ("draws pictures", "a bomb of pixels only warns: sizes are checked before"),
    "platformdirs": ("the default state folder", NONE),
    "psycopg": ("PostgreSQL's client (an extra)", "LGPL-3.0: imported, unchanged, replaceable"),
    "pwdlib": ("password hashes (argon2id)", NONE),
    "pydantic": ("settings and bodies", "errors quote the input: left out of every message"),
    "pydantic-settings": ("settings from the environment", NONE),
    "pydicom": (
        "reads and writes DICOM",
        "reads cut files without complaint, warnings quote values: lengths are judged by ours, "
        "warnings do not reach a log; DICOMDIR leads outside (CVE-2026-32711): not read",
    ),
    "pyjpegls": ("decodes JPEG-LS", "native code on foreign bytes: only in the decoding child"),
    "pylibjpeg": ("finds decoders", NONE),
    "pylibjpeg-openjpeg": (
        "decodes JPEG 2000",
        "native code on foreign bytes: only in the decoding child",
    ),
    "pylibjpeg-rle": (
        "decodes RLE",
        "a header may claim 7.8 TiB and raise MemoryError: only in the decoding child, limited",
    ),
    "pynetdicom": (
        "associations",
        "half a PDU holds a slot for ever, a silent TLS client the whole server, a PDU of any "
        "length is taken, more than 1023 descriptors end every association, an answer that timed "
        "out is an empty data set: our own upper layer on the receiving side, a child process "
        "with a deadline on the sending side; its qrscp writes outside its folder: not used",
    ),
    "python-gdcm": (
        "decodes JPEG lossless and others",
        "CVE-2026-3650 (memory runs out, up to 3.2.2) and a record of parser faults: only in the "
        "decoding child, under limits, without network",
    ),
    "python-multipart": ("forms", "CVE-2026-40347 below 0.0.26; bodies are limited before"),
    "pyotp": ("one-time codes", NONE),
    "pyyaml": ("the configuration", "yaml.load runs code: a house rule forbids it"),
    "qrcode": ("shows the secret of one-time codes", NONE),
    "redis": (
        "the broker's client",
        "a frozen Redis blocks for 30 s: timeouts of 2 s, never called while receiving",
    ),
    "rich": ("tables on the screen", NONE),
    "safetensors": ("weights", NONE),
    "scikit-learn": ("curves and folds", NONE),
    "scipy": ("statistics", NONE),
    "segno": ("shows the secret of one-time codes", NONE),
    "simpleitk": ("geometry", "native code: sees only arrays that were decoded before"),
    "sqlalchemy": (
        "rows",
        "errors quote bound values: hide_parameters; a fork shares sockets: disposed",
    ),
    "structlog": ("logs", NONE),
    "torch": (
        "tensors",
        "torch.load runs code, also with weights_only below 2.10: a house rule forbids it",
    ),
    "typer": ("the command line", NONE),
    "uvicorn": ("serves the web", "its access log holds whole addresses: switched off"),
    "websockets": ("event channels of work items", NONE),
}  # fmt: skip


def direct() -> dict[str, str]:
    """Give the packages that the program itself names, with the version of the lock.

    Those of extras are among them, those for development are not.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(x for name in extras if name != "dev" for x in extras[name]),
    ]
    locked = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    versions = {canonicalize_name(name): version for name, version in locked.items()}
    found = {}
    for one in map(Requirement, lines):
        name = canonicalize_name(one.name)
        pinned = next((part.version for part in one.specifier if part.operator == "=="), None)
        found[name] = versions.get(name) or pinned or "not locked"
    return dict(sorted(found.items()))


def page() -> str:
    """Give the whole page.

    Raises:
        KeyError: a package is named in pyproject.toml and not described here.
    """
    rows = [f"| {name} | {version} | {ABOUT[name][0]} | {ABOUT[name][1]} |"
            for name, version in direct().items()]  # fmt: skip
    beside = [f"| {' | '.join((*what, *told))} |" for what, told in OTHERS.items()]
    return HEAD + "\n".join(rows) + "\n" + BESIDE + "\n".join(beside) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
