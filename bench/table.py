#!/usr/bin/env python3
"""table.py RESULTS FOLDER JSON POSTFIX - what bench/run measured, as a table and as JSON.

RESULTS holds `name value unit` lines; FOLDER lay on the disk that was measured; POSTFIX
is its version, or empty.
"""
import json
import os
import platform
import subprocess
import sys
import time

LEVELS = (1, 16, 64, 256)
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


def read_results(path):
    values = {}
    with open(path, encoding="ascii") as lines:
        for line in lines:
            name, value, unit = line.split()
            values[name] = (float(value), unit)
    return values


def number(value):
    if value is None:
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


class Table:
    def __init__(self, values):
        self.values = values
        self.ratios = {}

    def get(self, name):
        return self.values.get(name, (None, ""))[0]

    def title(self, text, *columns):
        print(f"\n{text:<44}" + "".join(f"{column:>12}" for column in columns))

    def one(self, label, name):
        value, unit = self.values.get(name, (None, ""))
        print(f"  {label:<42}{number(value):>12} {unit}")

    def pair(self, label, ours, theirs, *more):
        mine, other = self.get(ours), self.get(theirs)
        ratio = mine / other if mine and other else None
        if ratio:
            self.ratios[ours] = round(ratio, 3)
        cells = [mine, other, ratio, *(self.get(name) for name in more)]
        print(f"  {label:<42}" + "".join(f"{number(cell):>12}" for cell in cells))


def save(target, machine, values, ratios):
    document = {
        "machine": machine,
        "results": {name: {"value": value, "unit": unit} for name, (value, unit) in values.items()},
        "meerkat_over_postfix": ratios,
    }
    with open(target + ".new", "w", encoding="ascii") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
    os.replace(target + ".new", target)


def main():
    results, folder, target, postfix = sys.argv[1:]
    machine = read_machine(folder)
    machine["postfix"] = postfix
    values = read_results(results)
    table = Table(values)
    print(f"{machine['name']}: {machine['cores']} cores, {machine['cpu']}, {machine['system']}")
    print(f"disk: {machine['disk']}; one write and sync: "
          f"p50 {number(table.get('write_and_sync_p50'))} us, "
          f"p99 {number(table.get('write_and_sync_p99'))} us")
    if postfix:
        print(f"Postfix {postfix}")

    table.title("accepted and synced, mails/s", "Meerkat", "Postfix", "ratio",
                "p50 ms", "p99 ms", "p99.9 ms", "syncs/mail")
    for level in LEVELS:
        ours = f"meerkat_accept_{level}"
        table.pair(f"{level} clients", ours, f"postfix_accept_{level}", f"{ours}_p50",
                   f"{ours}_p99", f"{ours}_p99.9", f"meerkat_fsyncs_per_mail_{level}")
    table.title("received by SMTP and synced, mails/s", "Meerkat", "Postfix", "ratio",
                "p50 ms", "p99 ms", "p99.9 ms", "theirs p99")
    for level in LEVELS:
        ours = f"meerkat_receive_{level}"
        theirs = f"postfix_receive_{level}"
        table.pair(f"{level} clients", ours, theirs, f"{ours}_p50", f"{ours}_p99",
                   f"{ours}_p99.9", f"{theirs}_p99")
    table.title("accepted to delivered, mails/s, 16 clients", "Meerkat", "Postfix", "ratio",
                "us/mail", "theirs", "p99 half", "theirs")
    for signing, label in SIGNINGS:
        ours, theirs = f"meerkat_deliver_{signing}", f"postfix_deliver_{signing}"
        table.pair(label, ours, theirs, f"{ours}_cpu", f"{theirs}_cpu", f"{ours}_half_p99",
                   f"{theirs}_half_p99")

    save(target, machine, values, table.ratios)
    table.title("Meerkat alone")
    table.one("received to webhook acknowledged, 16 clients", "meerkat_hooks")
    table.one("a 503, 1,100 clients for 1,024 places: p50", "meerkat_refusal_p50")
    table.one("  p99", "meerkat_refusal_p99")
    table.one("  p99.9", "meerkat_refusal_p99.9")
    table.one("resident at rest", "meerkat_idle_rss")
    table.one("an idle connection", "meerkat_bytes_per_idle_conn")
    for name in values:
        if name.startswith(("round_trips", "wake_p99", "commits_", "http_", "compose_", "sign_",
                            "match_", "smtp_")):
            table.one(name.replace("_", " "), name)
    print(f"\nwritten to {target}")


if __name__ == "__main__":
    main()
