//! LoRA against Python's diffusers and PEFT (tests/golden/lora, made by interop/make_lora_golden.py, for the networks of
//! tests/golden/conditional), and its files.

#[path = "lora/files.rs"]
mod files;

use dualmd_diffusion::latent::Parts;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Condition, Denoiser, LoraConfig, LoraInit, TextToImage, UNet2dCondition};
use dualmd_torch::device::Precision;
use dualmd_torch::weights::read_safetensors;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Files of tests/golden/lora with the folders of tests/golden/conditional that they belong to.
const FILES: [(&str, &str); 5] = [
    ("today", "sd1"),
    ("script", "sd1"),
    ("processors", "sd1"),
    ("kohya", "sd1"),
    ("adapter", "sd2"),
];

fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")).join(path)
}

fn base(folder: &str) -> UNet2dCondition {
    let folder = golden("conditional").join(folder);
    TextToImage::load(&folder, WeightSet::Ema, Parts::UNET, Device::Cpu)
        .unwrap()
        .unet
}

/// What Python was given and computed without LoRA.
struct Inputs {
    x_t: Tensor,
    t: Tensor,
    text: Tensor,
    target: Tensor,
}

impl Inputs {
    fn read(folder: &str) -> Self {
        let path = golden("conditional")
            .join(folder)
            .join("golden.safetensors");
        let mut all = read_safetensors(&path).unwrap();
        Self {
            x_t: all.remove("x_t").unwrap(),
            t: all.remove("t").unwrap(),
            text: all.remove("text").unwrap().narrow(0, 0, 4),
            target: all.remove("target").unwrap(),
        }
    }

    fn told(&self) -> Condition {
        Condition::of_text(self.text.shallow_clone())
    }

    fn output(&self, unet: &UNet2dCondition) -> Tensor {
        no_grad(|| unet.forward(&self.x_t, &self.t, &self.told(), false)).unwrap()
    }
}

fn expected() -> BTreeMap<String, Tensor> {
    read_safetensors(&golden("lora/golden.safetensors")).unwrap()
}

/// Largest |a - b| / (1 + |b|).
fn error(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    ((ours - theirs).abs() / (theirs.abs() + 1.0))
        .max()
        .double_value(&[])
}

/// LoRA layers of which every part matters.
fn shaken(unet: UNet2dCondition, config: &LoraConfig) -> UNet2dCondition {
    let unet = unet.with_lora(config, 3).unwrap();
    let mut rng = dualmd_data::stream(5, "test", 0);
    no_grad(|| {
        for mut tensor in unet.lora_parameters().unwrap().tensors() {
            let drawn = noise::normal(&mut rng, &tensor.size(), Device::Cpu) * 0.3;
            tensor.copy_(&drawn);
        }
    });
    unet
}

#[test]
fn outputs_equal_those_of_diffusers_and_fusing_changes_nothing() {
    let expected = expected();
    for (name, folder) in FILES {
        let inputs = Inputs::read(folder);
        let unet = base(folder).load_lora(&golden("lora").join(name)).unwrap();
        let ours = inputs.output(&unet);
        let theirs = &expected[&format!("{name}.output")];
        let difference = error(&ours, theirs);
        println!("{name}: {difference:e}");
        assert!(difference < 1e-5, "{name}: {difference:e}");
        assert!(
            error(&inputs.output(&base(folder)), theirs) > 1e-3,
            "{name}"
        );

        let fused = unet.fuse().unwrap();
        assert!(fused.lora_parameters().is_none());
        let difference = error(&inputs.output(&fused), &ours);
        println!("{name} fused: {difference:e}");
        assert!(difference < 1e-5, "{name} fused: {difference:e}");
    }
}

#[test]
fn gradients_equal_those_of_pytorch_and_the_base_has_none() {
    let expected = expected();
    for (name, folder) in [("today", "sd1"), ("adapter", "sd2")] {
        let inputs = Inputs::read(folder);
        let unet = base(folder).load_lora(&golden("lora").join(name)).unwrap();
        for tensor in unet.weights().unwrap() {
            let _ = tensor.set_requires_grad(true);
        }
        let out = unet
            .forward(&inputs.x_t, &inputs.t, &inputs.told(), true)
            .unwrap();
        let loss = (out - &inputs.target).square().mean(Kind::Float);
        assert!(error(&loss.reshape([1]), &expected[&format!("{name}.loss")]) < 1e-5);
        loss.backward();
        let parameters: BTreeMap<_, _> = unet.lora_parameters().unwrap().named().collect();
        let prefix = format!("{name}.grad.");
        let (mut compared, mut largest) = (0, 0f64);
        for (key, theirs) in &expected {
            let Some(parameter) = key.strip_prefix(&prefix) else {
                continue;
            };
            let difference = (parameters[parameter].grad() - theirs).abs().max();
            let difference = difference.double_value(&[]) / theirs.abs().max().double_value(&[]);
            assert!(difference < 1e-4, "{name} {parameter}: {difference:e}");
            largest = largest.max(difference);
            compared += 1;
        }
        println!("{name}: {compared} gradients, {largest:e}");
        assert!(compared >= 16, "{name}: {compared}");
        if name == "today" {
            assert_eq!(compared, parameters.len());
        }
        for (parameter, tensor) in unet.parameters().named() {
            assert!(
                !tensor.requires_grad() && !tensor.grad().defined(),
                "{parameter}"
            );
        }
    }
}

