# SPDX-License-Identifier: GPL-2.0-only
"""Merged rows against all rows: made-up histories with gaps, partial intervals and fields that are not known, written in the
three tiers as the collector keeps them, asked for in steps. What comes back is compared with sums, maxima and quantiles worked
out here from every second, and from every single duration.

usage: merged.py SOCKET       a server that may be written to
"""
import json
import math
import os
import random
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grafana  # noqa: E402

SOCKET = sys.argv[1]
BASE = "gil:{web1:%d:00000001}:"
START = 1795339260000  # on a minute's end
SECONDS = 2400
TIERS = {"1s": 1000, "10s": 10000, "60s": 60000}
SUMS = ("d", "hold", "wait", "handover", "n", "c", "forced", "cpu", "cost", "lost")
LATEST = ("threads", "rss")
PARTS = ("hold_blocked", "hold_preempted", "hold_unseen", "hold_stopped")
DOINGS = ("on_cpu", "asleep", "no_cpu", "unseen", "stopped")
FIELDS = SUMS + LATEST + PARTS[:2] + DOINGS + ("util", "waiters", "cov") + tuple(
    kind + what for kind in ("hold", "wait") for what in ("_p50", "_p99", "_max"))
THREADS = ["worker-%d (%d)" % (i, 4250 + i) for i in range(7)] + ['odd "name\\" (4299)']
GAP_MS = 65000


def bucket_of(ns):
    """As README.md's schema says: bucket b begins at (4 + b % 4) * 2 ** (b // 4 + 6), the first four at 128 * b."""
    if ns < 512:
        return ns // 128
    octave = ns.bit_length() - 3
    return 4 * (octave - 6) + (ns >> octave) - 4


def histogram(durations):
    counts = {}
    for ns in durations:
        counts[min(bucket_of(ns), 131)] = counts.get(min(bucket_of(ns), 131), 0) + 1
    return [n for pair in sorted(counts.items()) for n in pair]


def quantile_us(durations, q):
    return sorted(durations)[max(1, math.ceil(q * len(durations))) - 1] / 1000


