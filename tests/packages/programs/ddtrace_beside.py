# SPDX-License-Identifier: GPL-2.0-only
# needs: ddtrace sentry-sdk
"""A tracer and an error reporter in the process, with threads of their own, sending nowhere: what computes is found alone."""
import os

os.environ.update(DD_TRACE_AGENT_URL="unix:///nowhere", DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
                  DD_REMOTE_CONFIGURATION_ENABLED="false", DD_TRACE_STARTUP_LOGS="false")
import ddtrace # noqa: E402
import sentry_sdk # noqa: E402
from clocks import cause, computes, pause, run, size_for, thread # noqa: E402

try:
    from ddtrace.trace import tracer # of later versions
except ImportError:
    tracer = ddtrace.tracer
sentry_sdk.init(dsn=None, traces_sample_rate=1.0)


def render(n):
    total = 0
    for i in range(n):
        total += i
    return total


turns = size_for(40, render)
render = computes(render)


def job():
    with tracer.trace("job"), sentry_sdk.start_transaction(name="job"):
        render(turns)
    pause(0.03)


def web():
    pause(0.005)
    sum(range(1000))


thread("job", job)
for i in range(3):
    thread("web-%d" % i, web)
cause("convoy", "render", "job")
run(6)
