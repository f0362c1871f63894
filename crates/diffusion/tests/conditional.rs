//! Text-to-image folders against Python's diffusers and transformers (tests/golden/conditional, made by
//! interop/make_conditional_golden.py), and what is known of Stable Diffusion's sizes.

#[path = "conditional/folders.rs"]
mod folders;
#[path = "conditional/sizes.rs"]
mod sizes;

use dualmd_diffusion::latent::{Guided, LatentSampling, Parts, sample_latents};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{
    ClipTokenizer, Condition, Denoiser, DualDenoiser, ModelOrder, TextToImage, UNet2dCondition,
};
use dualmd_torch::device::Precision;
use dualmd_torch::weights::read_safetensors;
use dualmd_torch::{Device, Kind, Tensor, no_grad};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const FOLDERS: [&str; 2] = ["sd1", "sd2"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/golden/conditional"
    ))
    .join(name)
}

fn open(name: &str) -> TextToImage {
    TextToImage::load(&folder(name), WeightSet::Ema, Parts::ALL, Device::Cpu).unwrap()
}

/// What Python computed, and its settings.
struct Golden {
    tensors: BTreeMap<String, Tensor>,
    settings: Value,
}

impl Golden {
    fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(folder(name).join("golden.json")).unwrap();
        Self {
            tensors: read_safetensors(&folder(name).join("golden.safetensors")).unwrap(),
            settings: serde_json::from_str(&text).unwrap(),
        }
    }

    fn prompts(&self) -> Vec<String> {
        serde_json::from_value(self.settings["prompts"].clone()).unwrap()
    }

    fn get(&self, name: &str) -> Tensor {
        self.tensors[name].shallow_clone()
    }

    /// Largest |a - b| / (1 + |b|).
    fn error(&self, name: &str, ours: &Tensor) -> f64 {
        let theirs = self.get(name);
        assert_eq!(ours.size(), theirs.size(), "{name}");
        ((ours - &theirs).abs() / (theirs.abs() + 1.0))
            .max()
            .double_value(&[])
    }
}

fn condition(embedding: Tensor) -> Condition {
    Condition::of_text(embedding)
}

#[test]
fn token_ids_equal_those_of_transformers() {
    for name in FOLDERS {
        let (golden, tokenizer) = (
            Golden::read(name),
            ClipTokenizer::load(&folder(name).join("tokenizer")).unwrap(),
        );
        assert_eq!(tokenizer.max_length(), Some(16));
        let ours = tokenizer.encode_all(&golden.prompts(), 16).unwrap();
        assert_eq!(
            Vec::<Vec<i64>>::try_from(&ours).unwrap(),
            Vec::<Vec<i64>>::try_from(&golden.get("ids")).unwrap(),
            "{name}"
        );
        // Stable Diffusion 2 pads with "!".
        assert_eq!(tokenizer.pad() == 0, name == "sd2");
    }
}

#[test]
fn the_padding_of_special_tokens_map_wins() {
    let dir = tempfile::tempdir().unwrap();
    for file in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
        std::fs::copy(
            folder("sd1").join("tokenizer").join(file),
            dir.path().join(file),
        )
        .unwrap();
    }
    std::fs::write(
        dir.path().join("special_tokens_map.json"),
        r#"{"pad_token": "!"}"#,
    )
    .unwrap();
    let tokenizer = ClipTokenizer::load(dir.path()).unwrap();
    let golden = Golden::read("sd2");
    // The second folder's tokenizer is the same one, padded with "!" and kept as tokenizer.json.
    let ours = tokenizer.encode_all(&golden.prompts(), 16).unwrap();
    assert!(ours.equal(&golden.get("ids")));
}

