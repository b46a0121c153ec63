"""Signs mails with dkimpy, an implementation that shares no line with ours, for ours to verify.

Writes cases to standard output: name, mail, record (name of the TXT record and its text with a NUL
between), expect (the word of RFC 8601 for every signature), partial ("yes" when l= leaves text
out).
"""
import base64
import hashlib
import subprocess
import sys

import dkim
import nacl.signing


def openssl(*command, given=b""):
    return subprocess.run(("openssl",) + command, input=given, capture_output=True,
                          check=True).stdout


RSA_PEM = openssl("genrsa", "-traditional", "2048")
RSA_PUBLIC = base64.b64encode(openssl("rsa", "-pubout", "-outform", "DER", given=RSA_PEM))
ED_SEED = bytes(range(32))
ED_KEY = nacl.signing.SigningKey(ED_SEED)
ED_PUBLIC = base64.b64encode(ED_KEY.verify_key.encode())
RECORDS = [
    b"r._domainkey.example.com\0v=DKIM1; p=" + RSA_PUBLIC,
    b"e._domainkey.example.com\0v=DKIM1; k=ed25519; p=" + ED_PUBLIC,
]
MAILS = {
    "short": b"From: a@example.com\r\nTo: b@example.net\r\nSubject: Hi\r\n\r\nHello\r\n",
    "no body": b"From: a@example.com\r\nTo: b@example.net\r\n\r\n",
    "empty lines": b"From: a@example.com\r\n\r\n\r\n\r\n\r\n",
    "no line end": b"From: a@example.com\r\n\r\nno line end",
    "spaces": b"FROM:  \"A  B\"\r\n\t<a@example.com>  \r\nsubject:\r\n folded\r\n   again \t\r\n"
              b"\r\n a  b \t\r\n\t\r\nc\t\r\n  \r\n\r\n",
    "twice": b"From: a@example.com\r\nTo: 1@x.y\r\nTo: 2@x.y\r\nSubject: 1\r\nSubject: 2\r\n"
             b"To: 3@x.y\r\n\r\nx\r\n",
    "utf8": b"From: \xc3\xa4@example.com\r\nSubject: \xc3\xa4  \xc3\xb6\r\n\r\n\xc3\xa4 \xff\r\n",
    "long": b"From: a@example.com\r\nSubject: long\r\n\r\n"
            + b"".join(b"line %d \t with  spaces \r\n" % n for n in range(3000)),
}


def emit(key, value):
    sys.stdout.buffer.write(b"%s %d\n%s\n" % (key.encode(), len(value), value))


def emit_case(name, mail, expect="pass", partial="no"):
    emit("name", name.encode())
    emit("mail", mail)
    for record in RECORDS:
        emit("record", record)
    emit("expect", expect.encode())
    emit("partial", partial.encode())
    emit("end", b"0")


def sign(mail, algo, canon=(b"relaxed", b"relaxed"), **more):
    if algo == "rsa":
        key, selector, name = RSA_PEM, b"r", b"rsa-sha256"
    else:
        key, selector, name = base64.b64encode(ED_SEED), b"e", b"ed25519-sha256"
    signer = dkim.DKIM(mail, signature_algorithm=name)
    signer.should_not_sign = set()
    return signer.sign(selector, b"example.com", key, canonicalize=canon, **more) + mail


def sign_plainly(before_b, b_name, after_b):
    """c=simple/simple by hand, with b= wherever the case wants it."""
    body = b"text\r\n"
    field = b"From: a@example.com\r\n"
    digest = base64.b64encode(hashlib.sha256(body).digest())
    before = b"DKIM-Signature: " + before_b.replace(b"@BH@", digest)
    own = before + b_name + after_b
    value = base64.b64encode(
        ED_KEY.sign(hashlib.sha256(field + own).digest()).signature)
    spaced = b" " + value[:20] + b"\r\n  " + value[20:] + b" "
    return before + b_name + spaced + after_b + b"\r\n" + field + b"\r\n" + body


def forms():
    for name, mail in MAILS.items():
        for header in (b"simple", b"relaxed"):
            for body in (b"simple", b"relaxed"):
                for algo in ("rsa", "ed25519"):
                    signed = sign(mail, algo, (header, body))
                    label = "%s %s %s/%s" % (name, algo, header.decode(), body.decode())
                    emit_case(label, signed)
                    emit_case(label + " body", signed + b"x", "fail")
                    other = mail.replace(b"@example.com", b"@example.org", 1)
                    emit_case(label + " header", signed[:-len(mail)] + other, "fail")


def lengths():
    for body in (b"simple", b"relaxed"):
        signed = sign(MAILS["short"], "rsa", (b"relaxed", body), length=True)
        emit_case("l= and no more", signed)
        emit_case("l= and empty lines", signed + b"\r\n\r\n")
        emit_case("l= and more", signed + b"more\r\n", partial="yes")
        emit_case("l= and less", signed[:-4], "permerror")
        emit_case("l= and other", signed.replace(b"Hello", b"Hallo"), "fail")


def others():
    everything = [b"from", b"to", b"subject", b"from", b"to", b"subject", b"cc"]
    signed = sign(MAILS["short"], "rsa", include_headers=everything)
    emit_case("over-signed", signed)
    emit_case("over-signed, a field more", b"Cc: c@x.y\r\n" + signed, "fail")
    emit_case("over-signed, a second From", b"From: c@x.y\r\n" + signed, "fail")
    emit_case("over-signed, others", b"Received: x\r\n" + signed)
    signed = sign(MAILS["twice"], "rsa", include_headers=[b"from", b"to"])
    emit_case("the lowest of three", signed)
    emit_case("one above the lowest changed", signed.replace(b"1@x.y", b"9@x.y"))
    emit_case("the lowest changed", signed.replace(b"3@x.y", b"9@x.y"), "fail")
    emit_case("i=", sign(MAILS["short"], "ed25519", identity=b"joe@sub.example.com"))
    both = sign(sign(MAILS["short"], "rsa"), "ed25519")
    emit_case("two signatures", both)
    names = [b"from", b"dkim-signature"]
    over = sign(sign(MAILS["short"], "rsa"), "ed25519", include_headers=names)
    emit_case("a signature that signs another", over)
    start = b"v=1; a=ed25519-sha256; d=example.com; s=e; h=From; bh=@BH@; "
    emit_case("b= last", sign_plainly(start, b"b=", b""))
    emit_case("b= amid", sign_plainly(start, b"b=", b"; q=dns/txt; x-b=1"))
    emit_case("b= spaced", sign_plainly(start, b"b\r\n\t =", b"; q=dns/txt;"))
    own = start.replace(b"h=From", b"h=DKIM-Signature:From:DKIM-Signature")
    emit_case("h= names the signature itself", sign_plainly(own, b"b=", b""))
    emit_case("b= first", sign_plainly(b"", b" b=", b"; " + start.replace(
        b"@BH@", base64.b64encode(hashlib.sha256(b"text\r\n").digest()))))


def main():
    forms()
    lengths()
    others()


main()
