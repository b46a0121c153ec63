#!/usr/bin/env python3
"""dns.py PORT_FILE - a name server on loopback that knows no name, for bench/run: what is timed is
not how far away the machine's resolver is."""
import os
import socket
import sys

NXDOMAIN = 3


def answer(query):
    end = 12
    while query[end]:
        end += query[end] + 1
    question = query[12:end + 5]
    flags = bytes([0x84 | query[2] & 1, 0x80 | NXDOMAIN])
    counts = bytes([0, 1, 0, 0, 0, 0, 0, 0])
    return query[:2] + flags + counts + question


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
        file.write(f"{server.getsockname()[1]}\n")
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    while True:
        query, peer = server.recvfrom(4096)
        try:
            server.sendto(answer(query), peer)
        except IndexError:
            pass  # no question: no answer


if __name__ == "__main__":
    main()
