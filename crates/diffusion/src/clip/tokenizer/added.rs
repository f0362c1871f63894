//! Tokens beside the vocabulary: special ones, and those that textual inversion adds.

use super::{ADDED, CONFIG, SpecialToken};
use crate::Result;
use crate::latent::files::file_error;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tokenizers::Tokenizer;

const DECODER: &str = "added_tokens_decoder";

/// Keys under which special tokens without a role are listed.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// One of them.
#[derive(Debug)]
pub(super) struct Added {
    content: String,
    id: u64,
    /// As tokenizer.json has it.
    pub(super) value: Value,
}

/// All of a folder with `vocabulary`, in the order of their ids. `settings`: of tokenizer_config.json and special_tokens_map.json;
/// `older`: added_tokens.json; `special`: those with a role.
///
/// # Errors
/// Entries that are not of their form, or that contradict each other, with file and token.
pub(super) fn read(
    folder: &Path,
    vocabulary: &Map<String, Value>,
    settings: &Map<String, Value>,
    older: Option<Map<String, Value>>,
    special: &[&SpecialToken],
) -> Result<Vec<Added>> {
    let (config, list) = (folder.join(CONFIG), folder.join(ADDED));
    let mut all: BTreeMap<u64, Added> = BTreeMap::new();
    // What says most comes first: it has the flags.
    for (key, value) in objects(settings.get(DECODER)) {
        let id = key.parse::<u64>().ok();
        let content = value.get("content").and_then(Value::as_str);
        let (Some(id), Some(content)) = (id, content) else {
            return Err(file_error(
                &config,
                format!(
                    "{DECODER} {key:?}: is no id with a token, \"49408\": {{\"content\": \"<word>\", ...}}"
                ),
            ));
        };
        let flag = |name: &str| value.get(name).and_then(Value::as_bool);
        let is_special = flag("special").unwrap_or(false);
        let value = json!({
            "content": content, "special": is_special,
            "normalized": flag("normalized").unwrap_or(!is_special),
            "single_word": flag("single_word").unwrap_or(false),
            "lstrip": flag("lstrip").unwrap_or(false), "rstrip": flag("rstrip").unwrap_or(false),
        });
        add(&mut all, content, id, value, &config)?;
    }
    let mut named = Vec::new();
    for value in LISTS.iter().filter_map(|key| settings.get(*key)) {
        let values = value.as_array().into_iter().flatten();
        named.extend(values.map(|v| SpecialToken::read(Some(v), "")));
    }
    let special: Vec<&SpecialToken> = special.iter().copied().chain(&named).collect();
    for (content, id) in older.iter().flatten() {
        let Some(id) = id.as_u64() else {
            return Err(file_error(&list, format!("{content:?}: {id} is no id")));
        };
        let value = match special.iter().find(|t| t.content == *content) {
            Some(token) => token.value.clone(),
            None => json!({
                "content": content, "special": false, "normalized": true, "single_word": false, "lstrip": false, "rstrip": false,
            }),
        };
        add(&mut all, content, id, value, &list)?;
    }
    for token in special {
        if all.values().any(|added| added.content == token.content) {
            continue;
        }
        match vocabulary.get(&token.content).and_then(Value::as_u64) {
            Some(id) => add(&mut all, &token.content, id, token.value.clone(), &config)?,
            None if named.iter().any(|t| t.content == token.content) => {
                return Err(file_error(
                    &config,
                    format!(
                        "the special token {:?} has no id: it is neither in vocab.json nor in {DECODER} or {ADDED}",
                        token.content
                    ),
                ));
            }
            // The caller says that a role's token is not there.
            None => {}
        }
    }
    Ok(all.into_values().collect())
}

