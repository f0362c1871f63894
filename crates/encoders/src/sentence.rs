//! Sentences as vectors: BERT encoders with the mean over tokens, such as sentence-transformers/all-MiniLM-L6-v2 (Reimers and
//! Gurevych 2019, arXiv:1908.10084; Wang et al. 2020, arXiv:2002.10957), in the layout of transformers' `BertModel`.
//!
//! A sentence becomes the mean of its tokens' last states, `[CLS]` and `[SEP]` among them, of length 1. It is cut at 256 tokens, as
//! that model's card says.

use crate::bert::{Attention, Perceptron, Sizes};
use crate::files::{Others, check_others, file_error, read_json, read_weights, sized};
use crate::{EncoderError, Result, WordPieceTokenizer};
use dualmd_diffusion::nn::{Builder, Init, LayerNorm, attend};
use dualmd_torch::{Device, Tensor, no_grad, unit_rows};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// The class in Python, for errors.
const CLASS: &str = "BertModel";
/// Longest sentence in tokens.
const LONGEST: usize = 256;
/// Sentences at a time.
const BATCH: usize = 64;
/// Weights that play no part: numbers 0, 1, 2, .. that transformers wrote until 4.31, and what is behind the first token.
const UNUSED: [&str; 2] = ["embeddings.position_ids", "pooler."];

/// `config.json`.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    max_position_embeddings: i64,
    vocab_size: i64,
    type_vocab_size: i64,
    hidden_act: String,
    layer_norm_eps: f64,
    #[serde(flatten)]
    others: Others,
}

