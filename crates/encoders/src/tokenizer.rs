//! BERT's WordPiece tokenizer, as transformers' `BertTokenizer` does it.

use crate::files::{file_error, read_json};
use crate::{EncoderError, Result};
use dualmd_files::limit;
use serde_json::{Map, Value, json};
use std::path::Path;
use tokenizers::Tokenizer;

const WHOLE: &str = "tokenizer.json";
const VOCABULARY: &str = "vocab.txt";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";

/// Special tokens by the key that may rename them (`BertTokenizer`'s defaults).
const NAMES: [(&str, &str); 5] = [
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

/// transformers' `clean_up_tokenization`, in its order.
const CLEANING: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Turns token ids into captions, and prompts into token ids.
#[derive(Debug)]
pub struct WordPieceTokenizer {
    tokenizer: Tokenizer,
    clean: bool,
}

impl WordPieceTokenizer {
    /// Opens the tokenizer of a folder: `tokenizer.json`, or `vocab.txt` with the settings of `tokenizer_config.json` and
    /// `special_tokens_map.json` (where they are missing, those of bert-base-uncased).
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file.
    pub fn load(folder: &Path) -> Result<Self> {
        let mut settings: Map<String, Value> = Map::new();
        for name in [CONFIG, SPECIAL] {
            let path = folder.join(name);
            if path.exists() {
                settings.extend(read_json::<Map<String, Value>>(&path)?);
            }
        }
        let (whole, vocabulary) = (folder.join(WHOLE), folder.join(VOCABULARY));
        let (path, bytes) = if whole.exists() {
            let bytes = dualmd_files::read(&whole, limit::TABLE)?;
            (whole, bytes)
        } else if vocabulary.exists() {
            let text = dualmd_files::read_text(&vocabulary, limit::TABLE)?;
            let assembled = assemble(&text, &settings).map_err(|e| file_error(&vocabulary, e))?;
            (vocabulary, assembled.to_string().into_bytes())
        } else {
            return Err(file_error(
                folder,
                "has no tokenizer: tokenizer.json or vocab.txt is needed",
            ));
        };
        // The library panics at some damaged files.
        let mut tokenizer = dualmd_files::quietly(|| Tokenizer::from_bytes(bytes))
            .ok_or_else(|| file_error(&path, "is no tokenizer that can be read"))?
            .map_err(|e| file_error(&path, e))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| file_error(&path, e))?;
        // Off by default in transformers 5, on in 4; the WordPiece decoder itself cleans token by token.
        let clean = settings
            .get("clean_up_tokenization_spaces")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        Ok(Self { tokenizer, clean })
    }

    /// One more than the highest id.
    #[must_use]
    pub fn vocabulary_size(&self) -> i64 {
        let ids = self.tokenizer.get_vocab(true).into_values();
        ids.max().map_or(0, |id| i64::from(id) + 1)
    }

    /// The token with this id.
    #[must_use]
    pub fn token(&self, id: i64) -> Option<String> {
        self.tokenizer.id_to_token(u32::try_from(id).ok()?)
    }

    /// The id of a token.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<i64> {
        self.tokenizer.token_to_id(token).map(i64::from)
    }

    /// Ids of a text, without `[CLS]` and `[SEP]`.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        let encoded = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|e| EncoderError::Options(format!("prompt {text:?}: {e}")))?;
        Ok(encoded.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// The text of ids, without special tokens and without ids that the tokenizer does not have (BLIP's `[DEC]` is one),
    /// as transformers' `decode(ids, skip_special_tokens=True)`.
    ///
    /// # Errors
    /// What the tokenizer refuses.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let ids: Vec<u32> = ids
            .iter()
            .filter_map(|&id| u32::try_from(id).ok())
            .collect();
        let text = self
            .tokenizer
            .decode(&ids, true)
            .map_err(|e| EncoderError::Options(format!("token ids {ids:?}: {e}")))?;
        if !self.clean {
            return Ok(text);
        }
        Ok(CLEANING
            .iter()
            .fold(text, |text, (from, to)| text.replace(from, to)))
    }
}

/// What transformers makes of a vocab.txt, as a tokenizer.json.
fn assemble(vocabulary: &str, settings: &Map<String, Value>) -> std::result::Result<Value, String> {
    // A line may hold a space of its own, but not its end.
    let lines = vocabulary.strip_suffix('\n').unwrap_or(vocabulary);
    let ids: Map<String, Value> = lines
        .split('\n')
        .enumerate()
        .map(|(id, token)| (token.trim_end_matches('\r').to_owned(), json!(id)))
        .collect();
    let text = |value: &Value| {
        let given = value.as_str().or_else(|| value.get("content")?.as_str());
        given.map(str::to_owned)
    };
    let mut special: Vec<String> = Vec::new();
    for (key, usual) in NAMES {
        let name = settings.get(key).and_then(text);
        special.push(name.unwrap_or_else(|| usual.to_owned()));
    }
    let more = settings.get("additional_special_tokens");
    special.extend(
        more.and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(text),
    );
    let unknown = &special[1];
    if !ids.contains_key(unknown) {
        return Err(format!(
            "the token \"{unknown}\" is not in it: this is not a WordPiece vocabulary"
        ));
    }
    let added: Vec<Value> = special
        .iter()
        .filter_map(|token| {
            Some(json!({
                "id": ids.get(token)?, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }))
        })
        .collect();
    let flag = |key: &str| settings.get(key).and_then(Value::as_bool);
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": flag("strip_accents"),
            "lowercase": flag("do_lower_case").unwrap_or(true),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": ids,
        },
    }))
}
