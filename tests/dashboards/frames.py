# SPDX-License-Identifier: GPL-2.0-only
"""Frames of one dashboard's panels out of a server with a recording, for picture.jsx.

usage: frames.py SOCKET DASHBOARD MINUTES > FILE     the last MINUTES before the newest sample of the newest process
"""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grafana  # noqa: E402

redis = grafana.Connection(sys.argv[1])
dashboard = grafana.load(sys.argv[2])
end = int(redis.ask("ZRANGE", "gil:procs", -1, -1, "WITHSCORES")[1])
values = grafana.resolve(dashboard, redis, {"__from": end - int(sys.argv[3]) * 60000, "__to": end})
frames = [grafana.frames(p, redis, values) for p in grafana.panels(dashboard)]
json.dump({"dashboard": dashboard, "frames": frames, "from": values["__from"], "to": end, "values": values}, sys.stdout)