#[test]
fn text_embeddings_equal_those_of_transformers() {
    for name in FOLDERS {
        let golden = Golden::read(name);
        let ours = open(name).text_embeddings(&golden.prompts()).unwrap();
        let error = golden.error("text", &ours);
        assert!(error < 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn the_autoencoder_equals_that_of_diffusers() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        let images = golden.get("images");
        let moments = no_grad(|| model.vae.as_ref().unwrap().encode(&images)).unwrap();
        let mean = model.encode_images(&images, None).unwrap();
        let drawn = model
            .encode_images(&images, Some(&golden.get("draw")))
            .unwrap();
        let decoded = model.decode_latents(&golden.get("latents")).unwrap();
        for (what, ours) in [
            ("mean", &moments.mean),
            ("log_variance", &moments.log_variance),
            ("drawn", &drawn),
            ("decoded", &decoded),
        ] {
            let error = golden.error(what, ours);
            assert!(error < 1e-5, "{name} {what}: {error:e}");
        }
        assert!((mean / 0.18215).allclose(&moments.mean, 1e-5, 1e-6, false));
        let error = model
            .encode_images(&images, Some(&golden.get("latents").narrow(0, 0, 1)))
            .unwrap_err();
        assert!(error.to_string().contains("noise"), "{error}");
    }
}

#[test]
fn the_network_equals_that_of_diffusers() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        let (x_t, t) = (golden.get("x_t"), golden.get("t"));
        let text = condition(golden.get("text").narrow(0, 0, 4));
        let ours = no_grad(|| model.unet.forward(&x_t, &t, &text, false)).unwrap();
        let error = golden.error("output", &ours);
        assert!(error < 1e-5, "{name}: {error:e}");
        // What attacks are told is eps: for a v-prediction, a v + b x_t.
        let eps = no_grad(|| model.predict_noise(&x_t, &t, Some(&text))).unwrap();
        let (a, b) = model.schedule.coefficients(&t);
        let expected = if name == "sd2" {
            &ours * a + &x_t * b
        } else {
            ours
        };
        assert!(eps.allclose(&expected, 1e-6, 1e-6, false), "{name}");
    }
}

#[test]
fn gradients_equal_those_of_diffusers() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        for tensor in model.weights().unwrap() {
            let _ = tensor.set_requires_grad(true);
        }
        let text = condition(golden.get("text").narrow(0, 0, 4));
        let out = model
            .unet
            .forward(&golden.get("x_t"), &golden.get("t"), &text, true)
            .unwrap();
        let loss = (out - golden.get("target")).square().mean(Kind::Float);
        let error = golden.error("loss", &loss.reshape([1]));
        assert!(error < 1e-5, "{name} loss: {error:e}");
        loss.backward();
        let parameters: BTreeMap<_, _> = model.unet.parameters().named().collect();
        let names: Vec<String> =
            serde_json::from_value(golden.settings["gradients"].clone()).unwrap();
        assert!(names.len() >= 10);
        for parameter in names {
            let theirs = golden.get(&format!("grad.{parameter}"));
            let difference = (parameters[parameter.as_str()].grad() - &theirs)
                .abs()
                .max();
            let error = difference.double_value(&[]) / theirs.abs().max().double_value(&[]);
            assert!(error < 1e-4, "{name} {parameter}: {error:e}");
        }
    }
}

#[test]
fn bf16_is_near_f32_and_trains() {
    for name in FOLDERS {
        let golden = Golden::read(name);
        let model = open(name).with_precision(Precision::Bf16);
        for tensor in model.weights().unwrap() {
            let _ = tensor.set_requires_grad(true);
        }
        let text = condition(golden.get("text").narrow(0, 0, 4));
        let out = model
            .unet
            .forward(&golden.get("x_t"), &golden.get("t"), &text, true)
            .unwrap();
        let theirs = golden.get("output");
        let error = (&out - &theirs).square().mean(Kind::Float) / theirs.square().mean(Kind::Float);
        let error = error.double_value(&[]).sqrt();
        assert!(error > 1e-5 && error < 0.05, "{name}: {error:e}");
        out.square().mean(Kind::Float).backward();
        for (parameter, tensor) in model.unet.parameters().named() {
            let gradient = tensor.grad();
            assert!(
                gradient.defined() && gradient.isfinite().all().double_value(&[]) == 1.0,
                "{name} {parameter}"
            );
        }
    }
}

