//! CLIP's tokenizer: byte-level pair encoding as transformers' `CLIPTokenizer` does it.

mod added;

use crate::json;
use crate::latent::files::{create, file_error};
use crate::{DiffusionError, Result};
use added::Added;
use dualmd_torch::Tensor;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

const VOCABULARY: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const WHOLE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
const FILES: [&str; 6] = [VOCABULARY, MERGES, WHOLE, CONFIG, SPECIAL, ADDED];
/// Most bytes of one of them.
const LIMIT: u64 = 1 << 28;

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";
const END_OF_WORD: &str = "</w>";

/// Pieces of text that are encoded on their own (transformers' `CLIPTokenizer`).
const PIECES: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// Turns prompts into token ids.
#[derive(Debug)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    start: i64,
    end: i64,
    pad: i64,
    max_length: Option<usize>,
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl ClipTokenizer {
    /// Opens a `tokenizer/` folder: `vocab.json` and `merges.txt`, or `tokenizer.json` where they are missing; the names of
    /// the special tokens from `tokenizer_config.json` and, before it, `special_tokens_map.json` (Stable Diffusion 2 pads
    /// with "!", which only the latter says). Tokens that were added to the vocabulary (textual inversion) come from
    /// `added_tokens_decoder` in `tokenizer_config.json` and from `added_tokens.json`, and are found in prompts as
    /// transformers' fast tokenizers do (4 and 5): upper and lower case are the same unless the token says otherwise.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file.
    pub fn load(folder: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for name in FILES {
            let path = folder.join(name);
            if path.exists() {
                files.insert(name, dualmd_files::read(&path, LIMIT)?);
            }
        }
        Self::from_files(folder, files)
    }

    /// A tokenizer without merges: every byte of a prompt is a token. 514 tokens (256 bytes, the same at the end of a word,
    /// start and end); prompts are cut and padded to `max_length` tokens. For small models that are trained from nothing.
    ///
    /// # Errors
    /// `max_length` below 2.
    pub fn bytes(max_length: usize) -> Result<Self> {
        Self::bytes_padded(max_length, END)
    }

    /// As [`Self::bytes`], with prompts padded by the token `pad` of its vocabulary: Stable Diffusion XL's second tokenizer has "!".
    ///
    /// # Errors
    /// As [`Self::bytes`]; a `pad` that is no token.
    pub fn bytes_padded(max_length: usize, pad: &str) -> Result<Self> {
        let bytes = byte_names();
        let ends = bytes.iter().map(|b| format!("{b}{END_OF_WORD}"));
        let names = bytes.iter().cloned().chain(ends);
        let vocabulary: Map<String, Value> = names
            .chain([START.to_owned(), END.to_owned()])
            .enumerate()
            .map(|(id, name)| (name, json!(id)))
            .collect();
        let special = json!({
            "bos_token": START, "eos_token": END, "pad_token": pad, "unk_token": END,
        });
        let mut config = special.clone();
        config["model_max_length"] = json!(max_length);
        config["tokenizer_class"] = json!("CLIPTokenizer");
        let files = BTreeMap::from([
            (
                VOCABULARY,
                Value::Object(vocabulary).to_string().into_bytes(),
            ),
            (MERGES, b"#version: 0.2\n".to_vec()),
            (CONFIG, config.to_string().into_bytes()),
            (SPECIAL, special.to_string().into_bytes()),
        ]);
        Self::from_files(&PathBuf::from("tokenizer"), files)
    }

    fn from_files(folder: &Path, files: BTreeMap<&'static str, Vec<u8>>) -> Result<Self> {
        let parse = |name: &'static str| -> Result<Option<Map<String, Value>>> {
            files
                .get(name)
                .map(|bytes| {
                    let wrong = |e: String| file_error(&folder.join(name), e);
                    let text = std::str::from_utf8(bytes).map_err(|e| wrong(e.to_string()))?;
                    json::parse(text).map_err(|e| wrong(e.to_string()))
                })
                .transpose()
        };
        let mut settings = parse(CONFIG)?.unwrap_or_default();
        settings.extend(parse(SPECIAL)?.unwrap_or_default());
        let token = |key: &str, usual: &str| SpecialToken::read(settings.get(key), usual);
        let (start, end) = (token("bos_token", START), token("eos_token", END));
        let (pad, unknown) = (token("pad_token", END), token("unk_token", END));

        let (path, text, added) = match (parse(VOCABULARY)?, files.get(MERGES), files.get(WHOLE)) {
            (Some(vocabulary), Some(merges), _) => {
                let merges = read_merges(&folder.join(MERGES), merges)?;
                let tokens = [&start, &end, &pad, &unknown];
                let added = added::read(folder, &vocabulary, &settings, parse(ADDED)?, &tokens)?;
                let whole = assemble(&vocabulary, &merges, &added, &unknown.content);
                let text = whole.to_string().into_bytes();
                (folder.join(VOCABULARY), text, added)
            }
            (_, _, Some(whole)) => (folder.join(WHOLE), whole.clone(), Vec::new()),
            _ => {
                return Err(file_error(
                    folder,
                    "has no tokenizer: vocab.json and merges.txt, or tokenizer.json, are needed",
                ));
            }
        };
        // The library panics at some damaged files.
        let mut tokenizer = dualmd_files::quietly(|| Tokenizer::from_bytes(text))
            .ok_or_else(|| file_error(&path, "is no tokenizer that can be read"))?
            .map_err(|e| file_error(&path, e))?;
        added::check(folder, &added, &tokenizer)?;
        // Start, end, length and padding are seen to in `encode`.
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| file_error(&path, e))?;
        let id = |token: &SpecialToken| {
            tokenizer
                .token_to_id(&token.content)
                .map(i64::from)
                .ok_or_else(|| {
                    let name = &token.content;
                    file_error(&path, format!("the special token \"{name}\" is not in it"))
                })
        };
        let (start, end, pad) = (id(&start)?, id(&end)?, id(&pad)?);
        // transformers writes 1e30 for "no limit".
        let max_length = settings
            .get("model_max_length")
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok());
        if max_length.is_some_and(|n| n < 2) {
            return Err(file_error(
                &folder.join(CONFIG),
                "model_max_length must be at least 2: every prompt has a start and an end",
            ));
        }
        Ok(Self {
            tokenizer,
            start,
            end,
            pad,
            max_length,
            files,
        })
    }

    /// Writes the files it was read from.
    ///
    /// # Errors
    /// What writing gives, with the path.
    pub fn save(&self, folder: &Path) -> Result<()> {
        create(folder)?;
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            dualmd_files::write(&path, bytes)?;
        }
        Ok(())
    }

    /// One more than the highest id, special and added tokens included: the embeddings that a text encoder needs.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        let ids = self.tokenizer.get_vocab(true).into_values();
        ids.max().map_or(0, |id| id as usize + 1)
    }

    /// Checks that a text encoder of so many embeddings belongs to this tokenizer.
    ///
    /// # Errors
    /// More embeddings than tokens, or fewer; both numbers are named.
    pub fn check_size(&self, embeddings: i64) -> Result<()> {
        let tokens = self.vocabulary_size() as i64;
        let reason = match tokens.cmp(&embeddings) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => "they belong to different models",
            std::cmp::Ordering::Less => {
                "tokens that were added for it (textual inversion) are missing, and prompts with them would mean something else; in \
                 Python, tokenizer.save_pretrained writes them"
            }
        };
        Err(DiffusionError::Config(format!(
            "the tokenizer has {tokens} tokens, the text encoder {embeddings} embeddings: {reason}"
        )))
    }

    /// Tokens of an encoded prompt, if the folder says (77 for Stable Diffusion).
    #[must_use]
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// The id that fills a prompt up.
    #[must_use]
    pub fn pad(&self) -> i64 {
        self.pad
    }

    /// Start, the prompt's tokens cut to `length - 2`, end, padding: `length` ids.
    ///
    /// # Errors
    /// A `length` below 2; what the tokenizer refuses.
    pub fn encode(&self, prompt: &str, length: usize) -> Result<Vec<i64>> {
        if length < 2 {
            return Err(DiffusionError::Config(format!(
                "prompts of {length} tokens: start and end alone need 2"
            )));
        }
        let encoded = self
            .tokenizer
            .encode_fast(prompt, false)
            .map_err(|e| DiffusionError::Config(format!("prompt {prompt:?}: {e}")))?;
        let mut ids = vec![self.start];
        ids.extend(
            encoded
                .get_ids()
                .iter()
                .take(length - 2)
                .map(|&id| i64::from(id)),
        );
        ids.push(self.end);
        ids.resize(length, self.pad);
        Ok(ids)
    }

    /// [`Self::encode`] of each prompt: [prompts, `length`] i64.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_all<S: AsRef<str>>(&self, prompts: &[S], length: usize) -> Result<Tensor> {
        let mut ids = Vec::with_capacity(prompts.len() * length);
        for prompt in prompts {
            ids.extend(self.encode(prompt.as_ref(), length)?);
        }
        Ok(Tensor::from_slice(&ids).reshape([prompts.len() as i64, length as i64]))
    }
}

