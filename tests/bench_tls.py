# SPDX-License-Identifier: MIT
"""Figures of TLS and COMPRESS: a part of bench.py (`bench.py tls`).

Clients are those of load.py, over TLS; with COMPRESS they say what a phone says
before they idle. A log-in rate is that of four client processes together, on the
same cores as the server: each connection is a handshake, a log-in and a hand-over,
and ends there.
"""
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench  # noqa: E402
import dm  # noqa: E402

RATE_PROCESSES = 4
KINDS = (("TLS 1.3", "1.3", False), ("TLS 1.2", "1.2", False), ("TLS 1.3 and COMPRESS", "1.3", True))


class OverTls:
    """Mixed into a server of bench.py: its clients come over TLS."""
    version, deflate, phone, resume = "1.3", False, False, False

    def load(self):
        port = getattr(self, "tls_port", self.port)
        return bench.Load(type("Port", (), {"port": port}), "b%d",
                          os.path.join(self.dir, "home", "b%d", "Maildir"), ca=self.pem + ".crt",
                          version=self.version, deflate=self.deflate, phone=self.phone,
                          resume=self.resume)


class Dormouse(OverTls, bench.Dormouse):
    def __init__(self, clients, after, **options):
        super().__init__(clients, after, tls=True, **options)


class Dovecot(OverTls, bench.Dovecot):
    """TLS ends in its imap-login, which stays with each client."""

    def configuration(self, after):
        dm.Server.make_certificate(self)
        return super().configuration(after).replace("ssl = no", """ssl = required
ssl_cert = <{pem}.crt
ssl_key = <{pem}.key""".format(pem=self.pem)).replace("""  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}""".format(port=self.port).replace("{{", "{").replace("}}", "}"), """  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = %d
    ssl = yes
  }""" % self.port)


def memory_of(make, clients, version, deflate, after="1s"):
    """bench.fill() with clients of that kind, which all spoke like phones."""
    f = {"clients": clients}
    server = make(clients, after)
    server.version, server.deflate, server.phone = version, deflate, True
    with server, server.load() as load:
        bench.fill(server, load, clients, f)
        f["done"] = bench.Runs()
        f["done"].runs.append(load.call("done", first=0, count=min(clients, 1000),
                                        pause_ms=2)["ms"])
    return f


def latency(make, clients, version, hop):
    """LOGIN -> OK and NOOP -> OK; with debug_hop each of them is another process's."""
    if hop:
        server = make(1, "1h", debug_hop="yes")
    else:
        server = make(1, "1h" if make is Dormouse else "0")
    server.version = version
    f = {"login": bench.Runs(), "noop": bench.Runs()}
    with server, server.load() as load:
        load.call("login", first=0, count=1)
        for _ in range(clients):
            r = load.call("login", first=0, count=1, noops=20, pause_ms=5)
            f["login"].runs.append(r["login"])
            f["noop"].runs.append(r["noop"])
    for runs in f.values():
        runs.runs = [[x for run in runs.runs for x in run]]
    return f


