//! A checkpointed pass gives the gradient of an ordinary one.

use dualmd_diffusion::preset::preset;
use dualmd_diffusion::{
    Condition, Dit, DitConfig, Keep, LoraConfig, Pass, TextToImage, UNet2d, UNet2dCondition,
    UNet2dConfig,
};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Kind, Tensor, no_grad, noise, shim, tch};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SEED: i64 = 11;

/// libtorch has one generator for all threads: these tests take turns.
static GENERATOR: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Layers that begin at zero would hide what lies before them.
fn trainable(parameters: &[(String, Tensor)]) {
    for (name, p) in parameters {
        let mut weights = p.shallow_clone();
        no_grad(|| weights += normal(name, &p.size()) * 0.02);
        let _ = weights.set_requires_grad(true);
    }
}

fn normal(purpose: &str, shape: &[i64]) -> Tensor {
    noise::normal(&mut dualmd_data::stream(5, purpose, 0), shape, Device::Cpu)
}

/// What a pass and its way back leave behind.
struct Left {
    output: Tensor,
    gradients: Vec<(String, Tensor)>,
    /// libtorch's next numbers.
    next: Tensor,
}

fn left(pass: Pass<'_>, target: &Tensor, parameters: &[(String, Tensor)]) -> Left {
    let output = pass.output().detach();
    let loss = pass.output().mse_loss(target, tch::Reduction::Mean);
    pass.backward(&loss).unwrap();
    let gradients = parameters
        .iter()
        .map(|(name, p)| (name.clone(), p.grad().copy()))
        .collect();
    for (_, parameter) in parameters {
        parameter.shallow_clone().zero_grad();
    }
    Left {
        output,
        gradients,
        next: Tensor::rand([4], (Kind::Float, Device::Cpu)),
    }
}

/// The largest difference of two tensors beside the largest number in them.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
    let scale = b.abs().max().double_value(&[]);
    (a - &b).abs().max().double_value(&[]) / scale.max(1e-12)
}

/// `tolerance`: gradients that meet are added in another order.
fn same(everything: &Left, checkpoints: &Left, tolerance: f64) {
    assert!(apart(&checkpoints.output, &everything.output) <= 1e-6);
    assert_eq!(
        checkpoints.next, everything.next,
        "later masks are the same"
    );
    let mut moved = 0;
    for ((name, a), (_, b)) in checkpoints.gradients.iter().zip(&everything.gradients) {
        assert!(a.defined() && b.defined(), "{name}");
        assert!(apart(a, b) <= tolerance, "{name}: {}", apart(a, b));
        moved += i64::from(b.abs().max().double_value(&[]) > 0.0);
    }
    assert!(moved > 10, "there is a gradient to speak of");
}

fn unconditional(dropout: f64, precision: Precision, tolerance: f64) {
    let _turn = alone();
    let mut config = preset("tiny", 1, 16).unwrap();
    config.dropout = dropout;
    let network = UNet2d::fresh(&config, 3, Device::Cpu)
        .unwrap()
        .with_precision(precision);
    let (x, target) = (
        normal("x", &[4, 1, 16, 16]),
        normal("target", &[4, 1, 16, 16]),
    );
    let t = Tensor::from_slice(&[3i64, 400, 700, 999]);
    let parameters = &network.parameters().0;
    trainable(parameters);
    let of = |keep| {
        tch::manual_seed(SEED);
        left(
            network.forward_training(&x, &t, None, keep).unwrap(),
            &target,
            parameters,
        )
    };
    let everything = of(Keep::Everything);
    same(&everything, &of(Keep::Checkpoints), tolerance);
    // The test tells dropout from none.
    let without = network.forward(&x, &t, None, false).unwrap();
    assert_eq!(apart(&everything.output, &without) > 1e-3, dropout > 0.0);
}

#[test]
fn without_dropout() {
    unconditional(0.0, Precision::F32, 1e-5);
}

#[test]
fn with_dropout_the_masks_are_drawn_again_as_they_were() {
    unconditional(0.3, Precision::F32, 1e-5);
}

#[test]
fn in_bf16() {
    unconditional(0.1, Precision::Bf16, 2e-2);
}

