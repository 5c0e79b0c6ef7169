"""Tiny encoders of published architectures with random weights, and a tokenizer of bytes, saved as a hub's checkpoint would be."""

from pathlib import Path
from typing import Any

__all__ = ["save_encoder"]

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
    "cls_token_id": 0,
}


def save_encoder(architecture: str, folder: Path, *, positions: int = 48, labels: dict[int, str] | None = None) -> Path:
    """Write a checkpoint of ``roberta`` or ``modernbert``.

    Args:
        architecture: The model type, as its ``config.json`` names it.
        folder: Receives weights, config and tokenizer.
        positions: Most tokens of a text that RoBERTa can read; ModernBERT has no such end.
        labels: Names of a classification head's classes; ``None`` saves the encoder alone, as pre-training leaves it.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    tokenizer = _byte_tokenizer()
    own: dict[str, Any] = (
        # RoBERTa counts its positions from behind the padding token's.
        {"max_position_embeddings": positions + 2, "type_vocab_size": 1}
        if architecture == "roberta"
        else {"max_position_embeddings": 8192, "global_attn_every_n_layers": 2, "local_attention": 16}
    )
    named = {"id2label": labels, "label2id": {name: number for number, name in labels.items()}} if labels else {}
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, vocab_size=len(tokenizer), **SMALL, **own, **named)
    kind = AutoModelForSequenceClassification if labels else AutoModel
    kind.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _byte_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(vocabulary)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    named = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, cls_token="<s>", sep_token="</s>", **named)
