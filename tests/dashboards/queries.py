# SPDX-License-Identifier: GPL-2.0-only
"""Every query of every panel against a server that the integration suite has filled, as Grafana would send it; what comes
back compared with `gilscope query --json` on the same server.

usage: queries.py SOCKET FROM_MS TO_MS       environment: GILSCOPE (the program)
       READER=USER:PASSWORD   who asks for the panels' rows; changes to the server are made without
       FRAMES=FILE   leaves the frames of all panels there, for the tests of the transformations, and in FILE.variables what
       variables asked and got, and the text of each query; in FILE.history the keys and the queries, for plugin.py
"""
import base64
import json
import os
import re
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grafana  # noqa: E402

SOCKET, FROM, TO = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
THREAD = "4250"
# What works without the function library.
ESSENTIAL = 11
# So long that the steps of a picture are of one second: its rows are those that are stored.
EXACT_MS = 300000


def gilscope(*args, start=FROM, end=TO):
    command = [os.environ["GILSCOPE"], "query", "4242", "--json", "--redis", "unix://" + SOCKET, "--since", "@%d" % start,
               "--until", "@%d" % end]
    return json.loads(subprocess.run(command + list(args), check=True, capture_output=True).stdout)


def builtin(start=FROM, end=TO):
    return {"__from": start, "__to": end}


