"""What a call costs, for tests that a hostile input costs little; no benchmark."""

import time
from collections.abc import Callable


def cpu_s(action: Callable[[], object], times: int = 3) -> float:
    """Give the least CPU seconds that ``action`` took on this thread.

    Neither the machine's other work, nor other threads, nor one garbage collection count, so that
    a bound holds on a busy machine; leave it ten times what is usual. What it is to catch, a cost
    that grows out of proportion, takes far more.
    """
    taken = []
    for _ in range(times):
        started = time.thread_time()
        action()
        taken.append(time.thread_time() - started)
    return min(taken)
