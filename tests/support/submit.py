"""A client that submits mail, with Python's smtplib, over STARTTLS or TLS from the start.

submit.py WHAT MODE PORT CA KEY [ARGUMENT...] prints one line for each thing it was told; MODE is
starttls or tls. The certificate is verified against CA for localhost's address.

  mail FROM FILE RCPT...   the mail in FILE: the last reply, or the first one that is a refusal
  mailto OPTIONS FROM FILE RCPT...  the same with options of MAIL FROM
  login                    the reply to AUTH
  clear                    replies to AUTH and MAIL before TLS
  pipeline FROM FILE RCPT  all of two mails in one write: every reply
  revoke URL OWNER ID      logs in, has the key revoked over HTTP, and says what the session and
                           another log-in are told
  flood FROM FILE RCPT     mails without end, each its last reply, until the server has gone
"""
import base64
import smtplib
import ssl
import sys
import urllib.request


def text_of(reply):
    return "%d %s" % (reply[0], reply[1].decode().replace("\n", " | "))


def connect(mode, port, ca):
    context = ssl.create_default_context(cafile=ca)
    if mode == "tls":
        return smtplib.SMTP_SSL("127.0.0.1", port, local_hostname="client.test", context=context,
                                timeout=30)
    client = smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=30)
    client.starttls(context=context)
    return client


def log_in(client, key):
    client.ehlo()
    plain = base64.b64encode(b"\0anybody\0" + key.encode()).decode()
    return client.docmd("AUTH", "PLAIN " + plain)


def send(client, options, sender, mail, rcpts):
    reply = client.mail(sender, options)
    for rcpt in rcpts:
        if reply[0] < 400:
            reply = client.rcpt(rcpt)
    if reply[0] < 400:
        reply = client.data(mail)
    if reply[0] >= 400 and reply[0] != 421:
        client.rset()
    return reply


def read(path):
    with open(path, "rb") as file:
        return file.read()


def say_clear(port):
    client = smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=30)
    client.ehlo()
    print("AUTH" if client.has_extn("auth") else "no AUTH")
    print(text_of(client.docmd("AUTH", "PLAIN AGEAYg==")))
    print(text_of(client.docmd("MAIL", "FROM:<a@send.test>")))


def pipeline(client, sender, mail, rcpt):
    """Commands of one group in one write, as RFC 2920 has it; then the mail and the next group."""
    group = "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (sender, rcpt)
    client.send(group.encode())
    replies = [client.getreply() for _ in range(3)]
    client.send(mail + b".\r\n" + group.encode())
    replies += [client.getreply() for _ in range(4)]
    client.send(mail + b".\r\nQUIT\r\n")
    replies += [client.getreply() for _ in range(2)]
    for reply in replies:
        print(text_of(reply))


def revoke(client, arguments, again):
    url, owner, key_id = arguments
    request = urllib.request.Request("%s/v1/keys/%s" % (url, key_id), method="DELETE",
                                     headers={"Authorization": "Bearer " + owner})
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(answer.status)
    try:
        print(text_of(client.docmd("NOOP")))
        print(text_of(client.docmd("NOOP")))
    except (smtplib.SMTPServerDisconnected, OSError):
        print("closed")
    print(text_of(again()))


def flood(client, sender, mail, rcpts):
    while True:
        print(text_of(send(client, [], sender, mail, rcpts)), flush=True)


def main():
    what, mode, port, ca, key = sys.argv[1:6]
    rest = sys.argv[6:]
    if what == "clear":
        say_clear(int(port))
        return
    client = connect(mode, int(port), ca)
    reply = log_in(client, key)
    if what == "login" or reply[0] != 235:
        print(text_of(reply))
    elif what == "mail":
        print(text_of(send(client, [], rest[0], read(rest[1]), rest[2:])))
    elif what == "mailto":
        print(text_of(send(client, rest[0].split(), rest[1], read(rest[2]), rest[3:])))
    elif what == "pipeline":
        pipeline(client, rest[0], read(rest[1]), rest[2])
    elif what == "revoke":
        revoke(client, rest, lambda: log_in(connect(mode, int(port), ca), key))
    elif what == "flood":
        flood(client, rest[0], read(rest[1]), rest[2:])


main()
