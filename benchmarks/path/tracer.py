"""Keeps the calls of the Python functions in one directory, on all threads, while it is on.

A comprehension or a generator expression is a part of its function and no call. A lambda is a call. So is each time a
generator or a coroutine is resumed. Functions that have no file, such as those that dataclasses make, are left out, and
so are modules and classes that are being defined.

Left out with everything they call: clocks, log rendering and failpoints, which are known by the names of their files.
The code that shows an id or a number in a log line is log rendering, too.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.path.calls import Call

if TYPE_CHECKING:
    from types import CodeType, FrameType

#: Files that are left out, by their name without `.py`.
LEFT_OUT = re.compile(r"(.+_)?clock|steady|logs|logging|masking|shown_ids|failpoints")
#: Code that is a part of a function.
PARTS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})


class Tracer:
    """A profile function and the calls that it was shown while it was on."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root.resolve()}{os.sep}"
        #: The file and the name of each code; None where it is not to be kept. Below: whether it is left out.
        self._places: dict[CodeType, tuple[str, str] | None] = {}
        self._left_out: dict[CodeType, bool] = {}
        self.calls: list[Call] = []
        self.is_on = False

    def install(self) -> None:
        """Watch this thread and all threads that are started from now on."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def remove(self) -> None:
        """Watch neither this thread nor threads that are started from now on."""
        sys.setprofile(None)
        threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if not self.is_on or event != "call":
            return
        code = frame.f_code
        try:
            place = self._places[code]
        except KeyError:
            place = self._places[code] = self._place(code)
        if place is not None and not self._is_left_out(frame):
            self.calls.append(Call(threading.current_thread().name, *place))

    def _place(self, code: CodeType) -> tuple[str, str] | None:
        is_function = code.co_flags & inspect.CO_OPTIMIZED and code.co_name not in PARTS
        if not is_function or not code.co_filename.startswith(self._root):
            return None
        return code.co_filename.removeprefix(self._root), code.co_qualname

    def _is_left_out(self, frame: FrameType | None) -> bool:
        while frame is not None:
            code = frame.f_code
            is_left_out = self._left_out.get(code)
            if is_left_out is None:
                is_left_out = self._left_out[code] = self._names_left_out(code)
            if is_left_out:
                return True
            frame = frame.f_back
        return False

    def _names_left_out(self, code: CodeType) -> bool:
        file = code.co_filename
        return file.startswith(self._root) and LEFT_OUT.fullmatch(Path(file).stem) is not None