def rate(make, connections, version, resume):
    """Log-ins a second of several client processes at once."""
    server = make(RATE_PROCESSES, "1h" if make is Dormouse else "0")
    server.version, server.resume = version, resume
    with server:
        loads, resumed, errors = [], [], []
        try:
            loads = [server.load() for _ in range(RATE_PROCESSES)]
            for n, load in enumerate(loads):
                load.call("login", first=n, count=1)

            def work(n):
                try:
                    for _ in range(connections // RATE_PROCESSES):
                        resumed.append(loads[n].call("login", first=n, count=1)["resumed"])
                except dm.Failure as e:
                    errors.append(e)
            threads = [threading.Thread(target=work, args=(n,)) for n in range(RATE_PROCESSES)]
            start = time.monotonic()
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            seconds = time.monotonic() - start
        finally:
            for load in loads:
                load.__exit__(None, None, None)
    if errors:
        raise errors[0]
    if bool(resume) != (max(resumed) > 1):
        raise dm.Failure("%s: %d resumed of a client" % ("resumption" if resume else "full",
                                                        max(resumed)))
    return connections / RATE_PROCESSES * RATE_PROCESSES / seconds


def seal_times():
    """What tests/bench-tls says, or why not."""
    build = os.path.dirname(dm.STAGE.rstrip("/"))
    ninja = subprocess.run(["ninja", "-C", build, "tests/bench-tls"], capture_output=True, text=True)
    if ninja.returncode != 0:
        return ["(tests/bench-tls could not be built in %s)" % os.path.basename(build)]
    return subprocess.run([os.path.join(build, "tests", "bench-tls")], check=True,
                          capture_output=True, text=True).stdout.rstrip("\n").split("\n")


def met(f, bar):
    return "met" if max(f["each"], f["own"]) <= bar else "MISSED"


def section(clients, many, runs, logins, with_dovecot):
    """Lines of doc/figures.md. False: a bar was missed."""
    rows = []

    def row(what, bar, value, verdict="", other=""):
        rows.append((what, bar, value, verdict, other))
        bench.say("%-66s %-34s %-7s %s" % (what, value, verdict, other and "[Dovecot: %s]" % other))

    def dovecot(what, function, *arguments):
        if not with_dovecot:
            return ""
        try:
            return function(Dovecot, *arguments)
        except dm.Failure as e:
            bench.say("Dovecot, %s: %s" % (what, e))
            return ""

    def log_in_rate(make, *arguments):
        return "%.0f a second" % rate(make, *arguments)

    for count in sorted({clients, many}):
        for name, version, deflate in KINDS:
            if count == many and count != clients and version == "1.2":
                continue
            bar = 2048 if deflate else 1024
            f = memory_of(Dormouse, count, version, deflate)
            other = dovecot(name, memory_of, count, version, deflate) \
                if count == clients and not deflate and version == "1.3" else ""
            row("memory a sleeper, %d asleep, %s, after 30 commands" % (count, name),
                "≤ %d KiB" % (bar // 1024), bench.kib(f["each"]), met(f, bar),
                bench.kib(other["each"]) if other else "")
            row("... `DONE` → tagged OK, asleep", "", f["done"].text(), "",
                other["done"].text() if other else "")
    for version in ("1.3", "1.2"):
        f = latency(Dormouse, runs, version, False)
        other = dovecot("latency", latency, runs, version, False)
        row("`LOGIN` → tagged OK (hand-off to `imap`), TLS " + version, "", f["login"].text(), "",
            other["login"].text() if other else "")
        row("`NOOP` → tagged OK, awake, TLS " + version, "", f["noop"].text(), "",
            other["noop"].text() if other else "")
        f = latency(Dormouse, runs, version, True)
        row("`NOOP` → tagged OK, a hand-off for each (debug_hop), TLS " + version, "",
            f["noop"].text())
    for version in ("1.3", "1.2"):
        for resume in (False, True):
            row("log-ins, TLS %s, %s handshake" % (version, "resumed" if resume else "full"), "",
                log_in_rate(Dormouse, logins, version, resume), "",
                dovecot("rate", log_in_rate, logins, version, resume))
    lines = ["## TLS and COMPRESS", "",
             "Measured by `./run bench tls`; machine, memory and latencies as above. Key: P-256. "
             "Log-in rates: %d client processes (Python)" % RATE_PROCESSES,
             "on the same cores, LOGIN included (`PLAIN` hash). Memory: COMPRESS windows are those of "
             "30 commands of a phone.", "",
             "| figure | bar | measured | | Dovecot, same run |", "| --- | --- | --- | --- | --- |"]
    lines += ["| %s |" % " | ".join(r) for r in rows]
    lines += ["", "Sealing and opening (`tests/bench-tls`):", "", "```"] + seal_times() + ["```"]
    return lines, all(r[3] != "MISSED" for r in rows)