/// A special token as the two JSON files give it: its text, or the text with flags.
struct SpecialToken {
    content: String,
    value: Value,
}

impl SpecialToken {
    fn read(value: Option<&Value>, usual: &str) -> Self {
        let flag = |key: &str, otherwise: bool| {
            let given = value.and_then(|v| v.get(key)).and_then(Value::as_bool);
            given.unwrap_or(otherwise)
        };
        let content = value
            .and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str()))
            .unwrap_or(usual)
            .to_owned();
        let value = json!({
            "content": content, "special": true, "normalized": flag("normalized", false),
            "single_word": flag("single_word", false), "lstrip": flag("lstrip", false),
            "rstrip": flag("rstrip", false),
        });
        Self { content, value }
    }
}

/// The pairs of a merges.txt, first merged first.
fn read_merges(path: &Path, bytes: &[u8]) -> Result<Vec<[String; 2]>> {
    let text = std::str::from_utf8(bytes).map_err(|e| file_error(path, e))?;
    text.lines()
        .filter(|line| !line.starts_with("#version") && !line.is_empty())
        .map(|line| {
            line.split_once(' ')
                .map(|(a, b)| [a.to_owned(), b.trim_end().to_owned()])
                .ok_or_else(|| file_error(path, format!("\"{line}\" is not a pair of tokens")))
        })
        .collect()
}

