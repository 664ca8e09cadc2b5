# SPDX-License-Identifier: MIT
"""The long form of the edge and the kills: soak.py [DELIVERIES [KILLS]]

100 000 deliveries around falling asleep and waking, none lost and none later
than a second; then 5 000 kills in mid hand-over."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    deliveries = sys.argv[1] if len(sys.argv) > 1 else "100000"
    kills = sys.argv[2] if len(sys.argv) > 2 else "5000"
    failed = 0
    for command in (["edge.py", "-n", deliveries, "-c", "16", "--late", "1"],
                    ["kills.py", "-n", kills, "--others", "100"]):
        print("== " + " ".join(command), flush=True)
        failed += 0 != subprocess.call([sys.executable, os.path.join(HERE, command[0])] +
                                       command[1:])
    print("%d passed, %d failed" % (2 - failed, failed))
    return 1 if failed else 0


sys.exit(main())
