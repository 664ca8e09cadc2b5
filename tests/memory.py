# SPDX-License-Identifier: MIT
"""How much memory a server takes, all its processes together.

    memory.py PID       the session that PID leads, or belongs to

The sum of Pss over the processes (/proc/PID/smaps_rollup: a page that several
processes share counts once in all), plus the pages of their memfds that no
process has mapped (the keeper holds the table without mapping it, and a new
holder maps it page by page). Memory of the kernel, its sockets above all, is
not counted. Used in the same way for servers that we compare with.
"""
import os
import re
import sys


class Unreadable(Exception):
    pass


def _read(pid, name):
    """None if the process is gone."""
    try:
        with open("/proc/%d/%s" % (pid, name), errors="replace") as f:
            return f.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError:
        raise Unreadable("/proc/%d/%s cannot be read: measure as root" % (pid, name))


def processes(leaders):
    """{pid: program} of all processes in the sessions that `leaders` lead, and
    of their descendants."""
    parent, session, name = {}, {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        stat = _read(int(entry), "stat")
        if not stat:
            continue
        head, tail = stat.rsplit(")", 1)
        fields = tail.split()
        if fields[0] == "Z":
            continue
        pid = int(entry)
        parent[pid], session[pid] = int(fields[1]), int(fields[3])
        name[pid] = head.split("(", 1)[1]
    ours = {p for p in parent if session[p] in leaders or p in leaders}
    while True:
        more = {p for p in parent if parent[p] in ours} - ours
        if not more:
            break
        ours |= more
    found = {}
    for pid in ours:
        try:
            exe = os.readlink("/proc/%d/exe" % pid).replace(" (deleted)", "")
            found[pid] = os.path.basename(exe)
        except OSError:
            found[pid] = name[pid]
    return found


def pss(pid):
    """(bytes, bytes in mapped files); zeros if the process is gone."""
    text = _read(pid, "smaps_rollup") or ""
    found = [re.search(r"^%s:\s+(\d+) kB" % key, text, re.M) for key in ("Pss", "Pss_File")]
    return tuple(int(m.group(1)) * 1024 if m else 0 for m in found)


def _memfds_open(pid):
    """{(device, inode): allocated bytes}"""
    found = {}
    base = "/proc/%d/fd" % pid
    try:
        entries = os.listdir(base)
    except (FileNotFoundError, ProcessLookupError):
        return found
    except PermissionError:
        raise Unreadable(base + " cannot be read: measure as root")
    for fd in entries:
        path = os.path.join(base, fd)
        try:
            if os.readlink(path).startswith("/memfd:"):
                st = os.stat(path)
                found[(st.st_dev, st.st_ino)] = st.st_blocks * 512
        except OSError:
            pass
    return found


def _memfds_mapped(pid):
    """{(device, inode): Pss of its mappings}"""
    found = {}
    if "/memfd:" not in (_read(pid, "maps") or ""):
        return found
    key = None
    for line in (_read(pid, "smaps") or "").splitlines():
        m = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ ([0-9a-f]+):([0-9a-f]+) (\d+)\s*(.*)", line)
        if m:
            key = None
            if m.group(4).startswith("/memfd:"):
                key = (os.makedev(int(m.group(1), 16), int(m.group(2), 16)), int(m.group(3)))
        elif key and line.startswith("Pss:"):
            found[key] = found.get(key, 0) + int(line.split()[1]) * 1024
    return found


def unmapped_memfds(pids):
    """Bytes in pages of memfds that nobody has mapped."""
    allocated, mapped = {}, {}
    for pid in pids:
        allocated.update(_memfds_open(pid))
        for key, size in _memfds_mapped(pid).items():
            mapped[key] = mapped.get(key, 0) + size
    return sum(max(0, size - mapped.get(key, 0)) for key, size in allocated.items())


def measure(leaders):
    """{"total", "files", "unmapped": bytes, "programs": {name: [processes, bytes]}}

    files: the part of total that is pages of mapped files, programs and
    libraries above all. It moves when unrelated processes that use the same
    libraries come and go; the rest does not."""
    found = processes(leaders)
    programs = {}
    files = 0
    for pid, name in found.items():
        row = programs.setdefault(name, [0, 0])
        size, mapped_files = pss(pid)
        row[0] += 1
        row[1] += size
        files += mapped_files
    unmapped = unmapped_memfds(found)
    return {"total": sum(b for _, b in programs.values()) + unmapped, "files": files,
            "unmapped": unmapped, "programs": programs}


def table(before, after, clients):
    """Lines of text: processes and memory by program, before and after."""
    lines = ["%-16s %20s %20s" % ("", "before", "after")]
    for name in sorted(set(before["programs"]) | set(after["programs"])):
        cells = ["%4d  %8.0f kB" % (m["programs"].get(name, [0, 0])[0],
                                    m["programs"].get(name, [0, 0])[1] / 1024)
                 for m in (before, after)]
        lines.append("%-16s %20s %20s" % (name, *cells))
    lines.append("%-16s %20s %20s" % ("unmapped memfds", *("%8.0f kB" % (m["unmapped"] / 1024)
                                                          for m in (before, after))))
    lines.append("%-16s %20s %20s" % ("together", *("%8.0f kB" % (m["total"] / 1024)
                                                   for m in (before, after))))
    if clients:
        lines.append("%-16s %20s %20s" % ("for each client", *(
            "%8.1f kB" % (m["total"] / 1024 / clients) for m in (before, after))))
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        print(__doc__)
        sys.exit(2)
    m = measure({os.getsid(int(sys.argv[1]))})
    print("\n".join(table(m, m, 0)))