/// Keys that change nothing here: dropout is off, nothing is generated.
const HARMLESS: &[&str] = &[
    "architectures",
    "attention_probs_dropout_prob",
    "bos_token_id",
    "classifier_dropout",
    "dtype",
    "eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout_prob",
    "initializer_range",
    "pad_token_id",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

impl Config {
    fn check(&self) -> std::result::Result<(), String> {
        if self.model_type != "bert" {
            return Err(format!(
                "model_type: \"{}\" is not supported: only bert is",
                self.model_type
            ));
        }
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("vocab_size", self.vocab_size),
            ("type_vocab_size", self.type_vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        sized(&sizes)?;
        if self.hidden_size % self.num_attention_heads != 0 {
            return Err("hidden_size must be a multiple of num_attention_heads".into());
        }
        if self.max_position_embeddings < 3 {
            return Err("max_position_embeddings must be at least 3".into());
        }
        if self.hidden_act != "gelu" {
            return Err(format!(
                "hidden_act: {} is not supported: only gelu is",
                self.hidden_act
            ));
        }
        let neutral = [
            ("position_embedding_type", json!("absolute")),
            ("is_decoder", json!(false)),
            ("add_cross_attention", json!(false)),
        ];
        check_others("", &self.others, &neutral, &[HARMLESS])
    }
}

/// The encoder with its tokenizer.
#[derive(Debug)]
pub struct SentenceEncoder {
    tokenizer: WordPieceTokenizer,
    /// Ids of `[CLS]` and `[SEP]`.
    ends: [i64; 2],
    words: Tensor,
    positions: Tensor,
    /// Of the first sentence, the only one there is.
    kind: Tensor,
    norm: LayerNorm,
    layers: Vec<(Attention, Perceptron)>,
    longest: usize,
    device: Device,
}

impl SentenceEncoder {
    /// Opens a folder: `config.json`, `model.safetensors` or its shards, and the tokenizer's files. Computes in f32 on `device`.
    ///
    /// # Errors
    /// What is missing or does not fit, naming the file and the key or tensor.
    pub fn load(folder: &Path, device: Device) -> Result<Self> {
        let path = folder.join("config.json");
        if !path.exists() {
            return Err(file_error(
                folder,
                "is not a model folder: it has no config.json (`cargo xtask features`, in a source checkout, fetches one; or in Python: \
                 BertModel.from_pretrained(..).save_pretrained(FOLDER), and the same with BertTokenizer)",
            ));
        }
        let config: Config = read_json(&path)?;
        config.check().map_err(|reason| file_error(&path, reason))?;
        let tokenizer = WordPieceTokenizer::load(folder)?;
        if tokenizer.vocabulary_size() > config.vocab_size {
            return Err(file_error(
                &path,
                format!(
                    "vocab_size {}, and the tokenizer beside it has {} tokens",
                    config.vocab_size,
                    tokenizer.vocabulary_size()
                ),
            ));
        }
        let id = |token: &str| {
            tokenizer
                .id(token)
                .ok_or_else(|| file_error(folder, format!("its tokenizer has no {token}")))
        };
        let ends = [id("[CLS]")?, id("[SEP]")?];
        let mut weights = read_weights(folder, CLASS)?;
        weights.retain(|name, _| !UNUSED.iter().any(|unused| name.starts_with(unused)));
        let of_folder = |e: EncoderError| match e {
            EncoderError::Network(_) => file_error(folder, e),
            other => other,
        };
        Self::build(&config, tokenizer, ends, weights, device).map_err(of_folder)
    }

    fn build(
        config: &Config,
        tokenizer: WordPieceTokenizer,
        ends: [i64; 2],
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        let b = Builder::loaded(weights, device);
        let width = config.hidden_size;
        let sizes = Sizes {
            width,
            inner: config.intermediate_size,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
        };
        let embedding = |name: &str, rows: i64| {
            let name = format!("embeddings.{name}.weight");
            b.get(&name, &[rows, width], Init::Normal(0.02))
        };
        let layer = |i: usize| -> Result<_> {
            let name = format!("encoder.layer.{i}");
            Ok((
                Attention::new(&b, &format!("{name}.attention"), &sizes, width)?,
                Perceptron::new(&b, &name, &sizes)?,
            ))
        };
        let positions = config.max_position_embeddings;
        let encoder = Self {
            words: embedding("word_embeddings", config.vocab_size)?,
            positions: embedding("position_embeddings", positions)?,
            kind: embedding("token_type_embeddings", config.type_vocab_size)?.f_narrow(0, 0, 1)?,
            norm: LayerNorm::new(&b, "embeddings.LayerNorm", width, sizes.epsilon)?,
            layers: (0..config.num_hidden_layers)
                .map(layer)
                .collect::<Result<_>>()?,
            longest: LONGEST.min(usize::try_from(positions).unwrap_or(LONGEST)),
            tokenizer,
            ends,
            device,
        };
        b.finish()?;
        Ok(encoder)
    }

    /// [N, width] f64 on the CPU, rows of length 1, of N texts.
    ///
    /// # Errors
    /// What the tokenizer or the engine refuses; weights that give no finite numbers.
    pub fn encode<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tensor> {
        // Sentences of one length at a time: nothing is padded, so nothing need be hidden.
        let mut by_length: BTreeMap<usize, Vec<(usize, Vec<i64>)>> = BTreeMap::new();
        for (place, text) in texts.iter().enumerate() {
            let mut ids = self.tokenizer.encode(text.as_ref())?;
            ids.truncate(self.longest - 2);
            let ids = [&self.ends[..1], &ids[..], &self.ends[1..]].concat();
            by_length.entry(ids.len()).or_default().push((place, ids));
        }
        let mut rows: Vec<Option<Tensor>> = texts.iter().map(|_| None).collect();
        for (length, sentences) in by_length {
            for some in sentences.chunks(BATCH) {
                let flat: Vec<i64> = some.iter().flat_map(|(_, ids)| ids.clone()).collect();
                let ids = Tensor::from_slice(&flat).f_view([-1, length as i64])?;
                let means = no_grad(|| self.means(&ids.f_to_device(self.device)?))?;
                for (i, (place, _)) in some.iter().enumerate() {
                    rows[*place] = Some(means.f_get(i as i64)?);
                }
            }
        }
        let rows: Vec<Tensor> = rows.into_iter().flatten().collect();
        if rows.is_empty() {
            return Err(EncoderError::Options("no sentences to encode".into()));
        }
        let all = Tensor::f_stack(&rows, 0)?.f_to_device(Device::Cpu)?;
        Ok(unit_rows(&all)?)
    }

    /// Means over the tokens of `ids` [N, T].
    fn means(&self, ids: &Tensor) -> Result<Tensor> {
        let (_, tokens) = ids.size2()?;
        let words = Tensor::f_embedding(&self.words, ids, -1, false, false)?;
        let positions = self.positions.f_narrow(0, 0, tokens)?;
        let mut h = self.norm.forward(&(words + &self.kind + positions));
        for (attention, perceptron) in &self.layers {
            let [k, v] = attention.seen(&h);
            let mixed = attend(&attention.query.forward(&h), &k, &v, attention.heads, false)?;
            h = perceptron.forward(&attention.behind(&mixed, &h));
        }
        Ok(h.f_mean_dim([1i64].as_slice(), false, dualmd_torch::Kind::Float)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::weights::read_safetensors;
    use std::path::PathBuf;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/sentence")
    }

    /// Sentences of several lengths, one of them beyond the last position, as transformers has them with padding and a mask.
    #[test]
    fn sentences_are_those_of_transformers() {
        let encoder = SentenceEncoder::load(&golden(), Device::Cpu).unwrap();
        let texts = std::fs::read_to_string(golden().join("sentences.json")).unwrap();
        let texts: Vec<String> = serde_json::from_str(&texts).unwrap();
        let expected =
            &read_safetensors(&golden().join("golden.safetensors")).unwrap()["sentences"];
        let found = encoder.encode(&texts).unwrap();
        assert_eq!(found.size(), expected.size());
        let furthest = (found - expected).abs().max().double_value(&[]);
        assert!(furthest < 1e-6, "{furthest}");
        let none = encoder.encode::<&str>(&[]).unwrap_err().to_string();
        assert!(none.contains("no sentences"), "{none}");
    }

    #[test]
    fn what_is_no_such_folder_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let refused = || {
            SentenceEncoder::load(dir.path(), Device::Cpu)
                .unwrap_err()
                .to_string()
        };
        assert!(refused().contains("cargo xtask features"), "{}", refused());
        for file in ["config.json", "model.safetensors", "vocab.txt"] {
            std::fs::copy(golden().join(file), dir.path().join(file)).unwrap();
        }
        let config = std::fs::read_to_string(dir.path().join("config.json")).unwrap();
        for (from, to, message) in [
            ("\"bert\"", "\"roberta\"", "only bert is"),
            ("\"gelu\"", "\"relu\"", "hidden_act: relu"),
            (
                "\"num_hidden_layers\": 2",
                "\"num_hidden_layers\": 3",
                "encoder.layer.2",
            ),
            (
                "\"num_hidden_layers\": 2",
                "\"num_hidden_layers\": 1",
                "encoder.layer.1",
            ),
        ] {
            assert!(config.contains(from), "{from}");
            std::fs::write(dir.path().join("config.json"), config.replace(from, to)).unwrap();
            assert!(refused().contains(message), "{}", refused());
        }
    }
}
