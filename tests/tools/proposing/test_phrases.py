import pytest

from tools.machine_translation import MachineTranslation
from tools.protocol import Document

MT = MachineTranslation()


@pytest.mark.parametrize(
    ("text", "following", "phrase"),
    [
        ("The Russian word мир means peace.", "peace.", "мир"),
        ("The Greek θάλασσα, the Greek word for “sea”.", "“sea”.", "θάλασσα"),
        (
            "Her book “La casa junto al mar de mi madre” (The House) was read.",
            " (The House) was read.",
            "La casa junto al mar de mi madre",
        ),
        (
            "It says: Se ruega no dar de comer a las palomas. I read it twice.",
            " I read it twice.",
            "Se ruega no dar de comer a las palomas",
        ),
    ],
)
def test_a_place_stands_behind_its_phrase(text, following, phrase):
    (found,) = MT.proposals(Document("d", text))
    assert (text[found.offset :], found.arguments) == (following, phrase)
    MT.check_place(MT.parse_arguments(phrase), before=text[: found.offset], after=following)


@pytest.mark.parametrize(
    "text",
    [
        "The naïve café of the façade is open every day of the year.",
        "It says: Se ruega no dar de comer a las palomas.",
        "Authors: Michou Kokodoko, Valentina Dimitrova-Grajzl, Peter Grajzl, Joseph Guse. 2020 a",
        "The chief of Nukuʻalofa was there.",
        "",
    ],
)
def test_where_nothing_foreign_stands_or_nothing_follows_it_nothing_is_proposed(text):
    assert MT.proposals(Document("d", text)) == []


def test_of_foreign_sentences_in_a_row_the_last_is_translated():
    text = "Guten Tag meine Damen und Herren. Wie geht es Ihnen heute Abend? He said hello."
    (found,) = MT.proposals(Document("d", text))
    assert found.arguments == "Wie geht es Ihnen heute Abend"
