"""Verifies signed mails with dkimpy, an implementation that shares no line with ours.

Keys of a case: name, mail, record (name of the TXT record and its text with a NUL between), expect
("pass" or "fail", for every signature of the mail).
"""
import dkim

from blobs import Report, every, one, read_cases


def check_case(report, case):
    name = one(case, "name").decode()
    mail = one(case, "mail")
    expect = one(case, "expect") == b"pass"
    records = dict(entry.split(b"\0", 1) for entry in every(case, "record"))
    count = mail.split(b"\r\n\r\n", 1)[0].lower().count(b"dkim-signature:")
    report.check(count > 0, name, "no signature")
    for index in range(count):
        verifier = dkim.DKIM(mail, minkey=1024)
        try:
            is_good = verifier.verify(
                idx=index, dnsfunc=lambda query, timeout=5: records.get(query.rstrip(b".")))
            why = ""
        except dkim.DKIMException as error:
            is_good = False
            why = str(error)
        report.check(is_good == expect, name, "signature %d: %s %s" % (index, is_good, why))


def main():
    report = Report()
    for case in read_cases():
        report.count += 1
        check_case(report, case)
    report.finish()


main()
