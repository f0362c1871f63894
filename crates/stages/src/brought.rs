//! What the user's folders bring to networks that are told no text: a model that all of them start from (`model.start`), or the
//! autoencoder whose latents they see (`model.autoencoder`).

use super::generator::fingerprint;
use super::{beforehand, files_in, hash_files};
use crate::bail_usage;
use crate::choices::{Objective, Sampler};
use crate::experiment::Experiment;
use anyhow::{Context, Result, bail};
use dualmd_diffusion::pipeline::WeightSet;
use dualmd_diffusion::schedule::SchedulerConfig;
use dualmd_diffusion::{Autoencoder, Backbone, Labels, NoiseSchedule, Pipeline};
use dualmd_names::Defense;
use dualmd_torch::Device;
use std::path::Path;

/// What is brought; nothing to networks of pixels that begin with random weights.
#[derive(Debug, Default)]
pub struct Brought {
    /// The network that training starts from.
    pub network: Option<Backbone>,
    /// Its classes, of one that is told a class.
    pub labels: Option<Labels>,
    /// What makes latents of images.
    pub autoencoder: Option<Autoencoder>,
    schedule: Option<NoiseSchedule>,
}

impl Brought {
    /// What an experiment names.
    ///
    /// # Errors
    /// Folders that cannot be opened, or are of other models.
    pub fn of(experiment: &Experiment, device: Device) -> Result<Self> {
        let model = &experiment.model;
        if let Some(folder) = &model.start {
            let opened = Pipeline::load(Path::new(folder), WeightSet::Ema, device);
            let Pipeline {
                network,
                schedule,
                labels,
                autoencoder,
            } = opened.context(
                "model.start takes the folder of a model that is told no text (a text-to-image folder is model.base)",
            )?;
            return Ok(Self {
                network: Some(network),
                labels,
                autoencoder,
                schedule: Some(schedule),
            });
        }
        let Some(folder) = &model.autoencoder else {
            return Ok(Self::default());
        };
        let part = Autoencoder::folder(Path::new(folder)).context("model.autoencoder")?;
        let autoencoder = Autoencoder::load(&part, device).context("model.autoencoder")?;
        Ok(Self {
            autoencoder: Some(autoencoder),
            ..Self::default()
        })
    }

    /// [C, H, W] of what the network sees of images of this shape: the images, or their latents.
    ///
    /// # Errors
    /// Images that network or autoencoder are not made for.
    pub fn seen(&self, [channels, height, width]: [usize; 3]) -> Result<[usize; 3]> {
        let count = |n: i64| usize::try_from(n).unwrap_or_default();
        let latents = self.autoencoder.as_ref();
        let times = latents.map_or(1, |a| count(a.reduction()).max(1));
        let config = self.network.as_ref().map(Backbone::config);
        let expected = match (latents, &config) {
            (Some(autoencoder), _) => count(autoencoder.image_channels()),
            (None, Some(config)) => count(config.in_channels()),
            (None, None) => channels,
        };
        if channels != expected {
            bail_usage!(
                "{} is made for images of {expected} channels, and the images have {channels}: set data.channels",
                match latents {
                    Some(_) => "the autoencoder",
                    None => "the network of model.start",
                }
            );
        }
        if let Some(config) = &config {
            let Some(side) = config.sample_size() else {
                bail!("model.start: the network's config.json gives no sample_size; add it");
            };
            let [h, w] = side.map(|side| count(side) * times);
            if (height, width) != (h, w) {
                bail_usage!(
                    "the network of model.start is made for images of {h}x{w} pixels, and the images have {height}x{width}: set \
                     data.image_size"
                );
            }
        }
        if height % times != 0 || width % times != 0 {
            bail_usage!(
                "data.image_size = {height}: the autoencoder makes one pixel of {times}x{times}; use a multiple of {times}"
            );
        }
        let seen = latents.map_or(channels, |a| count(a.latent_channels()));
        Ok([seen, height / times, width / times])
    }

    /// The noise schedule of trainings: that of the model that they start from, or the objective's own.
    ///
    /// # Errors
    /// As [`NoiseSchedule::new`].
    pub fn schedule(&self, objective: Objective) -> Result<NoiseSchedule> {
        Ok(match (&self.schedule, objective) {
            (Some(own), _) => own.clone(),
            (None, Objective::Flow) => NoiseSchedule::flow(),
            (None, Objective::Ddpm) if self.autoencoder.is_some() => {
                NoiseSchedule::new(SchedulerConfig::of_latents())?
            }
            (None, Objective::Ddpm) => NoiseSchedule::default(),
        })
    }

