# SPDX-License-Identifier: MIT
"""The long form of the edge, the kills and the mailboxes: soak.py [DELIVERIES [KILLS [EVENTS]]]

100 000 deliveries around falling asleep and waking, none lost and none later
than a second; 5 000 kills in mid hand-over; 20 000 events in 10 minutes on 50
mailboxes that 200 sessions share (mailbox_soak.py; more events take longer); 100
upgrades of 2 000 sessions, 200 kills of each program, and as many sleeping TLS
sessions as the descriptor limit allows (upgrade_soak.py)."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    deliveries = sys.argv[1] if len(sys.argv) > 1 else "100000"
    kills = sys.argv[2] if len(sys.argv) > 2 else "5000"
    events = sys.argv[3] if len(sys.argv) > 3 else "20000"
    failed = 0
    commands = (["edge.py", "-n", deliveries, "-c", "16", "--late", "1"],
                ["kills.py", "-n", kills, "--others", "100"],
                ["mailbox_soak.py", "-n", events, "--sessions", "200", "--mailboxes", "50",
                 "--seconds", str(int(events) * 3 // 100), "--late", "1"],
                ["upgrade_soak.py"])
    for command in commands:
        print("== " + " ".join(command), flush=True)
        failed += 0 != subprocess.call([sys.executable, os.path.join(HERE, command[0])] +
                                       command[1:])
    print("%d passed, %d failed" % (len(commands) - failed, failed))
    return 1 if failed else 0


sys.exit(main())
