"""Templates, superscripts and formulas of wiki markup, and the sentences that lose some."""

from itertools import chain
from pathlib import Path

import pytest

from tests.toolformer.sources.conftest import DUMP_HEAD, documents, page_xml, parsed
from toolformer.sources.records import ParsedDocument
from toolformer.sources.source import Source
from toolformer.sources.wiki_markup import sections_of


def read(markup: str, **options) -> tuple[str, dict, list[str]]:
    """The text of a section, its losses, and its damaged sentences."""
    (section,) = sections_of(markup, **options)
    damaged = [section.text[start:stop] for start, stop in section.damaged_spans]
    return section.text, dict(section.losses), damaged


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("{{formatnum:6000}} and {{formatnum:1234567.89}}", "6,000 and 1,234,567.89"),
        ("{{formatnum:41,250|R}} or {{FORMATNUM: 1500 |NOSEP}}", "41250 or 1500"),
        ("{{val|1.23|e=6|u=kg}}, {{val|9.8|u=m/s2}}", "1.23×10⁶ kg, 9.8 m/s²"),
        ("{{val|1.5|0.2|e=-6|ul=m}}, {{val|50|u=%}}", "(1.5±0.2)×10⁻⁶ m, 50%"),
        ("{{val|6.67430(15)|e=-11}} {{e|24}} {{10^|6}}", "6.67430(15)×10⁻¹¹ ×10²⁴ 10⁶"),
        ("{{frac|3|4}}, {{sfrac|1|2}}, {{frac|5|1|2}}, {{frac|3}}", "3/4, 1/2, 5 1/2, 1/3"),
        ("{{birth date|1902|5|17}} {{start date|2010|05|df=y}}", "May 17, 1902 May 2010"),
        ("{{death date and age|1971|3|2|1902|5|17}}", "March 2, 1971 (aged 68)"),
        ("{{age|1902|5|17|1971|6|2}} {{death year and age|1971|1902}}", "69 1971 (aged 68–69)"),
        ("{{as of|2019|lc=y}} {{As of|2020|5|4}}", "as of 2019 As of 4 May 2020"),
        ("{{circa|1850}} {{c.|1850|1860}} {{fl.|1200}}", "c. 1850 c. 1850 – c. 1860 fl. 1200"),
        ("{{US$|12 million}} {{GBP|500}} {{euro|3.50}} {{₹|7}}", "US$12 million £500 €3.50 ₹7"),
        ("{{height|ft=96|in=4}} {{height|m=1.82}}", "96 ft 4 in 1.82 m"),
        ("{{convert|5|ft|11|in|m}} {{cvt|1300|mi|km|abbr=on}}", "5 ft 11 in 1,300 mi"),
        ("{{convert|5|x|8|x|9|m|ft}} {{convert|5|-|8|km2}}", "5 × 8 × 9 m 5–8 km²"),
        ("{{convert|1+1/2|in|mm}} {{convert|3|e6acre}}", "1 1/2 in 3 million acre"),
        ("{{convert|20|C|F}} {{convert|6|sqmi|km2}}", "20 °C 6 sq mi"),
        ("{{gaps|1|234|567}} {{nowrap|1=17 + 25 = 42}}", "1234567 17 + 25 = 42"),
        ("{{nihongo|'''Burenu'''|ブレヌ|Burenu}}", "Burenu (ブレヌ, Burenu)"),
        ("{{ill|Ada Lund|de}} {{flag|Azores}} {{HMS|Ajax}}", "Ada Lund Azores HMS Ajax"),
        ("{{math|''x'' {{=}} 2}} {{mvar|y}} {{chem|SO|4|2-}} {{chem2|H2O}}", "x = 2 y SO₄²⁻ H₂O"),
        ("4{{frac|1|2}} in, 4{{fraction|3|4}}, 2{{half}}, {{half}}", "4 1/2 in, 4 3/4, 2 1/2, 1/2"),
        ("1,200{{sfrac|1|2}} {{nowrap|2{{frac|1|2}}}} −{{frac|3}}", "1,200 1/2 2 1/2 −1/3"),
        ("2{{sfrac|1|n}} {{sfrac|x|2}} {{frac|-5|1|2}}", "2(1/n) (x/2) -5 1/2"),
        ("{{convert|2{{frac|1|2}}|in|mm}} {{cvt|1,200{{half}}|km}}", "2 1/2 in 1,200 1/2 km"),
        ("{{val|5|u=C}} {{val|2|u=F}} {{cvt|-5|F}} {{cvt|5|C-change}}", "5 C 2 F -5 °F 5 °C"),
        ("{{val|5|.2}} {{val|1.5|(2)|up=m2}} {{val|1.5±0.2|e=3}}", "5±.2 1.5(2) /m² (1.5±0.2)×10³"),
        ("{{convert|5|ft|11|in|cm|0}} {{convert|5|m|ft|1}} {{cvt|5|m}}", "5 ft 11 in 5 m 5 m"),
        ("{{dubious span|5 million|date=May 2020}} {{update span|6|reason=old}}", "5 million 6"),
        ("{{convert|93<!-- or 94 -->|km2}} {{formatnum:{{val|5}}}}", "93 km² 5"),
    ],
)
def test_template_of_a_number_or_word_shows_it(markup, shown):
    assert read(markup) == (shown, {}, [])


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("10<sup>6</sup> m<sup>2</sup> 10<sup>−27</sup>", "10⁶ m² 10⁻²⁷"),
        ("H<sub>2</sub>O, {{sup|3}}He, x{{sub|12}}", "H₂O, ³He, x₁₂"),
        ("2<sup>''n''</sup> e<sup>x+1</sup> 2<sup>0.5</sup>", "2^n e^(x+1) 2^0.5"),
        ("the 1<sup>st</sup>, 2<sup>nd</sup>, XIX<sup>e</sup>", "the 1st, 2nd, XIXe"),
        ("5<sup>1</sup>/<sub>2</sub> and <sup>2</sup>⁄<sub>3</sub>", "5 1/2 and 2/3"),
        (
            "in 1984<sup>[1]</sup>, May<sup>[[#n2|2]]</sup>, 8<sup>[[#n|[3]]]</sup>",
            "in 1984, May, 8",
        ),
        ("R<sup>2</sup>/<sub>3</sub> (a+b)<sup>1</sup>/<sub>2</sub>", "R²/₃ (a+b)¹/₂"),
        ("f<sup>(4)</sup> OH<sub>(aq)</sub> CO<sub>[[#two|2]]</sub>", "f^(4) OH_(aq) CO₂"),
        ("5² + 12² = 13², SO<sub>4</sub><sup>2−</sup>", "5² + 12² = 13², SO₄²⁻"),
    ],
)
def test_superscripts_and_subscripts_can_be_told_from_what_they_stand_at(markup, shown):
    assert read(markup) == (shown, {}, [])


