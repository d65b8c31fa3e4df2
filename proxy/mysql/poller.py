"""Many descriptors behind one callback of the event loop, with epoll's own events.

Why not `loop.add_reader`: on EPOLLERR (a reset, a socketpair closed with bytes unread) uvloop runs the
callback once and then closes its handle without a word, so what is still to be read is never seen; and no
event loop tells of a hang-up on a descriptor that is not being read at the moment.

Level-triggered. EPOLLHUP and EPOLLERR are reported whatever the mask, 0 included.
"""

import asyncio
import select
import weakref
from collections.abc import Callable
from typing import Final

Handler = Callable[[int], None]

_BATCH: Final = 256


class Poller:
    """One epoll descriptor inside an event loop; it exists while it watches something."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll: select.epoll | None = None
        self._handlers: dict[int, Handler] = {}

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "Poller":
        """The poller of this event loop."""
        poller = _pollers.get(loop)
        if poller is None:
            poller = _pollers[loop] = cls(loop)
        return poller

    def watch(self, descriptor: int, mask: int, handler: Handler) -> None:
        """Call `handler(events)` on these events from now on; also changes the mask of a watched one."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._on_events)
        if descriptor in self._handlers:
            self._epoll.modify(descriptor, mask)
        else:
            self._epoll.register(descriptor, mask)
        self._handlers[descriptor] = handler

    def forget(self, descriptor: int) -> None:
        """Watch it no longer; to be called before it is closed. One that is not watched is no error."""
        if self._epoll is None or self._handlers.pop(descriptor, None) is None:
            return
        self._epoll.unregister(descriptor)
        if not self._handlers:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _on_events(self) -> None:
        assert self._epoll is not None  # the callback exists exactly as long
        for descriptor, events in self._epoll.poll(0, _BATCH):
            # An earlier handler of this batch may have ended this one. None of them opens descriptors,
            # so the number cannot mean another one by now.
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler(events)


_pollers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Poller]" = weakref.WeakKeyDictionary()
