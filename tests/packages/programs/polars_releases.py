# SPDX-License-Identifier: GPL-2.0-only
# needs: polars
"""A group-by over two million rows in threads of its own, without the GIL: nobody is to be blamed."""
import polars
from clocks import pause, releases, run, thread

frame = polars.DataFrame({"key": [i % 1000 for i in range(1000000)], "value": [i * 0.5 for i in range(1000000)]})


def aggregate():
    return frame.group_by("key").agg(polars.col("value").sum()).height


aggregate = releases(aggregate)


def work():
    aggregate()
    pause(0.01)


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
run(6)
