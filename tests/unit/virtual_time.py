"""An event loop whose clock jumps: for tests of code that waits, without waiting.

`loop.time()` starts at 0 and moves only when nothing is left to do, straight to the next timer. The code under test
uses asyncio's own timers and sleeps unchanged. Used by the tests of the work queue.
"""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing is left that could ever happen: the test waits for ever")
            self.now += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`unhandled`: errors in callbacks, which asyncio else only logs; a test that uses the loop raises them."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self.unhandled: list[Exception] = []
        super().__init__(self._jumping)
        self.set_exception_handler(self._note)

    @staticmethod
    def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        assert isinstance(loop, VirtualTimeLoop)
        loop.unhandled.append(context.get("exception") or RuntimeError(context["message"]))

    def raise_unhandled(self) -> None:
        if self.unhandled:
            raise self.unhandled[0]

    def time(self) -> float:
        return self._jumping.now


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own whose time is virtual."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))
            loop = runner.get_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.raise_unhandled()

    return run
