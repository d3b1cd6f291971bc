# SPDX-License-Identifier: GPL-2.0-only
"""How long a server works on each query of the dashboards: CPU time of its main thread, which serves nobody else meanwhile.

usage: dashboard_queries.py SOCKET FROM_MS TO_MS      called by bench_redis on what it has loaded
"""
import os
import statistics
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "dashboards"))
import grafana  # noqa: E402

ROUNDS = 5
LIMIT_MS = 50


def cpu_ms(redis):
    info = dict(line.split(":") for line in redis.ask("INFO", "cpu").split("\r\n") if ":" in line)
    return 1000 * sum(float(info["used_cpu_%s_main_thread" % kind]) for kind in ("user", "sys"))


def server_ms(redis, words):
    """Median over ROUNDS of what one command took, or the error that it was."""
    took = []
    for _ in range(ROUNDS):
        before = cpu_ms(redis)
        try:
            redis.ask(*words)
        except grafana.Error as error:
            return str(error)
        took.append(cpu_ms(redis) - before)
    return statistics.median(took)


def measure(redis, start, end):
    """(ms or error, what) of each panel."""
    values = {"__from": start, "__to": end}
    for name in grafana.NAMES:
        dashboard = grafana.load(name)
        resolved = grafana.resolve(dashboard, redis, values)
        for panel in grafana.panels(dashboard):
            for ref, words in zip("ABCDEFGH", [] if "source" in panel else grafana.commands(panel, resolved)):
                what = "%s, %s, %s (%s)" % (name, panel["title"], ref, " ".join(words[:2])[:60])
                yield server_ms(redis, words), what


def main():
    redis = grafana.Connection(sys.argv[1])
    start, end = int(sys.argv[2]), int(sys.argv[3])
    worst = 0
    for minutes in (15, 60, 180, 360, 1440):
        if minutes > 60 and end - start < minutes * 50000:
            continue
        found = list(measure(redis, end - minutes * 60000, end))
        for error, what in found:
            if isinstance(error, str):
                print("  %d min: %s: %s" % (minutes, what, error))
        found = sorted((f for f in found if not isinstance(f[0], str)), reverse=True)
        print("  queries over %d min: %.1f ms the longest, %.1f ms all %d queries of the three dashboards together" % (
            minutes, found[0][0], sum(f[0] for f in found), len(found)))
        for ms, what in found[:4]:
            print("    %6.1f ms  %s" % (ms, what))
        worst = max(worst, found[0][0])
    print("  the longest query of all: %.1f ms (limit %d)" % (worst, LIMIT_MS))


if __name__ == "__main__":
    main()
