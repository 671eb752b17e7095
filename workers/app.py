"""Celery as an executor: it carries study numbers, the database decides.

Acknowledged early and never redelivered: a lost message only delays a study, because the
dispatcher publishes again whatever is still due. Measured: Celery with Redis alone, even with late
acknowledgement, lost 6 tasks in 56 worker kills.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from celery import Celery, signals

from db.engine import connect
from triage import log
from triage import settings as configuration
from triage.commands import loading
from workers.local import Worker

if TYPE_CHECKING:
    from celery.app.task import Task

TASK: Final = "triage.run"


def make_app(url: str, wall_limit_s: float) -> Celery:
    """Give the Celery application for the broker at ``url``."""
    app = Celery("triage", broker=url)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        task_time_limit=wall_limit_s,
        worker_proc_alive_timeout=120,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "health_check_interval": 10,
        },
    )
    return app


_worker: Worker | None = None


def _the_worker() -> Worker:
    """Give this process's own worker: after a fork, a child makes its own connections."""
    global _worker  # noqa: PLW0603 - one worker a process is what Celery's signals offer
    if _worker is None:
        settings = configuration.load()
        queues = os.environ["TRIAGE_QUEUES"].split(",")
        _worker = Worker(connect(settings.database_url), settings, queues)
    return _worker


@signals.worker_process_init.connect
def _warm_child(**_signal: Any) -> None:  # noqa: ANN401 - Celery's signals pass what they like
    """Warm a prefork child: one torch thread each, no forward pass in the parent."""
    _warm()


def _warm() -> None:
    _the_worker().warm()
    loading.settle()


def serve(queues: list[str], concurrency: int) -> None:
    """Run a Celery worker for some queues until SIGTERM.

    On a GPU the pool is one solo process: a forked child cannot use CUDA again. Elsewhere it
    forks before anything heavy is imported.
    """
    settings = configuration.load()
    os.environ["TRIAGE_QUEUES"] = ",".join(queues)
    app = make_app(settings.site.broker.url, settings.site.work.wall_limit_s)

    @app.task(name=TASK, bind=True)
    def _run(_task: Task[Any, Any], study_id: int) -> None:
        _the_worker().run_first(study_id)

    solo = "gpu" in queues and _has_cuda(settings.site.work.device)
    if solo:
        _warm()
    log.get().info("worker.ready", queues=queues, pool="solo" if solo else "prefork")
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(queues)}",
            f"--pool={'solo' if solo else 'prefork'}",
            f"--concurrency={concurrency}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
            "--loglevel=ERROR",
            f"--hostname=triage-{'-'.join(queues)}-{os.getpid()}@%h",
        ]
    )


def _has_cuda(device: str) -> bool:
    if device == "cpu":
        return False
    import torch

    return torch.cuda.is_available()