/// In bf16 a GPU is given images in channels-last memory: no layer needs them in another, forward or backward, and the answer comes in the
/// layout of images.
#[test]
fn the_memory_layout_of_the_images_changes_rounding_alone() {
    let _turn = alone();
    let config = UNet2dConfig {
        down_block_types: vec!["DownBlock2D".into(), "AttnDownBlock2D".into()],
        up_block_types: vec!["AttnUpBlock2D".into(), "UpBlock2D".into()],
        add_attention: true,
        ..preset("tiny", 3, 16).unwrap()
    };
    let t = Tensor::from_slice(&[3i64, 700]);
    let alike = |of: &dyn Fn(&Tensor) -> Left, x: &Tensor| {
        let turned = shim::to_channels_last(x).unwrap();
        assert!(!turned.is_contiguous());
        let (plain, turned) = (of(x), of(&turned));
        assert!(plain.output.is_contiguous() && turned.output.is_contiguous());
        assert!(apart(&turned.output, &plain.output) <= 1e-5);
        let size = |t: &Tensor| t.abs().max().double_value(&[]);
        // Beside the largest of all: some gradients are rounding and nothing else.
        let most = plain.gradients.iter().map(|(_, g)| size(g));
        let most = most.fold(0.0, f64::max);
        assert!(most > 0.0);
        for ((name, a), (_, b)) in turned.gradients.iter().zip(&plain.gradients) {
            assert!(size(&(a - b)) <= 1e-4 * most, "{name}: {}", size(&(a - b)));
        }
    };
    let network = UNet2d::fresh(&config, 3, Device::Cpu).unwrap();
    let parameters = &network.parameters().0;
    trainable(parameters);
    let (x, target) = (
        normal("x", &[2, 3, 16, 16]),
        normal("target", &[2, 3, 16, 16]),
    );
    let of = |x: &Tensor| {
        let pass = network.forward_training(x, &t, None, Keep::Everything);
        left(pass.unwrap(), &target, parameters)
    };
    alike(&of, &x);

    let model = TextToImage::fresh("t2i-pixels-32", 3, 3, Device::Cpu).unwrap();
    let network = model.unet;
    let parameters = &network.parameters().0;
    trainable(parameters);
    let channels = network.config().in_channels;
    let shape = [2, channels, 16, 16];
    let (x, target) = (normal("x", &shape), normal("target", &shape));
    let width = network.config().cross_attention_dim;
    let told = Condition::of_text(normal("text", &[2, 5, width]));
    let of = |x: &Tensor| {
        let pass = network.forward_training(x, &t, &told, Keep::Everything);
        left(pass.unwrap(), &target, parameters)
    };
    alike(&of, &x);
}

fn conditional(network: &UNet2dCondition, parameters: &[(String, Tensor)], tolerance: f64) {
    let _turn = alone();
    let channels = network.config().in_channels;
    let shape = [2, channels, 16, 16];
    let (x, target) = (normal("x", &shape), normal("target", &shape));
    let config = network.config();
    let text = normal("text", &[2, 5, config.cross_attention_dim]);
    let told = Condition {
        pooled: config.pooled_width().map(|n| normal("pooled", &[2, n])),
        size: config
            .pooled_width()
            .map(|_| normal("size", &[2, 6]) * 100.0),
        ..Condition::of_text(text)
    };
    let t = Tensor::from_slice(&[20i64, 800]);
    let of = |keep| {
        tch::manual_seed(SEED);
        let pass = network.forward_training(&x, &t, &told, keep).unwrap();
        left(pass, &target, parameters)
    };
    same(&of(Keep::Everything), &of(Keep::Checkpoints), tolerance);
}

/// The class's embedding has a gradient of its own.
#[test]
fn told_a_class() {
    let _turn = alone();
    let mut config = preset("tiny", 1, 16).unwrap();
    config.num_class_embeds = Some(3);
    let network = UNet2d::fresh(&config, 3, Device::Cpu).unwrap();
    let (x, target) = (
        normal("x", &[4, 1, 16, 16]),
        normal("target", &[4, 1, 16, 16]),
    );
    let t = Tensor::from_slice(&[3i64, 400, 700, 999]);
    let labels = Tensor::from_slice(&[2i64, 0, 2, 2]);
    let parameters = &network.parameters().0;
    trainable(parameters);
    let of = |keep| {
        tch::manual_seed(SEED);
        let pass = network.forward_training(&x, &t, Some(&labels), keep);
        left(pass.unwrap(), &target, parameters)
    };
    let everything = of(Keep::Everything);
    same(&everything, &of(Keep::Checkpoints), 1e-5);
    let (_, classes) = everything
        .gradients
        .iter()
        .find(|(name, _)| name == "class_embedding.weight")
        .unwrap();
    let moved: Vec<bool> = (0..3)
        .map(|class| classes.get(class).abs().max().double_value(&[]) > 0.0)
        .collect();
    assert_eq!(moved, [true, false, true], "class 1 was not told");
}

