#!/usr/bin/env python3
"""policies.py - a host of MTA-STS policies that takes reports on TLS, for flows.

    policies.py PORT_FILE CERT KEY FOLDER        its port, any free one, is written there

GET /.well-known/mta-sts.txt for the host mta-sts.DOMAIN gives FOLDER/DOMAIN.txt, or 404. A POST to
/report of application/tlsrpt+gzip is unpacked and written to FOLDER/report-N.json, from 1; another
type is 400. GET /count says how often each was asked.
"""
import gzip
import json
import os
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

counts = {"policies": 0, "reports": 0}
lock = threading.Lock()


def write(path, data):
    """Complete or absent: readers poll for it."""
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.rename(path + ".new", path)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def say(self, status, data, content_type="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/count":
            self.say(200, json.dumps(counts).encode(), "application/json")
            return
        domain = self.headers.get("Host", "").split(":")[0].removeprefix("mta-sts.")
        path = os.path.join(sys.argv[4], os.path.basename(domain) + ".txt")
        with lock:
            counts["policies"] += 1
        if self.path != "/.well-known/mta-sts.txt" or not os.path.exists(path):
            self.say(404, b"nothing here\n")
            return
        with open(path, "rb") as file:
            self.say(200, file.read())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.headers.get("Content-Type") != "application/tlsrpt+gzip":
            self.say(400, b"not a report\n")
            return
        with lock:
            counts["reports"] += 1
            write(os.path.join(sys.argv[4], "report-%d.json" % counts["reports"]),
                  gzip.decompress(body))
        self.say(201, b"")


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
write(sys.argv[1], str(server.server_address[1]).encode())
server.serve_forever()