class Queries(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.redis, cls.admin = grafana.Connection(SOCKET), grafana.Connection(SOCKET)
        if "READER" in os.environ:
            cls.redis.ask("AUTH", *os.environ["READER"].split(":"))
        cls.proc = cls.redis.ask("ZRANGE", "gil:procs", 0, -1)[0]

    def values(self, dashboard, start=FROM, end=TO):
        return grafana.resolve(dashboard, self.redis, builtin(start, end), (THREAD,))

    def rows(self, name, title, start=FROM, end=TO):
        """Rows of all queries of a panel."""
        dashboard = grafana.load(name)
        panel = [p for p in grafana.panels(dashboard) if p["title"] == title][0]
        frames = grafana.frames(panel, self.redis, self.values(dashboard, start, end))
        return [json.loads(row) for frame in frames for row in frame["Value"] if row != grafana.EMPTY]

    def each(self, variant=""):
        for name in grafana.NAMES:
            dashboard = grafana.load(name, variant)
            values = self.values(dashboard)
            for panel in grafana.panels(dashboard):
                yield dashboard, panel, values

    # ---- variables ----

    def test_variables_find_process_thread_and_tier(self):
        values = self.values(grafana.load("process"))
        self.assertEqual(values["proc"], self.proc)
        values = self.values(grafana.load("thread"))
        self.assertEqual((values["thread"], values["ttier"]), (THREAD, "1s"))
        self.assertEqual(self.values(grafana.load("overview"))["tier"], "10s")

    def test_picker_shows_names(self):
        for name, text in (("proc", "python3 service.py (web1:4242)"), ("thread", "4250|intake")):
            variable = [v for v in grafana.load("thread")["templating"]["list"] if v["name"] == name][0]
            query = grafana.expand(variable["query"], {"proc": self.proc})
            offered = grafana.options(variable["regex"], grafana.leaves(self.redis.ask(*query.replace('"', "").split())))
            self.assertIn(text, [t for _, t in offered])

    def test_tier_follows_the_time_range(self):
        hour, cases = 3600000, ((0.5, "1s"), (1, "1s"), (2, "10s"), (6, "10s"), (9, "60s"), (24, "60s"), (100, "60s"))
        for hours, ttier in cases:
            self.assertEqual(self.values(grafana.load("thread"), TO - int(hours * hour))["ttier"], ttier, hours)
        for hours, tier in ((1, "10s"), (2, "10s"), (3, "60s"), (48, "60s")):
            self.assertEqual(self.values(grafana.load("overview"), TO - hours * hour)["tier"], tier, hours)

    def test_young_range_of_an_old_time_has_what_is_left(self):
        meta = "gil:{%s}:meta" % self.proc
        last = int(self.redis.ask("HGET", meta, "last_ms"))
        self.admin.ask("HSET", meta, "last_ms", last + 2 * 3600000)
        try:
            self.assertEqual(self.values(grafana.load("thread"))["ttier"], "10s", "the base tier was trimmed")
        finally:
            self.admin.ask("HSET", meta, "last_ms", last)

    # ---- every query ----

    def test_every_panel_gets_rows(self):
        for dashboard, panel, values in self.each():
            where = "%s: %s" % (dashboard["uid"], panel["title"])
            frames = grafana.frames(panel, self.redis, values)
            self.assertTrue(all(frames), where)
            # Of the pieces of so short a range the first has all.
            self.assertNotEqual(frames[0].get("Value"), [grafana.EMPTY], where)
            for frame in [f for f in frames if f.get("Value") != [grafana.EMPTY]]:
                if panel["transformations"] and "Value" in frame:
                    for row in frame["Value"]:
                        self.assertIsInstance(json.loads(row), dict, where)

    def test_stamps_ascend_within_the_range(self):
        seen = 0
        for dashboard, panel, values in self.each():
            if panel["type"] not in ("timeseries", "heatmap"):
                continue
            frames = grafana.frames(panel, self.redis, values)
            stamps = [json.loads(row)["t"] for frame in frames for row in frame["Value"] if row != grafana.EMPTY]
            self.assertTrue(all(isinstance(t, int) for t in stamps))
            self.assertEqual(stamps, sorted(stamps), panel["title"])
            step = 0
            query = grafana.asking(panel)["targets"][0]["query"]
            if panel["type"] == "heatmap" or "gil_wide" in query:
                # Cells and bars have one width, a multiple of a tier's step, and the last one ends behind the range.
                step = min(b - a for a, b in zip(stamps, stamps[1:]))
                self.assertEqual({t % step for t in stamps}, {0})
                self.assertIn(step % 10000 if "t:$" in query else step % 1000, {0})
            self.assertTrue(FROM <= stamps[0] and stamps[-1] < TO + max(step, 1), panel["title"])
            self.assertLess(len(stamps), 4000)
            seen += 1
        self.assertGreater(seen, 15)

    def test_empty_range_is_said_without_an_error(self):
        for name in grafana.NAMES:
            dashboard = grafana.load(name)
            values = dict(self.values(dashboard), **builtin(1000, 900000))
            for panel in grafana.panels(dashboard):
                query = grafana.asking(panel)["targets"][0]["query"]
                if query.split(" ")[0] == "ZRANGE" or query.startswith("FCALL_RO") and "gil_worst" not in query:
                    for frame in grafana.frames(panel, self.redis, values):
                        self.assertEqual(frame, {"Value": [grafana.EMPTY]}, panel["title"])

    def test_no_process_yet_is_said_without_an_error(self):
        nobody = {"proc": "", "thread": ""}
        for variant in ("", "eval"):
            for dashboard, panel, values in self.each(variant):
                for variable in dashboard["templating"]["list"]:
                    if variable["type"] == "query":
                        self.redis.ask(*grafana.split(grafana.expand(variable["query"], dict(values, **nobody))))
                for command in grafana.commands(panel, dict(values, **nobody)):
                    self.assertFalse("gil:{}:" in " ".join(command) and self.redis.ask(*command), panel["title"])

    def test_scripts_answer_as_functions_do(self):
        for (_, panel, values), (_, other, _) in zip(self.each(), self.each("eval")):
            if grafana.asking(panel)["targets"][0]["query"].startswith("FCALL_RO"):
                one, two = ([self.redis.ask(*c) for c in grafana.commands(p, values)] for p in (panel, other))
                self.assertEqual(one, two, panel["title"])
                self.assertEqual(len(one), len(two))

    def test_essential_panels_do_without_the_library(self):
        library = self.admin.ask("FUNCTION", "DUMP")
        self.assertTrue(library)
        source = self.admin.ask("FUNCTION", "LIST", "WITHCODE")[0]
        code = source[source.index("library_code") + 1]
        works = 0
        self.admin.ask("FUNCTION", "FLUSH")
        try:
            for dashboard, panel, values in self.each():
                if grafana.asking(panel)["targets"][0]["query"].startswith("FCALL_RO"):
                    with self.assertRaisesRegex(grafana.Error, "Function not found"):
                        grafana.frames(panel, self.redis, values)
                else:
                    grafana.frames(panel, self.redis, values)
                    works += 1
        finally:
            self.admin.ask("FUNCTION", "LOAD", "REPLACE", code)
        self.assertGreaterEqual(works, ESSENTIAL)

    # ---- the same numbers as gilscope query ----

    def same_rows(self, name, title, fields, *args, start=FROM):
        panel_rows = self.rows(name, title, start)
        query_rows = gilscope("--metric", ",".join(fields), *args, start=start)["rows"]
        # A thread's panels include their range's first millisecond, the program's begins behind it.
        panel_rows = [r for r in panel_rows if r["t"] > start]
        self.assertGreater(len(query_rows), 100)
        self.assertEqual([r["t"] for r in panel_rows], [r["t"] for r in query_rows], title)
        for ours, theirs in zip(panel_rows, query_rows):
            for field in fields:
                self.assertEqual(field in ours, field in theirs, (title, field))
                if field in ours:
                    self.assertAlmostEqual(ours[field], theirs[field], delta=1e-3 * abs(theirs[field]), msg=(title, field))

    def test_process_series_are_those_of_the_program(self):
        for title, fields in (("GIL busy", ["util"]), ("Threads waiting", ["waiters"]),
                              ("Waits", ["wait_p50", "wait_p99", "wait_max"]), ("Holds", ["hold_p50", "hold_p99", "hold_max"]),
                              ("Own cost and CPU", ["cost", "cpu", "d"]), ("Observed, and what was lost", ["cov", "lost"])):
            self.same_rows("process", title, fields, start=TO - EXACT_MS)

    def test_merged_rows_are_the_program_s_together(self):
        fields = ("d", "hold", "wait", "util", "waiters", "cpu", "cost", "lost", "cov", "hold_max", "wait_max")
        steps = {}
        for row in gilscope("--metric", ",".join(fields))["rows"]:
            steps.setdefault(-(-row["t"] // 5000), []).append(row)
        rows = self.rows("process", "Threads waiting")
        self.assertEqual([-(-r["t"] // 5000) for r in rows], sorted(steps))
        self.assertGreater(len(rows), 200)
        for row in rows:
            theirs = steps[-(-row["t"] // 5000)]
            self.assertEqual(row["t"], theirs[-1]["t"])
            for field in ("d", "cpu", "cost", "lost"):
                self.assertEqual(row[field], sum(t[field] for t in theirs), field)
            for field in ("hold_max", "wait_max"):
                self.assertEqual(row[field], max(t[field] for t in theirs if field in t), field)
            for field, of in (("util", "hold"), ("waiters", "wait")):
                share = sum(t[of] for t in theirs) / sum(t["d"] * t["cov"] for t in theirs)
                share = theirs[0][field] if len(theirs) == 1 else share
                self.assertAlmostEqual(row[field], share, delta=1e-5 * share, msg=field)
            self.assertAlmostEqual(row["cov"], sum(t["d"] * t["cov"] for t in theirs) / row["d"], delta=1e-5)

    def test_thread_series_are_those_of_the_program(self):
        for title, fields in (("Holds and waits", ["hold", "wait", "d"]), ("Waits", ["wait_p50", "wait_p99", "wait_max"]),
                              ("Acquires", ["n", "c", "forced"])):
            self.same_rows("thread", title, fields, "--thread", THREAD)

    def same_totals(self, ours, theirs, n, exact):
        """Each row that is summed up has lost less than a microsecond."""
        for field, value in theirs.items():
            if field in ("hold", "wait", "handover"):
                self.assertTrue(0 <= ours[field] - value <= n, (field, ours[field], value))
            elif field in exact:
                self.assertEqual(ours[field], value, field)

    def test_totals_are_those_of_the_program(self):
        fields = "hold,wait,util,waiters,n,c,forced,hold_max,wait_max,lost,hold_p99,wait_p99,wait_p50"
        answer = gilscope("--metric", fields)
        ours, theirs = self.rows("process", "In this range")[0], answer["totals"]
        self.same_totals(ours, theirs, len(answer["rows"]), {"n", "c", "forced", "hold_max", "wait_max", "lost"})
        for field in ("util", "waiters"):
            self.assertAlmostEqual(ours[field], theirs[field], delta=1e-4 * theirs[field])
        for field in ("hold_p99", "wait_p99", "wait_p50"):
            self.assertEqual(ours[field], theirs[field], field)

    def test_table_of_threads_is_that_of_the_program(self):
        theirs = {t["thread"]: t for t in gilscope("--threads")["threads"]}
        ours = self.rows("process", "Threads")
        self.assertEqual({r["thread"] for r in ours}, set(theirs))
        for row in ours:
            their = theirs[row["thread"]]
            self.same_totals(row, {k: v for k, v in their.items() if k not in ("thread", "name")}, 1300,
                             {"n", "c", "forced", "hold_max", "wait_max"})
            self.assertEqual(row["name"], their["name"])
            for field in ("hold_share", "wait_share"):
                self.assertAlmostEqual(row[field], their[field], delta=1e-4)

    def test_parts_of_holds_are_those_of_the_program(self):
        fields, end = ["hold", "hold_blocked", "hold_preempted", "hold_unseen", "hold_stopped", "d"], FROM + EXACT_MS
        theirs = {r["t"]: r for r in gilscope("--metric", ",".join(fields), end=end)["rows"]}
        rows = self.rows("process", "What the holder did", end=end)
        self.assertEqual([r["t"] for r in rows], sorted(theirs))
        for row in rows:
            their = theirs[row["t"]]
            for ours, field in (("asleep", "hold_blocked"), ("no_cpu", "hold_preempted"), ("unseen", "hold_unseen"),
                                ("stopped", "hold_stopped")):
                self.assertAlmostEqual(row[ours], their.get(field, 0) / their["d"], delta=2e-6, msg=field)
            self.assertAlmostEqual(sum(row[n] for n in ("on_cpu", "asleep", "no_cpu", "unseen", "stopped")),
                                   their["hold"] / their["d"], delta=4e-6)
        for part in ("asleep", "no_cpu", "unseen", "stopped"):
            self.assertTrue(any(r[part] > 0.01 for r in rows), part)

    def test_pieces_add_up_to_the_range(self):
        """What four queries answer, added up as the panel does, is what one for all of the range answers."""
        base, start = "gil:{%s}:" % self.proc, TO - 23 * 3600000
        end = start + 4 * (TO - 600000 - start) // 3  # the history lies around the cut behind the third piece
        for title, words, what, sums in (
                ("Who made whom wait", ["gil_blame", 1, base + "blame", start, end, 9999], ("victim", "holder"), ("wait",)),
                ("Code that makes others wait", ["gil_code", 1, base + "code", start, end, 9999, "blame"],
                 ("thread", "function", "file", "line"), ("blame", "hold"))):
            whole = {tuple(r[w] for w in what): r for r in map(json.loads, self.redis.ask("FCALL_RO", *words))}
            rows = self.rows("process", title, start, end)
            self.assertEqual({tuple(r[w] for w in what) for r in rows}, set(whole), title)
            self.assertEqual({r["piece"] for r in rows}, {3, 4})
            for found, expected in whole.items():
                for name in sums:
                    self.assertEqual(sum(r[name] for r in rows if tuple(r[w] for w in what) == found), expected[name], found)

    def test_long_holds_come_newest_first_and_one_thread_s_by_themselves(self):
        rows = self.rows("process", "Long holds and waits")
        self.assertEqual([r["t"] for r in rows], sorted((r["t"] for r in rows), reverse=True))
        self.assertEqual({r["kind"] for r in rows}, {"hold"})
        ended = [r for r in rows if "open" not in r]
        self.assertEqual(len(ended) * 2, len(rows))
        self.assertGreater(len(ended), 15)
        mine = self.rows("thread", "Its long holds and waits")
        self.assertEqual(mine, [r for r in rows if r["thr"] == THREAD])
        self.assertGreater(len(mine), 2)

    def test_wide_rows_add_up_to_the_process(self):
        start, seen = TO - 18 * 60000, 0  # steps of both are then of 5 s; their stamps: the end of a step, the last row
        busy = {-(-r["t"] // 5000) * 5000: r["util"] for r in self.rows("process", "GIL busy", start)}
        for row in self.rows("process", "Who holds the GIL", start):
            held = sum(v for k, v in row.items() if k != "t")
            self.assertAlmostEqual(held, busy.pop(row["t"]), delta=0.005 * max(held, 0.1))
            seen += 1
        self.assertGreater(seen, 100)
        self.assertEqual(busy, {})

    def test_overview_has_the_process(self):
        rows = self.rows("overview", "Processes in this range")
        self.assertEqual({(r["id"], r["label"]) for r in rows}, {(self.proc, "python3 service.py")})
        theirs = gilscope("--metric", "util", "--step", "10s")["rows"]
        self.assertEqual({r["t"]: r["util"] for r in rows if r["t"] > FROM}, {r["t"]: r["util"] for r in theirs})

    # ---- alerts ----

    def test_alert_rules_and_one_liners_get_a_number(self):
        path = os.path.join(grafana.DASHBOARDS, "provisioning", "alerting", "gilscope.yaml")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        asked = re.findall(r'query: "([^"]+)"', text) + re.findall(r"redis-cli (FCALL_RO [^#\n]+?)  +above", text)
        self.assertEqual(len(asked), 4)
        for query in asked:
            value, = grafana.frame({"command": ""}, self.redis.ask(*grafana.split(query)))["Value"]
            self.assertIsInstance(value, float, query)  # NaN where nothing was observed just now
        plain = re.search(r"redis-cli HGET '([^']+)' util", text).group(1)
        self.assertTrue(0 < float(self.redis.ask("HGET", re.sub(r"\{.*\}", "{%s}" % self.proc, plain), "util")))

    # ---- for the tests of the transformations ----

    def test_frames_are_left_for_those_who_transform_them(self):
        found = []
        for dashboard, panel, values in self.each():
            empty = dict(values, **builtin(1000, 900000))
            half = dict(values, **builtin(TO - 20 * 3600000, TO + 4 * 3600000))  # some pieces have nothing
            found.append({"dashboard": dashboard["uid"], "panel": panel, "replies": grafana.frames(panel, self.redis, values),
                          "half": grafana.frames(panel, self.redis, half), "empty": grafana.frames(panel, self.redis, empty)})
        self.assertGreater(len(found), 25)
        if "FRAMES" in os.environ:
            with open(os.environ["FRAMES"], "w", encoding="utf-8") as f:
                # "nan", which is what a single number says of nothing, is none in JSON.
                f.write(json.dumps(found).replace("[NaN]", "[null]"))

    def test_history_and_queries_are_left_for_other_clients(self):
        queries = []
        for _, panel, values in list(self.each()) + list(self.each("eval")):
            for target, command in zip([t for t in panel["targets"] if "panelId" not in t], grafana.commands(panel, values)):
                interval = grafana.interval_ms(panel, FROM, TO)
                text = grafana.expand(target["query"], dict(values, __interval_ms=interval)) or " ".join(command)
                queries.append((text, command))
        self.assertGreater(len(queries), 70)
        if "FRAMES" in os.environ:
            keys = {key: base64.b64encode(self.admin.ask_bytes("DUMP", key)).decode() for key in self.admin.ask("KEYS", "gil:*")}
            functions = base64.b64encode(self.admin.ask_bytes("FUNCTION", "DUMP")).decode()
            with open(os.environ["FRAMES"] + ".history", "w", encoding="utf-8") as f:
                json.dump({"keys": keys, "functions": functions, "queries": queries}, f)

    def resolved(self, dashboard):
        """A dashboard's variables, what each asked, got and took, and its queries with all but the interval put in."""
        values, variables = builtin(), {}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                text = grafana.expand(variable["query"], values)
                rows = grafana.leaves(self.redis.ask(*grafana.split(text)))
                values[variable["name"]] = self.values(dashboard)[variable["name"]]
                variables[variable["name"]] = {"query": text, "rows": rows, "value": values[variable["name"]]}
        texts = [[grafana.expand(t["query"] or t["keyName"], values) for t in p["targets"] if "panelId" not in t]
                 for p in grafana.panels(dashboard)]
        return {"dashboard": dashboard, "range": [FROM, TO], "thread": THREAD, "variables": variables, "texts": texts}

    def test_variables_are_left_for_those_who_resolve_them(self):
        found = [self.resolved(grafana.load(name, variant)) for variant in ("", "eval") for name in grafana.NAMES]
        self.assertEqual(len(found), 6)
        if "FRAMES" in os.environ:
            with open(os.environ["FRAMES"] + ".variables", "w", encoding="utf-8") as f:
                json.dump(found, f)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
