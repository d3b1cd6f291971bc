# SPDX-License-Identifier: GPL-2.0-only
"""usage: family.py prefork [CHILDREN] [CALLS] | pool METHOD [CHILDREN] [CALLS] | bomb [CHILDREN] [CALLS]
       | hogs METHOD [CHILDREN] [HOLDS] | orphans [CHILDREN] [CALLS] | mixed | executed [CALLS] [HOW...]
       | builds EXECUTABLE [CALLS] | serve [CHILDREN] [THREADS] [MS]

Where a child counts from its fork on, what CPython itself does after a fork is not in the truth.
prefork: on `go` children are forked. Child i makes CALLS + i calls that release the GIL once each, forks a child of its own that
makes CALLS calls, waits for that, and reports. Truth: `children`, [pid, acquires] each, grandchildren too; all of them have ended.
pool: a multiprocessing pool by METHOD (fork, spawn, forkserver). On `go` its processes begin and it says `born PID...`; on the
second `go` each runs a thread that makes CALLS calls. Truth: `children`, [pid, tid, acquires of the thread].
hogs: the same with a hog and a victim in each process, as in hog_victim.py, at their gates before it says `born`. Truth:
`children`, {pid, threads} each.
bomb: on `go` children are forked one after the other that live for CALLS calls. Truth: `children`, [pid, acquires, ns that it
lived at most].
orphans: on `go` children are forked, said, and the parent ends at once. They make CALLS calls a while later and end.
mixed: on `go` children that become something else: a program that is not Python, a Python by way of a shell, one by
posix_spawn. Truth: `python`, the two PIDs, which stay until `quit`; `other`, the third.
executed: on `go` children that execute this interpreter, one for each HOW (all that there are), make CALLS calls in their main
thread and in two more, and end. Truth: `children`, [HOW, pid, tids of the two] each; what they count is libsignalcount's to tell.
builds: on `go` such a child of another build, which says its PID when it has made its calls, and stays; on the second `go` one more,
which ends. Truth as above.
serve: CHILDREN processes of THREADS threads that work a little every MS milliseconds until they are told to quit: a prefork
server. `go`: says its children's PIDs; `kill`: the first of them is killed.
"""
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import workload
from workload import START, drop, keep

PR_SET_PDEATHSIG = 1


def number(words, i, default):
    return int(words[i]) if len(words) > i else default


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def loop(calls):
    for _ in range(calls):
        drop.noop()


