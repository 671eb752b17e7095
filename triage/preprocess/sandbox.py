"""What a process that touches hostile pixel data gives up before it touches it.

After ``enter`` the process cannot write, rename or remove a file, open a connection, start a
program or look into another process, and it dies rather than grow without bound.
"""

import ctypes
import os
import platform
import resource
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_CLONE_NEWNET: Final = 0x40000000
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001
"""SECCOMP_RET_ERRNO with EPERM."""
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_MAX_FILES: Final = 64


@dataclass(frozen=True, slots=True)
class _Machine:
    """The kernel's numbers on one architecture (linux/audit.h, the system call tables)."""

    audit: int
    refused: tuple[int, ...]
    opening: tuple[tuple[int, int], ...]
    """Calls that open a file, and the index of their flags argument."""


# In both: socket, connect, bind, listen, socketpair; exec; ptrace and reading or writing another
# process; kill; io_uring, pidfd and openat2, which would get around the filter; every call that
# renames, removes, links, truncates or changes the owner or mode of a file.
_MACHINES: Final = {
    "x86_64": _Machine(
        audit=0xC000003E,
        refused=(
            *(41, 42, 49, 50, 53, 57, 58, 59, 62, 76, 77, 82, 83, 84, 85, 86, 87, 88),
            *(90, 91, 92, 93, 94, 101, 258, 259, 260, 263, 264, 265, 266, 268, 310, 311),
            *(316, 322, 425, 434, 437, 438, 452),
        ),
        opening=((2, 1), (257, 2)),
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        refused=(
            *(33, 34, 35, 36, 37, 38, 45, 46, 52, 53, 54, 55, 117, 129, 198, 199, 200, 201),
            *(203, 221, 270, 271, 276, 281, 425, 434, 437, 438, 452),
        ),
        opening=((56, 2),),
    ),
}


def enter(*, max_memory_bytes: int) -> None:
    """Give up what decoding does not need. Limits are hard; the rest is what the kernel permits."""
    libc = ctypes.CDLL(None, use_errno=True)
    with suppress(AttributeError):
        libc.unshare(_CLONE_NEWNET)
    for limit, value in (
        (resource.RLIMIT_AS, max_memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_NPROC, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))
    with suppress(AttributeError):
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        _filter_system_calls(libc)


def allow_seconds(seconds: float) -> None:
    """Let this process compute for ``seconds`` more; past them the kernel ends it with SIGXCPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _filter_system_calls(libc: ctypes.CDLL) -> bool:
    """Install a seccomp filter (seccomp(2)); false where the machine or kernel does not know it."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return False
    program = _program(machine)
    code = ctypes.create_string_buffer(program)
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    installed: int = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, fprog, 0, 0)
    return installed == 0


def _program(machine: _Machine) -> bytes:
    """Give the filter in classic BPF: 8 bytes an instruction (code, jump true, jump false, k)."""
    lines: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, 0),
    ]
    for number, flags_argument in machine.opening:
        lines += [
            (_EQUAL, 0, 5, number),
            (_LOAD, 0, 0, 16 + 8 * flags_argument),
            (_AND, 0, 0, _WRITING),
            (_EQUAL, 0, 1, 0),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _REFUSE),
        ]
    for number in machine.refused:
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)
