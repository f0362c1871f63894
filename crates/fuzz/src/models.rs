//! What needs libtorch: weights, networks, tokenizers, LoRA, experiments.

use std::path::Path;
use std::sync::OnceLock;

use dualmd_caption::Captioner;
use dualmd_caption::config::BlipConfig;
use dualmd_diffusion::latent::Parts;
use dualmd_diffusion::lora::{PEFT_CONFIG, singular_values};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::unet2d::ImageSize;
use dualmd_diffusion::{
    Beside, ClipTokenizer, Denoiser, Dit, DitConfig, Labels, LoraConfig, LoraForm, Model,
    NoiseSchedule, Pipeline, TextToImage, UNet2d, UNet2dCondition, UNet2dConditionConfig,
    UNet2dConfig, read_shards,
};
use dualmd_encoders::{ClipModel, ImageProcessor, SentenceEncoder, Vit, WordPieceTokenizer};
use dualmd_experiment::experiment::Experiment;
use dualmd_experiment::plan::Plan;
use dualmd_metrics::Gaussian;
use dualmd_remote::{Hello, message};
use dualmd_torch::{Device, Kind, Tensor, weights};

use crate::files::{Files, read, scratch, with_file, with_folder};
use crate::{Target, said};

/// A target of the second group.
const fn model(name: &'static str, about: &'static str, read: fn(&[u8])) -> Target {
    Target {
        name,
        about,
        models: true,
        read,
    }
}

/// The targets of this module.
pub fn targets() -> [Target; 16] {
    [
        model("safetensors", "weights", safetensors),
        model(
            "shards",
            "weights in several files and their index, see `files`",
            shards,
        ),
        model("array", "an npy array of floats", array),
        model(
            "pipeline",
            "a folder of an unconditional model, see `files`",
            pipeline,
        ),
        model(
            "dit-pipeline",
            "a folder of a transformer, see `files`",
            dit_pipeline,
        ),
        model(
            "text-pipeline",
            "a folder of a text-to-image model, see `files`",
            text_pipeline,
        ),
        model(
            "clip-tokenizer",
            "a folder of CLIP's tokenizer, see `files`",
            clip_tokenizer,
        ),
        model(
            "word-pieces",
            "a folder of BERT's tokenizer, see `files`",
            word_pieces,
        ),
        model("lora", "low-rank additions", lora),
        model("adapter", "adapter_config.json of PEFT", adapter),
        model(
            "captioner",
            "a folder of transformers, see `files`",
            captioner,
        ),
        model("preprocessor", "preprocessor_config.json", preprocessor),
        model("statistics", "mean and covariance as npz", statistics),
        model(
            "experiment",
            "an experiment file, and `--set` in the file `sets`",
            experiment,
        ),
        model(
            "denoiser",
            "a message of a server of --denoiser, with its length",
            denoiser,
        ),
        model("plan", "plan.json as a run that goes on reads it", plan),
    ]
}