def fork(body, *args):
    """A child that runs body and ends. Its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            body(*args)
        finally:
            os._exit(0)
    return pid


def report_children(begin, children, **more):
    workload.report(begin, keep.now_ns(), [], children=children, **more)


# ---- prefork ----------------------------------------------------------------------------------------


def grandchild(calls, out):
    loop(calls)
    # The last one is that after this write.
    os.write(out, b"%d %d\n" % (os.getpid(), calls + 1))


def child(calls, extra, out):
    loop(calls + extra)
    os.waitpid(fork(grandchild, calls, out), 0)
    os.write(out, b"%d %d\n" % (os.getpid(), calls + extra + 1 + 1))


def run_prefork(children, calls):
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    reading, writing = os.pipe()
    pids = [fork(child, calls, i, writing) for i in range(children)]
    for pid in pids:
        os.waitpid(pid, 0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        report_children(begin, [[int(word) for word in line.split()] for line in lines])


# ---- pool -------------------------------------------------------------------------------------------


def pool_process(born, go, done, calls):
    """Initializes a process of the pool: runs in each."""
    die_with_parent()
    workload.never_force()
    born.put(os.getpid())
    go.wait()
    thread = workload.start_thread("counted", loop, calls)
    thread.join()
    # It acquires once to begin, and once after each call.
    done.put([os.getpid(), thread.tid, 1 + calls])


def hog_process(born, go, done, holds):
    """The same, with a hog and its victim, who stand at their gates when it is born."""
    die_with_parent()
    play = workload.HogPlay(1, holds)
    threads = [workload.start_thread(workload.part_name(part), play.play, part) for part in range(2)]
    drop.gate_watch(START, len(threads))
    born.put(os.getpid())
    go.wait()
    done.put({"pid": os.getpid(), "threads": [
        dict(truth, tid=thread.tid, name=thread.name) for thread, truth in zip(threads, play.direct())]})


def run_pool(method, children, amount, process):
    import multiprocessing
    context = multiprocessing.get_context(method)
    born, done, go = context.Queue(), context.Queue(), context.Event()
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    pool = context.Pool(children, process, (born, go, done, amount))
    workload.say("born " + " ".join(str(born.get()) for _ in range(children)))
    workload.expect("go")
    go.set()
    truth = [done.get() for _ in range(children)]
    # Says it before the pool's processes end, and ends them when told to.
    workload.say(json.dumps({"children": truth}))
    sys.stdin.readline()
    pool.terminate()
    pool.join()
    del begin


# ---- others -----------------------------------------------------------------------------------------


def run_bomb(children, calls):
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    lives = []
    for _ in range(children):
        before = keep.now_ns()
        pid = fork(loop, calls)
        os.waitpid(pid, 0)
        lives.append([pid, calls, keep.now_ns() - before])
    report_children(begin, lives)


def orphan(calls):
    drop.nap(700000000)
    loop(calls)
    drop.nap(700000000)


def run_orphans(children, calls):
    workload.ready()
    workload.expect("go")
    workload.say('{"children": %s}' % [[fork(orphan, calls), 2 + calls] for _ in range(children)])
    os._exit(0)


STAY = "import sys; print('here', flush=True); sys.stdin.readline()"


def run_mixed():
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    other = subprocess.Popen(["/bin/cat"], **pipes)
    shell = subprocess.Popen(["/bin/sh", "-c", "exec \"$0\" -c \"$1\"; true", sys.executable, STAY], **pipes)
    reading, writing = os.pipe()
    echo_in, echo_out = os.pipe()
    spawned = os.posix_spawn(sys.executable, [sys.executable, "-c", STAY], os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_DUP2, echo_out, 1)])
    shell.stdout.readline()
    os.read(echo_in, 5)
    workload.say('{"other": %d, "python": [%d, %d]}' % (other.pid, shell.pid, spawned))
    sys.stdin.readline()
    for process in (other, shell):
        process.stdin.close()
        process.wait()
    os.write(writing, b"\n")
    os.waitpid(spawned, 0)
    del begin


# ---- children that execute a Python -------------------------------------------------------------------


def executed(calls, say, again=0):
    """What such a child does; `say` sends its PID and the tids of its threads."""
    if again < 0:
        threading.Thread(target=os.execv, args=(sys.executable, child_command(calls))).start()
        time.sleep(60)
    if again > 0:
        os.execv(sys.executable, child_command(calls, again - 1))
    threads = [workload.start_thread("executed-%d" % i, loop, calls) for i in range(2)]
    loop(calls)
    for thread in threads:
        thread.join()
    say([os.getpid()] + [thread.tid for thread in threads])


def child_command(calls, again=0, executable=sys.executable):
    """again: executes itself so many times before; -1: once, by another thread than the first."""
    return [executable, __file__, "child", str(calls), str(again)]


def hear(stream):
    line = stream.readline()
    return [int(word) for word in line.split()]


def popen(calls, command=None, **more):
    with subprocess.Popen(command or child_command(calls), stdout=subprocess.PIPE, **more) as process:
        return hear(process.stdout)


def through_a_shell(calls):
    return popen(calls, ["/bin/sh", "-c", '"$@"; true', "sh"] + child_command(calls))


def left_by_a_shell(calls):
    """Whoever started it has ended when it begins."""
    return popen(calls, ["/bin/sh", "-c", '(sleep 0.1; exec "$@") &', "sh"] + child_command(calls))


def executed_again(calls):
    return popen(calls, child_command(calls, 2))


def executed_by_a_thread(calls):
    return popen(calls, child_command(calls, -1))


def no_python(_):
    with subprocess.Popen(["/bin/true"]) as process:
        return [process.pid]


def without_vfork(calls):
    """fork and exec, as subprocess does where it must run code in between."""
    return popen(calls, preexec_fn=os.getpid)


def spawn(calls, start):
    """start(descriptor for its output) starts it, returns its PID."""
    reading, writing = os.pipe()
    pid = start(writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        said = hear(lines)
    os.waitpid(pid, 0)
    return said


def by_posix_spawn(calls):
    return spawn(calls, lambda out: os.posix_spawn(sys.executable, child_command(calls), os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, out, 1)]))


def by_fork(calls):
    def start(out):
        def become():
            os.dup2(out, 1)
            os.execv(sys.executable, child_command(calls))
        return fork(become)
    return spawn(calls, start)


def by_multiprocessing(method, calls):
    import multiprocessing
    context = multiprocessing.get_context(method)
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=executed, args=(calls, sending.send))
    process.start()
    said = receiving.recv()
    process.join()
    return said


WAYS = {
    "subprocess": popen, "preexec": without_vfork, "shell": through_a_shell, "orphan": left_by_a_shell,
    "again": executed_again, "thread": executed_by_a_thread, "posix_spawn": by_posix_spawn, "fork": by_fork,
    "spawn": lambda calls: by_multiprocessing("spawn", calls),
    "forkserver": lambda calls: by_multiprocessing("forkserver", calls),
}


def run_executed(calls, ways):
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    children = []
    for how in ways:
        pid, *tids = WAYS.get(how, no_python)(calls)
        children.append([how, pid, tids])
    report_children(begin, children)


def run_builds(executable, calls):
    workload.ready()
    workload.expect("go")
    begin = keep.now_ns()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    first = subprocess.Popen(child_command(calls, executable=executable) + ["stay"], **pipes)
    said = hear(first.stdout)
    workload.say("%d" % said[0])
    workload.expect("go")
    children = [["first", said[0], said[1:]]]
    pid, *tids = popen(calls, child_command(calls, executable=executable))
    children.append(["second", pid, tids])
    first.stdin.close()
    first.wait()
    report_children(begin, children)


def serve_worker(threads, ms):
    die_with_parent()
    threading.stack_size(128 * 1024)

    def work():
        while True:
            sum(range(20000))
            time.sleep(ms / 1000)

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    signal.pause()


def run_serve(children, threads, ms):
    warnings.simplefilter("ignore", DeprecationWarning)
    pids = [fork(serve_worker, threads, ms) for _ in range(children)]
    workload.ready()
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        if line.strip() == "go":
            workload.say('{"children": %s}' % pids)
        if line.strip() == "kill":
            os.kill(pids[0], signal.SIGKILL)
            os.waitpid(pids.pop(0), 0)
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def main(how, rest):
    if how == "prefork":
        run_prefork(number(rest, 0, 4), number(rest, 1, 1003))
    elif how == "pool":
        run_pool(rest[0], number(rest, 1, 4), number(rest, 2, 2003), pool_process)
    elif how == "hogs":
        run_pool(rest[0], number(rest, 1, 2), number(rest, 2, 20), hog_process)
    elif how == "bomb":
        run_bomb(number(rest, 0, 200), number(rest, 1, 101))
    elif how == "orphans":
        run_orphans(number(rest, 0, 3), number(rest, 1, 503))
    elif how == "mixed":
        run_mixed()
    elif how == "executed":
        run_executed(number(rest, 0, 503), rest[1:] or WAYS)
    elif how == "child":
        executed(int(rest[0]), lambda said: print(*said, flush=True), int(rest[1]))
        if rest[2:]:
            sys.stdin.readline()
    elif how == "builds":
        run_builds(rest[0], number(rest, 1, 503))
    elif how == "serve":
        run_serve(number(rest, 0, 4), number(rest, 1, 3), number(rest, 2, 20))
    else:
        sys.exit(__doc__)


# A spawned process of a pool imports this file.
if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
