#!/usr/bin/env python3
"""dns.py PORT_FILE [ADDRESS [RECORDS]] - a name server on loopback for bench: what is timed is not
how far away the machine's resolver is. It knows no name; with ADDRESS every name has that address
and is its own mail host, but for RECORDS: a file of TXT and MX records, a line each: type, name,
value, parted by tabs."""
import os
import socket
import struct
import sys

NOERROR, NXDOMAIN = 0, 3
A, MX, TXT = 1, 15, 16


def read_name(question):
    labels, at = [], 0
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]])
        at += question[at] + 1
    return b".".join(labels).decode("ascii", "replace").lower()


def find(records, kind, question):
    name = read_name(question)
    if records:
        with open(records, encoding="ascii") as lines:
            for line in lines:
                row = line.rstrip("\n").split("\t")
                if row[:2] == [kind, name]:
                    return row[2]
    return ""


def write_text(text):
    parts = [text[at:at + 250].encode() for at in range(0, len(text), 250)]
    return b"".join(bytes([len(part)]) + part for part in parts)


def write_host(name):
    """As the question's name when there is none."""
    if not name:
        return b"\xc0\x0c"
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def answer(query, address, records):
    end = 12
    while query[end]:
        end += query[end] + 1
    question = query[12:end + 5]
    kind = struct.unpack(">H", question[-4:-2])[0]
    data = b""
    if address and kind == A:
        data = socket.inet_aton(address)
    elif address and kind == MX:
        data = struct.pack(">H", 10) + write_host(find(records, "MX", question))
    elif kind == TXT:
        data = write_text(find(records, "TXT", question))
    record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data if data else b""
    flags = bytes([0x84 | query[2] & 1, 0x80 | (NOERROR if address else NXDOMAIN)])
    counts = struct.pack(">HHHH", 1, 1 if data else 0, 0, 0)
    return query[:2] + flags + counts + question + record


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
        file.write(f"{server.getsockname()[1]}\n")
    os.replace(sys.argv[1] + ".new", sys.argv[1])
    address, records = (sys.argv[2:4] + ["", ""])[:2]
    while True:
        query, peer = server.recvfrom(4096)
        try:
            server.sendto(answer(query, address, records), peer)
        except (IndexError, struct.error):
            pass  # no question: no answer


if __name__ == "__main__":
    main()
