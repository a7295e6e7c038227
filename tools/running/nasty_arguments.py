"""Arguments as models write them at their worst: each once broke a parser somewhere."""

NASTY_ARGUMENTS = (
    # Nothing, and markers of calls.
    *("", " ", "\n", "\u00a0", "\u200b", "\x00", "\x1b[0m", "\ufeff", "a[0]", "[QA(x) -> y]"),
    *("a -> b", "-\n>", "(", ")", "(" * 200, "(" * 200 + ")" * 200, "f(x)", "<API>", "</s>"),
    # Quotes and separators.
    *('"', "'", '""', '"""', "'\"'", '"a', "a'", '"a" "b"', "'a, b', \"c\"", "“", "“a”", "«»", "`"),
    *("\\", '\\"', "\\x00", ",", ", ,", "a,", ",a", "=", "a=", "=a", "a=b=c", "x=1, x=2", ";", "|"),
    *("a, b, c, d, e, f, g, h, i, j, k, l", "name=value", "-", "--help", "a\nb", "a\u2028b"),
    # Numbers.
    *("0", "-0", "00", "-1", "1e999", "1e-999", "nan", "-inf", "1_000", "1.2.3", "1.000,5", "+"),
    *("3 + 4 * 5", "0x10", "1 / 0", "9" * 400, "9**9**9**9", "2 ** -1", "1" + "+1" * 2000, "1j"),
    *("-" * 300 + "1", "٣", "３", "½", "Ⅷ", "1\u066c000", "∞", "12 feet, metre", "5 %"),
    # Code.
    *("__import__('os').system('true')", "open('/etc/passwd').read()", "exit()", "lambda: 0"),
    *("{0.__class__}", "%s%n", "${HOME}", "$(true)", "; rm -rf x", "'; drop table x; --", "?"),
    *("../../etc/passwd", "C:\\", "<script>alert(1)</script>", '{"a": 1}', "!!python/object:x"),
    # Words and alphabets.
    *("a", "x" * 10_000, "word " * 3_000, "日本語", "العربية", "e\u0301", "👩\u200d👩\u200d👧"),
    *("ß" * 100, "\u202etxet", "İ", "ﬁ", "2024-02-30", "tomorrow", "None", "null", "a" * 30 + "!"),
    *("AND", "*", "title:(a", "a~0.5", "The quick brown fox jumps over the lazy dog."),
)
