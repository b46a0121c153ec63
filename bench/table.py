#!/usr/bin/env python3
"""table.py RESULTS FOLDER JSON SOURCE NAME=VERSION... - what bench/run measured, as a table and as
JSON.

RESULTS holds `name value unit` lines, one for each time that a figure was taken; FOLDER lay on the
disk that was measured; SOURCE is the repository; NAME=VERSION are the programs beside Meerkat.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import time

LEVELS = (1, 16, 64, 256)
# Taken on the way to another figure.
ON_THE_WAY = ("_warm", "_warm_cpu", "_half", "_half_cpu")
TITLES = {"postfix": "Postfix", "opensmtpd": "OpenSMTPD", "exim": "Exim"}
SIGNINGS = (("none", "unsigned"), ("rsa", "RSA-2048"), ("both", "RSA-2048, Ed25519"))


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def read_machine(folder):
    model = "unknown"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    disk = output("df", "--output=source,fstype", folder).splitlines() or ["? ?"]
    device, kind = disk[-1].split()
    return {
        "name": platform.node(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": model,
        "cores": os.cpu_count(),
        "disk": f"{device}, {kind}",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def read_versions(source, words):
    versions = dict(word.split("=", 1) for word in words)
    commit = output("git", "-C", source, "rev-parse", "HEAD")
    dirty = output("git", "-C", source, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit + ("+" if dirty else ""), "versions": versions}


def read_results(path):
    """{name: every value}, {name: unit}"""
    values, units = {}, {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            words = line.split()
            if len(words) == 3 and not words[0].endswith(ON_THE_WAY):
                values.setdefault(words[0], []).append(float(words[1]))
                units[words[0]] = words[2]
    return values, units


def summarize(values, units):
    return {name: {"value": statistics.median(taken), "unit": units[name], "min": min(taken),
                   "max": max(taken), "values": taken} for name, taken in values.items()}


def number(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


class Table:
    def __init__(self, results, peers):
        self.results = results
        self.peers = peers
        self.ratios = {}

    def get(self, name):
        return self.results.get(name, {}).get("value")

    def title(self, text, *columns):
        print(f"\n{text:<38}" + "".join(f"{column:>12}" for column in columns))

    def one(self, label, name):
        row = self.results.get(name)
        if row is None:
            return
        span = "" if len(row["values"]) < 2 else f"  ({number(row['min'])} to {number(row['max'])})"
        print(f"  {label:<42}{number(row['value']):>12} {row['unit']}{span}")

    def line(self, label, ours, *more):
        """Ours, each peer's, and how often ours is each of theirs."""
        mine = self.get("meerkat_" + ours)
        theirs = [self.get(f"{peer}_{ours}") for peer in self.peers]
        ratios = [mine / other if mine and other else None for other in theirs]
        for peer, ratio in zip(self.peers, ratios):
            if ratio:
                self.ratios[f"meerkat_{ours}/{peer}_{ours}"] = round(ratio, 3)
        cells = [mine, *theirs, *ratios, *(self.get(name) for name in more)]
        print(f"  {label:<36}" + "".join(f"{number(cell):>12}" for cell in cells))

    def peer_titles(self):
        names = [TITLES[peer] for peer in self.peers]
        return [*names, *("/ " + name for name in names)]