/// What the library writes of a model, once.
fn written(cell: &'static OnceLock<Files>, write: impl FnOnce(&Path)) -> &'static Files {
    cell.get_or_init(|| {
        let folder = scratch();
        write(folder.path());
        read(folder.path()).unwrap_or_default()
    })
}

fn safetensors(input: &[u8]) {
    with_file("x.safetensors", input, |path| {
        said(weights::read_safetensors(path));
    });
}

/// Most bytes of an answer that is asked for here.
const ANSWER: u64 = 1 << 20;

fn denoiser(input: &[u8]) {
    let (mut stream, mut buffer) = (input, Vec::new());
    let Some(answer) = said(message::read(&mut stream, &mut buffer, ANSWER, "hello")) else {
        return;
    };
    said(Hello::of(&answer));
    said(answer.tensor("prediction", &[Kind::Float], &[2, 1, 2, 2]));
}

fn shards(input: &[u8]) {
    with_folder(&Files::new(), input, "x.safetensors.index.json", |folder| {
        said(read_shards(&folder.join("x.safetensors.index.json")));
    });
}

fn array(input: &[u8]) {
    with_file("x.npy", input, |path| {
        said(weights::read_npy(path));
    });
}

/// The smallest network of the kind.
fn small() -> UNet2dConfig {
    UNet2dConfig {
        sample_size: Some(ImageSize::Side(8)),
        in_channels: 1,
        out_channels: 1,
        down_block_types: vec!["DownBlock2D".into(), "AttnDownBlock2D".into()],
        up_block_types: vec!["AttnUpBlock2D".into(), "UpBlock2D".into()],
        block_out_channels: vec![8, 8],
        layers_per_block: 1,
        norm_num_groups: 4,
        ..UNet2dConfig::default()
    }
}

/// The files of a small model, as [`Pipeline::save`] writes them.
#[must_use]
pub fn pipeline_folder() -> &'static Files {
    static CELL: OnceLock<Files> = OnceLock::new();
    written(&CELL, |folder| {
        if let Some(unet) = said(UNet2d::fresh(&small(), 1, Device::Cpu)) {
            let tensors = &unet.parameters().0;
            said(Pipeline::save(
                folder,
                small(),
                &NoiseSchedule::default(),
                Beside::default(),
                tensors,
                None,
            ));
        }
    })
}

/// The files of a small transformer that is told a class.
#[must_use]
pub fn dit_folder() -> &'static Files {
    static CELL: OnceLock<Files> = OnceLock::new();
    let config = DitConfig {
        num_attention_heads: 2,
        attention_head_dim: 8,
        in_channels: 1,
        out_channels: Some(1),
        num_layers: 1,
        sample_size: 8,
        num_embeds_ada_norm: 2,
        ..DitConfig::default()
    };
    written(&CELL, |folder| {
        let labels = said(Labels::beside_none(vec!["a".into(), "b, c".into()], 2));
        let beside = Beside {
            labels: labels.as_ref(),
            autoencoder: None,
        };
        if let Some(network) = said(Dit::fresh(&config, 1, Device::Cpu)) {
            let tensors = &network.parameters().0;
            let schedule = NoiseSchedule::default();
            said(Pipeline::save(
                folder, &config, &schedule, beside, tensors, None,
            ));
        }
    })
}

/// The files of a small text-to-image model with an autoencoder.
#[must_use]
pub fn text_folder() -> &'static Files {
    static CELL: OnceLock<Files> = OnceLock::new();
    written(&CELL, |folder| {
        if let Some(model) = said(TextToImage::fresh("t2i-latent-small", 1, 1, Device::Cpu)) {
            said(model.save(folder, None, None));
        }
    })
}

/// Opened, and asked once as an attack asks it.
fn pipeline(input: &[u8]) {
    with_folder(pipeline_folder(), input, "unet/config.json", |folder| {
        let Some(model) = said(Model::load(folder, WeightSet::Ema, Device::Cpu)) else {
            return;
        };
        ask(&model);
    });
}

/// The same of a transformer.
fn dit_pipeline(input: &[u8]) {
    with_folder(dit_folder(), input, "transformer/config.json", |folder| {
        let Some(model) = said(Model::load(folder, WeightSet::Ema, Device::Cpu)) else {
            return;
        };
        ask(&model);
    });
}

fn ask(model: &Model) {
    let _ = (model.image_shape(), model.clip());
    let Some([channels, height, width]) = model.sample_shape() else {
        return;
    };
    // A side is advice, and may be of any size: the network is asked at one that takes no time.
    if channels > 64 || height > 64 || width > 64 {
        return;
    }
    let last = i64::try_from(model.schedule().len()).map_or(0, |steps| steps - 1);
    for t in [0, last] {
        let x = Tensor::zeros([1, channels, height, width], (Kind::Float, Device::Cpu));
        let t = Tensor::from_slice(&[t]);
        if let Model::Unconditional(pipeline) = model {
            let told = model.labels().and_then(|_| said(model.told(&["0"])));
            said(pipeline.predict_noise(&x, &t, told.as_ref()));
        }
    }
}

