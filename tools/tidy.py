#!/usr/bin/env python3
"""tidy.py - the house rules that a compiler cannot check.

    tools/tidy.py [ROOT]        status 1 and one line for each breach, then CHECKs by folder
    tools/tidy.py --self-test   status 1 when a rule lets its own counter-example pass

docs/STYLE.md explains the rules. Exceptions stand in the tables below, each with its reason.
"""
import re
import sys
from pathlib import Path

LINE_MAX, FILE_MAX, PARAMETER_MAX, BANNER_MIN = 100, 900, 5, 4
FUNCTION_MAX, TEST_MAX = 70, 100  # lines between the braces; a test may hold its table

ALL = "*"
TALK = {"actor.h", "msg.h", "place.h"}  # what edge and deliver may know of shards
MAY_INCLUDE = {
    "base": {},
    "net": {"base": ALL},
    "mail": {"base": ALL},
    "kv": {"base": ALL},
    "shards": {"base": ALL, "net": {"loop.h"}, "mail": ALL, "kv": ALL},
    "deliver": {"base": ALL, "net": ALL, "mail": ALL, "shards": TALK},
    "edge": {"base": ALL, "net": ALL, "mail": ALL, "shards": TALK},
    "tools": {"base": ALL, "net": ALL, "mail": ALL, "kv": ALL},
}

# One foreign header, one owner. Headers of libc and the kernel are everyone's.
FOREIGN = [
    (r"uv\.h", r"src/net/\w+\.[ch]|src/shards/port\.[ch]|tools/sink\.h"),
    (r"rocksdb/.*", r"src/kv/kv_int\.h"),
    (r"openssl/ssl\.h", r"src/net/tls\.c"),
    (r"openssl/(err|x509|x509v3)\.h", r"src/net/tls\.c|src/base/crypto\.c"),
    (r"openssl/.*|sodium.*", r"src/base/crypto\.c"),
    (r"ares.*", r"src/net/dns\.c"),
    (r"curl/.*", r"src/net/http_client\.c|tools/meerkatctl_http\.c"),
    (r"http_parser\.h", r"src/net/http\.c"),
    # meerkatctl prints documents as they came, whatever is in them: no shape could hold them.
    (r"jansson\.h", r"tools/meerkatctl\.h"),
    (r"idn2\.h", r"src/mail/addr\.c"),
    (r"gmime/.*|glib.*|gobject/.*|gio/.*", r"src/mail/mime_read\.c"),
    (r"zlib\.h", r"src/base/gzip\.c"),
    (r"libdeflate\.h", r"src/base/crypto\.c"),
]

# The proof of "no shared mutable state": nobody else has a lock or an atomic.
SHARING = re.compile(r"\b(_Atomic|atomic_\w+|pthread_(mutex|cond|rwlock|spin)\w*|__atomic\w*)\b|"
                     r"<(stdatomic|threads|semaphore)\.h>")
SHARING_FILES = re.compile(r"src/(shards/port|base/log|base/metric|net/loop)\.[ch]")

BANNED = [
    (r"strcpy|strcat|stpcpy|sprintf|vsprintf|strtok|strtok_r|gets|atoi|atol|atof|alloca", None),
    (r"strtoul?l|strtol|strtou?max|sscanf", r"src/base/slice\.c|tests/.*"),
    (r"strtod|strtoll", r"src/base/json(_parse)?\.c|tests/.*"),  # of what was read as a number
    (r"malloc|calloc|realloc|strdup|strndup|asprintf", r"src/base/check\.c|tests/.*"),
    # The committer's thread has no loop; test_commit_delay_ms makes it sleep.
    (r"sleep|usleep|nanosleep", r"src/shards/commit\.c|tests/(support|flow|race)/.*|bench/.*"),
    (r"localtime|localtime_r|mktime|ctime", None),
    (r"setjmp|longjmp|system|popen", r"tests/.*"),
]

