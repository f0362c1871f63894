//! What a network of Stable Diffusion's in full size costs as a folder: seconds and memory of opening it, of one call of the attack
//! `loss`, and of one step of LoRA on it. The weights are random; text encoders and autoencoder are left out, and what they would tell
//! is drawn.
//!
//! ```text
//! cargo run --release -p dualmd --example full_size_folder -- make sdxl bf16 FOLDER     # sd15, sd21 or sdxl; f32 or bf16
//! cargo run --release -p dualmd --example full_size_folder -- open FOLDER [SIDE]        # side of the latents: 64
//! ```
//!
//! Two processes, because the most memory that one held (Linux; elsewhere a dash) says nothing of the second thing it did. A folder in
//! half precision is held as it is and computes in bf16.

use dualmd_attack::{Attack, Batch, Loss, Prompts};
use dualmd_data::stream;
use dualmd_diffusion::latent::Parts;
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::schedule::SchedulerConfig;
use dualmd_diffusion::{
    Condition, Keep, LoraConfig, TextToImage, UNet2dCondition, UNet2dConditionConfig,
};
use dualmd_torch::shim::{AdamOptions, fused_adam};
use dualmd_torch::weights::Halves;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise, tch};
use std::path::Path;
use std::time::Instant;

/// Name and unet/config.json.
const MODELS: [(&str, &str); 3] = [
    (
        "sd15",
        include_str!("../../diffusion/examples/full_size/sd15.json"),
    ),
    (
        "sd21",
        include_str!("../../diffusion/examples/full_size/sd21.json"),
    ),
    (
        "sdxl",
        include_str!("../../diffusion/examples/full_size/sdxl.json"),
    ),
];
/// Side of the latents of an image of 512 px.
const SIDE: i64 = 64;
/// Rank of the LoRA layers.
const RANK: i64 = 4;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["make", name, dtype, folder] => make(name, dtype, Path::new(folder)),
        ["open", folder] => open(Path::new(folder), SIDE),
        ["open", folder, side] => open(Path::new(folder), side.parse()?),
        _ => anyhow::bail!("make NAME f32|bf16 FOLDER, or open FOLDER [SIDE]"),
    }
}

fn make(name: &str, dtype: &str, folder: &Path) -> anyhow::Result<()> {
    let Some((_, config)) = MODELS.iter().find(|(known, _)| *known == name) else {
        anyhow::bail!("no such model: {name}; use sd15, sd21 or sdxl");
    };
    let config = UNet2dConditionConfig::read(&serde_json::from_str(config)?)?;
    let began = Instant::now();
    let network = match dtype {
        "f32" => UNet2dCondition::fresh(&config, 1, Device::Cpu)?,
        "bf16" => UNet2dCondition::fresh_bf16(&config, 1, Device::Cpu)?,
        other => anyhow::bail!("no such number format here: {other}; use f32 or bf16"),
    };
    println!(
        "{name} in {dtype}: {} parameters drawn in {}, then {}",
        network.parameters().count(),
        seconds(began),
        memory()
    );
    let began = Instant::now();
    let model = TextToImage::new(network, SchedulerConfig::stable_diffusion(), None, None)?;
    model.save(folder, None, None)?;
    println!("written in {}, then {}", seconds(began), memory());
    Ok(())
}

fn open(folder: &Path, side: i64) -> anyhow::Result<()> {
    let began = Instant::now();
    let parts = Parts::UNET;
    let model = TextToImage::load_as(folder, WeightSet::Ema, parts, Halves::Kept, Device::Cpu)?;
    let kind = match model.unet.is_held_in_bf16() {
        true => "bf16",
        false => "f32",
    };
    println!(
        "{} parameters held in {kind}: opened in {} with {} threads, then {}",
        model.unet.parameters().count(),
        seconds(began),
        tch::get_num_threads(),
        memory()
    );

    let config = model.unet.config();
    let mut rng = stream(1, "full-size-folder", 0);
    let mut normal = |shape: &[i64]| noise::normal(&mut rng, shape, Device::Cpu);
    let x = normal(&[1, config.in_channels, side, side]);
    let pixels = 8.0 * side as f32;
    let size = [pixels, pixels, 0.0, 0.0, pixels, pixels];
    let told = Condition {
        pooled: config.pooled_width().map(|width| normal(&[1, width])),
        size: config
            .pooled_width()
            .map(|_| Tensor::from_slice(&size).view([1, 6])),
        ..Condition::of_text(normal(&[1, 77, config.cross_attention_dim]))
    };

    let (ids, prompts) = (
        ["one".to_owned()],
        Prompts::of(&told, vec![vec![0]], &told)?,
    );
    let began = Instant::now();
    let mut batch =
        Batch::new(&model, &model.schedule, &x, &ids, 0)?.with_prompts(&prompts, &[0])?;
    let score = Loss { t: 200, draws: 1 }.score(&mut batch)?;
    println!(
        "the attack loss: {score:?} in {}, then {}",
        seconds(began),
        memory()
    );
    drop(batch);

    let began = Instant::now();
    let network = model.unet.with_lora(&LoraConfig::new(RANK), 1)?;
    let target = normal(&[1, network.config().in_channels, side, side]);
    let t = Tensor::from_slice(&[500i64]);
    let pass = network.forward_training(&x, &t, &told, Keep::Checkpoints)?;
    let loss = pass.output().mse_loss(&target, tch::Reduction::Mean);
    pass.backward(&loss)?;
    let Some(parameters) = network.lora_parameters() else {
        anyhow::bail!("the network has no LoRA layers");
    };
    no_grad(|| -> anyhow::Result<()> {
        let weights = parameters.tensors();
        let gradients: Vec<Tensor> = weights.iter().map(Tensor::grad).collect();
        let zeros = || -> Vec<Tensor> { weights.iter().map(Tensor::zeros_like).collect() };
        let step = Tensor::zeros([], (Kind::Float, Device::Cpu));
        let options = AdamOptions {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.0,
            decoupled: true,
            eps: 1e-8,
        };
        Ok(fused_adam(
            &weights,
            &gradients,
            &zeros(),
            &zeros(),
            &step,
            &options,
        )?)
    })?;
    println!(
        "a step of LoRA of rank {RANK}, {} parameters, with checkpoints: loss {:.3} in {}, then {}",
        parameters.count(),
        loss.double_value(&[]),
        seconds(began),
        memory()
    );
    Ok(())
}

fn seconds(began: Instant) -> String {
    format!("{:.1} s", began.elapsed().as_secs_f64())
}

fn memory() -> String {
    let of = |key: &str| {
        let text = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(format!("{:.2}", kib * 1024.0 / 1e9))
    };
    let [now, most] = ["VmRSS:", "VmHWM:"].map(|key| of(key).unwrap_or("-".into()));
    format!("{now} GB in use, {most} GB at most")
}