#[test]
fn a_fresh_lora_changes_no_bit_and_is_as_configured() {
    let inputs = Inputs::read("sd1");
    let before = inputs.output(&base("sd1"));
    let mut config = LoraConfig::new(4);
    let unet = base("sd1").with_lora(&config, 1).unwrap();
    assert!(inputs.output(&unet).equal(&before));
    // Six transformers of two attentions with four projections each, A and B.
    let parameters = unet.lora_parameters().unwrap();
    assert_eq!(parameters.0.len(), 96);
    for ((name, a), (_, b)) in parameters
        .0
        .iter()
        .step_by(2)
        .zip(parameters.0.iter().skip(1).step_by(2))
    {
        assert!(name.ends_with(".lora_A.weight"), "{name}");
        assert_eq!((a.size()[0], b.size()[1]), (4, 4), "{name}");
        assert!(a.requires_grad() && b.requires_grad(), "{name}");
        assert_eq!(b.abs().max().double_value(&[]), 0.0, "{name}");
    }
    assert!(
        unet.parameters()
            .tensors()
            .iter()
            .all(|t| !t.requires_grad())
    );
    assert_eq!(unet.weights().unwrap().len(), 96);
    assert!(base("sd1").lora_parameters().is_none());

    let all_a = |unet: &UNet2dCondition| {
        let parameters = unet.lora_parameters().unwrap();
        let flat: Vec<Tensor> = parameters
            .tensors()
            .iter()
            .step_by(2)
            .map(|t| t.flatten(0, -1))
            .collect();
        Tensor::cat(&flat, 0).detach()
    };
    // Gaussian of deviation 1 / rank.
    let gaussian = all_a(&unet);
    let deviation = gaussian.std(true).double_value(&[]);
    assert!((deviation - 0.25).abs() < 0.01, "{deviation}");
    assert!(gaussian.equal(&all_a(&base("sd1").with_lora(&config, 1).unwrap())));
    assert!(!gaussian.equal(&all_a(&base("sd1").with_lora(&config, 2).unwrap())));
    // Kaiming's: within 1 / sqrt(in), deviation 1 / sqrt(3 in).
    config.init = LoraInit::KaimingUniform;
    config.targets = vec!["mid_block.attentions.0.transformer_blocks.0.attn1.to_q".into()];
    config.rank = 64;
    let uniform = all_a(&base("sd1").with_lora(&config, 1).unwrap());
    assert_eq!(uniform.numel(), 64 * 16);
    let (largest, deviation) = (
        uniform.abs().max().double_value(&[]),
        uniform.std(true).double_value(&[]),
    );
    assert!(largest <= 0.25 && largest > 0.24, "{largest}");
    assert!((deviation - 0.25 / 3f64.sqrt()).abs() < 0.01, "{deviation}");
}

#[test]
fn alpha_scales_the_addition() {
    let inputs = Inputs::read("sd1");
    let mut config = LoraConfig::new(2);
    config.targets = vec!["up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_out.0".into()];
    let of = |alpha: f64| {
        let config = LoraConfig {
            alpha,
            ..config.clone()
        };
        shaken(base("sd1"), &config)
    };
    let key = "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_out.0.weight";
    let weight =
        |unet: UNet2dCondition| unet.fuse().unwrap().parameters().copies()[key].shallow_clone();
    let plain = weight(base("sd1"));
    let (one, three) = (weight(of(1.0)) - &plain, weight(of(3.0)) - &plain);
    assert!(one.abs().max().double_value(&[]) > 0.01);
    assert!(three.allclose(&(one * 3.0), 1e-4, 1e-6, false));
    assert!(error(&inputs.output(&of(3.0)), &inputs.output(&of(1.0))) > 1e-3);
}