# Mutable variables at file scope, and why the module may have them.
MUTABLE = {
    "src/base/check.c": ("thread_name", "one word for each thread, for crash reports"),
    "src/base/clock.c": ("offset_ms fake_mono_ms fake_unix_ms", "set before any thread starts"),
    "src/base/crypto.c": ("sha256_md hmac_mac base64_values base64url_values",
                          "written once by crypto_init"),
    "src/base/log.c": ("least_level shared", "the log ring is one of the permitted shared things"),
    "src/base/metric.c": ("threads actors is_actor_known epoch slot_names site_names thread_slot",
                          "metric cells, one writer each; names set before any thread starts"),
    "src/net/loop.c": ("current", "one word for each thread: what CHECK_LOOP compares with"),
    "src/shards/actor.c": ("is_tracing", "set before any thread starts"),
}

# Every name that PATTERN finds in the first file is explained in the second.
CATALOGUES = [
    ("src/shards/msg.def", r"^\s+MSG\((\w+)", "docs/ARCHITECTURE.md"),
    ("src/base/conf.h", r"^\s+X\((\w+), (?:TEXT|UINT|BOOL),", "docs/OPERATIONS.md"),
    ("src/base/metric.h", r'"(meerkat_\w+)"', "docs/OPERATIONS.md"),
    ("src/base/metric_labels.h", r'"(meerkat_\w+)"', "docs/OPERATIONS.md"),
]

LABELLED = ("net", "shards", "deliver", "edge")
OWNING = re.compile(r"\b(ownership|takes the (socket|msg|message)|caller frees)\b", re.I)


def blank(text):
    """Comments, literals and preprocessor lines as spaces; line ends stay."""
    def spaces(match):
        return re.sub(r"[^\n]", " ", match.group())
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', spaces, text,
                  flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", spaces, text, flags=re.M)


def top_level(code):
    """Yields (kind, head, first line, last line): functions and declarations at file scope."""
    depth, head, start, is_function, opened = 0, "", 0, False, 0
    for at, char in enumerate(code):
        if char == "{":
            if depth == 0:
                bare = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head).strip()
                is_function, opened = bare.endswith(")") and "=" not in bare, at
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0 and is_function:
                yield "function", head, code.count("\n", 0, opened) + 1, code.count("\n", 0, at) + 1
                head = ""
        elif depth == 0 and char == ";":
            line = code.count("\n", 0, start) + 1
            yield "declaration", head, line, line
            head = ""
        elif depth == 0:
            if not head.strip():
                head, start = "", at
            head += char


def mutable_name(head):
    """The variable that a declaration makes, when it can change; else None."""
    head = re.sub(r"\b(MUST_USE|UNUSED|NORETURN)\b|__attribute__\s*\(\(.*?\)\)", "", head)
    left = head.split("=")[0].strip()
    if re.match(r"(typedef|_Static_assert|extern)\b", left) or not left:
        return None
    if "(" in left and not re.search(r"\(\s*\*\s*(const\s+)?\w+(\[\w*\])*\s*\)\s*\(", left):
        return None  # a prototype or a macro
    words = re.sub(r"\[[^]]*\]", "", left)
    if "(" in words:
        return None if re.search(r"\*\s*const\b", words) else re.search(r"\*\s*(\w+)", words)[1]
    names = re.findall(r"\w+", words)
    is_type = names[:1] and names[0] in ("struct", "enum", "union")
    if len(names) < (3 if is_type else 2) or (names[-2].endswith("_fn") and "*" not in words):
        return None
    return None if re.search(r"\bconst\b", words.rsplit("*", 1)[-1]) else names[-1]


def parameter_count(head):
    inside = head[head.find("(") + 1:head.rfind(")")]
    return re.sub(r"\([^()]*\)", "", inside).count(",") + 1


def folder_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "src" and len(parts) == 3 else parts[0]