fn objects(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

/// Adds a token, unless it is there under this id.
fn add(
    all: &mut BTreeMap<u64, Added>,
    content: &str,
    id: u64,
    mut value: Value,
    path: &Path,
) -> Result<()> {
    if let Some(other) = all.get(&id) {
        if other.content == content {
            return Ok(());
        }
        return Err(file_error(
            path,
            format!("{content:?} and {:?} have the same id, {id}", other.content),
        ));
    }
    if let Some(other) = all.values().find(|other| other.content == content) {
        return Err(file_error(
            path,
            format!("{content:?} has two ids, {} and {id}", other.id),
        ));
    }
    value["id"] = json!(id);
    let content = content.to_owned();
    all.insert(id, Added { content, id, value });
    Ok(())
}

/// Checks that every token has got its id: the library numbers added tokens itself, one after the other.
///
/// # Errors
/// The first that has not.
pub(super) fn check(folder: &Path, added: &[Added], tokenizer: &Tokenizer) -> Result<()> {
    for token in added {
        let id = tokenizer.token_to_id(&token.content).map(u64::from);
        if id != Some(token.id) {
            return Err(file_error(
                folder,
                format!(
                    "the added token {:?} is to have id {}, which does not follow the ids before it; in Python, \
                     tokenizer.save_pretrained writes ids without gaps",
                    token.content, token.id
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::ClipTokenizer;
    use serde_json::{Value, json};
    use std::path::{Path, PathBuf};

    fn golden() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden/conditional/sd1/tokenizer")
    }

    /// A copy of the golden folder's tokenizer, with more files.
    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "vocab.json",
            "merges.txt",
            "special_tokens_map.json",
            "tokenizer_config.json",
        ] {
            std::fs::copy(golden().join(name), dir.path().join(name)).unwrap();
        }
        for (name, value) in files {
            std::fs::write(dir.path().join(name), value.to_string()).unwrap();
        }
        dir
    }

    /// Ids of a prompt between start and end.
    fn ids(tokenizer: &ClipTokenizer, prompt: &str) -> Vec<i64> {
        let all = tokenizer.encode(prompt, 40).unwrap();
        all[1..]
            .iter()
            .copied()
            .take_while(|id| *id != 539)
            .collect()
    }

    fn style(id: u64, content: &str, changed: &[&str]) -> (String, Value) {
        let flag = |name: &str, usual: bool| usual != changed.contains(&name);
        let value = json!({
            "content": content, "special": flag("special", false), "normalized": flag("normalized", true),
            "lstrip": flag("lstrip", false), "rstrip": flag("rstrip", false), "single_word": flag("single_word", false),
        });
        (id.to_string(), value)
    }

    /// Ids of transformers 5.23.0 (and of 4.57.1's fast tokenizer) for such folders, which 4.57.1 wrote.
    const LEGACY: [(&str, &[i64]); 5] = [
        (
            "a photo of <cat-toy> on a <Cat-Toy>",
            &[320, 79, 71, 78, 83, 334, 78, 325, 540, 520, 320, 540],
        ),
        (
            "x<cat-toy>y  <my style> <MY STYLE>",
            &[343, 540, 344, 541, 541],
        ),
        ("a <s1><s2> b", &[320, 542, 543, 321]),
        ("caf\u{e9}<cat-toy>", &[66, 64, 69, 127, 358, 540]),
        ("a  <left>  b", &[320, 283, 75, 68, 69, 339, 285, 321]),
    ];

    #[test]
    fn added_tokens_json_is_read_as_transformers_reads_it() {
        let added = json!({"<cat-toy>": 540, "<My Style>": 541, "<s1>": 542, "<s2>": 543});
        let dir = folder(&[("added_tokens.json", added)]);
        let tokenizer = ClipTokenizer::load(dir.path()).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), 544);
        for (prompt, expected) in LEGACY {
            assert_eq!(ids(&tokenizer, prompt), expected, "{prompt}");
        }
        // The folder is written back whole.
        let copy = tempfile::tempdir().unwrap();
        tokenizer.save(copy.path()).unwrap();
        let back = ClipTokenizer::load(copy.path()).unwrap();
        assert_eq!(ids(&back, "<cat-toy>"), [540]);
    }

    fn of_decoder(more: &[(&str, Value)], with_list: bool) -> tempfile::TempDir {
        let decoder: serde_json::Map<String, Value> = [
            style(538, "<|startoftext|>", &["special"]),
            style(539, "<|endoftext|>", &["special"]),
            style(540, "<cat-toy>", &[]),
            style(541, "<My Style>", &[]),
            style(542, "<s1>", &[]),
            style(543, "<s2>", &[]),
            style(544, "<pad>", &["special", "normalized"]),
            style(545, "<left>", &["lstrip", "rstrip", "normalized"]),
            style(546, "word", &["single_word"]),
        ]
        .into_iter()
        .collect();
        let mut config = json!({
            "added_tokens_decoder": decoder, "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<pad>",
            "unk_token": "<|endoftext|>", "model_max_length": 16, "do_lower_case": true, "extra_special_tokens": {},
        });
        for (key, value) in more {
            config[*key] = value.clone();
        }
        let list = json!({"<My Style>": 541, "<cat-toy>": 540, "<left>": 545, "<pad>": 544, "<s1>": 542, "<s2>": 543, "word": 546});
        let mut files = vec![
            ("tokenizer_config.json", config),
            ("special_tokens_map.json", json!({})),
        ];
        if with_list {
            files.push(("added_tokens.json", list));
        }
        folder(&files)
    }

    #[test]
    fn the_decoders_flags_are_honoured_with_and_without_the_older_list() {
        for with_list in [false, true] {
            let dir = of_decoder(&[], with_list);
            let tokenizer = ClipTokenizer::load(dir.path()).unwrap();
            assert_eq!((tokenizer.vocabulary_size(), tokenizer.pad()), (547, 544));
            for (prompt, expected) in &LEGACY[..4] {
                assert_eq!(ids(&tokenizer, prompt), *expected, "{prompt}");
            }
            for (prompt, expected) in [
                ("a  <left>  b", &[320, 545, 321][..]),
                (
                    "a <LEFT> b",
                    &ids(&ClipTokenizer::load(&golden()).unwrap(), "a <left> b"),
                ),
                (
                    "words word WORD, sword",
                    &[86, 78, 81, 67, 338, 546, 546, 267, 82, 86, 78, 81, 323],
                ),
                ("\u{c9} <MY STYLE>", &[127, 358, 541]),
            ] {
                assert_eq!(ids(&tokenizer, prompt), expected, "{prompt}");
            }
        }
    }

    #[test]
    fn a_text_encoder_of_another_size_is_refused_with_both_numbers() {
        let plain = ClipTokenizer::load(&golden()).unwrap();
        plain.check_size(540).unwrap();
        for embeddings in [539, 541, 49_408] {
            let error = plain.check_size(embeddings).unwrap_err().to_string();
            assert!(
                error.contains("540 tokens") && error.contains(&embeddings.to_string()),
                "{error}"
            );
        }
        let error = plain.check_size(544).unwrap_err().to_string();
        assert!(error.contains("textual inversion"), "{error}");
    }

    #[test]
    fn tokens_that_contradict_each_other_are_named() {
        let refused = |dir: &Path| ClipTokenizer::load(dir).unwrap_err().to_string();
        for (list, words) in [
            (json!({"<a>": 541}), "<a>"),
            (json!({"<a>": 540, "<b>": 542}), "<b>"),
            (json!({"<a>": "x"}), "is no id"),
            (json!({"<a>": -1}), "is no id"),
            (json!({"<a>": 540, "<b>": 540}), "the same id, 540"),
            (json!([1]), "added_tokens.json"),
        ] {
            let error = refused(folder(&[("added_tokens.json", list)]).path());
            assert!(error.contains(words), "{error} lacks {words}");
        }
        let dir = of_decoder(
            &[("added_tokens_decoder", json!({"x": {"content": "a"}}))],
            false,
        );
        assert!(refused(dir.path()).contains("added_tokens_decoder"));
        let dir = of_decoder(
            &[("additional_special_tokens", json!(["<s1>", "<none>"]))],
            true,
        );
        let error = refused(dir.path());
        assert!(
            error.contains("<none>") && error.contains("no id"),
            "{error}"
        );
    }
}