@pytest.mark.parametrize(
    ("markup", "losses", "damaged"),
    [
        ("One is. He has {{x}} of 5. Two.", {"templates": 1}, [" He has of 5."]),
        ("{{pop|5}} live here. Two.", {"templates": 1}, ["live here."]),
        ("Dr. Ada Lund has {{pop|5}}", {"templates": 1}, ["Dr. Ada Lund has"]),
        ("It is so. A {{nowrap|{{pop|5}} km}} road. Two.", {"templates": 1}, [" A km road."]),
        ("The area is <math>a^2</math>. Two.", {"formulas": 1}, ["The area is."]),
        ("It is <chem>H2O</chem>; {{su|p=1}}", {"formulas": 2}, ["It is;"]),
        ("Left.\nIt is\n:<math>x</math>\nfor all.", {"formulas": 1}, ["It is", "for all."]),
        ("It has\n{{pop|5}}\npeople.", {"templates": 1}, ["It has", "people."]),
        ("Now {{CURRENTYEAR}}, {{age|1950|1|2}}.", {"templates": 2}, ["Now,."]),
        ("{{convert|x|km}} {{#expr: 6/2}} left", {"templates": 2}, ["left"]),
        ("{{sfrac|1+2|3}} {{sfrac|2|x+1}} {{frac||2}} left", {"templates": 3}, ["left"]),
        ("{{val|5|±1}} {{val|5|1%}} {{val|5(x)}} left", {"templates": 3}, ["left"]),
        ("{{convert|5|m|to|8|m|ft}} {{cvt|5|m|to about|8|m|ft}} x", {"templates": 2}, ["x"]),
        ("{{convert|5|ft|10|in|to|6|ft|2|in|cm}} left", {"templates": 1}, ["left"]),
        ("{{convert|5|,|8|,|and|9|m|ft}} left", {"templates": 1}, ["left"]),
        ("{{convert|5|e2km2}} {{cvt|5|e7km2|e6acre}} left", {"templates": 2}, ["left"]),
        ("{{gaps|lhs=π|3.141|592}} {{gaps|12|345|base=16}} left", {"templates": 2}, ["left"]),
        ("{{wikidata|property|Q5|P1082}} {{notebook price|5}} x", {"templates": 2}, ["x"]),
        ("{{population estimate|5000|date=July 2020}} x", {"templates": 1}, ["x"]),
        ("{{population estimate|value=5000|date=July 2020}} x", {"templates": 1}, ["x"]),
        ("{{aboutness|5}} {{protectorate|6}} {{listeners|7}} x", {"templates": 3}, ["x"]),
        ("{{lowercased|5}} {{registrations2|6}} x", {"templates": 2}, ["x"]),
        ("It is 10<sup>[[#exp|6]]</sup> m.", {"formulas": 1}, ["It is 10 m."]),
        ("In '''1985'''<sup>[https://a.org 3]</sup>. Two.", {"formulas": 1}, ["In 1985."]),
        ("It is {{nowrap|2<sup>[[#n|n]]</sup> bits}}.", {"formulas": 1}, ["It is 2 bits."]),
        ("- a\n* b {{pop|5}} c\n* d", {"templates": 1}, ["- b c"]),
    ],
)
def test_sentence_that_lost_something_is_damaged_and_the_loss_is_counted(markup, losses, damaged):
    assert read(markup)[1:] == (losses, damaged)