/// Half the memory, and near what autocast makes of the f32 weights; and nothing turns it into f32 by the way.
#[test]
fn weights_held_in_bf16_answer_as_f32_ones_under_autocast() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        let config = model.unet.config();
        let held = UNet2dCondition::fresh_bf16(config, 4, Device::Cpu).unwrap();
        let held = held.with_precision(Precision::F32);
        let plain = UNet2dCondition::fresh(config, 4, Device::Cpu).unwrap();
        for ((a, x), (b, y)) in held.parameters().named().zip(plain.parameters().named()) {
            assert!(a == b && x.kind() == Kind::BFloat16 && x.equal(&y.to_kind(Kind::BFloat16)));
        }
        let plain = plain.with_precision(Precision::Bf16);
        let (x_t, t) = (golden.get("x_t"), golden.get("t"));
        let text = condition(golden.get("text").narrow(0, 0, 4));
        let ask = |network: &UNet2dCondition| {
            no_grad(|| network.forward(&x_t, &t, &text, false)).unwrap()
        };
        let (ours, theirs) = (ask(&held), ask(&plain));
        assert_eq!(ours.kind(), Kind::Float);
        let error =
            (&ours - &theirs).square().mean(Kind::Float) / theirs.square().mean(Kind::Float);
        let error = error.double_value(&[]).sqrt();
        assert!(error < 0.02, "{name}: {error:e}");
    }
}

#[test]
fn weights_in_half_precision_are_held_as_they_are_and_others_are_not() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        let config = model.unet.config();
        let (x_t, t) = (golden.get("x_t"), golden.get("t"));
        let text = condition(golden.get("text").narrow(0, 0, 4));
        let ask = |network: &UNet2dCondition| {
            no_grad(|| network.forward(&x_t, &t, &text, false)).unwrap()
        };
        let of = |kind: Kind| {
            let weights = model.unet.parameters().copies().into_iter();
            let weights = weights.map(|(name, t)| (name, t.to_kind(kind)));
            UNet2dCondition::from_halves(config, weights.collect(), Device::Cpu).unwrap()
        };
        let plain = of(Kind::Float).with_precision(Precision::F32);
        assert!(
            plain
                .parameters()
                .named()
                .all(|(_, t)| t.kind() == Kind::Float)
        );
        assert_eq!(ask(&plain), ask(&model.unet));
        for kind in [Kind::Half, Kind::BFloat16] {
            // Who holds bf16 computes in it, whatever is asked for.
            let held = of(kind).with_precision(Precision::F32);
            assert!(
                held.parameters()
                    .named()
                    .all(|(_, t)| t.kind() == Kind::BFloat16)
            );
            let (ours, theirs) = (ask(&held), golden.get("output"));
            let error =
                (&ours - &theirs).square().mean(Kind::Float) / theirs.square().mean(Kind::Float);
            let error = error.double_value(&[]).sqrt();
            assert!(error > 1e-6 && error < 0.05, "{name}, {kind:?}: {error:e}");
        }
    }
}

#[test]
fn ten_guided_ddim_steps_equal_those_of_the_pipeline() {
    for name in FOLDERS {
        let (golden, model) = (Golden::read(name), open(name));
        let steps = 10;
        let timesteps = model.schedule.sampling_timesteps(steps).unwrap();
        assert_eq!(
            timesteps,
            Vec::<i64>::try_from(&golden.get("timesteps")).unwrap()
        );
        assert_eq!(timesteps[9], 1, "steps_offset");
        let guided = Guided {
            unconditional: condition(model.text_embeddings(&[""]).unwrap()),
            scale: golden.settings["guidance"].as_f64().unwrap(),
            model: &model,
        };
        let text = model.text_embeddings(&golden.prompts()[..2]).unwrap();
        let mut finished = Vec::new();
        for batch in [1, 8] {
            let sample = sample_latents(
                &guided,
                &model.schedule,
                &golden.get("x_T"),
                &condition(text.shallow_clone()),
                &LatentSampling {
                    steps,
                    batch,
                    clip: model.clip(),
                },
                |n| {
                    finished.push(n);
                    true
                },
            )
            .unwrap();
            let error = golden.error("sample", &sample);
            assert!(error < 1e-3, "{name}: {error:e}");
            let picture = model.decode_latents(&sample).unwrap();
            let error = golden.error("picture", &picture);
            assert!(error < 1e-3, "{name} picture: {error:e}");
        }
        assert_eq!(finished, [1, 2, 2]);
    }
}