fn text_pipeline(input: &[u8]) {
    with_folder(text_folder(), input, "unet/config.json", |folder| {
        let model = TextToImage::load(folder, WeightSet::Ema, Parts::ALL, Device::Cpu);
        if let Some(model) = said(model) {
            said(model.text_embeddings(&["a photo of a cat"]));
        }
    });
}

/// Prompts of several scripts, with pieces that tokenizers treat apart.
const PROMPTS: [&str; 3] = [
    "",
    "a photo of a cat's 3 toys",
    "d\u{e9}j\u{e0} <cat> \u{1f600}\n\u{4f60}\u{597d}",
];

fn clip_tokenizer(input: &[u8]) {
    static CELL: OnceLock<Files> = OnceLock::new();
    let template = written(&CELL, |folder| {
        if let Some(tokenizer) = said(ClipTokenizer::bytes(77)) {
            said(tokenizer.save(folder));
        }
    });
    with_folder(template, input, "tokenizer_config.json", |folder| {
        let Some(tokenizer) = said(ClipTokenizer::load(folder)) else {
            return;
        };
        let length = tokenizer.max_length().unwrap_or(77).min(1_000);
        for prompt in PROMPTS {
            if let Some(ids) = said(tokenizer.encode(prompt, length)) {
                assert_eq!(ids.len(), length);
            }
        }
    });
}

fn word_pieces(input: &[u8]) {
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nphoto\nof\ncat\n##s\n'\n3\n";
    let template = vec![("vocab.txt".to_owned(), vocabulary.as_bytes().to_vec())];
    with_folder(&template, input, "tokenizer_config.json", |folder| {
        let Some(tokenizer) = said(WordPieceTokenizer::load(folder)) else {
            return;
        };
        for prompt in PROMPTS {
            if let Some(ids) = said(tokenizer.encode(prompt)) {
                said(tokenizer.decode(&ids));
            }
        }
        said(tokenizer.decode(&[-1, 0, i64::MAX]));
    });
}

/// A small conditional network.
fn conditional() -> UNet2dConditionConfig {
    UNet2dConditionConfig {
        sample_size: Some(ImageSize::Side(8)),
        in_channels: 1,
        out_channels: 1,
        down_block_types: vec!["CrossAttnDownBlock2D".into()],
        up_block_types: vec!["CrossAttnUpBlock2D".into()],
        block_out_channels: vec![8],
        layers_per_block: 1,
        norm_num_groups: 4,
        cross_attention_dim: 8,
        ..UNet2dConditionConfig::default()
    }
}

/// LoRA layers of the small conditional network, as the library writes them.
#[must_use]
pub fn lora_folder() -> &'static Files {
    static CELL: OnceLock<Files> = OnceLock::new();
    written(&CELL, |folder| {
        let unet = said(UNet2dCondition::fresh(&conditional(), 1, Device::Cpu));
        let config = LoraConfig::new(2);
        if let Some(unet) = unet.and_then(|unet| said(unet.with_lora(&config, 1))) {
            said(unet.save_lora(folder, None));
        }
    })
}

fn lora(input: &[u8]) {
    with_file("pytorch_lora_weights.safetensors", input, |path| {
        if let Some(unet) = said(UNet2dCondition::fresh(&conditional(), 1, Device::Cpu)) {
            said(unet.load_lora(path));
        }
        said(singular_values(path));
    });
}

/// The same as PEFT writes them.
#[must_use]
pub fn adapter_folder() -> &'static Files {
    static CELL: OnceLock<Files> = OnceLock::new();
    written(&CELL, |folder| {
        let unet = said(UNet2dCondition::fresh(&conditional(), 1, Device::Cpu));
        let config = LoraConfig::new(2);
        if let Some(unet) = unet.and_then(|unet| said(unet.with_lora(&config, 1))) {
            said(unet.save_lora_as(LoraForm::Peft { base: "base" }, folder, None));
        }
    })
}

