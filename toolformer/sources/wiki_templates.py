"""What templates of the English Wikipedia show, where that is certain.

What a template shows is defined by other pages of the wiki, in Lua, and no dump of articles has
them. These tables hold templates that stand for words or numbers inside a sentence. A quantity is
shown as it was entered, without its conversions, and a date without an age that grows with time.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from toolformer.sources.scripts import subscript, superscript
from toolformer.sources.wiki_dates import DATE_TEMPLATES
from toolformer.sources.wiki_quantities import (
    shown_formatnum,
    shown_gaps,
    shown_height,
    shown_quantity,
    shown_val,
)


def _by_name(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: shown for shown, names_of_it in names.items() for name in names_of_it}


_BLOCKS = frozenset({"quote", "blockquote", "bquote", "cquote", "quotation", "poemquote"})
# The positional parameter that is the shown text, counted from 0.
_SHOWN_PARAMETER = {
    **dict.fromkeys(("abbr", "abbrv", "abbreviation", "tooltip", "angbr", "unicode", "iast"), 0),
    **dict.fromkeys(("nobr", "nobreak", "nowrap", "nobold", "noitalic", "nwr"), 0),
    **dict.fromkeys(("small", "smaller", "big", "larger", "em", "strong", "sc", "smallcaps"), 0),
    **dict.fromkeys(("math", "mvar", "var", "code", "mono", "samp", "kbd", "tt"), 0),
    **dict.fromkeys(("underline", "bold", "linktext", "visible anchor", "vanchor"), 0),
    **dict.fromkeys(("ill", "interlanguage link", "illm"), 0),
    **dict.fromkeys(("nihongo2", "birth-date", "death-date", "birth-date and age"), 0),
    **dict.fromkeys((*_BLOCKS, "not a typo"), 0),
    **dict.fromkeys(
        ("lang", "langx", "rtl-lang", "wikt-lang", "script", "audio", "color", "colour"), 1
    ),
    **dict.fromkeys(("transl", "transliteration", "resize", "font color"), -1),
}
_SHOWN_TEXT = _by_name(
    {
        " ": ("nbsp", "spaces", "space", "thinsp", "thin space", "hsp", "hair space"),
        "–": ("ndash", "endash", "en dash"),
        "—": ("mdash", "emdash", "em dash"),
        " – ": ("snd", "spnd", "spaced ndash", "spaced en dash"),
        " — ": ("mdashb", "spaced mdash", "spaced em dash"),
        " · ": ("·", "middot", "dot"),
        " • ": ("•", "bull", "bullet"),
        "\n": ("break", "crlf"),
        "'": ("'", "apostrophe"),
        "'s": ("'s",),
        "\" '": ("\" '",),
        "' \"": ("' \"",),
        "=": ("=",),
        "|": ("!",),
        "×": ("times", "×"),
        "±": ("pm", "plusminus", "+-"),
        "−": ("minus",),
        "#": ("number sign",),
        "¹/₂": ("half",),
        "π": ("pi",),
        "†": ("dagger",),
        "ʻ": ("okina",),
    }
)
_SYMBOLS = _by_name(
    {
        "US$": ("us$", "usd"),
        "A$": ("a$", "aud"),
        "C$": ("c$", "cad"),
        "NZ$": ("nz$", "nzd"),
        "HK$": ("hk$",),
        "R$": ("r$",),
        "£": ("£", "gbp", "pound sterling"),
        "€": ("€", "eur", "euro"),
        "¥": ("¥", "yen", "jpy"),
        "₹": ("₹", "inr", "indian rupee"),
        "₽": ("₽", "rub"),
        "₱": ("₱", "php"),
        "₩": ("₩", "krw"),
        "₪": ("₪", "ils"),
    }
)
_SHIPS = ("hmas", "hmcs", "hmnzs", "hms", "ins", "mv", "rms", "ss", "uscgc", "usns", "uss")
# By the number of positional parameters, from none; "" where no rendering is certain.
_FORMATS: dict[str, Sequence[str]] = {
    **dict.fromkeys(("circa", "c.", "ca."), ("c. ", "c. {}", "c. {} – c. {}")),
    **dict.fromkeys(("floruit", "fl.", "fl"), ("fl. ", "fl. {}", "fl. {}–{}")),
    **dict.fromkeys(("reign", "r."), ("r. ", "r. {}", "r. {}–{}")),
    **{ship: ("", f"{ship.upper()} {{}}", f"{ship.upper()} {{}} ({{}})") for ship in _SHIPS},
    "sortname": ("", "", "{} {}", "{} {}"),
    "oldstyledate": ("", "", "", "{0} [O.S. {2}] {1}"),
    "gloss": ("", "‘{}’"),
    "sqrt": ("", "√({})"),
    "birth year and age": ("", "{}"),
    # The French Wikipedia's quantities.
    "unité": ("", "{}", "{} {}"),
    "nombre": ("", "{}", "{} {}"),
}
_OF_DIGITS = re.compile(r"([-−]?)(?:([\d,]+) )?(\d+)/(\d+)", re.ASCII)
_NOTES = {"flat": "♭", "sharp": "♯", "natural": "♮"}

# Citations, footnotes, requests for cleanup, pronunciations, icons, what stands in the margin or
# at the head of the page, and links to other articles on the subject: no part of a sentence.
_SILENT = re.compile(
    # Whole words, also in the plural.
    r"(?:(?:cit[ae]|citation|note(?:list|tag|foot)?|ref(?:n|list|begin|end|label|improve)?|anchor"
    r"|respell|pronunciation|listen|toc|col|about|details|distinguish2?|hatnote|redirect[2-4]?"
    r"|further|portal(?:bar)?|protect(?:ed|ion)?|registration|subscription|lowercase|void"
    r"|clear(?:left|right)?|update|webarchive|wayback|bots|nobots|dmoz|who|when|which|where|why"
    r"|how|whose|by whom|dubious|vague|specify|disputed|undue|pov|weasel|peacock|original research"
    r"|synthesis|relevance|importance|unreliable|better source|primary source|self-published"
    r"|third-party)s?\b"
    # Beginnings of names.
    r"|vcite|vancite|harv|sfn|shortened footnote|#tag:ref|efn|ipa|flagicon|flagdeco|noflag|infobox"
    r"|use [a-z]+ |engvar|pp-|wiki(?!data\b)|wikt|commons|sister|col-|col(?:begin|end|umns)|div col"
    r"|end div|s-|defaultsort|displaytitle|italic title|short desc|good article|featured article"
    r"|authority control|taxonbar|main article|see also|for2|for multi|other uses|other people"
    r"|multiple |double image|wide image|quote box|more |unreferenced|expand |dead link"
    r"|link rot|isbn missing|according to whom|clarif|verify|failed ver|not in "
    # Whole names, and their ends.
    r"|(?:r|rp|ran|pad|-|shy|wbr|main|for|cn|fact|or|zwsp|zwj)$"
    r"|.*(?:navbox|taxobox|sidebar|box|[ -]inline)$|.* (?:icon|needed|sources?)$|.*[ -]stub$)"
)
# Editors date what is to be done: {{attribution wanted|date=May 2020}}.
_OF_REQUESTS = frozenset({"date", "reason", "talk", "section", "small"})
_MONTH_AND_YEAR = re.compile(r"[A-Z][a-z]+ \d{4}")

_ATOMS = re.compile(r"(?<=[A-Za-z)\]])\d+")
_OF_LINKS = frozenset({"link", "lk", "linked", "long", "class", "style", "id", "cat", "nocat"})


def shown_by(
    name: str, positional: list[str], named: Mapping[str, str], *, is_english: bool
) -> str | None:
    """What a template shows in a sentence.

    Args:
        name: in lower case, without underscores; of a parser function up to its first argument.
        positional: the numbered parameters as they are shown, without white space around them.
        named: the others, names in lower case.
        is_english: whether numbers are grouped as English does it.

    Returns:
        The text; empty for one that shows nothing there; None where that is not certain.

    Example:
        >>> shown_by("val", ["1.23"], {"e": "6", "u": "kg"}, is_english=True)
        '1.23×10⁶ kg'
        >>> shown_by("cite book", [], {"title": "Anna"}, is_english=True)
        ''
        >>> shown_by("largest cities", ["5"], {}, is_english=True) is None
        True
    """
    function, colon, argument = name.partition(":")
    if colon and function == "formatnum":
        return shown_formatnum(argument.strip(), positional, is_english=is_english)
    if name in _SHOWN_TEXT:
        return _SHOWN_TEXT[name]
    is_first = name.startswith("lang-") or name.endswith((" span", "-span"))
    shown = 0 if is_first else _SHOWN_PARAMETER.get(name)
    if shown is not None:
        return _parameter(name, shown, positional, named)
    while positional and not positional[-1]:
        positional = positional[:-1]
    if (render := _RENDERERS.get(name)) is not None:
        return render(positional, named)
    if name in _FORMATS:
        return _formatted(_FORMATS[name], positional, named)
    is_request = not positional and _OF_REQUESTS.issuperset(named)
    is_request = is_request and _MONTH_AND_YEAR.fullmatch(named.get("date", ""))
    return "" if is_request or _SILENT.match(name) else None


def _parameter(
    name: str, shown: int, positional: Sequence[str], named: Mapping[str, str]
) -> str | None:
    given = next(filter(None, (named.get(key) for key in ("text", "quote", "lt"))), None)
    if given is None and -len(positional) <= shown < len(positional):
        given = positional[shown]
    return f"\n{given}\n" if given and name in _BLOCKS else given


def _formatted(
    formats: Sequence[str], positional: Sequence[str], named: Mapping[str, str]
) -> str | None:
    if len(positional) >= len(formats) or not _OF_LINKS.issuperset(named):
        return None
    # An empty one in the middle would leave its brackets.
    return formats[len(positional)].format(*positional) or None if all(positional) else None


def _fraction(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    if not (1 <= len(positional) <= 3 and all(positional) and _OF_LINKS.issuperset(named)):
        return None
    shown = f"{' '.join(positional[:-1]) or '1'}/{positional[-1]}"
    if (parts := _OF_DIGITS.fullmatch(shown)) is not None:
        # `plain_fractions` parts these digits from a whole number before them.
        return f"{parts[1]}{parts[2] or ''}{superscript(parts[3])}/{subscript(parts[4])}"
    return f"({shown})" if all(re.fullmatch(r"\w+", part) for part in positional) else None


def _nihongo(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    name, *readings = positional or ("",)
    if not name or named.keys() - {"lead"} or not all(readings):
        return None
    if "lead" in named:
        languages = ("Japanese: ", "Hepburn: ", "")
        readings = [f"{language}{r}" for language, r in zip(languages, readings, strict=False)]
    return f"{name} ({', '.join(readings)})" if readings else name


def _chem(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    """Elements and numbers of atoms in turn; a charge stands anywhere."""
    if named.keys() - {"link", "auto"}:
        return None
    shown, is_element = "", True
    for part in positional:
        if re.fullmatch(r"\d*[-−+]", part):
            shown += superscript(part)
        else:
            shown += part if is_element else subscript(part)
            is_element = not is_element
    return shown or None


def _symbol(symbol: str) -> "_Render":
    return lambda positional, named: _formatted((symbol, f"{symbol}{{}}"), positional, named)


_Render = Callable[[Sequence[str], Mapping[str, str]], str | None]
_RENDERERS: Mapping[str, _Render] = {
    **DATE_TEMPLATES,
    **{name: _symbol(symbol) for name, symbol in _SYMBOLS.items()},
    **dict.fromkeys(("convert", "cvt"), shown_quantity),
    **dict.fromkeys(("frac", "fraction", "sfrac", "tfrac"), _fraction),
    **dict.fromkeys(("sup", "^"), lambda given, _: superscript("".join(given))),
    "sub": lambda given, _: subscript("".join(given)),
    "e": lambda given, _: f"×10{superscript(given[0])}" if len(given) == 1 else None,
    "10^": lambda given, _: f"10{superscript(given[0])}" if len(given) == 1 else None,
    "val": shown_val,
    "gaps": shown_gaps,
    "nihongo": _nihongo,
    # Codes of countries stand for their names.
    **dict.fromkeys(
        ("flag", "flagcountry", "flagu"),
        lambda given, _: given[0] if given and not given[0].isupper() else None,
    ),
    "height": shown_height,
    "chem": _chem,
    "chem2": lambda given, _: _ATOMS.sub(lambda count: subscript(count[0]), "".join(given)) or None,
    "music": lambda given, _: _NOTES.get(given[0].lower()) if len(given) == 1 else None,
    "coord": lambda _, named: "" if named.get("display", "inline") == "title" else None,
}