def check_includes(path, text):
    folder = folder_of(path)
    includes = re.findall(r'^[ \t]*#[ \t]*include[ \t]+(["<])([^">]+)[">]', text, re.M)
    for mark, name in includes:
        if mark == "<":
            for pattern, owner in FOREIGN:
                if re.fullmatch(pattern, name):
                    if path.startswith(("src/", "tools/")) and not re.fullmatch(owner, path):
                        yield "foreign", f"<{name}> belongs to {owner}"
                    break
            continue
        other, _, header = name.rpartition("/")
        if folder in MAY_INCLUDE and other != folder and not (folder == "tools" and not other):
            allowed = MAY_INCLUDE[folder].get(other, ())
            if allowed != ALL and header not in allowed:
                yield "include", f'{folder} may not include "{name}"'
        if (header.endswith("_int.h") and other != folder
                and not path.startswith(("tests/", "bench/"))):  # which look at the inside
            yield "include", f'"{name}" is private to {other}'
    own = re.sub(r"^src/|\.c$", "", path) + ".h"
    names = [name for _, name in includes]
    if path.startswith("src/") and path.endswith(".c") and own in names and names[0] != own:
        yield "include", f'"{own}" comes first'


def check_text(path, text):
    if not text.isascii():
        yield "ascii", "drawings are made of - | + >, escapes of \\x"
    lines = text.split("\n")
    if len(lines) - 1 > FILE_MAX:
        yield "file", f"{len(lines) - 1} lines; {FILE_MAX} is the ceiling"
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_MAX:
            yield "line", f"line {number} has {len(line)} columns"
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line) and path != "tools/tidy.py":
            yield "todo", f"line {number}: {line.strip()}"


def check_head(path, text):
    name = path.rsplit("/", 1)[-1]
    banner = re.match(r"/\*.*?\*/", text, re.S)
    if banner is None:
        yield "banner", "a file opens with a comment"
    elif not path.startswith("tests/") and not text.startswith(f"/* {name} - "):
        yield "banner", f"the first line is /* {name} - what it is"
    elif name.endswith(".h") and banner.group().count("\n") + 1 < BANNER_MIN:
        yield "banner", f"a header's banner has {BANNER_MIN} lines or more"
    if path.startswith("src/") and name.endswith(".h"):
        guard = re.sub(r"\W", "_", path[4:]).upper()
        if f"#ifndef {guard}\n#define {guard}\n" not in text:
            yield "guard", f"the guard is {guard}"
    if name.endswith(".h") and folder_of(path) in LABELLED:
        for comment in re.findall(r"/\*.*?\*/", text[banner.end() if banner else 0:], re.S):
            if OWNING.search(comment) and "Owns:" not in comment:
                yield "owns", f"a comment moves something without Owns: {comment[:60]!r}"


def check_code(path, text):
    code = blank(text)
    for number, line in enumerate(code.split("\n"), 1):
        for pattern, exempt in BANNED:
            hit = re.search(rf"(?<![\w.>])({pattern})\s*\(", line)
            if hit and not re.fullmatch(exempt or "", path):
                yield "banned", f"line {number}: {hit[1]}"
        if re.search(r"\bgoto\s+(?!fail\s*;)", line):
            yield "goto", f"line {number}: goto leads to fail only"
        if re.search(r"\btypedef\s+(struct|enum|union)\b|\btypedef\b.*_t\s*;", line):
            yield "typedef", f"line {number}"
    if len(set(re.findall(r"\.timeout = \w+", code))) > 1:
        yield "timeout", "Criterion leaks memory when the tests of a file have different ones"
    if path.startswith("src/") and not SHARING_FILES.fullmatch(path):
        shared = SHARING.search(code) or SHARING.search("\n".join(re.findall(r"#include.*", text)))
        if shared:
            yield "sharing", f"{shared[0]} is not for this file"
    for kind, head, first, last in top_level(code):
        if kind == "function":
            if last - first + 1 > (TEST_MAX if path.startswith("tests/") else FUNCTION_MAX):
                yield "length", f"line {first}: a function of {last - first + 1} lines"
            if parameter_count(head) > PARAMETER_MAX:
                yield "parameters", f"line {first}: {parameter_count(head)} parameters"
        elif path.startswith(("src/", "tools/")):
            name = mutable_name(head)
            if name and name not in MUTABLE.get(path, ("",))[0].split():
                yield "mutable", f"line {first}: {name} can change at file scope"


