# SPDX-License-Identifier: MIT
"""The tests against the real programs: `suite.py list fast`, `suite.py run NAME`,
`suite.py all fast JOBS [LABEL]` (several at a time).

fast: in ./run test, on the plain build. sanitized: in ./run test-all, on the
build with sanitizers and fault points.
"""
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
# name: (lists it belongs to, command)
TESTS = {
    "talks": ({"fast", "sanitized"}, ["talk.py"]),
    "talks-wrapped": ({"fast", "sanitized"}, ["talk.py", "-t", "both", "-m", "always"]),
    "wire": ({"fast", "sanitized"}, ["wire.py"]),
    "certs": ({"fast", "sanitized"}, ["certs.py"]),
    "sasl": ({"fast", "sanitized"}, ["sasl.py"]),
    "ordinary-user": ({"fast"}, ["ordinary_user.py"]),
    "attack": ({"fast", "sanitized"}, ["attack.py"]),
    "adopt": ({"fast", "sanitized"}, ["adopt.py"]),
    "differential": ({"fast", "sanitized"}, ["differential.py", "--short"]),
    "edge": ({"fast"}, ["edge.py", "-n", "2000"]),
    "edge-short": ({"sanitized"}, ["edge.py", "-n", "300", "-c", "6"]),
    "kills": ({"fast"}, ["kills.py", "-n", "2000"]),
    "edge-wrapped": ({"fast"}, ["edge.py", "-n", "500", "-t", "both"]),
    "kills-wrapped": ({"fast"}, ["kills.py", "-n", "300", "--others", "12", "-t", "both",
                                 "--keepalive", "10"]),
    "weather": ({"fast"}, ["weather.py"]),
    "clients": ({"fast"}, ["clients.py"]),
    "residue": ({"fast"}, ["residue.py"]),
    "tls-clients": ({"fast", "sanitized"}, ["tls_clients.py", "--short"]),
    "mailbox-soak": ({"fast"}, ["mailbox_soak.py", "-n", "1500"]),
    "mailbox-soak-short": ({"sanitized"}, ["mailbox_soak.py", "-n", "500", "--sessions", "20",
                                           "--mailboxes", "4"]),
    "upgrade": ({"fast"}, ["upgrade.py"]),
    "upgrade-short": ({"sanitized"}, ["upgrade.py", "--clients", "20", "--upgrades", "2",
                                      "--kills", "3"]),
    "faults": ({"sanitized"}, ["faults.py"]),
    "faults-wrapped": ({"sanitized"}, ["faults.py", "-t", "both"]),
    "kills-short": ({"sanitized"}, ["kills.py", "-n", "150", "-c", "6", "--others", "6"]),
}


# They begin first.
LONG = {"upgrade", "upgrade-short", "kills", "faults", "faults-wrapped", "talks"}
# It takes from the whole machine what others need.
ALONE = {"weather"}


class Job:
    def __init__(self, name):
        self.name, self.start = name, time.monotonic()
        self.out = tempfile.TemporaryFile()
        command = TESTS[name][1]
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, command[0])] + command[1:],
            stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT)

    def report(self, label):
        """Prints a line, or all that was said. True: passed."""
        self.out.seek(0)
        said = self.out.read().decode("utf-8", "replace").rstrip("\n")
        last = said.rsplit("\n", 1)[-1]
        good = self.process.returncode == 0
        if not good:
            print("FAIL  %s%s\n%s" % (self.name, label, said), flush=True)
        else:
            print("ok    %s%s (%d s)%s" % (self.name, label, time.monotonic() - self.start,
                                           ": " + last if " passed" in last else ""), flush=True)
        return good


def run_all(which, jobs, label):
    """Several at a time: most of them mostly wait."""
    todo = [n for n, (lists, _) in TESTS.items() if which in lists]
    todo.sort(key=lambda n: (n in ALONE, n not in LONG))
    running, passed, failed = [], 0, 0
    while todo or running:
        while todo and len(running) < jobs and not (
                running and (todo[0] in ALONE or running[0].name in ALONE)):
            running.append(Job(todo.pop(0)))
        time.sleep(0.1)
        for job in [j for j in running if j.process.poll() is not None]:
            running.remove(job)
            good = job.report(label)
            passed, failed = passed + good, failed + (not good)
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "list":
        print("\n".join(n for n, (lists, _) in TESTS.items() if sys.argv[2] in lists))
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "run":
        command = TESTS[sys.argv[2]][1]
        return subprocess.call([sys.executable, os.path.join(HERE, command[0])] + command[1:])
    if len(sys.argv) >= 4 and sys.argv[1] == "all":
        return run_all(sys.argv[2], int(sys.argv[3]), " " + sys.argv[4] if len(sys.argv) > 4
                       else "")
    print(__doc__)
    return 2


sys.exit(main())