/// A row and its twin without text go to the same model of a pair, so results do not depend on the batch.
#[test]
fn a_pair_takes_turns_under_guidance() {
    let (golden, first, second) = (Golden::read("sd1"), open("sd1"), open("sd1"));
    no_grad(|| {
        for mut tensor in second.weights().unwrap() {
            let _ = tensor.g_mul_scalar_(0.9);
        }
    });
    let x_t = Tensor::cat(&[golden.get("x_T"), golden.get("x_T") * 0.5], 0);
    let text = condition(first.text_embeddings(&golden.prompts()[..4]).unwrap());
    let sample = |order, second: &TextToImage, batch| {
        let options = LatentSampling {
            steps: 4,
            batch,
            clip: None,
        };
        let timesteps = first.schedule.sampling_timesteps(options.steps).unwrap();
        let guided = Guided {
            model: DualDenoiser::new(&first, second, order, timesteps, 3),
            unconditional: condition(first.text_embeddings(&[""]).unwrap()),
            scale: 2.0,
        };
        sample_latents(&guided, &first.schedule, &x_t, &text, &options, |_| true).unwrap()
    };
    let apart = |a: &Tensor, b: &Tensor| ((a - b).abs() / (b.abs() + 1.0)).max().double_value(&[]);
    let order = ModelOrder::RandomEachStep;
    let together = sample(order, &second, 8);
    assert!(apart(&together, &sample(order, &second, 3)) < 1e-4);
    let alone = sample(order, &first, 8);
    assert!(apart(&together, &alone) > 0.01);
    assert!(apart(&alone, &sample(ModelOrder::FirstStarts, &first, 8)) < 1e-4);
}

#[test]
fn a_missing_or_misshapen_condition_is_an_error() {
    let (golden, model) = (Golden::read("sd1"), open("sd1"));
    let (x_t, t) = (golden.get("x_t"), golden.get("t"));
    let error = model.predict_noise(&x_t, &t, None).unwrap_err().to_string();
    assert!(error.contains("text embedding"), "{error}");
    let three = condition(golden.get("text").narrow(0, 0, 3));
    let error = model
        .predict_noise(&x_t, &t, Some(&three))
        .unwrap_err()
        .to_string();
    assert!(error.contains("[4, tokens, 12]"), "{error}");
}

/// The decoder's Jacobian, transposed: u (J^T v) is v (J u), which is the change of the images along u.
#[test]
fn decoder_products_are_those_of_differences() {
    for name in FOLDERS {
        let model = open(name);
        let [c, h, w] = model.sample_shape().unwrap();
        let normal = |purpose: &str, shape: &[i64]| {
            let mut rng = dualmd_data::stream(3, purpose, 0);
            dualmd_torch::noise::normal(&mut rng, shape, Device::Cpu)
        };
        let (z, u) = (normal("z", &[2, c, h, w]), normal("u", &[2, c, h, w]));
        let images = model.decode_latents(&z).unwrap();
        let directions = [normal("v", &images.size()), normal("v'", &images.size())];
        let products = model.decoder_products(&z, &directions).unwrap();
        let step = 1e-2;
        let change = (model.decode_latents(&(&z + &u * step)).unwrap()
            - model.decode_latents(&(&z - &u * step)).unwrap())
            / (2.0 * step);
        for (v, product) in directions.iter().zip(&products) {
            assert_eq!(product.size(), z.size());
            let ours = (product * &u).sum(Kind::Double).double_value(&[]);
            let theirs = (&change * v).sum(Kind::Double).double_value(&[]);
            let scale = (&change * v).abs().sum(Kind::Double).double_value(&[]);
            assert!(
                (ours - theirs).abs() < 1e-2 * scale,
                "{name}: {ours} instead of {theirs}, of {scale}"
            );
        }
        let wrong = [directions[0].narrow(0, 0, 1)];
        let error = model.decoder_products(&z, &wrong).unwrap_err();
        assert!(error.to_string().contains("direction"), "{error}");
    }
}
