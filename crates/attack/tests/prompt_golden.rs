//! Attacks on text-to-image models against numbers computed independently in Python (interop/make_prompt_golden.py).

mod common;

use common::assert_close;
use dualmd_attack::memorisation::{Generation, Mitigation, guided_trajectory, mitigate, t_errors};
use dualmd_attack::{
    AttackError, Batch, Method, Prompts, Samples, SecMi, Space, by_name_for, default_set_for,
};
use dualmd_diffusion::latent::{Guided, LatentSampling, Parts, sample_latents};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::{Condition, NoiseSchedule, TextToImage};
use dualmd_torch::weights::read_safetensors;
use dualmd_torch::{Device, IndexOp, Kind, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Python's networks ran in f64, ours in f32.
const TOLERANCE: f64 = 1e-4;
const FOLDERS: [&str; 2] = ["sd1", "sd2"];
const N: usize = 6;

struct Golden {
    model: TextToImage,
    tensors: BTreeMap<String, Tensor>,
}

impl Golden {
    fn read(name: &str) -> Self {
        let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden"));
        let folder = golden.join("conditional").join(name);
        let file = golden.join("prompt").join(format!("{name}.safetensors"));
        Self {
            model: TextToImage::load(&folder, WeightSet::Ema, Parts::UNET, Device::Cpu).unwrap(),
            tensors: read_safetensors(&file).unwrap(),
        }
    }

    fn get(&self, name: &str) -> Tensor {
        self.tensors[name].shallow_clone()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        Vec::try_from(self.get(name).flatten(0, -1).to_kind(Kind::Double)).unwrap()
    }

    /// Sample i has caption i; captions 6 to 9 are reduced ones of the first two samples.
    fn prompts(&self) -> Prompts {
        let captions = (0..N).map(|i| vec![i]).collect();
        let reduced = [vec![vec![6, 7], vec![8, 9]], vec![Vec::new(); N - 2]].concat();
        Prompts::new(&self.get("text"), captions, &self.get("empty"))
            .and_then(|p| p.with_reduced(reduced))
            .unwrap()
    }
}

fn ids() -> Vec<String> {
    (0..N).map(|i| i.to_string()).collect()
}

#[test]
fn scores_agree_with_python() {
    for name in FOLDERS {
        let golden = Golden::read(name);
        let (ids, prompts) = (ids(), golden.prompts());
        let draws = golden.get("draws");
        let draws: Vec<_> = (0..draws.size()[0]).map(|k| draws.i(k)).collect();
        let rows: Vec<usize> = (0..N).collect();
        let mut batch = Batch::new(
            &golden.model,
            &golden.model.schedule,
            &golden.get("z"),
            &ids,
            0,
        )
        .and_then(|batch| batch.with_draws(&draws))
        .and_then(|batch| batch.with_prompts(&prompts, &rows))
        .unwrap();
        let mut attacks = default_set_for(Space::Latent, true);
        attacks.push(by_name_for("pia-sd-2024", Space::Latent).unwrap());
        assert_eq!(attacks.len(), 10);
        for method in &attacks {
            let Method::Formula(attack) = method else {
                panic!("{method:?} learns")
            };
            let scores = attack.score(&mut batch).unwrap();
            let attack = attack.info().name;
            let expected = golden.numbers(&format!("score.{attack}"));
            assert_eq!(scores.len(), expected.len());
            let losses = golden.numbers("loss.clid.own");
            for i in 0..N {
                // A difference of two losses is as exact as they are.
                let scale = match attack.as_str() {
                    "clid-gap" | "pfami" => losses[i],
                    _ => expected[i].abs(),
                };
                assert!(
                    (scores[i] - expected[i]).abs() <= TOLERANCE * scale,
                    "{name}, {attack}, {i}: {} is not {}",
                    scores[i],
                    expected[i]
                );
            }
        }

        // CLiD's features: the loss, and the mean difference to it of the reduced captions and the empty prompt.
        let Method::Learned(clid) = by_name_for("clid", Space::Latent).unwrap() else {
            panic!("clid does not learn")
        };
        let features = clid.features(&mut batch).unwrap().to_kind(Kind::Double);
        let [own, empty, first, second] = ["own", "empty", "reduced.0", "reduced.1"]
            .map(|c| golden.numbers(&format!("loss.clid.{c}")));
        for i in 0..N {
            let difference = match i {
                0 | 1 => (empty[i] + first[i] + second[i]) / 3.0 - own[i],
                _ => empty[i] - own[i],
            };
            let at = |column| features.double_value(&[i as i64, column]);
            assert_close(at(0), own[i], TOLERANCE, "L(c)");
            assert!(
                (at(1) - difference).abs() < TOLERANCE * own[i],
                "{name}, {i}: {} is not {difference}",
                at(1)
            );
        }
    }
}

/// Gradients are taken with the sample's own caption.
#[test]
fn gradients_are_those_of_the_caption() {
    let golden = Golden::read("sd1");
    let (ids, prompts) = (ids(), golden.prompts());
    let Method::Learned(gsa) = by_name_for("gsa2@450", Space::Latent).unwrap() else {
        panic!("gsa2 does not learn")
    };
    let of = |rows: &[usize]| {
        let mut batch = Batch::new(
            &golden.model,
            &golden.model.schedule,
            &golden.get("z"),
            &ids,
            0,
        )
        .and_then(|batch| batch.with_prompts(&prompts, rows))
        .unwrap();
        gsa.features(&mut batch).unwrap()
    };
    // Samples 0 and 1 exchange their captions: their gradients change, and those of the others do not.
    let (own, exchanged) = (of(&[0, 1, 2, 3, 4, 5]), of(&[1, 0, 2, 3, 4, 5]));
    let change = (own - exchanged).abs().amax([1i64].as_slice(), false);
    let change = Vec::<f64>::try_from(change.to_kind(Kind::Double)).unwrap();
    assert!(change[0] > 1e-3 && change[1] > 1e-3, "{change:?}");
    assert!(change[2..].iter().all(|&c| c == 0.0), "{change:?}");
}

/// Through the runner, shuffled and in batches of 4: every sample keeps its caption.
#[test]
fn the_runner_keeps_captions_with_their_samples() {
    let golden = Golden::read("sd1");
    let samples = Samples::new(golden.get("z"), ids())
        .and_then(|s| s.with_prompts(golden.prompts()))
        .unwrap();
    let names = ["secmi", "pia", "pian", "sima", "pia-sd-2024"];
    let attacks = names.map(|attack| by_name_for(attack, Space::Latent).unwrap());
    let run = |samples: &Samples| {
        // The schedule of the tests' runner is not the model's.
        dualmd_attack::run(
            &golden.model,
            &golden.model.schedule,
            samples,
            &attacks,
            common::quiet(4, 3),
        )
        .unwrap()
    };
    for result in run(&samples).results {
        let expected = golden.numbers(&format!("score.{}", result.info.name));
        for (score, expected) in result.scores.unwrap().iter().zip(expected) {
            assert_close(*score, expected, TOLERANCE, &result.info.name);
        }
    }
    // Without captions: the model cannot be asked, and says so.
    let bare = Samples::new(golden.get("z"), ids()).unwrap();
    for result in run(&bare).results {
        assert!(result.scores.is_err(), "{}", result.info.name);
    }
    let few = Prompts::new(&golden.get("text"), vec![vec![0]], &golden.get("empty")).unwrap();
    let refused = bare.with_prompts(few).unwrap_err().to_string();
    assert!(refused.contains("captions of 1 samples for 6"), "{refused}");
}

#[test]
fn norms_and_errors_of_prompts_agree_with_python() {
    for name in FOLDERS {
        let golden = Golden::read(name);
        let (noise, text, empty) = (
            golden.get("draws").i(1),
            Condition::of_text(golden.get("text").narrow(0, 0, 6)),
            Condition::of_text(golden.get("empty")),
        );
        let generation = Generation {
            noise: &noise,
            text: &text,
            empty: &empty,
            guidance: 7.5,
            steps: 10,
            clip: None,
            first: 0,
        };
        let (model, schedule) = (&golden.model, &golden.model.schedule);
        let trajectory = guided_trajectory(model, schedule, &generation).unwrap();
        let expected = golden.numbers("wen.norms");
        for (ours, theirs) in trajectory.norms.concat().iter().zip(&expected) {
            assert_close(*ours, *theirs, TOLERANCE, &format!("{name}, norms"));
        }
        assert_eq!(trajectory.norms.concat().len(), expected.len());
        let mean = expected.chunks(N).map(|step| step[2]).sum::<f64>() / 10.0;
        assert_close(
            trajectory.mean_norms()[2],
            mean,
            TOLERANCE,
            "mean over steps",
        );
        assert_close(
            trajectory.first_norms()[2],
            expected[2],
            TOLERANCE,
            "first step",
        );
        let end = golden.get("wen.end");
        let error = ((&trajectory.end - &end).abs() / (end.abs() + 1.0))
            .max()
            .double_value(&[]);
        assert!(error < TOLERANCE, "{name}: {error:e}");

        let guided = Guided {
            model,
            unconditional: empty.again(),
            scale: generation.guidance,
        };
        let sampling = LatentSampling {
            steps: generation.steps,
            batch: 4,
            clip: generation.clip,
        };
        let noise = generation.noise;
        let made = sample_latents(&guided, schedule, noise, &text, &sampling, |_| true).unwrap();
        let secmi = SecMi::latent();
        let errors = t_errors(model, schedule, &made, &text, &empty, 4, secmi).unwrap();
        for (ours, theirs) in errors.iter().zip(golden.numbers("error.prompts")) {
            assert_close(*ours, theirs, TOLERANCE, &format!("{name}, t-error"));
        }
    }
}

#[test]
fn the_remedy_goes_the_way_of_adamw() {
    for name in FOLDERS {
        let golden = Golden::read(name);
        let (noise, text, empty) = (
            golden.get("draws").i(0).narrow(0, 0, 4),
            golden.get("text").narrow(0, 0, 1),
            golden.get("empty"),
        );
        let [told, nothing] = [&text, &empty].map(|t| Condition::of_text(t.shallow_clone()));
        let ask = |options: &Mitigation| {
            mitigate(&golden.model, &noise, 981, &told, &nothing, options).unwrap()
        };
        let to_the_end = ask(&Mitigation {
            target: 0.0,
            ..Mitigation::default()
        });
        let expected = golden.numbers("wen.losses");
        assert_eq!(
            (to_the_end.losses.len(), to_the_end.reached),
            (expected.len(), false)
        );
        for (ours, theirs) in to_the_end.losses.iter().zip(&expected) {
            assert_close(*ours, *theirs, TOLERANCE, &format!("{name}, loss"));
        }
        assert!(expected[9] < 0.8 * expected[0], "it helps: {expected:?}");
        let theirs = golden.get("wen.text");
        let error = (&to_the_end.embedding - &theirs)
            .abs()
            .max()
            .double_value(&[]);
        assert!(error < 1e-3, "{name}: {error:e}");
        // The first token: decay only, ten times.
        let first =
            &to_the_end.embedding.i((0, 0)) - text.i((0, 0)) * (1.0f64 - 0.05 * 0.01).powi(10);
        assert!(first.abs().max().double_value(&[]) < 1e-6);

        let stopped = ask(&Mitigation {
            target: golden.numbers("wen.target")[0],
            ..Mitigation::default()
        });
        assert_eq!(
            (stopped.losses.len(), stopped.reached),
            (golden.numbers("wen.stopped").len(), true)
        );
        let done = ask(&Mitigation {
            target: 1e9,
            ..Mitigation::default()
        });
        assert!(done.reached && done.embedding.equal(&text) && done.losses.len() == 1);
    }
}

/// A model that does not listen has no gradient by the text, and one without text nothing to compare.
#[test]
fn what_cannot_be_asked_is_refused() {
    let deaf = common::Linear {
        slope: 1.0,
        offset: 0.0,
    };
    let full = |size: &[i64]| Tensor::full(size, 0.5, (Kind::Float, Device::Cpu));
    let (x, text) = (full(&[2, 1, 2, 2]), Condition::of_text(full(&[1, 3, 4])));
    let options = Mitigation {
        target: -1.0,
        ..Mitigation::default()
    };
    let refused = mitigate(&deaf, &x, 981, &text, &text, &options).unwrap_err();
    assert!(matches!(refused, AttackError::NoGradients), "{refused}");
    let two = Condition::of_text(full(&[2, 3, 4]));
    let refused = mitigate(&deaf, &x, 981, &two, &text, &options)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("twice [1, tokens, width]"), "{refused}");
    let rate = Mitigation {
        learning_rate: 0.0,
        ..options
    };
    assert!(
        mitigate(&deaf, &x, 981, &text, &text, &rate)
            .unwrap_err()
            .to_string()
            .contains("positive rate")
    );
    let generation = Generation {
        noise: &x,
        text: &text,
        empty: &text,
        guidance: 1.0,
        steps: 2,
        clip: None,
        first: 0,
    };
    let refused = guided_trajectory(&deaf, &NoiseSchedule::default(), &generation)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("[N, tokens, width]"), "{refused}");
}
