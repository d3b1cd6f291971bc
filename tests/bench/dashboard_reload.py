# SPDX-License-Identifier: GPL-2.0-only
"""What a reload of the process dashboard weighs: bytes of JSON, time of the server, how long viewers wait.

usage: dashboard_reload.py SOCKET FROM_MS TO_MS      called by bench_redis on what it has loaded
       BENCH_RANGES="15 60": of so many minutes up to the end; BENCH_PANELS=1: each panel, too

A reload is what Grafana sends when a dashboard is refreshed: the queries of its variables, then those of each panel; panels that
show another panel's rows send none. Time is what INFO commandstats adds up, and CPU time of the server's main thread, which also
writes the replies. Each reload is sent once before, so that scripts are compiled.
"""
import multiprocessing
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "dashboards"))
import grafana  # noqa: E402

MINUTES = tuple(map(int, os.environ.get("BENCH_RANGES", "5 15 17 30 60 180 360 720 1440").split()))
VIEWERS = 4
GOAL_MB, GOAL_MS = 1.5, 300
MB = 1e6


def info(redis, section):
    return dict(line.split(":", 1) for line in redis.ask("INFO", section).split("\r\n") if ":" in line)


def command_ms(redis):
    """Of all commands that read a history."""
    of = {name: dict(pair.split("=") for pair in text.split(",")) for name, text in info(redis, "commandstats").items()}
    return sum(int(of[name]["usec"]) for name in of if name.split("_", 1)[1] in ("zrange", "fcall_ro", "eval_ro", "hgetall")) / 1000


def cpu_ms(redis):
    said = info(redis, "cpu")
    return 1000 * sum(float(said["used_cpu_%s_main_thread" % kind]) for kind in ("user", "sys"))


def length(reply):
    return sum(map(length, reply)) if isinstance(reply, list) else len(str(reply).encode("utf-8", "surrogateescape"))


def commands(redis, dashboard, values):
    """(title, words) of all that one reload sends."""
    values = dict(values)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield "variable " + variable["name"], grafana.split(grafana.expand(variable["query"], values))
            values = grafana.resolve({"templating": {"list": [variable]}}, redis, values)
    for panel in grafana.panels(dashboard):
        if "source" not in panel:
            for words in grafana.commands(panel, values):
                yield panel["title"], words


def reload(redis, asked):
    return [length(redis.ask(*words)) for _, words in asked]


def watch(path, asked, start, took):
    redis = grafana.Connection(path)
    start.wait()
    begin = time.monotonic()
    reload(redis, asked)
    took.put(time.monotonic() - begin)


def wait_together(path, asked):
    """Seconds that each of several viewers waits who reload at once, each one query after the other; in order."""
    start, took = multiprocessing.Barrier(VIEWERS), multiprocessing.Queue()
    viewers = [multiprocessing.Process(target=watch, args=(path, asked, start, took)) for _ in range(VIEWERS)]
    for viewer in viewers:
        viewer.start()
    waited = sorted(took.get() for _ in viewers)
    for viewer in viewers:
        viewer.join()
    return waited


def measure(path, variant, values):
    redis = grafana.Connection(path)
    asked = list(commands(redis, grafana.load("process", variant), values))
    reload(redis, asked)
    before = command_ms(redis), cpu_ms(redis)
    sizes = reload(redis, asked)
    ms, cpu = command_ms(redis) - before[0], cpu_ms(redis) - before[1]
    waited = wait_together(path, asked)
    print("  %-4s %5d min  %3d queries %7.2f MB %6.0f ms %6.0f ms of CPU   %d viewers at once wait %.2f to %.2f s" % (
        variant or "", (values["__to"] - values["__from"]) // 60000, len(asked), sum(sizes) / MB, ms, cpu, VIEWERS, waited[0],
        waited[-1]))
    if os.environ.get("BENCH_PANELS"):
        for title in dict.fromkeys(t for t, _ in asked):
            mine = [i for i, (t, _) in enumerate(asked) if t == title]
            before = cpu_ms(redis)
            reload(redis, [asked[i] for i in mine])
            print("      %-32s %8.1f kB %6.1f ms of CPU" % (title, sum(sizes[i] for i in mine) / 1000, cpu_ms(redis) - before))
    sys.stdout.flush()
    return sum(sizes) / MB, ms


def main():
    path, start, end = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    weights = []
    print("  a reload of the process dashboard:")
    for variant in ("", "eval"):
        for minutes in MINUTES:
            if end - start >= minutes * 60000:
                weights.append(measure(path, variant, {"__from": end - minutes * 60000, "__to": end}))
    print("  at most %.2f MB and %.0f ms (goals %.1f and %d)" % (max(w[0] for w in weights), max(w[1] for w in weights), GOAL_MB, GOAL_MS))


if __name__ == "__main__":
    main()