    /// Refuses attacks and numbers of steps that the noise schedule does not allow.
    ///
    /// # Errors
    /// As [`beforehand::check_schedule`], and as [`Self::schedule`].
    pub fn check_schedule(&self, experiment: &Experiment) -> Result<()> {
        let schedule = self.schedule(experiment.train.objective)?;
        beforehand::check_schedule(experiment, &schedule, self.autoencoder.is_some())
    }

    /// The classes of a run whose images have these: the images', or those of the model that training starts from.
    ///
    /// # Errors
    /// A class that this model does not have.
    pub fn classes(&self, of_images: Vec<String>) -> Result<Vec<String>> {
        let Some(labels) = &self.labels else {
            return Ok(of_images);
        };
        for class in &of_images {
            labels
                .of(class)
                .context("data.labels: an image has a class that model.start was not made for")?;
        }
        Ok(match labels.names() {
            [] => labels.all(),
            names => names.to_vec(),
        })
    }

    /// Checks what only these folders say against the experiment.
    ///
    /// # Errors
    /// What contradicts them, with the key.
    pub fn check(&self, experiment: &Experiment) -> Result<()> {
        if let Some(network) = &self.network {
            self.check_start(network, experiment)?;
        }
        if self.autoencoder.is_none() {
            return Ok(());
        }
        for model in &experiment.models {
            if matches!(model.defense, Defense::Synthetic | Defense::Ambient) {
                bail_usage!(
                    "model {}: defense = \"{}\" is for models of pixels, and these see latents",
                    model.name,
                    model.defense
                );
            }
            let own = model.recipe(experiment)?;
            let train = own.as_ref().unwrap_or(&experiment.train);
            if train.cutout_side > 0 {
                bail_usage!(
                    "model {}: train.cutout_side changes images, and these models learn from latents that are computed once: leave it out",
                    model.name
                );
            }
        }
        Ok(())
    }

    fn check_start(&self, network: &Backbone, experiment: &Experiment) -> Result<()> {
        let asked = experiment.train.objective;
        if let Some(schedule) = &self.schedule
            && schedule.is_flow() != (asked == Objective::Flow)
        {
            let (is, key) = match schedule.is_flow() {
                true => ("a flow", Objective::Flow),
                false => ("no flow", Objective::Ddpm),
            };
            bail_usage!("model.start is {is}: set train.objective = \"{key}\"");
        }
        if network.config().predicts_variance() && experiment.sample.sampler == Sampler::Ddpm {
            bail_usage!(
                "sample.sampler = \"ddpm\": the network of model.start also predicts a variance, which is not trained here; use \"ddim\""
            );
        }
        let Some(labels) = &self.labels else {
            if experiment.data.labels {
                bail_usage!(
                    "data.labels = true: the network of model.start is told no class; remove it"
                );
            }
            return Ok(());
        };
        if !experiment.data.labels {
            bail_usage!("the network of model.start is told a class: set data.labels = true");
        }
        let guided = experiment.sample.label_guidance != 1.0;
        if labels.none().is_none() && (experiment.drops_labels() || guided) {
            bail_usage!(
                "train.label_dropout and sample.label_guidance ask for no label, for which the network of model.start has no embedding: \
                 remove them"
            );
        }
        Ok(())
    }
}

