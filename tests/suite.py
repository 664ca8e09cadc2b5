# SPDX-License-Identifier: MIT
"""The tests against the real programs: `suite.py list fast`, `suite.py run NAME`.

fast: in ./run test, on the plain build. sanitized: in ./run test-all, on the
build with sanitizers and fault points.
"""
import os
import subprocess
import sys

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
    "adopt": ({"fast"}, ["adopt.py"]),
    "edge": ({"fast"}, ["edge.py", "-n", "2000"]),
    "edge-short": ({"sanitized"}, ["edge.py", "-n", "300", "-c", "6"]),
    "kills": ({"fast"}, ["kills.py", "-n", "2000"]),
    "edge-wrapped": ({"fast"}, ["edge.py", "-n", "500", "-t", "both"]),
    "kills-wrapped": ({"fast"}, ["kills.py", "-n", "300", "--others", "12", "-t", "both",
                                 "--keepalive", "10"]),
    "weather": ({"fast"}, ["weather.py"]),
    "clients": ({"fast"}, ["clients.py"]),
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


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "list":
        print("\n".join(n for n, (lists, _) in TESTS.items() if sys.argv[2] in lists))
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "run":
        command = TESTS[sys.argv[2]][1]
        return subprocess.call([sys.executable, os.path.join(HERE, command[0])] + command[1:])
    print(__doc__)
    return 2


sys.exit(main())
