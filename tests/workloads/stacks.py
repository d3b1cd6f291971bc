# SPDX-License-Identifier: GPL-2.0-only
"""usage: stacks.py

Threads that stand still in code of all kinds. Says `ready PID`, then answers each line with a line of JSON:
{"threads": [[native id, name, [[function, file, line], ...]], ...]}, the innermost frame first, at most 128 of them.
Functions are qualified where code objects know it (3.11 and later). The main thread, which tells it, is left out.
"""
import asyncio
import functools
import json
import os
import re
import sys
import tempfile
import threading
import zipfile

DEPTH = 128
sys.setrecursionlimit(20000)
threading.stack_size(64 << 20)
still = threading.Lock()
still.acquire()


def stand():
    still.acquire()


def stand_all(idents):
    """Whether the innermost line of all of them is that of stand(): it has only one."""
    now = sys._current_frames()
    return all(ident in now and now[ident].f_code is stand.__code__ and
               now[ident].f_lineno == stand.__code__.co_firstlineno + 1 for ident in idents)


def plain():
    stand()


def forty(depth=40):
    if depth:
        return forty(depth - 1)
    return stand()


def ten_thousand(depth=10000):
    if depth:
        return ten_thousand(depth - 1)
    return stand()


def numbers():
    for number in range(3):
        if number == 2:
            stand()
        yield number


def in_generator():
    return sum(numbers())


async def inner():
    stand()


async def outer():
    await inner()


def in_coroutine():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(outer())


def in_lambda():
    return (lambda: (
        0,
        stand(),
    ))()


class Service:
    def handle(self):
        self._work(b"x")

    def _work(self, data):
        return [stand() for _ in data]

    @staticmethod
    def static():
        stand()

    class Nested:
        def __call__(self):
            stand()


def in_method():
    Service().handle()


def below_c_code():
    """C functions that call back: sorted, json, re, functools."""
    def key(_):
        return json.dumps(object(), default=lambda _: re.sub("a", replace, "bab"))

    def replace(_):
        return functools.partial(stand)() or ""

    sorted([1], key=key)


def at_end_of_long_lines():
    many = ([1, 2, 3],
            {"a": 1,

             "b": stand()})
    return many


def in_class_body():
    class Body:
        attribute = stand()
    return Body


def zipped():
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "archive.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("zipped_module.py", "class InZip:\n    def method(self, call):\n\n        call()\n")
    sys.path.insert(0, path)
    import zipped_module
    os.unlink(path)
    os.rmdir(directory)
    zipped_module.InZip().method(stand)


def made_of_text(name, filename, lines=0):
    source = "\n" * lines + "def %s(call):\n    call()\n" % name
    space = {}
    exec(compile(source, filename, "exec"), space)
    return lambda: space[name](stand)


def far_apart():
    """Lines further apart than one byte of a line table can say, back and forth."""
    source = "def far(call):\n    return [0," + "\n" * 500 + "  call(\n" + "\n" * 200 + "  )]\n"
    space = {}
    exec(compile(source, "far.py", "exec"), space)
    space["far"](stand)


BODIES = {
    "plain": plain, "forty": forty, "ten_thousand": ten_thousand, "generator": in_generator,
    "coroutine": in_coroutine, "lambda": in_lambda, "method": in_method, "static": Service.static,
    "nested": Service.Nested(), "below_c": below_c_code, "long_lines": at_end_of_long_lines,
    "class_body": in_class_body, "zipped": zipped, "far_apart": far_apart,
    "greek": made_of_text("\u03b1\u03b2\u03b3", "\u03b4.py"), "wide": made_of_text("\U00020000wide", "\U0001f40d.py"),
    "endless": made_of_text("x" * 10240, "d/" * 5120 + "end.py"),
    "escape": made_of_text("plain_name", "e\033[31mred\033[0m\n\u202e.py"), "late": made_of_text("late", "late.py", 40000),
}


def frames_of(frame):
    frames = []
    while frame and len(frames) < DEPTH:
        code = frame.f_code
        frames.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno])
        frame = frame.f_back
    return frames


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


threads = [threading.Thread(target=body, name=name, daemon=True) for name, body in BODIES.items()]
for thread in threads:
    thread.start()
while not stand_all([thread.ident for thread in threads]):
    still.acquire(timeout=0.01)
say("ready %d" % os.getpid())
for command in sys.stdin:
    if command.strip() == "quit":
        break
    now = sys._current_frames()
    found = [[thread.native_id, thread.name, frames_of(now[thread.ident])] for thread in threads]
    say(json.dumps({"threads": found}))
sys.stdout.flush()
os._exit(0)
