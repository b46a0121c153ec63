#!/usr/bin/env python3
"""idp.py - an identity provider that misbehaves on demand, for flows of sign-in with Google.

    idp.py PORT_FILE [CERT KEY]        its port, any free one, is written there

POST /token takes a code as RFC 6749 4.1.3 has it and gives a token; GET /userinfo takes the token
and says who it is. What a code does stands in the code itself, as in "ok:email:sub":

    ok          email and sub as told; further words: "unverified", "noname", "textverified"
    denied      400 invalid_grant            token-500, user-500     an error, with what was sent
    token-hang, user-hang       no answer    token-junk, user-junk   not JSON
    token-list, user-empty      other JSON   token-moved             302 to where it would work
    token-long                  an answer without end
    user-no-email, user-number  a person without email, or whose sub is a number

GET /count says how often each was asked; GET /last, what the last form held.
"""
import json
import os
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

counts = {"token": 0, "userinfo": 0}
last = {}
hung = threading.Event()  # never set: who waits for it hangs until the process ends


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def say(self, status, body, content_type="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def flood(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"1000\r\n" + b" " * 4096 + b"\r\n")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        code = form.get("code", "")
        what = code.split(":")[0]
        counts["token"] += 1
        last.clear()
        last.update(form, type=self.headers.get("Content-Type", ""))
        if self.path.split("?")[0] != "/token" or form.get("grant_type") != "authorization_code":
            self.say(404, {})
        elif form.get("client_secret") != "s3cret/+& Value":
            self.say(401, {"error": "invalid_client"})
        elif what == "denied":
            self.say(400, {"error": "invalid_grant", "error_description": body})
        elif what == "token-500":
            self.say(500, {"error": form["client_secret"]})
        elif what == "token-hang":
            hung.wait()
        elif what == "token-junk":
            self.say(200, b"<html>" + body.encode())
        elif what == "token-list":
            self.say(200, [form["client_secret"]])
        elif what == "token-moved":
            self.say(302, {}, headers=[("Location", "/token?moved")])
        elif what == "token-long":
            self.flood()
        else:
            self.say(200, {"access_token": code, "token_type": "Bearer", "expires_in": 3599,
                           "scope": "openid email", "id_token": "e30.e30.e30"})

    def do_GET(self):
        if self.path == "/count":
            self.say(200, counts)
            return
        if self.path == "/last":
            self.say(200, last)
            return
        counts["userinfo"] += 1
        words = self.headers.get("Authorization", "").removeprefix("Bearer ").split(":")
        what = words[0]
        person = {"sub": "1", "email": "a@b.test", "email_verified": True, "picture": "x"}
        if what == "user-500":
            self.say(500, {"error": words})
        elif what == "user-hang":
            hung.wait()
        elif what == "user-junk":
            self.say(200, b"{\"sub\":")
        elif what == "user-empty":
            self.say(200, {})
        elif what == "user-no-email":
            del person["email"]
            self.say(200, person)
        elif what == "user-number":
            self.say(200, dict(person, sub=1))
        elif what == "ok":
            person.update(email=words[1], sub=words[2], name="Some Body")
            if "unverified" in words:
                person["email_verified"] = False
            if "noname" in words:
                del person["name"]
            if "textverified" in words:
                person["email_verified"] = "true"
            self.say(200, person)
        else:
            self.say(401, {})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that leave are what some tests are about


def main():
    server = Server(("127.0.0.1", 0), Handler)
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
        file.write(f"{server.server_port}\n")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    server.serve_forever()


main()
