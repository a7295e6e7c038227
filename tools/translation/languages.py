"""Which language is called what: by fastText, by NLLB-200 and by Apertium.

fastText's identification model knows 176 languages by ISO codes of two or three letters; listed are
those of them that NLLB-200 translates.
"""

from collections.abc import Mapping
from types import MappingProxyType

from tools.errors import ToolCallError

ENGLISH = "en"
NLLB_ENGLISH = "eng_Latn"

# fastText's code and NLLB's, in pairs. Where NLLB tells scripts or varieties apart and fastText
# does not, the one with most speakers is taken.
_CODES = """
    af afr_Latn   am amh_Ethi   ar arb_Arab   arz arz_Arab  as asm_Beng   ast ast_Latn
    az azj_Latn   azb azb_Arab  ba bak_Cyrl   be bel_Cyrl   bg bul_Cyrl   bh bho_Deva
    bn ben_Beng   bo bod_Tibt   bs bos_Latn   ca cat_Latn   ceb ceb_Latn  ckb ckb_Arab
    cs ces_Latn   cy cym_Latn   da dan_Latn   de deu_Latn   el ell_Grek   eo epo_Latn
    es spa_Latn   et est_Latn   eu eus_Latn   fa pes_Arab   fi fin_Latn   fr fra_Latn
    ga gle_Latn   gd gla_Latn   gl glg_Latn   gn grn_Latn   gu guj_Gujr   he heb_Hebr
    hi hin_Deva   hr hrv_Latn   ht hat_Latn   hu hun_Latn   hy hye_Armn   id ind_Latn
    ilo ilo_Latn  is isl_Latn   it ita_Latn   ja jpn_Jpan   jv jav_Latn   ka kat_Geor
    kk kaz_Cyrl   km khm_Khmr   kn kan_Knda   ko kor_Hang   ku kmr_Latn   ky kir_Cyrl
    lb ltz_Latn   li lim_Latn   lmo lmo_Latn  lo lao_Laoo   lt lit_Latn   lv lvs_Latn
    mai mai_Deva  mg plt_Latn   min min_Latn  mk mkd_Cyrl   ml mal_Mlym   mn khk_Cyrl
    mr mar_Deva   ms zsm_Latn   mt mlt_Latn   my mya_Mymr   ne npi_Deva   nl nld_Latn
    nn nno_Latn   no nob_Latn   oc oci_Latn   or ory_Orya   pa pan_Guru   pl pol_Latn
    ps pbt_Arab   pt por_Latn   qu quy_Latn   ro ron_Latn   ru rus_Cyrl   sa san_Deva
    sc srd_Latn   scn scn_Latn  sd snd_Arab   sh hrv_Latn   si sin_Sinh   sk slk_Latn
    sl slv_Latn   so som_Latn   sq als_Latn   sr srp_Cyrl   su sun_Latn   sv swe_Latn
    sw swh_Latn   ta tam_Taml   te tel_Telu   tg tgk_Cyrl   th tha_Thai   tk tuk_Latn
    tl tgl_Latn   tr tur_Latn   tt tat_Cyrl   ug uig_Arab   uk ukr_Cyrl   ur urd_Arab
    uz uzn_Latn   vec vec_Latn  vi vie_Latn   war war_Latn  yi ydd_Hebr   yo yor_Latn
    yue yue_Hant  zh zho_Hans
"""
_PAIRS = _CODES.split()

NLLB_CODES: Mapping[str, str] = MappingProxyType(dict(zip(_PAIRS[::2], _PAIRS[1::2], strict=True)))

# Apertium names most languages by ISO 639-3, as NLLB does, older pairs by ISO 639-1, as fastText
# does. These it names otherwise: by the macrolanguage that NLLB divides.
_OTHER_APERTIUM_CODES = """
    ar ara   az aze   bs hbs   fa fas   hr hbs   lv lav   mg mlg   ms zlm   ms msa   ne nep
    no nor   or ori   ps pus   qu que   sh hbs   sq sqi   sr hbs   sw swa   uz uzb   yi yid
"""
_OTHER_PAIRS = _OTHER_APERTIUM_CODES.split()


def apertium_codes(language: str) -> tuple[str, ...]:
    """The names that Apertium may have for a language, the likeliest first.

    Returns:
        Codes of two or three letters; fastText's own alone for a language that is not listed.

    Example:
        >>> apertium_codes("es"), apertium_codes("hr")
        (('spa', 'es'), ('hrv', 'hbs', 'hr'))
    """
    nllb = NLLB_CODES.get(language)
    iso = () if nllb is None else (nllb.partition("_")[0],)
    pairs = zip(_OTHER_PAIRS[::2], _OTHER_PAIRS[1::2], strict=True)
    others = [code for other, code in pairs if other == language]
    # Some codes have three letters in both, so nothing is named twice.
    return tuple(dict.fromkeys((*iso, *others, language)))


def unsupported_language(language: str, translator: str) -> ToolCallError:
    """Make the error of a text in a language (fastText's code) that a translator lacks."""
    return ToolCallError(
        "unsupported_language",
        f"The text is in the language {language!r}, which {translator} does not translate into "
        "English. Expected another language.",
    )
