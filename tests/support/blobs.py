"""Cases as tests/support/verify.h writes them: lists of (key, bytes)."""
import sys


def read_cases():
    stream = sys.stdin.buffer
    case = []
    while True:
        line = stream.readline()
        if not line:
            if case:
                sys.exit("the input ends within a case")
            return
        key, length = line.split()
        value = stream.read(int(length))
        if stream.read(1) != b"\n":
            sys.exit("the input is out of step")
        if key == b"end":
            yield case
            case = []
        else:
            case.append((key.decode(), value))


def one(case, key, default=None):
    found = [value for name, value in case if name == key]
    return found[0] if found else default


def every(case, key):
    return [value for name, value in case if name == key]


class Report:
    """Counts what is wrong and says so."""

    def __init__(self):
        self.failed = 0
        self.count = 0

    def check(self, is_right, case, what):
        if not is_right:
            self.failed += 1
            print("%s: %s" % (case, what), file=sys.stderr)

    def equal(self, got, want, case, what):
        self.check(got == want, case, "%s: got %.300r, want %.300r" % (what, got, want))

    def finish(self):
        if self.count == 0:
            sys.exit("no cases came")
        sys.exit(1 if self.failed else 0)
