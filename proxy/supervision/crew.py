"""The workers as the supervisor sees them: who runs, who is ready, which configuration each one follows."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from _speedups.stats import StatsPage
from proxy import logs
from proxy.supervision import control
from proxy.supervision.children import Child, ending
from proxy.supervision.control import WorkerStart
from proxy.supervision.ports import Shares, told_of

log = logging.getLogger(__name__)

ANSWER_TIME = 15.0
"""Seconds in which a worker should be ready, or have put a new configuration in force."""
FIRST_DEATHS = 5
"""So many deaths of one worker before any worker was ever ready: the start has failed."""

Begin = Callable[[int, socket.socket], WorkerStart]
"""(index, the worker's end of its control pair) -> what it is given now."""


@dataclass(slots=True)
class Worker(Child):
    """A worker's place. `number`: the configuration it follows; `asked`: the one it has been told to."""

    index: int = 0
    control: socket.socket | None = None
    ready: bool = False
    number: int = 0
    asked: int = 0
    answer_by: float | None = None

    def hang_up(self) -> None:
        if self.control is not None:
            self.control.close()
            self.control = None


class Crew:
    """All workers. `started`: one was ready once; `hopeless`: none was, and the attempts are used up."""

    def __init__(
        self,
        count: int,
        page: StatsPage,
        program: Callable[[WorkerStart], None],
        begin: Begin,
        close_others: Callable[[int], None],
        selector: selectors.BaseSelector,
    ) -> None:
        self.workers = [Worker(f"worker {index}", index=index) for index in range(count)]
        self.started = False
        self.hopeless = False
        self.refused = False
        self.refusal = ""
        self._page = page
        self._program = program
        self._begin = begin
        self._close_others = close_others
        self._selector = selector

    @property
    def any_alive(self) -> bool:
        return any(worker.alive for worker in self.workers)

    @property
    def all_ready(self) -> bool:
        return all(worker.ready for worker in self.workers)

    def behind(self, number: int) -> list[Worker]:
        """Running workers that do not follow this configuration."""
        return [worker for worker in self.workers if worker.alive and worker.number != number]

    def take_refusals(self) -> bool:
        """Has a worker refused a configuration since this was last asked?"""
        refused, self.refused = self.refused, False
        return refused

    # --- life -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        for worker in self.workers:
            self._start(worker)

    def _start(self, worker: Worker) -> None:
        try:
            ours, theirs = control.pair()
            with theirs:
                self._fork(worker, ours, theirs)
        except OSError as error:
            self._drop_control(worker)
            pause = worker.start_later()
            log.error("%s cannot be started: %s; next attempt in %g s", worker.name, error, pause)

    def _fork(self, worker: Worker, ours: socket.socket, theirs: socket.socket) -> None:
        start = self._begin(worker.index, theirs)
        worker.control, worker.ready = ours, False
        worker.number = worker.asked = start.number
        self._selector.register(ours, selectors.EVENT_READ, worker)
        pid = worker.start(lambda: self._run(worker, start))
        worker.answer_by = time.monotonic() + ANSWER_TIME
        log.info("%s started, pid %d, configuration %d", worker.name, pid, start.number)

    def _run(self, worker: Worker, start: WorkerStart) -> None:
        """In the child."""
        self.close_controls()
        self._close_others(worker.index)
        self._page.worker_started(start.index, os.getpid())
        logs.configure(start.settings.telemetry, worker.name)
        self._program(start)

    def close_controls(self) -> None:
        """In a child: the supervisor's ends of the pairs are not its business."""
        for worker in self.workers:
            worker.hang_up()

    def reap(self, stopping: bool) -> None:
        """Sees who has died, and plans new starts unless all is to end."""
        for worker in self.workers:
            if worker.alive and (status := worker.reap()) is not None:
                self._on_end(worker, status, stopping)

    def _on_end(self, worker: Worker, status: int, stopping: bool) -> None:
        self.on_readable(worker)
        self._drop_control(worker)
        worker.ready, worker.answer_by = False, None
        self._page.worker_exited(worker.index, status)
        if stopping:
            (log.warning if status else log.info)("%s %s", worker.name, ending(status))
            return
        pause = worker.start_later()
        log.error("%s %s, starts again in %g s", worker.name, ending(status), pause)
        if not self.started and worker.backoff.deaths >= FIRST_DEATHS:
            log.critical("%s cannot start: %d attempts failed", worker.name, worker.backoff.deaths)
            self.hopeless = True

    def _drop_control(self, worker: Worker) -> None:
        if worker.control is not None:
            self._selector.unregister(worker.control)
            worker.hang_up()

    # --- time -----------------------------------------------------------------------------------------------

    def due(self) -> list[float]:
        """When something has to be done next, of each worker."""
        times = [one for worker in self.workers for one in (worker.restart_at, worker.answer_by)]
        return [one for one in times if one is not None]

    def do_what_is_due(self, now: float) -> None:
        for worker in self.workers:
            if worker.restart_at is not None and now >= worker.restart_at:
                self._start(worker)
            if worker.answer_by is not None and now >= worker.answer_by:
                self._on_silence(worker)

    def _on_silence(self, worker: Worker) -> None:
        worker.answer_by = None
        if worker.ready:
            what = f"has not put configuration {worker.asked} in force"
        else:
            what = "has not become ready"
        log.error("%s %s in %g s", worker.name, what, ANSWER_TIME)

    # --- words to workers -----------------------------------------------------------------------------------

    def tell_reload(
        self, number: int, told: Callable[[int], dict[str, Any]], ports: Callable[[int], Shares]
    ) -> None:
        """`told`: what the worker of this index is told of the configuration; `ports`: what it listens on."""
        for worker in self.workers:
            if not worker.alive:
                continue
            places, sockets = told_of(ports(worker.index))
            message = {"verb": "reload", "number": number, **told(worker.index), "ports": places}
            if worker.control is None or not control.send(worker.control, message, sockets):
                log.warning("%s cannot be told of configuration %d", worker.name, number)
                continue
            worker.asked = number
            worker.answer_by = time.monotonic() + ANSWER_TIME

    def tell_drain(self, seconds: float) -> None:
        """From here on nobody is started again."""
        for worker in self.workers:
            worker.restart_at = worker.answer_by = None
            if worker.control is not None:
                control.send(worker.control, {"verb": "drain", "seconds": seconds})

    def tell_leave(self, seconds: float, drain: float, heirs: list[socket.socket]) -> None:
        """As `tell_drain`, but clients may move to the `heirs` or stay for `seconds` before."""
        for worker in self.workers:
            worker.restart_at = worker.answer_by = None
            if worker.control is not None:
                control.send(worker.control, {"verb": "leave", "seconds": seconds, "drain": drain}, heirs)

    def kill(self) -> None:
        for worker in self.workers:
            if worker.alive:
                log.warning("%s has not ended in time, killed", worker.name)
                worker.signal(signal.SIGKILL)

    # --- words from workers ---------------------------------------------------------------------------------

    def on_readable(self, worker: Worker) -> None:
        """Takes what a worker says; hangs up when nothing more will come."""
        if worker.control is None:
            return
        messages = control.receive(worker.control)
        for message in messages or ():
            self._on_message(worker, message)
        if messages is None:
            self._drop_control(worker)

    def _on_message(self, worker: Worker, message: control.Message) -> None:
        verb, number = message["verb"], message.get("number")
        if verb == "ready":
            self._on_ready(worker)
        elif verb == "reloaded" and isinstance(number, int):
            worker.number = number
            self._on_answer(worker, number)
        elif verb in control.BETWEEN_WORKERS and isinstance(message.get("to"), int):
            self._pass_on(worker, message)
        elif verb == "refused" and isinstance(number, int):
            kept, reason = worker.number, message.get("error")
            log.error("%s refuses configuration %d and keeps %d: %s", worker.name, number, kept, reason)
            self.refused, self.refusal = True, f"{worker.name}: {reason}"
            self._on_answer(worker, number)
        else:
            log.error("%s sent a message that is none", worker.name)

    def _pass_on(self, worker: Worker, message: control.Message) -> None:
        """One worker's word to another; to one that is not there it is lost."""
        to = message["to"]
        other = self.workers[to].control if 0 <= to < len(self.workers) else None
        if other is not None:
            control.send(other, {**message, "from": worker.index})

    def _on_ready(self, worker: Worker) -> None:
        log.info("%s is ready after %.1f s", worker.name, time.monotonic() - worker.started)
        worker.ready = self.started = True
        if worker.asked == worker.number:
            worker.answer_by = None

    def _on_answer(self, worker: Worker, number: int) -> None:
        if number != worker.asked:
            return
        worker.answer_by = None
        if all(one.answer_by is None for one in self.workers) and not self.behind(number):
            log.info("configuration %d is in force in all workers", number)
