"""rig.py - the programs that bench/queue, bench/fairness and bench/big start, on loopback."""
import json
import signal
import subprocess
import sys
import time
import urllib.request

DOMAIN = "bench.test"


def call(url, key, path, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, method=method)
    if key:
        request.add_header("authorization", "Bearer " + key)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def await_file(path, process):
    while not (path.exists() and path.read_text().strip()):
        if process.poll() is not None:
            sys.exit(f"rig: a program ended before it wrote {path}")
        time.sleep(0.005)
    return path.read_text()


class Sink:
    def __init__(self, build, folder, listen="127.0.0.1:0", profile="", by_name=False):
        smtp, web = folder / (listen + ".smtp"), folder / (listen + ".web")
        for path in (smtp, web):
            path.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [build / "sink", "--quiet", "--listen", listen, "--port-file", smtp, "--profile",
             profile, "--http-listen", "127.0.0.1:0", "--http-port-file", web,
             *(["--by-name"] if by_name else [])],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.port = await_file(smtp, self.process).strip()
        self.url = "http://127.0.0.1:" + await_file(web, self.process).strip()

    def mails(self):
        return call(self.url, None, "/count")["mails"]

    def stop(self):
        self.process.kill()
        self.process.wait()


class Daemon:
    def __init__(self, build, data, *options):
        run = data / "run.json"
        run.unlink(missing_ok=True)
        self.log = open(str(data) + ".log", "ab")
        self.process = subprocess.Popen(
            [build / "meerkatd", "--data", data, "--http_listen", "127.0.0.1:0", "--hostname",
             DOMAIN, "--sandbox_domain", DOMAIN, "--allow_private_targets", "yes",
             "--reserve_mb", "16", "--drain_ms", "1000", "--rate_account_per_min", "100000000",
             "--rate_key_per_min", "100000000", *options], stderr=self.log)
        self.ports = json.loads(await_file(run, self.process))
        self.url = f"http://127.0.0.1:{self.ports['http']}"

    def rss(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


def sign_up(daemon, domain=DOMAIN):
    """An account whose domain may send; its key."""
    email = f"owner@{domain}"
    key = call(daemon.url, None, "/api/auth/signup",
               {"email": email, "password": "0123456789"})["apiKey"]
    row = call(daemon.url, key, "/api/domains", {"domain": domain})["domain"]
    call(daemon.url, key, f"/api/domains/{row['id']}/verify", {})
    return key


def blast(build, daemon, key, count, rcpts, concurrency, to="r{n}@d{n}.example"):
    out = subprocess.run(
        [build / "blast", "--url", daemon.url, "--key", key, "--from", "a@" + DOMAIN, "--to", to,
         "--bytes", "1024", "--count", str(count), "--rcpts", str(rcpts),
         "--concurrency", str(concurrency), "--seconds", "900"],
        capture_output=True, text=True, check=True).stdout
    values = dict(line.split()[:2] for line in out.splitlines())
    return float(values["rate"])