@pytest.mark.parametrize(
    "markup",
    [
        "A fact.{{sfn|Lund|1950}}{{cite book|title=B}}{{r|c}}{{citation needed|date=May 2020}}",
        "A fact{{attribution wanted|date=May 2020}} and more{{efn|note}}.",
        "A fact.{{note|5}}{{notelist-ua}}{{about|the town}}{{portal bar|A}}{{cite web|url=x}}",
        "A fact{{fix it|date=May 2020|reason=5 is old}}{{update|part=a}}.{{registration required}}",
        'A fact<span style="display:none">7</span><b STYLE="x: y; Visibility: hidden">8</b>.',
        "{{Infobox town\n|population={{formatnum:6000}}\n}}\nA fact.",
        "{{Unknown box\n|a=5\n}}A fact.",
        "{{short description|A}}\n{{use dmy dates|date=May 2020}}\n{{hat|A}}\n\nA fact.\n\n{{nav}}",
        "* one\n* {{flagicon|FR}} two\n{{div col end}}\nA fact.",
    ],
)
def test_what_is_no_part_of_a_sentence_damages_none(markup):
    text, *lost = read(markup)
    assert not any(map(str.isdigit, text))
    assert lost == [{}, []]


def test_numbers_of_another_language_stay_as_they_are_written():
    assert read("{{formatnum:6000}} hl", is_english=False) == ("6000 hl", {}, [])


def test_spans_are_those_of_each_sections_text_without_control_characters(written):
    words = "word " * 40
    pages = page_xml("A", f"\u0085{words}.\n== B ==\n{words}end. It has {{{{pop|5}}}} of \u008542.")
    lead, section = documents(written("a.xml", f"{DUMP_HEAD}{pages}</mediawiki>"))
    ((start, stop),) = section.damaged_spans
    assert (lead.damaged_spans, section.text[start:stop]) == ((), " It has of 42.")
    assert (lead.losses, section.losses) == ({}, {"templates": 1})


def test_case_of_number_templates(test_data: Path, source_of):
    path = test_data / "cases/04-wiki-templates/numbers.xml"
    valley, _, after = parsed(source_of(path))
    assert isinstance(valley, ParsedDocument)
    assert isinstance(after, ParsedDocument)
    text = valley.text
    for shown in (
        *("6,000 people", "93 km²", "c. 1850", "1.23×10⁶ kg", "3/4 of it", "May 17, 1902"),
        *("March 2, 1971 (aged 68)", "as of 2019", "41250 visitors", "US$12 million"),
        *("96 ft 4 in", "1234567 bricks", "£500", "17 + 25 = 42", "Burenu (ブレヌ, Burenu)"),
    ):
        assert shown in text
    damaged = "".join(text[start:stop] for start, stop in valley.damaged_spans)
    assert "to the square kilometre" in damaged
    assert "1440 minutes" in damaged
    assert "bricks" not in damaged
    assert (valley.losses, after.losses) == ({"templates": 3}, {})


def test_case_of_superscripts(test_data: Path, source_of):
    (document,) = documents(source_of(test_data / "cases/05-superscripts/powers.xml"))
    for shown in (
        *("10⁶", "9.46 × 10¹⁵ m", "100² = 10000", "5² + 12² = 13²", "H₂O", "10⁻²⁷ kg", "300 m²"),
        *("12 m³", "the 1st of May", "2¹⁰ = 1024", "3⁵ = 243"),
    ):
        assert shown in document.text
    assert (document.losses, document.damaged_spans) == ({}, ())


@pytest.mark.slow
def test_real_dump_loses_few_templates_and_all_spans_lie_in_their_texts(test_data: Path):
    path = test_data / "dumps/enwiki-pages-articles1-shortened.xml.bz2"
    texts = [
        document
        for document in parsed(Source(str(path), shard_size=1))
        if isinstance(document, ParsedDocument) and document.damaged_spans
    ]
    assert 0 < sum(document.losses.get("templates", 0) for document in texts) < 100
    for document in texts:
        edges = [0, *chain.from_iterable(document.damaged_spans), len(document.text)]
        assert edges == sorted(edges)
