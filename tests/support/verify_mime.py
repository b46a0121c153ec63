"""Reads composed mails with Python's email package and compares them with what went in.

Keys of a case: name, mail, subject, addr (field, display name and address with NULs between),
header (name, value), text, html, file (filename, type, content id, bytes), tree, utf8 (headers may
be).
"""
import email
import email.errors
import email.policy

from blobs import Report, every, one, read_cases

LINE_MAX = 998


def lines_are_sound(report, name, mail, may_be_utf8):
    report.check(mail.endswith(b"\r\n"), name, "the last line has no end")
    report.check(b"\0" not in mail, name, "there is a NUL")
    rest = mail.replace(b"\r\n", b"")
    report.check(b"\r" not in rest and b"\n" not in rest, name, "there is a bare CR or LF")
    longest = max(len(line) for line in mail.split(b"\r\n"))
    report.check(longest <= LINE_MAX, name, "a line of %d bytes" % longest)
    header = mail.split(b"\r\n\r\n", 1)[0]
    report.check(may_be_utf8 or header.isascii(), name, "the header is not ASCII")
    for line in header.split(b"\r\n"):
        report.check(line.strip() != b"", name, "a line of the header is blank")
        if len(line.split()) > 2:
            report.check(len(line) <= 78, name, "an unfolded line: %r" % line)


def tree_of(part):
    if part.get_content_type() == "message/rfc822":
        return "rfc822"
    if part.is_multipart():
        inner = ",".join(tree_of(child) for child in part.get_payload())
        return "%s(%s)" % (part.get_content_subtype(), inner)
    return part.get_content_subtype()


def body_is(report, name, part, want, what):
    if part is None:
        report.check(False, name, "no %s" % what)
        return
    got = part.get_content().replace("\r\n", "\n")
    want = want.decode().replace("\r\n", "\n").replace("\r", "\n")
    # The last line of a body without multipart ends, whatever the text did.
    report.check(got in (want, want + "\n"), name,
                 "%s: got %.300r, want %.300r" % (what, got, want))


def files_are(report, name, parts, wanted):
    report.equal(len(parts), len(wanted), name, "number of attachments")
    for part, want in zip(parts, wanted):
        filename, kind, cid, data = want.split(b"\0", 3)
        report.equal(part.get_filename() or "", filename.decode(), name, "file name")
        report.equal(part.get_content_type(), kind.decode(), name, "content type")
        report.equal(part.get("content-id", ""), "<%s>" % cid.decode() if cid else "", name, "id")
        if kind == b"message/rfc822":
            got = part.get_payload()[0].as_bytes(policy=email.policy.SMTP)
        else:
            got = part.get_payload(decode=True)
        report.check(got == data, name, "bytes of %r: got %d %.60r, want %d %.60r"
                     % (filename, len(got), got, len(data), data))


def parse(mail, may_be_utf8):
    # The parser of bytes knows no UTF-8 in headers (RFC 6532); that of text does.
    if may_be_utf8:
        return email.message_from_string(mail.decode(), policy=email.policy.default)
    return email.message_from_bytes(mail, policy=email.policy.default)


def check_case(report, case):
    name = one(case, "name").decode()
    mail = one(case, "mail")
    lines_are_sound(report, name, mail, one(case, "utf8") is not None)
    message = parse(mail, one(case, "utf8") is not None)
    for part in message.walk():
        report.equal([repr(d) for d in part.defects], [], name, "defects")
        for key, value in part.items():
            defects = [repr(d) for d in value.defects
                       if not isinstance(d, email.errors.NonASCIILocalPartDefect)]
            report.equal(defects, [], name, "defects of %s" % key)
    subject = one(case, "subject")
    report.equal(message["subject"], subject.decode() if subject else None, name, "subject")
    addrs = {}
    for entry in every(case, "addr"):
        field, display, address = entry.decode().split("\0")
        addrs.setdefault(field, []).append((display, address))
    for field in ("from", "to", "cc", "reply-to"):
        found = message[field].addresses if message[field] else ()
        got = [(a.display_name, a.addr_spec) for a in found]
        report.equal(got, addrs.get(field, []), name, field)
    for entry in every(case, "header"):
        key, value = entry.decode().split("\0")
        report.equal(message.get_all(key), [value], name, key)
    parts = [p for p in message.walk() if p.get_content_disposition() is not None]
    text = one(case, "text")
    html = one(case, "html")
    bodies = {}
    for part in message.walk():
        if part.get_content_disposition() is None:
            bodies.setdefault(part.get_content_type(), part)
    if text is not None:
        body_is(report, name, bodies.get("text/plain"), text, "text")
    if html is not None:
        body_is(report, name, bodies.get("text/html"), html, "html")
    files_are(report, name, parts, every(case, "file"))
    tree = one(case, "tree")
    if tree is not None:
        report.equal(tree_of(message), tree.decode(), name, "tree")


def main():
    report = Report()
    for case in read_cases():
        report.count += 1
        check_case(report, case)
    report.finish()


main()
