"""``triage up``: every process of the product under one supervisor."""

import time
from collections.abc import Callable

from rich.console import Console

from triage import log
from triage.commands import common, loading
from triage.commands.harden import harden
from triage.commands.supervise import Program, Supervisor
from triage.settings import Settings
from triage.stopping import on_stop_signal


def programs(settings: Settings) -> list[Program]:
    """Give the processes a site needs, workers last: they take longest to be ready."""
    work, broker = settings.site.work, bool(settings.site.broker.url)
    counts = {"cpu": work.cpu_workers, "out": work.out_workers, "gpu": work.gpu_workers}
    fixed = [
        Program("listen", ("triage", "listen")),
        Program("ingest", ("triage", "ingest")),
        Program("web", ("triage", "web")),
        Program("dispatch", ("workers", "dispatch")),
        *by_setting(settings),
    ]
    carried = {"cpu", "gpu"} if broker else set()
    for queue, count in counts.items():
        one = ("workers", "worker", "--queues", queue)
        if queue in carried:  # Celery makes its own children
            fixed.append(Program(f"worker-{queue}", (*one, "--concurrency", str(count))))
        else:
            names = (
                [f"worker-{queue}"]
                if count == 1
                else [f"worker-{queue}-{number}" for number in range(1, count + 1)]
            )
            fixed += [Program(name, one) for name in names]
    return fixed


def by_setting(settings: Settings) -> list[Program]:
    """Give the processes that run only where site.yaml asks for them."""
    ups, found = settings.site.ups, []
    if settings.site.audit.collectors:
        found.append(Program("audit-ship", ("triage", "audit", "ship")))
    if ups.manager.enabled:
        found.append(Program("ups-serve", ("triage", "ups", "serve")))
    if ups.performer.managers:
        found.append(Program("ups-work", ("triage", "ups", "work")))
    if settings.site.dicomweb.server.enabled:
        found.append(Program("dicomweb", ("triage", "dicomweb", "serve")))
    if settings.site.priors.sources or settings.site.listener.prior_ae_title:
        found.append(Program("priors", ("triage", "priors", "work")))
    return found


def up(settings: Settings) -> None:
    """Run everything until Ctrl-C or SIGTERM."""
    harden()
    log.configure("up", as_json=False)
    common.prepare(settings)
    supervisor = Supervisor(settings.state / "logs", common.environment(settings))
    stopping = on_stop_signal()
    supervisor.start(programs(settings))
    console, site = Console(stderr=True), settings.site
    console.print(f"DICOM    {site.listener.ae_title}@{site.listener.host}:{site.listener.port}")
    console.print(f"Worklist http://{site.web.host}:{site.web.port}/")
    console.print(f"Logs     {settings.state / 'logs'}")
    _invite(settings, console)
    loading.settle()
    try:
        supervisor.run(stopping)
    finally:
        console.print("Stopping.")
        supervisor.stop()


def _invite(settings: Settings, console: Console) -> None:
    """Print where the first admin is made, if there is none yet."""
    from triage.worklist.auth import first_sign_in_url

    site = settings.site.web
    database = common.open_database(settings)
    try:
        url = first_sign_in_url(settings, database, f"http://{site.host}:{site.port}")
    finally:
        database.dispose()
    if url:
        console.print(f"First sign-in (once): {url}", soft_wrap=True)


def wait_for(question: Callable[[], bool], limit_s: float, step_s: float = 0.1) -> bool:
    """Ask until yes or the limit; gives the last answer."""
    deadline = time.monotonic() + limit_s
    while not question():
        if time.monotonic() >= deadline:
            return False
        time.sleep(step_s)
    return True
