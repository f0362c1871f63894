//! The U-Net of Stable Diffusion 1.5, 2.1 or XL in its full size, with random weights held in bf16: one answer for a 64 x 64
//! latent (an image of 512 px) and 77 tokens on the CPU. Prints seconds, processor seconds and the most memory the process
//! held (Linux; elsewhere a dash).
//!
//! `cargo xtask bench full-size`, or `cargo run --release -p dualmd-diffusion --example full_size -- sd15`

use dualmd_data::stream;
use dualmd_diffusion::{Condition, UNet2dCondition, UNet2dConditionConfig};
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise, tch};
use std::time::Instant;

/// Name, unet/config.json, number of parameters.
const MODELS: [(&str, &str, usize); 3] = [
    ("sd15", include_str!("sd15.json"), 859_520_964),
    ("sd21", include_str!("sd21.json"), 865_910_724),
    ("sdxl", include_str!("sdxl.json"), 2_567_463_684),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name] = args.as_slice() else {
        return Err("name one model: sd15, sd21 or sdxl".into());
    };
    let Some((_, config, parameters)) = MODELS.iter().find(|(known, ..)| known == name) else {
        return Err(format!("no such model: {name}; use sd15, sd21 or sdxl").into());
    };
    let config = UNet2dConditionConfig::read(&serde_json::from_str(config)?)?;

    let began = Clock::start();
    let network = UNet2dCondition::fresh_bf16(&config, 1, Device::Cpu)?;
    let count = network.parameters().count();
    let bytes: usize = network
        .parameters()
        .named()
        .map(|(_, t)| t.numel() * t.kind().elt_size_in_bytes())
        .sum();
    println!(
        "{name}: {count} parameters, {:.2} GB; {} to draw them, then {}",
        bytes as f64 / 1e9,
        began.taken(),
        memory()
    );
    if count != *parameters {
        return Err(format!("{count} parameters, {name} has {parameters}").into());
    }

    let mut rng = stream(1, "full-size", 0);
    let x = noise::normal(&mut rng, &[1, 4, 64, 64], Device::Cpu);
    let text = noise::normal(&mut rng, &[1, 77, config.cross_attention_dim], Device::Cpu);
    let size = [512.0f32, 512.0, 0.0, 0.0, 512.0, 512.0];
    let pooled = config.pooled_width();
    let told = Condition {
        pooled: pooled.map(|width| noise::normal(&mut rng, &[1, width], Device::Cpu)),
        size: pooled.map(|_| Tensor::from_slice(&size).view([1, 6])),
        ..Condition::of_text(text)
    };
    let t = Tensor::from_slice(&[500i64]);
    // The first call also sets up the convolutions.
    for call in ["first", "second"] {
        let began = Clock::start();
        let out = no_grad(|| network.forward(&x, &t, &told, false))?;
        let deviation = out.std(false).double_value(&[]);
        println!(
            "{name}: {call} answer in {} with {} threads, {}; {:?} of standard deviation {deviation:.3}",
            began.taken(),
            tch::get_num_threads(),
            memory(),
            out.size()
        );
        if out.isfinite().all().double_value(&[]) != 1.0 || out.kind() != Kind::Float {
            return Err("an answer that is not finite f32".into());
        }
    }
    Ok(())
}

/// Wall-clock and processor time.
struct Clock(Instant, Option<f64>);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), processor_seconds())
    }

    fn taken(&self) -> String {
        let wall = self.0.elapsed().as_secs_f64();
        let processor = processor_seconds().zip(self.1);
        let processor = processor.map_or("-".into(), |(now, then)| format!("{:.1}", now - then));
        format!("{wall:.1} s ({processor} s of processor time)")
    }
}

/// Of all threads of this process.
fn processor_seconds() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e9)
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
