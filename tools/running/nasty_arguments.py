"""Arguments as models write them at their worst, to try tools with.

Each is something that once broke a parser somewhere: nothing, markers of calls, broken quotes,
numbers without end, code, other alphabets, characters that are not seen.
"""

_NOTHING = ("", " ", "\t", "\n", "\r\n", "\u00a0", "\u200b", "\x00", "\x1b[0m", "\ufeff")
_MARKERS = (
    *("[", "]", "[]", "[[", "]]", "a[0]", "->", "a -> b", "[QA(x) -> y]", "- >", "-\n>", "(", ")"),
    *("()", "((", "))", "(" * 200, ")" * 200, "(" * 200 + ")" * 200, "f(x)", "<API>", "</s>"),
)
_QUOTES = (
    *('"', "'", '""', "''", '"""', "'\"'", '"a', "a'", '"a" "b"', "'a, b', \"c\"", "“", "“a”"),
    *("«»", "`", "\\", '\\"', "\\n", "\\x00", "\\u0041"),
)
_SEPARATORS = (
    *(",", ",,", ", ,", "a,", ",a", "=", "a=", "=a", "a=b=c", "a=b, c", "x=1, x=2", ";", "|", "&"),
    *("a, b, c, d, e, f, g, h, i, j, k, l", "name=value", "-", "--", "--help", "-1", "a\nb"),
)
_NUMBERS = (
    *("0", "-0", "00", "1e999", "-1e999", "1e-999", "nan", "inf", "-inf", "1_000", "1,000"),
    *("1.2.3", "1.000,5", "+", "3 + 4 * 5", "0x10", "0b1", "1 / 0", "0 / 0", "9" * 400),
    *("9**9**9**9", "2 ** -1", "1" + "+1" * 2000, "-" * 300 + "1", "٣", "３", "½", "Ⅷ"),
    *("1\u066c000", "∞", "12 feet, metre", "5 %", "1j"),
)
_CODE = (
    *("__import__('os').system('true')", "open('/etc/passwd').read()", "exit()", "1; import os"),
    *("lambda: 0", "{0}", "{0.__class__}", "%s%n", "${HOME}", "$(true)", "`true`", "; rm -rf x"),
    *("' or 1=1 --", "'; drop table x; --", "../../etc/passwd", "/dev/null", "C:\\", "file:///x"),
    *("<script>alert(1)</script>", '{"a": 1}', "[1, 2]", "!!python/object:x", "*", "**", "?", "~"),
)
_TEXTS = (
    *("a", "x" * 10_000, "word " * 3_000, "ÄÖÜß", "日本語", "עברית", "العربية", "e\u0301"),
    *("🙂", "👩\u200d👩\u200d👧\u200d👦", "ß" * 100, "\u202etxet", "\ud800", "a\u2028b", "İ", "ﬁ"),
    *("2024-02-30", "tomorrow", "None", "null", "a" * 30 + "!", "AND", "title:(a", "a~0.5"),
    *("The quick brown fox jumps over the lazy dog.",),
)

NASTY_ARGUMENTS: tuple[str, ...] = tuple(
    dict.fromkeys((*_NOTHING, *_MARKERS, *_QUOTES, *_SEPARATORS, *_NUMBERS, *_CODE, *_TEXTS))
)