fn adapter(input: &[u8]) {
    with_folder(adapter_folder(), input, PEFT_CONFIG, |folder| {
        if let Some(unet) = said(UNet2dCondition::fresh(&conditional(), 1, Device::Cpu)) {
            said(unet.load_lora(folder));
        }
        // There is no base in the folder: what it names is looked up, and refused.
        said(Model::load(folder, WeightSet::Ema, Device::Cpu));
    });
}

/// The settings of four kinds of model; there are no weights, so each stops there at the latest.
fn captioner(input: &[u8]) {
    let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n";
    let template = vec![("vocab.txt".to_owned(), vocabulary.as_bytes().to_vec())];
    with_folder(&template, input, "config.json", |folder| {
        said(BlipConfig::load(&folder.join("config.json")));
        said(Captioner::load(folder, Device::Cpu));
        said(ClipModel::load(folder, Device::Cpu));
        said(Vit::load(folder, Device::Cpu));
        said(SentenceEncoder::load(folder, Device::Cpu));
    });
}

fn preprocessor(input: &[u8]) {
    with_folder(&Files::new(), input, "preprocessor_config.json", |folder| {
        said(ImageProcessor::load(folder));
    });
}

fn statistics(input: &[u8]) {
    with_file("x.npz", input, |path| {
        if let Some(gaussian) = said(Gaussian::read_npz(path)) {
            let copy = path.with_file_name("copy.npz");
            said(gaussian.write_npz(&copy));
            assert!(said(Gaussian::read_npz(&copy)).is_some());
        }
    });
}

fn experiment(input: &[u8]) {
    let files = crate::files::unpack(input, "experiment.toml");
    let text = |wanted: &str| {
        let found = files.iter().rev().find(|(name, _)| name == wanted);
        found
            .map(|(_, content)| String::from_utf8_lossy(content).into_owned())
            .unwrap_or_default()
    };
    let sets: Vec<String> = text("sets").lines().map(str::to_owned).collect();
    let read = Experiment::parse(&text("experiment.toml"), "input", &sets);
    if let Some(experiment) = said(read.map_err(whole)) {
        said(experiment.model.overrides().map_err(whole));
        said(experiment.to_toml().map_err(whole));
    }
}

fn plan(input: &[u8]) {
    with_file("plan.json", input, |path| {
        if let Some(plan) = said(Plan::load(path).map_err(whole)) {
            drop(plan.describe());
        }
    });
}

/// An error with all its causes, as the program prints it.
fn whole(error: anyhow::Error) -> String {
    format!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template that does not open would make every input fail for the same reason.
    #[test]
    fn the_templates_open() {
        with_folder(pipeline_folder(), b"", "none", |folder| {
            ask(&Model::load(folder, WeightSet::Ema, Device::Cpu).unwrap());
        });
        with_folder(dit_folder(), b"", "none", |folder| {
            let model = Model::load(folder, WeightSet::Ema, Device::Cpu).unwrap();
            assert!(model.labels().is_some());
            ask(&model);
        });
        with_folder(text_folder(), b"", "none", |folder| {
            TextToImage::load(folder, WeightSet::Ema, Parts::ALL, Device::Cpu).unwrap();
        });
        with_folder(lora_folder(), b"", "none", |folder| {
            let unet = UNet2dCondition::fresh(&conditional(), 1, Device::Cpu).unwrap();
            let unet = unet.load_lora(folder).unwrap();
            assert!(unet.lora_parameters().is_some());
        });
        with_folder(adapter_folder(), b"", "none", |folder| {
            let unet = UNet2dCondition::fresh(&conditional(), 1, Device::Cpu).unwrap();
            let unet = unet.load_lora(folder).unwrap();
            assert!(unet.lora_parameters().is_some());
        });
    }
}