/// Layers of other kinds than attention's, by the ends of their names.
#[test]
fn any_linear_layer_can_be_a_target() {
    let inputs = Inputs::read("sd2");
    let mut config = LoraConfig::new(2);
    config.targets = ["linear_1", "time_emb_proj", "proj_in", "net.2"]
        .map(str::to_owned)
        .to_vec();
    let unet = shaken(base("sd2"), &config);
    let names: Vec<_> = unet
        .lora_parameters()
        .unwrap()
        .named()
        .map(|(n, _)| n.to_owned())
        .collect();
    for target in [
        "time_embedding.linear_1",
        "mid_block.resnets.1.time_emb_proj",
        "mid_block.attentions.0.proj_in",
    ] {
        assert!(
            names.contains(&format!("{target}.lora_A.weight")),
            "{target}"
        );
    }
    let ours = inputs.output(&unet);
    assert!(error(&ours, &inputs.output(&base("sd2"))) > 1e-3);
    assert!(error(&inputs.output(&unet.fuse().unwrap()), &ours) < 1e-5);
}

#[test]
fn bf16_with_lora_is_near_f32_and_trains() {
    let inputs = Inputs::read("sd1");
    let f32 = inputs.output(&shaken(base("sd1"), &LoraConfig::new(4)));
    let unet = shaken(
        base("sd1").with_precision(Precision::Bf16),
        &LoraConfig::new(4),
    );
    let out = unet
        .forward(&inputs.x_t, &inputs.t, &inputs.told(), true)
        .unwrap();
    let distance = (&out - &f32).square().mean(Kind::Float) / f32.square().mean(Kind::Float);
    let distance = distance.double_value(&[]).sqrt();
    assert!(distance > 1e-5 && distance < 0.05, "{distance:e}");
    out.square().mean(Kind::Float).backward();
    for (name, tensor) in unet.lora_parameters().unwrap().named() {
        let gradient = tensor.grad();
        assert!(
            gradient.defined() && gradient.isfinite().all().double_value(&[]) == 1.0,
            "{name}"
        );
    }
}

/// Fusing makes new tensors: another network on the same weights is not touched.
#[test]
fn fusing_leaves_shared_weights_alone() {
    let inputs = Inputs::read("sd1");
    let network = base("sd1");
    let shared = network
        .parameters()
        .named()
        .map(|(n, t)| (n.to_owned(), t.shallow_clone()))
        .collect();
    let other = UNet2dCondition::from_weights(network.config(), shared, Device::Cpu).unwrap();
    let before = inputs.output(&other);
    let fused = shaken(network, &LoraConfig::new(2)).fuse().unwrap();
    assert!(error(&inputs.output(&fused), &before) > 1e-3);
    assert!(inputs.output(&other).equal(&before));
}

#[test]
fn what_cannot_be_is_refused() {
    let refusal = |config: &LoraConfig| base("sd1").with_lora(config, 1).unwrap_err().to_string();
    let error = refusal(&LoraConfig::new(0));
    assert!(error.contains("rank 0"), "{error}");
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = refusal(&LoraConfig {
            alpha,
            ..LoraConfig::new(2)
        });
        assert!(error.contains("alpha"), "{error}");
    }
    // "o_q" ends a name, but not at a dot.
    let targets = vec!["o_q".to_owned()];
    let error = refusal(&LoraConfig {
        targets,
        ..LoraConfig::new(2)
    });
    assert!(error.contains("o_q"), "{error}");
    let unet = base("sd1").with_lora(&LoraConfig::new(2), 1).unwrap();
    let error = unet
        .with_lora(&LoraConfig::new(2), 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("already"), "{error}");

    // A model folder has no place for LoRA layers.
    let folder = golden("conditional/sd1");
    let mut model = TextToImage::load(&folder, WeightSet::Ema, Parts::ALL, Device::Cpu).unwrap();
    model.unet = model.unet.with_lora(&LoraConfig::new(2), 1).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let error = model.save(dir.path(), None, None).unwrap_err().to_string();
    assert!(error.contains("LoRA"), "{error}");
    // What such a model shows to be trained are its LoRA layers.
    assert_eq!(model.weights().unwrap().len(), 96);
    let condition = Condition::of_text(model.text_embeddings(&["a cat"]).unwrap());
    let x = Tensor::zeros([1, 4, 8, 8], (Kind::Float, Device::Cpu));
    let t = Tensor::from_slice(&[5i64]);
    assert!(
        model
            .predict_noise(&x, &t, Some(&condition))
            .unwrap()
            .requires_grad()
    );
}