def check_waits(path, text):
    waits = dict(re.findall(r"^\s+MSG\((\w+),.*, (\w+)\)", text, re.M))
    for kind, below in waits.items():
        if below != "NONE" and below not in waits:
            yield "waits", f"{kind} waits on {below}, which does not exist"
        seen = [kind]
        while below in waits and below not in seen:
            seen.append(below)
            below = waits[below]
        if below == kind:
            yield "waits", "a circle: " + " -> ".join(seen + [kind])


def check_file(path, text):
    yield from check_text(path, text)
    if path.endswith((".c", ".h")):
        yield from check_head(path, text)
        yield from check_includes(path, text)
        yield from check_code(path, text)
    if path == "src/shards/msg.def":
        yield from check_waits(path, text)


def check_catalogues(root):
    for source, pattern, page in CATALOGUES:
        explained = (root / page).read_text() if (root / page).exists() else ""
        for name in re.findall(pattern, (root / source).read_text(), re.M):
            if not re.search(rf"\b{name}\b", explained):
                yield page, "catalogue", f"{name} of {source} is missing"


EVENT = re.compile(r'\bLOG_(?:(?:DEBUG|INFO|WARN|ERROR)\(|LINE\([^;"]*?,)\s*"([a-z_0-9.]+)"'
                   r'((?:"(?:[^"\\]|\\.)*"|[^";])*);', re.S)
EVENT_FIELD = re.compile(r'\bLOG_(?:(ERR)\(|\w+\(\s*"(\w+)")')


def check_events(root):
    """Every event of the log, with its fields, is a row of the page."""
    page = root / "docs/LOG.md"
    text = page.read_text() if page.exists() else ""
    rows = dict(re.findall(r"^\| `([\w.]+)` \|(.*)$", text, re.M))
    for file in sorted((root / "src").rglob("*.c")):
        for event, rest in EVENT.findall(file.read_text()):
            fields = {"err" if err else name for err, name in EVENT_FIELD.findall(rest)}
            missing = sorted(name for name in fields if f"`{name}`" not in rows.get(event, ""))
            if event not in rows or missing:
                yield "docs/LOG.md", "events", " ".join([event, *missing]) + " is missing"


def density(root):
    counts = {}
    for file in sorted(root.glob("src/*/*.c")):
        code = blank(file.read_text())
        checks = len(re.findall(r"\bCHECK\w*\s*\(", code))
        functions = sum(1 for kind, *_ in top_level(code) if kind == "function")
        before = counts.get(file.parent.name, (0, 0))
        counts[file.parent.name] = (before[0] + checks, before[1] + functions)
    return counts


def check_tree(root):
    files = [file for top in ("src", "tools", "tests", "bench") for file in (root / top).rglob("*")
             if file.suffix in (".c", ".h", ".def", ".py")]
    for file in sorted(files):
        path = file.relative_to(root).as_posix()
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            yield path, "ascii", "is not even UTF-8"
            continue
        yield from ((path, rule, detail) for rule, detail in check_file(path, text))
    yield from check_catalogues(root)
    yield from check_events(root)