/// Hashes of the folder that training starts from, and of the autoencoder that is named by itself.
///
/// # Errors
/// Files that cannot be read.
pub fn hashes(experiment: &Experiment) -> Result<[Option<String>; 2]> {
    let model = &experiment.model;
    let start = model.start.as_ref().map(|folder| vec![folder.into()]);
    let start = start.map(|folder| fingerprint(&folder, WeightSet::Ema));
    let autoencoder = model.autoencoder.as_ref().map(|folder| -> Result<String> {
        let part = Autoencoder::folder(Path::new(folder))?;
        let decides = |path: &Path| {
            path.extension()
                .is_some_and(|e| e == "safetensors" || e == "json")
        };
        hash_files(&files_in(&part, decides)?)
    });
    Ok([start.transpose()?, autoencoder.transpose()?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::exit_code;
    use std::path::PathBuf;

    fn golden(name: &str) -> String {
        let all = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
        all.join(name).display().to_string()
    }

    fn experiment(key: &str, folder: &str, sets: &[&str]) -> Experiment {
        let model = format!("model.{key}={}", toml::Value::from(golden(folder)));
        let sets = sets.iter().map(|set| (*set).to_owned());
        let sets: Vec<String> = std::iter::once(model).chain(sets).collect();
        let text = "[data]\nsource = \"fashion\"\nmembers = 4\nnonmembers = 4\n[[models]]\nname = \"a\"\ndefense = \"none\"\n";
        Experiment::parse(text, "t.toml", &sets).unwrap()
    }

    #[test]
    fn an_autoencoder_says_what_networks_see() {
        for (folder, vq) in [("families/vq", true), ("families/kl/vqvae", false)] {
            let experiment = experiment("autoencoder", folder, &[]);
            let brought = Brought::of(&experiment, Device::Cpu).unwrap();
            let autoencoder = brought.autoencoder.as_ref().unwrap();
            assert_eq!(matches!(autoencoder, Autoencoder::Vq(_)), vq);
            assert!(brought.network.is_none() && brought.labels.is_none());
            brought.check(&experiment).unwrap();
            assert_eq!(brought.seen([3, 16, 16]).unwrap(), [3, 8, 8]);
            let grey = brought.seen([1, 16, 16]).unwrap_err();
            assert!(grey.to_string().contains("data.channels"), "{grey}");
            assert_eq!(exit_code(&grey), 2);
            let odd = brought.seen([3, 15, 15]).unwrap_err();
            assert!(odd.to_string().contains("multiple of 2"), "{odd}");
            // Latents have no bounds.
            let schedule = brought.schedule(Objective::Ddpm).unwrap();
            assert!(!schedule.config().clip_sample && !schedule.is_flow());
            assert!(brought.schedule(Objective::Flow).unwrap().is_flow());
            let [start, own] = hashes(&experiment).unwrap();
            assert!(start.is_none() && own.is_some());
        }
        let experiment = experiment("autoencoder", "tiny-grey", &[]);
        let said = Brought::of(&experiment, Device::Cpu).unwrap_err();
        assert!(format!("{said:#}").contains("no autoencoder"), "{said:#}");
    }

    #[test]
    fn what_latents_cannot_have_is_found_before_the_training() {
        for (set, words) in [
            ("models.0.defense=ambient", "models of pixels"),
            ("models.0.defense=synthetic", "models of pixels"),
            ("train.cutout_side=2", "train.cutout_side"),
        ] {
            let experiment = experiment("autoencoder", "families/vq", &[set]);
            let brought = Brought::of(&experiment, Device::Cpu).unwrap();
            let said = brought.check(&experiment).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_model_that_training_starts_from_brings_classes_and_schedule() {
        let labels = "data.labels=true";
        let told = experiment("start", "dit/latents", &[labels]);
        let brought = Brought::of(&told, Device::Cpu).unwrap();
        brought.check(&told).unwrap();
        assert!(
            brought
                .network
                .as_ref()
                .unwrap()
                .config()
                .predicts_variance()
        );
        assert_eq!(brought.seen([3, 16, 16]).unwrap(), [3, 8, 8]);
        let wrong = brought.seen([3, 32, 32]).unwrap_err().to_string();
        assert!(
            wrong.contains("16x16") && wrong.contains("data.image_size"),
            "{wrong}"
        );
        let of_images = vec!["dog".to_owned(), "cat".to_owned()];
        let all = brought.classes(of_images).unwrap();
        assert_eq!(all, ["cat", "hound, dog", "owl"]);
        let said = brought.classes(vec!["ship".into()]).unwrap_err();
        assert!(format!("{said:#}").contains("\"ship\""), "{said:#}");
        let schedule = brought.schedule(Objective::Ddpm).unwrap();
        assert_eq!(schedule.config().class_name, "DDIMScheduler");
        let [start, own] = hashes(&told).unwrap();
        assert!(start.is_some() && own.is_none());
        for (folder, sets, words) in [
            ("dit/latents", &[][..], "set data.labels = true"),
            (
                "dit/latents",
                &[labels, "sample.sampler=ddpm"][..],
                "not trained here",
            ),
            (
                "dit/latents",
                &[labels, "train.objective=flow"][..],
                "no flow",
            ),
            ("families/kl", &[labels][..], "told no class"),
        ] {
            let experiment = experiment("start", folder, sets);
            let brought = Brought::of(&experiment, Device::Cpu).unwrap();
            let said = brought.check(&experiment).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
        let said = Brought::of(&experiment("start", "conditional/sd1", &[]), Device::Cpu);
        let said = format!("{:#}", said.unwrap_err());
        assert!(said.contains("model.base"), "{said}");
    }
}