def print_table(table):
    titles = table.peer_titles()
    table.title("accepted and synced, mails/s", "Meerkat", *titles, "p50 ms", "p99 ms", "p99.9 ms",
                "syncs/mail", "CPU us")
    for level in LEVELS:
        name = f"meerkat_accept_{level}"
        table.line(f"{level} clients", f"accept_{level}", f"{name}_p50", f"{name}_p99",
                   f"{name}_p99.9", f"meerkat_fsyncs_per_mail_{level}", f"{name}_cpu")
    table.title("the same: p99, ms", "Meerkat", *titles[:len(table.peers)])
    for level in LEVELS:
        cells = [table.get(f"{server}_accept_{level}_p99") for server in ("meerkat", *table.peers)]
        print(f"  {level:<4}clients{'':<25}" + "".join(f"{number(cell):>12}" for cell in cells))
    table.title("accepted to delivered, mails/s", "Meerkat", *titles, "CPU us", "p99 half")
    for signing, label in SIGNINGS:
        name = f"meerkat_deliver_{signing}"
        table.line(label, f"deliver_{signing}", f"{name}_cpu", f"{name}_half_p99")
    table.title("the same: CPU of a mail, us", "Meerkat", *titles[:len(table.peers)])
    for signing, label in SIGNINGS:
        cells = [table.get(f"{server}_deliver_{signing}_cpu")
                 for server in ("meerkat", *table.peers)]
        print(f"  {label:<36}" + "".join(f"{number(cell):>12}" for cell in cells))
    table.title("Meerkat over SMTP, mails/s", "rate", "p50 ms", "p99 ms", "p99.9 ms")
    for kind, label in (("receive", "received"), ("submit", "submitted under TLS")):
        for level in LEVELS:
            name = f"meerkat_{kind}_{level}"
            if table.get(name):
                cells = [table.get(name + end) for end in ("", "_p50", "_p99", "_p99.9")]
                print(f"  {label + f', {level} clients':<36}"
                      + "".join(f"{number(cell):>12}" for cell in cells))


def print_rest(table):
    table.title("held against")
    table.one("the bare commit of the same rows", "bare_commit")
    table.one("accepted by 256 clients, of that", "accept_of_bare_commit")
    table.one("openssl speed rsa2048, all cores", "openssl_rsa2048")
    table.one("delivered with RSA-2048, of that", "deliver_of_openssl")
    table.title("Meerkat alone")
    table.one("mail received to webhook called", "meerkat_hooks")
    table.one("  at half that rate, from the 250: p50", "meerkat_hooks_half_p50")
    table.one("  p99", "meerkat_hooks_half_p99")
    table.one("accepted at half the rate, as due: p50", "meerkat_accept_half_p50")
    table.one("  p99", "meerkat_accept_half_p99")
    table.one("  p99.9", "meerkat_accept_half_p99.9")
    table.one("a 503, 1,100 clients for 1,024 places: p50", "meerkat_refusal_p50")
    table.one("  p99", "meerkat_refusal_p99")
    table.one("  p99.9", "meerkat_refusal_p99.9")
    table.one("resident at rest", "meerkat_idle_rss")
    table.one("an idle connection", "meerkat_bytes_per_idle_conn")
    for name in table.results:
        if name.startswith(("round_trips", "wake_p99", "commits_", "http_", "compose_", "sign_",
                            "match_", "smtp_")):
            table.one(name.replace("_", " "), name)


def save(target, document):
    with open(target + ".new", "w", encoding="ascii") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    os.replace(target + ".new", target)


def main():
    results, folder, target, source = sys.argv[1:5]
    machine = read_machine(folder)
    program = read_versions(source, sys.argv[5:])
    results = summarize(*read_results(results))
    peers = [peer for peer in TITLES if peer in program["versions"]]
    table = Table(results, peers)
    print(f"{machine['name']}: {machine['cores']} cores, {machine['cpu']}, {machine['system']}")
    print(f"disk: {machine['disk']}; one write and sync: "
          f"p50 {number(table.get('write_and_sync_p50'))} us, "
          f"p99 {number(table.get('write_and_sync_p99'))} us")
    print(f"Meerkat {program['commit'][:12]}; "
          + ", ".join(f"{name} {version}" for name, version in program["versions"].items()))
    print(f"load before: {number(table.get('load_before'))}; medians of "
          f"{len(results['meerkat_accept_64']['values'])}")
    print_table(table)
    print_rest(table)
    save(target, {"format": 1, "machine": machine, **program, "results": results,
                  "ratios": table.ratios})
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