HEAD = "/* a.c - a. */\n"
SELF_TEST = [  # path, text, the rules it breaks
    ("src/net/a.c", HEAD + '#include "base/buf.h"\n#include "net/b.h"\n#include <uv.h>\n', ""),
    ("src/deliver/a.c", HEAD + '#include "shards/shard.h"\n', "include"),
    ("src/edge/a.c", HEAD + '#include "deliver/site.h"\n', "include"),
    ("src/shards/a.c", HEAD + '#include "net/loop.h"\n#include "net/conn.h"\n', "include"),
    ("src/edge/a.c", HEAD + '#include "shards/shard_int.h"\n', "include include"),
    ("src/net/a.c", HEAD + '#include "base/buf.h"\n#include "net/a.h"\n', "include"),
    ("src/main.c", "/* main.c - m. */\n" + '#include "kv/kv.h"\n#include "edge/edge.h"\n', ""),
    ("src/edge/a.c", HEAD + "#include <uv.h>\n", "foreign"),
    ("tools/a.c", HEAD + "#include <curl/curl.h>\n", "foreign"),
    ("tools/meerkatctl_http.c", "/* meerkatctl_http.c - m. */\n#include <curl/curl.h>\n", ""),
    ("src/kv/a.c", HEAD + "#include <stdatomic.h>\n", "sharing"),
    ("src/kv/a.c", HEAD + "struct a {\n    pthread_mutex_t lock;\n};\n", "sharing"),
    ("src/kv/a.c", HEAD + 'void a(void)\n{\n    b("strcpy(", /* atoi( */ 1);\n}\n', ""),
    ("src/kv/a.c", HEAD + "void a(void)\n{\n    strcpy(b, c);\n}\n", "banned"),
    ("src/kv/a.c", HEAD + "void a(void)\n{\n    c = malloc(1);\n}\n", "banned"),
    ("src/kv/a.c", HEAD + "static int count;\n", "mutable"),
    ("src/kv/a.c", HEAD + "static const char *name;\n", "mutable"),
    ("src/kv/a.c", HEAD + "int t[] = {1};\nstatic void (*hook)(int);\n", "mutable mutable"),
    ("src/kv/a.c", HEAD + "static const struct a {\n    int b;\n} as[] = {{1}};\n", ""),
    ("src/kv/a.c", HEAD + "static int f(int a);\nstatic b_fn b;\nenum c { C };\n", ""),
    ("src/kv/a.c", HEAD + "void a(void)\n{\n" + "    b();\n" * 68 + "}\n", ""),
    ("src/kv/a.c", HEAD + "void a(void)\n{\n" + "    b();\n" * 69 + "}\n", "length"),
    ("src/kv/a.c", HEAD + "void a(A b, A c, A d, A e, A f, A g)\n{\n}\n", "parameters"),
    ("src/kv/a.c", HEAD + "void a(void)\n{\n    goto out;\n}\n", "goto"),
    ("src/kv/a.c", HEAD + "typedef struct a a;\n", "typedef"),
    ("src/kv/a.c", HEAD + "/* " + "x" * 100 + " */\n", "line"),
    ("src/kv/a.c", HEAD + "\n" * 900, "file"),
    ("src/kv/a.c", HEAD + "/* \u00e4 */\n", "ascii"),
    ("src/kv/a.c", HEAD + "/* " + "TO" + "DO */\n", "todo"),
    ("src/kv/a.c", "int f(void);\n", "banner"),
    ("tests/a.c", HEAD + "T(a, .timeout = 3){}\nT(b, .timeout = 2){}\n", "timeout"),
    ("src/kv/a.h", "/* a.h - a. */\n#ifndef KV_A_H\n#define KV_A_H\n", "banner"),
    ("src/kv/a.h", "/* a.h - a.\n\n\n */\n#ifndef KV_H\n#define KV_H\n#endif\n", "guard"),
    ("src/net/a.h", "/* a.h - a\n\n\n*/\n/* Moves ownership. */\n", "guard owns"),
    ("src/shards/msg.def", "  MSG(A, a, x, y, P, B)\n  MSG(B, b, x, y, P, NONE)\n", ""),
    ("src/shards/msg.def", "  MSG(A, a, x, y, P, B)\n  MSG(B, b, x, y, P, A)\n", "waits waits"),
    ("src/shards/msg.def", "  MSG(A, a, x, y, P, C)\n", "waits"),
]


def self_test():
    failed = 0
    for number, (path, text, expected) in enumerate(SELF_TEST, 1):
        found = " ".join(rule for rule, _ in check_file(path, text))
        if found != expected:
            print(f"case {number}, {path}: expected [{expected}], found [{found}]")
            failed += 1
    print(f"tidy: {len(SELF_TEST) - failed} of {len(SELF_TEST)} cases hold")
    return 1 if failed else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent)
    breaches = list(check_tree(root))
    for path, rule, detail in breaches:
        print(f"{path}: {rule}: {detail}")
    for folder, (checks, functions) in density(root).items():
        print(f"tidy: {folder} has {checks / max(functions, 1):.2f} CHECKs a function")
    print(f"tidy: {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