/// What the first block is told is told to the last layers, too: its gradient comes from both. Without biases of the keys, whose gradient
/// is rounding.
#[test]
fn a_transformer_told_a_class() {
    let _turn = alone();
    let config = DitConfig {
        num_attention_heads: 2,
        attention_head_dim: 8,
        in_channels: 1,
        out_channels: Some(1),
        num_layers: 3,
        dropout: 0.2,
        attention_bias: false,
        sample_size: 16,
        num_embeds_ada_norm: 3,
        ..DitConfig::default()
    };
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 6e-2)] {
        let network = Dit::fresh(&config, 3, Device::Cpu)
            .unwrap()
            .with_precision(precision);
        let (x, target) = (
            normal("x", &[4, 1, 16, 16]),
            normal("target", &[4, 1, 16, 16]),
        );
        let t = Tensor::from_slice(&[3i64, 400, 700, 999]);
        let labels = Tensor::from_slice(&[2i64, 0, 3, 2]);
        let parameters = &network.parameters().0;
        // Ten times what others are moved by: all blocks are seen.
        for (name, p) in parameters {
            let mut weights = p.shallow_clone();
            no_grad(|| weights += normal(&format!("{name} once more"), &p.size()) * 0.2);
        }
        trainable(parameters);
        let of = |keep| {
            tch::manual_seed(SEED);
            let pass = network.forward_training(&x, &t, Some(&labels), keep);
            left(pass.unwrap(), &target, parameters)
        };
        let everything = of(Keep::Everything);
        same(&everything, &of(Keep::Checkpoints), tolerance);
        let without = network.forward(&x, &t, Some(&labels), false).unwrap();
        assert!(apart(&everything.output, &without) > 1e-3);
    }
}

/// `t2i-pixels-32`, with dropout.
fn dropping() -> UNet2dCondition {
    let model = TextToImage::fresh("t2i-pixels-32", 3, 3, Device::Cpu).unwrap();
    let mut config = model.unet.config().clone();
    config.dropout = 0.2;
    UNet2dCondition::fresh(&config, 3, Device::Cpu).unwrap()
}

/// The layers that take a pooled text and sizes have gradients as the others have.
#[test]
fn told_a_pooled_text_and_sizes() {
    let model = TextToImage::fresh("t2i-xl-small", 3, 3, Device::Cpu).unwrap();
    let network = model.unet;
    let parameters = &network.parameters().0;
    trainable(parameters);
    conditional(&network, parameters, 1e-5);
    let _turn = alone();
    let x = normal("x", &[2, 4, 16, 16]);
    let t = Tensor::from_slice(&[20i64, 800]);
    let told = Condition {
        pooled: Some(normal("pooled", &[2, 48])),
        size: Some(normal("size", &[2, 6]) * 100.0),
        ..Condition::of_text(normal("text", &[2, 5, 96]))
    };
    let pass = network.forward_training(&x, &t, &told, Keep::Checkpoints);
    let left = left(
        pass.unwrap(),
        &normal("target", &[2, 4, 16, 16]),
        parameters,
    );
    for layer in [
        "add_embedding.linear_1.weight",
        "add_embedding.linear_2.bias",
    ] {
        let (_, gradient) = left
            .gradients
            .iter()
            .find(|(name, _)| name == layer)
            .unwrap();
        assert!(gradient.abs().max().double_value(&[]) > 0.0, "{layer}");
    }
}

#[test]
fn told_a_text() {
    let network = dropping();
    trainable(&network.parameters().0);
    conditional(&network, &network.parameters().0, 1e-5);
}

/// What is trained are a few layers in the middle, whose small gradients bf16 rounds coarsely.
#[test]
fn with_lora_layers() {
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 6e-2)] {
        let lora = LoraConfig::new(2);
        let network = dropping()
            .with_lora(&lora, 1)
            .unwrap()
            .with_precision(precision);
        let parameters = &network.lora_parameters().unwrap().0;
        trainable(parameters);
        conditional(&network, parameters, tolerance);
    }
}

#[test]
fn a_loss_of_something_else_is_refused() {
    let network = UNet2d::fresh(&preset("tiny", 1, 16).unwrap(), 3, Device::Cpu).unwrap();
    let t = Tensor::from_slice(&[3i64]);
    let x = normal("x", &[1, 1, 16, 16]);
    let pass = network.forward_training(&x, &t, None, Keep::Checkpoints);
    let other = Tensor::from(1.0f32).set_requires_grad(true) * 2.0;
    let refused = pass.unwrap().backward(&other).unwrap_err().to_string();
    assert!(refused.contains("does not depend"), "{refused}");
}

/// What the generator of dropout gives after a state was read and put back.
#[test]
fn the_generator_goes_back_to_where_it_was() {
    let _turn = alone();
    let state = shim::generator_state(Device::Cpu).unwrap();
    let numbers = || Tensor::rand([8], (Kind::Float, Device::Cpu));
    let (first, second) = (numbers(), numbers());
    assert_ne!(first, second);
    shim::set_generator_state(Device::Cpu, &state).unwrap();
    assert_eq!(numbers(), first);
    let wrong = shim::set_generator_state(Device::Cpu, &Tensor::from(1.0));
    assert!(wrong.is_err());
}