class History:
    """Seconds: row as the collector would write it, `holds` and `waits` of it in ns, `shares` of threads."""
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.base, self.seconds, self.without_coverage = BASE % seed, [], seed % 3 == 0
        # Up to no window's end, so that the coarser tiers end earlier.
        self.end = START + 1000 * (SECONDS - self.random.randrange(1, 59))
        t, light = START, False
        while t < self.end:
            if (t - START) % 60000 == 0:
                light = self.random.random() < 0.2
            t += 1000
            if self.random.random() < 0.02:
                t += 1000 * self.random.choice((1, 2, 7, 40, 70, 200))
                light = False
            if t <= self.end:
                for _ in range(self.random.choice((1, 1, 1, 1, 1, 2))):
                    self.seconds.append(self.second(t, light and (t - START) // 60000))

    def durations(self):
        return [int(10 ** self.random.uniform(2.5, 8.5)) for _ in range(self.random.choice((0, 1, 5, 20)))]

    def second(self, t, light):
        choice, number = self.random.choice, self.random.randrange
        holds, waits = self.durations(), self.durations()
        d = choice((1000000, 1000000, 1000000, 400000))
        gone = [] if self.random.random() > 0.1 else [choice(("wait", "cpu", "lost", "forced", "parts", "rss", "waiters"))]
        gone += ["cov"] if self.without_coverage else []
        cov = 1 if "cov" in gone else choice((1, 1, 1, 0.5, 0))
        if not cov:
            holds, waits = [], []
        row = {"t": t, "d": d, "hold": number(int(d * cov) + 1), "wait": number(5 * int(d * cov) + 1),
               "handover": number(1000), "n": len(holds), "c": len(waits), "forced": number(50),
               "threads": number(1, 40), "cpu": number(d), "rss": number(1000000),
               "cost": number(5000), "lost": choice((0, 0, 0, 3)), "cov": cov}
        left = row["hold"]
        for part in PARTS:
            row[part] = number(left + 1)
            left -= row[part]
        for kind, durations in (("hold", holds), ("wait", waits)):
            if durations:
                row.update({kind + "_p50": int(quantile_us(durations, 0.5)), kind + "_p99": int(quantile_us(durations, 0.99)),
                            kind + "_max": max(durations) // 1000})
        seen = d * cov
        if seen:
            row["util"], row["waiters"] = row["hold"] / seen, row["wait"] / seen
        row["hh"], row["wh"] = histogram(holds), histogram(waits)
        if light or "hold" in gone:
            gone += ["hold", "util", "hold_p50", "hold_p99", "hold_max", "hh", "parts"]
        if "wait" in gone:
            gone += ["waiters", "wait_p50", "wait_p99", "wait_max", "wh"]
        for name in gone:
            for field in PARTS if name == "parts" else (name,):
                row.pop(field, None)
        share = {thread: round(self.random.random() / 8, 4) for thread in THREADS if self.random.random() < 0.8}
        return {"row": row, "holds": holds, "waits": waits, "shares": share}

    def write(self, redis):
        for old in redis.ask("KEYS", self.base + "*"):
            redis.ask("DEL", old)
        redis.ask("HSET", self.base + "meta", "keep_proc_s", "3600,86400,604800", "keep_thread_s", "3600,21600,86400",
                  "last_ms", self.end)
        for tier, step in TIERS.items():
            windows = {}
            for second in self.seconds:
                windows.setdefault(-(-second["row"]["t"] // step) * step, []).append(second)
            for end, seconds in windows.items():
                # Of a second, each member as it was written; of a window one, once it is over.
                for n, together in enumerate([[s] for s in seconds] if tier == "1s" else [seconds] if end <= self.end else []):
                    merged = together[0]["row"] if tier == "1s" else window(end, together)
                    redis.ask("ZADD", self.base + "p:" + tier, end, json.dumps(dict(merged, u=n), separators=(",", ":")))
                if tier == "1s" or end <= self.end:
                    for kind in ("hold", "wait"):
                        row = wide([s for s in seconds if kind in s["row"]])
                        row = json.dumps(dict({"t": end}, **row), separators=(",", ":"))
                        redis.ask("ZADD", self.base + kind + ":" + tier, end, row)

    def within(self, start, end, step):
        """Seconds by the number of their step."""
        steps = {}
        for second in self.seconds:
            if start < second["row"]["t"] <= end:
                steps.setdefault(-(-second["row"]["t"] // step), []).append(second)
        return steps


def whole(step):
    """Of rows of the coarsest tier that has one for each step."""
    tier = max(t for t in TIERS.values() if t <= step)
    return -(-step // tier) * tier


def seen(second):
    return second["row"]["d"] * second["row"].get("cov", 1)


def wide(seconds):
    """Shares of the time that was seen, of each thread."""
    time = sum(map(seen, seconds))
    sums = {thread: sum(s["shares"].get(thread, 0) * seen(s) for s in seconds) for thread in THREADS}
    return {thread: v / time for thread, v in sums.items() if v > 0} if time else {}


def together(seconds, fields):
    """What is known of all of them as one."""
    rows, known = [s["row"] for s in seconds], {}
    for field in set(fields) & set(SUMS):
        if all(field in r for r in rows):
            known[field] = sum(r[field] for r in rows)
    for field in set(fields) & set(LATEST):
        values = [r[field] for r in rows if field in r]
        known.update({field: values[-1]} if values else {})
    for kind in ("hold", "wait"):
        values = [r[kind + "_max"] for r in rows if kind + "_max" in r]
        if kind in known and values:
            known[kind + "_max"] = max(values)
    if any(PARTS[0] in r for r in rows) and all(PARTS[0] in r or r.get("hold") == 0 for r in rows):
        known.update({part: sum(r.get(part, 0) for r in rows) for part in PARTS})
    time = sum(map(seen, seconds))
    for field, of in (("util", "hold"), ("waiters", "wait")):
        if time and all(field in s["row"] for s in seconds if seen(s)):
            # Who was not observed at all may lack the sum.
            known[field] = known[of] / time if of in known else sum(s["row"].get(field, 0) * seen(s) for s in seconds) / time
    if all("cov" in r for r in rows):
        known["cov"] = time / sum(r["d"] for r in rows)
    if all("hold" in r for r in rows) and time:
        parted = [r for r in rows if PARTS[0] in r]
        known.update({doing: sum(r[part] for r in parted) / time for doing, part in zip(DOINGS[1:], PARTS)})
        known["unseen"] += sum(r["hold"] for r in rows if PARTS[0] not in r) / time
        known["on_cpu"] = sum(r["hold"] - sum(r[p] for p in PARTS) for r in parted) / time
    return known


def window(end, seconds):
    """The collector's row of a window."""
    known = together(seconds, FIELDS)
    row = dict({"t": end, "d": known["d"]}, **{k: v for k, v in known.items() if k not in DOINGS})
    for kind, counts in (("hold", "hh"), ("wait", "wh")):
        if kind in row:
            durations = [ns for s in seconds for ns in s[kind + "s"]]
            row[counts] = histogram(durations)
            if durations:
                row[kind + "_p50"], row[kind + "_p99"] = int(quantile_us(durations, 0.5)), int(quantile_us(durations, 0.99))
    return row


class Merged(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis = grafana.Connection(SOCKET)
        with open(os.path.join(grafana.DASHBOARDS, "lua", "gilscope.lua"), encoding="utf-8") as f:
            cls.redis.ask("FUNCTION", "LOAD", "REPLACE", f.read())
        cls.histories = [History(seed) for seed in range(1, 7)]
        for history in cls.histories:
            history.write(cls.redis)

    def ask(self, function, key, *args):
        return [json.loads(r) for r in self.redis.ask("FCALL_RO", function, 1, key, *args)]

    def each_question(self):
        """(history, from, to, step asked for)"""
        for history in self.histories:
            for step in (1000, 2000, 5000, 10000, 15000, 30000, 60000, 90000, 300000):
                start = history.random.randrange(START - 100000, history.end - 900000)
                end = history.random.randrange(start + 600000, history.end + 100000)
                # So many rows of a second are not read at once.
                yield history, max(start, end - 1500000) if step < 10000 else start, end, step

    def same(self, row, expected, fields, where):
        for field in fields:
            self.assertEqual(field in row, field in expected, (where, field, row, expected))
            if field in row:
                self.assertAlmostEqual(row[field], expected[field], delta=2e-5 * abs(expected[field]) + 1e-9, msg=(where, field))

    def durations_are_met(self, row, seconds, kind, where):
        """Quantiles are off by a ninth at most, or unknown with what they are of."""
        known, durations = all(kind in s["row"] for s in seconds), [ns for s in seconds for ns in s[kind + "s"]]
        for name, q in (("_p50", 0.5), ("_p99", 0.99)):
            self.assertEqual(kind + name in row, bool(known and durations), (where, row))
            if known and durations:
                exact = quantile_us(durations, q)
                self.assertAlmostEqual(row[kind + name], exact, delta=exact / 9 + 1, msg=(where, kind + name))

    def test_rows_are_all_rows(self):
        compared, unknown, gaps = 0, 0, 0
        for history, start, end, step in self.each_question():
            where = (history.base, start, end, step)
            rows = self.ask("gil_rows", history.base + "p", start, end, step, ",".join(FIELDS))
            true_step = whole(step)
            steps, stamps = history.within(start, end, true_step), []
            for row in rows:
                if row.get("d", 0) is None:
                    self.assertEqual(set(row.values()) - {row["t"]}, {None})
                    gaps += 1
                    self.assertNotIn(row["t"] // true_step, steps, where)
                    continue
                stamps.append(row["t"])
                seconds = steps.pop(-(-row["t"] // true_step))
                expected = together(seconds, FIELDS)
                # Two members of one stamp have no order.
                twice = len({s["row"]["t"] for s in seconds}) < len(seconds)
                for part in PARTS[2:]:
                    expected.pop(part, None)
                fields = set(FIELDS) - set(LATEST if twice else ()) - {k + q for k in ("hold", "wait") for q in ("_p50", "_p99")}
                if true_step > 9000 and len({PARTS[0] in s["row"] for s in seconds}) > 1:
                    # A window of which one second's parts are not known has none: all of it is then unseen.
                    fields -= set(DOINGS)
                    held, known = (sum(r.get(d, 0) for d in DOINGS) for r in (row, expected))
                    self.assertAlmostEqual(held, known, delta=1e-4, msg=where)
                    self.assertGreaterEqual(row.get("unseen", 0), expected.get("unseen", 0) - 1e-5)
                self.same(row, expected, fields, where)
                for kind in ("hold", "wait"):
                    self.durations_are_met(row, seconds, kind, where)
                compared += 1
                unknown += len(set(FIELDS) - set(row))
            self.assertEqual(steps, {}, "nothing is dropped")
            self.assertEqual(stamps, sorted(set(stamps)))
            marked = [r["t"] for r in rows if r.get("d", 0) is None]
            members = history.within(start, end, true_step)
            tier = max(t for t in TIERS.values() if t <= true_step)
            for a, b in zip(stamps, stamps[1:]):
                first = members[-(-b // true_step)][0]["row"]["t"]
                missing = [apart - a > GAP_MS and -(-b // true_step) - -(-a // true_step) > 1
                           for apart in (first, -(-first // tier) * tier)]  # as the row of a second, or of a window
                self.assertIn(sum(a < t < b for t in marked), missing, (where, a, b))
        self.assertTrue(compared > 3000 and unknown > 1000 and gaps > 20, (compared, unknown, gaps))

    def test_a_week_comes_in_pieces_that_add_up(self):
        base, minutes, step = BASE % 99, 7 * 1440, 1800000
        for i in range(1, minutes + 1):
            row = '{"t":%d,"d":60000000,"hold":%d,"n":%d}' % (START + 60000 * i, i, i % 50)
            self.redis.ask("ZADD", base + "p:60s", START + 60000 * i, row)
        self.redis.ask("HSET", base + "meta", "keep_proc_s", "3600,86400,604800", "last_ms", START + 60000 * minutes)
        for from_minute in (0, 17, 1440):
            start, rows, answering = START + 60000 * from_minute - 1, [], 0
            for piece in range(1, 8):
                some = self.ask("gil_rows", base + "p", start, START + 60000 * minutes, step, "d,hold,n", "%d/7" % piece)
                rows, answering = rows + some, answering + bool(some)
            self.assertEqual(answering, 7)
            self.assertEqual(len(rows), len({-(-r["t"] // step) for r in rows}), "no step is in two pieces")
            for field, of in (("d", lambda i: 60000000), ("hold", lambda i: i), ("n", lambda i: i % 50)):
                self.assertEqual(sum(r[field] for r in rows), sum(of(i) for i in range(max(1, from_minute), minutes + 1)), field)
        day = [self.ask("gil_rows", base + "p", start, start + 86400000, 300000, "d", "%d/7" % piece) for piece in range(1, 8)]
        self.assertEqual([bool(rows) for rows in day], [True] + 6 * [False])

    def test_wide_rows_are_all_rows(self):
        compared = {False: 0, True: 0}
        for history, start, end, step in self.each_question():
            for kind, most in (("wait", len(THREADS)), ("hold", 3)):
                where = (history.base, start, end, step, kind)
                true_step = whole(step)
                steps = history.within(start, end, true_step)
                known = {n: [s for s in seconds if kind in s["row"] and seen(s)] for n, seconds in steps.items()}
                rows = self.ask("gil_wide", history.base + kind, start, end, step, most)
                if true_step < 9000:
                    self.assertEqual([r["t"] for r in rows], [n * true_step for n in sorted(known) if known[n]], where)
                for row in rows:
                    n = row["t"] // true_step
                    if true_step > 9000 and not all(kind in s["row"] for s in steps[n]):
                        continue  # a window of which a part is not known is not known
                    expected = wide(known[n])
                    for thread in set(row) - {"t", "other"}:
                        share = expected.get(thread, 0)
                        self.assertAlmostEqual(row[thread], share, delta=6e-4 * share, msg=where)
                    self.assertAlmostEqual(sum(row.values()) - row["t"], sum(expected.values()), delta=1e-3, msg=where)
                    self.assertEqual(len(row), 2 + most)
                    compared[true_step > 9000] += 1
        self.assertTrue(compared[False] > 1000 and compared[True] > 500, compared)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