/// What transformers makes of the files, as a tokenizer.json.
fn assemble(
    vocabulary: &Map<String, Value>,
    merges: &[[String; 2]],
    added: &[Added],
    unknown: &str,
) -> Value {
    let added: Vec<&Value> = added.iter().map(|token| &token.value).collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"},
            {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
            {"type": "Lowercase"},
        ]},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Removed", "invert": true},
            byte_level,
        ]},
        "post_processor": null,
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": "",
            "end_of_word_suffix": END_OF_WORD, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocabulary, "merges": merges,
        },
    })
}

/// The printable stand-ins of the 256 bytes, in the order of CLIP's vocabulary: printable bytes as themselves, then the
/// others as U+0100 and on (GPT-2's byte-level encoding).
fn byte_names() -> Vec<String> {
    let printable = |b: &u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let first = (0..=255u8).filter(printable).map(char::from);
    let others = (0..=255u8).filter(|b| !printable(b)).count() as u32;
    let second = (0..others).filter_map(|i| char::from_u32(0x100 + i));
    first.chain(second).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_alone_make_a_tokenizer() {
        let tokenizer = ClipTokenizer::bytes(8).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), 514);
        assert_eq!(tokenizer.max_length(), Some(8));
        // '!' is 0 and 'a' is 64; 256 more at the end of a word.
        assert_eq!(
            tokenizer.encode("Ab  a!", 8).unwrap(),
            [512, 64, 65 + 256, 64 + 256, 256, 513, 513, 513]
        );
        assert_eq!(tokenizer.encode("abcdefgh", 4).unwrap(), [512, 64, 65, 513]);
        // Bytes that no letter stands for: e with an acute accent is C3 A9.
        let accent = tokenizer.encode("\u{e9}", 4).unwrap();
        assert_eq!(accent, tokenizer.encode("e\u{301}", 4).unwrap());
        assert!(
            accent[1] < 256 && (256..512).contains(&accent[2]),
            "{accent:?}"
        );
        assert!(tokenizer.encode("a", 1).is_err());
        assert!(ClipTokenizer::bytes(1).is_err());
    }

    #[test]
    fn what_a_folder_lacks_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let load = || ClipTokenizer::load(dir.path()).unwrap_err().to_string();
        assert!(load().contains("vocab.json"));
        ClipTokenizer::bytes(8).unwrap().save(dir.path()).unwrap();
        std::fs::write(dir.path().join(MERGES), "#version: 0.2\nab\n").unwrap();
        assert!(load().contains("merges.txt"));
        std::fs::write(dir.path().join(MERGES), "").unwrap();
        std::fs::write(dir.path().join(SPECIAL), r#"{"pad_token": "<pad>"}"#).unwrap();
        assert!(load().contains("<pad>"));
    }
}
