"""A translation model of NLLB's class with random weights, and a tokenizer trained here."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

LANGUAGES = ("eng_Latn", "spa_Latn", "deu_Latn", "fra_Latn")
TEXTS = (
    "El puente colgante cruza el río desde hace más de cien años.",
    "La biblioteca municipal abre todos los días a las nueve de la mañana.",
    "Se ruega no dar de comer a las palomas de la plaza.",
    "Mañana lloverá en toda la costa.",
    "El tren nocturno sale de la estación central a las diez y media de la noche.",
    "Die Hängebrücke überquert den Fluss seit mehr als hundert Jahren.",
    "Der lange Weg nach Hause begann am frühen Morgen.",
    "The suspension bridge has crossed the river for more than a hundred years.",
    "The municipal library opens every day at nine in the morning.",
)
SPANISH = TEXTS[:5]
GERMAN = TEXTS[5:7]
POSITIONS = 64
EMBEDDINGS, LAYERS = 0.3, 2.0


def make_nllb(folder: Path, *, languages: Sequence[str] = LANGUAGES, seed: int = 0) -> Path:
    """Write a tiny model as transformers saves NLLB-200: same classes, same files."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    backend.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=220,
            special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
            show_progress=False,
        ),
    )
    trained = json.loads(backend.to_str())["model"]
    tokenizer = NllbTokenizer(
        vocab=trained["vocab"],
        merges=[tuple(pair) for pair in trained["merges"]],
        extra_special_tokens=list(languages),
        src_lang=languages[0],
    )
    tokenizer.save_pretrained(folder)
    config = M2M100Config(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=POSITIONS,
        init_std=0.4,
    )
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = M2M100ForConditionalGeneration(config)
    torch.random.set_rng_state(state)
    # Embeddings are also the output layer: where they outweigh the rest, a token repeats itself
    # for ever, and what is written does not depend on what is read.
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() == 2:
                weights *= EMBEDDINGS if "shared" in name else LAYERS
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def nllb_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model; copied by who damages it."""
    return make_nllb(tmp_path_factory.mktemp("nllb") / "model")


@pytest.fixture
def own_nllb(nllb_directory: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(nllb_directory, tmp_path / "own"))
