//! What predicts the noise in a pipeline of images alone or of their latents, perhaps with their classes: the U-Net of DDPM, or a
//! transformer. Which of them it is no sampler, attack or trainer asks.

use crate::dit::{self, Dit, DitConfig, DitPreset};
use crate::nn::Parameters;
use crate::preset::preset;
use crate::unet2d::ImageSize;
use crate::{Condition, Denoiser, Keep, Labels, Pass, Result, UNet2d, UNet2dConfig};
use dualmd_torch::device::Precision;
use dualmd_torch::{Device, Tensor};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The part of a pipeline folder that holds a U-Net.
pub(crate) const UNET: &str = "unet";
/// The part that holds a transformer.
pub(crate) const TRANSFORMER: &str = "transformer";

/// A network of either kind.
#[derive(Debug)]
pub enum Backbone {
    /// diffusers' `UNet2DModel`.
    UNet(Box<UNet2d>),
    /// diffusers' `DiTTransformer2DModel`.
    Dit(Box<Dit>),
}

/// Its configuration; as JSON, that of its kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum BackboneConfig {
    /// Of a `UNet2DModel`.
    UNet(Box<UNet2dConfig>),
    /// Of a `DiTTransformer2DModel`.
    Dit(Box<DitConfig>),
}

impl Backbone {
    /// A fresh network, as [`UNet2d::fresh`] and [`Dit::fresh`].
    ///
    /// # Errors
    /// A configuration that cannot be built.
    pub fn fresh(config: &BackboneConfig, seed: u64, device: Device) -> Result<Self> {
        Ok(match config {
            BackboneConfig::UNet(config) => UNet2d::fresh(config, seed, device)?.into(),
            BackboneConfig::Dit(config) => Dit::fresh(config, seed, device)?.into(),
        })
    }

    /// A network with the given weights (moved to `device`, not copied if already there).
    ///
    /// # Errors
    /// Missing, surplus or misshapen tensors, by name.
    pub fn from_weights(
        config: &BackboneConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Ok(match config {
            BackboneConfig::UNet(config) => UNet2d::from_weights(config, weights, device)?.into(),
            BackboneConfig::Dit(config) => Dit::from_weights(config, weights, device)?.into(),
        })
    }

    /// As [`Self::from_weights`], held in bf16 where all weights are in half precision ([`UNet2d::from_halves`], [`Dit::from_halves`]).
    ///
    /// # Errors
    /// As [`Self::from_weights`].
    pub fn from_halves(
        config: &BackboneConfig,
        weights: BTreeMap<String, Tensor>,
        device: Device,
    ) -> Result<Self> {
        Ok(match config {
            BackboneConfig::UNet(config) => UNet2d::from_halves(config, weights, device)?.into(),
            BackboneConfig::Dit(config) => Dit::from_halves(config, weights, device)?.into(),
        })
    }

    /// Chooses f32 or bf16 autocast for every later call.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        match self {
            Self::UNet(network) => network.with_precision(precision).into(),
            Self::Dit(network) => network.with_precision(precision).into(),
        }
    }

    /// Whether it also drops when it answers as a [`Denoiser`]; see [`UNet2d::with_dropout`].
    #[must_use]
    pub fn with_dropout(self, on: bool) -> Self {
        match self {
            Self::UNet(network) => network.with_dropout(on).into(),
            Self::Dit(network) => network.with_dropout(on).into(),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> BackboneConfig {
        match self {
            Self::UNet(network) => network.config().into(),
            Self::Dit(network) => network.config().into(),
        }
    }

    /// The parameters, in creation order.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        match self {
            Self::UNet(network) => network.parameters(),
            Self::Dit(network) => network.parameters(),
        }
    }

    /// Where the weights live.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Self::UNet(network) => network.device(),
            Self::Dit(network) => network.device(),
        }
    }

    /// One pass through the network, as [`UNet2d::forward`] and [`Dit::forward`].
    ///
    /// # Errors
    /// Shapes the network cannot take; a class that it does not have, or none.
    pub fn forward(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        match self {
            Self::UNet(network) => network.forward(x, t, label, train),
            Self::Dit(network) => network.forward(x, t, label, train),
        }
    }

    /// As [`Self::forward`] with dropout, for a gradient; `keep` chooses between memory and time.
    ///
    /// # Errors
    /// As [`Self::forward`].
    pub fn forward_training(
        &self,
        x: &Tensor,
        t: &Tensor,
        label: Option<&Tensor>,
        keep: Keep,
    ) -> Result<Pass<'_>> {
        match self {
            Self::UNet(network) => network.forward_training(x, t, label, keep),
            Self::Dit(network) => network.forward_training(x, t, label, keep),
        }
    }
}

impl From<UNet2d> for Backbone {
    fn from(network: UNet2d) -> Self {
        Self::UNet(Box::new(network))
    }
}

impl From<Dit> for Backbone {
    fn from(network: Dit) -> Self {
        Self::Dit(Box::new(network))
    }
}

impl Denoiser for Backbone {
    fn predict_noise(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        condition: Option<&Condition>,
    ) -> Result<Tensor> {
        match self {
            Self::UNet(network) => network.predict_noise(x_t, t, condition),
            Self::Dit(network) => network.predict_noise(x_t, t, condition),
        }
    }

    fn weights(&self) -> Option<Vec<Tensor>> {
        match self {
            Self::UNet(network) => network.weights(),
            Self::Dit(network) => network.weights(),
        }
    }
}

impl BackboneConfig {
    /// The configuration that a config.json stands for, checked; its class says of which kind it is.
    ///
    /// # Errors
    /// As [`UNet2dConfig::read`] and [`DitConfig::read`].
    pub fn read(file: &Value) -> Result<Self> {
        Ok(match file.get("_class_name").and_then(Value::as_str) {
            Some(dit::CLASS | dit::OLD_CLASS) => DitConfig::read(file)?.into(),
            _ => UNet2dConfig::read(file)?.into(),
        })
    }

    /// The preset `name` for images of `channels` channels (1 or 3) and `image_size` pixels.
    ///
    /// # Errors
    /// An unknown name (lists the known ones), or an image size that the network cannot take.
    pub fn preset(name: &str, channels: i64, image_size: i64) -> Result<Self> {
        Ok(match DitPreset::find(name) {
            Some(found) => found.config(channels, image_size)?.into(),
            None => preset(name, channels, image_size)?.into(),
        })
    }

    /// diffusers' class of the network.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::UNet(_) => "UNet2DModel",
            Self::Dit(_) => dit::CLASS,
        }
    }

    /// The part of a pipeline folder that holds it.
    pub(crate) fn part(&self) -> &'static str {
        match self {
            Self::UNet(_) => UNET,
            Self::Dit(_) => TRANSFORMER,
        }
    }

    /// diffusers version the file claims.
    pub(crate) fn diffusers_version(&self) -> &str {
        match self {
            Self::UNet(config) => &config.diffusers_version,
            Self::Dit(config) => &config.diffusers_version,
        }
    }

    /// Image channels in.
    #[must_use]
    pub fn in_channels(&self) -> i64 {
        match self {
            Self::UNet(config) => config.in_channels,
            Self::Dit(config) => config.in_channels,
        }
    }

    /// Channels out: those of the images, or twice as many where a variance is predicted, too.
    #[must_use]
    pub fn out_channels(&self) -> i64 {
        match self {
            Self::UNet(config) => config.out_channels,
            Self::Dit(config) => config.channels_out(),
        }
    }

    /// Half of the network's output is the variance of a step back.
    #[must_use]
    pub fn predicts_variance(&self) -> bool {
        match self {
            Self::UNet(config) => config.predicts_variance(),
            Self::Dit(config) => config.predicts_variance(),
        }
    }

    /// Chance that training drops a number, of those layers that drop.
    #[must_use]
    pub fn dropout(&self) -> f64 {
        match self {
            Self::UNet(config) => config.dropout,
            Self::Dit(config) => config.dropout,
        }
    }

    /// [height, width] of what the network was made for; `None` if its configuration does not say.
    #[must_use]
    pub fn sample_size(&self) -> Option<[i64; 2]> {
        match self {
            Self::UNet(config) => Some(match config.sample_size? {
                ImageSize::Side(side) => [side, side],
                ImageSize::HeightWidth(both) => both,
            }),
            Self::Dit(config) => Some([config.sample_size; 2]),
        }
    }

    /// Numbers of the largest tensors for each pixel of [`Self::sample_size`]: channels of the first level, or what the feed-forward
    /// layers make of a square.
    #[must_use]
    pub fn widest_channels(&self) -> i64 {
        match self {
            Self::UNet(config) => config.block_out_channels.first().copied().unwrap_or(1),
            Self::Dit(config) => {
                let pixels = config.patch_size * config.patch_size;
                (4 * config.width()).div_euclid(pixels).max(1)
            }
        }
    }

    /// Is the network told a class?
    #[must_use]
    pub fn is_told(&self) -> bool {
        match self {
            Self::UNet(config) => config.num_class_embeds.is_some(),
            Self::Dit(config) => config.num_embeds_ada_norm > 0,
        }
    }

    /// The network's classes under these names, or by their numbers where there are none; `None` of a network that is told no class.
    ///
    /// # Errors
    /// As [`Labels::new`] and [`Labels::beside_none`].
    pub fn labels(&self, names: Vec<String>) -> Result<Option<Labels>> {
        match self {
            Self::UNet(config) => {
                let labels = config.num_class_embeds.map(|all| Labels::new(names, all));
                labels.transpose()
            }
            Self::Dit(config) => match config.num_embeds_ada_norm {
                0 => Ok(None),
                classes => Labels::beside_none(names, classes).map(Some),
            },
        }
    }

    /// The key of a configuration by which a network of this kind is told one of `classes` classes, and its value; `none`: or no label,
    /// for which a `DiTTransformer2DModel` has an embedding in any case.
    #[must_use]
    pub fn key_of_classes(&self, classes: usize, none: bool) -> (&'static str, usize) {
        match self {
            Self::UNet(_) => ("num_class_embeds", classes + usize::from(none)),
            Self::Dit(_) => ("num_embeds_ada_norm", classes),
        }
    }
}

impl From<UNet2dConfig> for BackboneConfig {
    fn from(config: UNet2dConfig) -> Self {
        Self::UNet(Box::new(config))
    }
}

impl From<&UNet2dConfig> for BackboneConfig {
    fn from(config: &UNet2dConfig) -> Self {
        config.clone().into()
    }
}

impl From<DitConfig> for BackboneConfig {
    fn from(config: DitConfig) -> Self {
        Self::Dit(Box::new(config))
    }
}

impl From<&DitConfig> for BackboneConfig {
    fn from(config: &DitConfig) -> Self {
        config.clone().into()
    }
}

impl From<&BackboneConfig> for BackboneConfig {
    fn from(config: &BackboneConfig) -> Self {
        config.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_is_read_by_its_class_and_written_as_it_was() {
        for name in ["tiny", "dit-tiny"] {
            let config = BackboneConfig::preset(name, 1, 16).unwrap();
            let file = serde_json::to_value(&config).unwrap();
            assert_eq!(file["_class_name"], config.class());
            assert_eq!(BackboneConfig::read(&file).unwrap(), config);
            assert_eq!(config.sample_size(), Some([16, 16]));
            assert_eq!(config.labels(Vec::new()).unwrap(), None);
        }
        let said = BackboneConfig::preset("small-dit", 1, 16).unwrap_err();
        let said = said.to_string();
        assert!(said.contains("tiny") && said.contains("dit-tiny"), "{said}");
        let said = BackboneConfig::preset("dit-tiny", 1, 15).unwrap_err();
        assert!(said.to_string().contains("multiple of 2"), "{said}");
        let said = BackboneConfig::read(&json!({"_class_name": "X"})).unwrap_err();
        assert!(said.to_string().contains("\"X\""), "{said}");
    }

    #[test]
    fn classes_and_no_label_are_counted_as_each_kind_has_them() {
        let told = |name: &str, none: bool| {
            let preset = BackboneConfig::preset(name, 1, 16).unwrap();
            let mut file = serde_json::to_value(&preset).unwrap();
            let (key, value) = preset.key_of_classes(3, none);
            file[key] = value.into();
            let config = BackboneConfig::read(&file).unwrap();
            let names = ["a", "b", "c"].map(str::to_owned).to_vec();
            let labels = config.labels(names).unwrap().unwrap();
            (labels.count(), labels.none())
        };
        assert_eq!(told("tiny", false), (3, None));
        assert_eq!(told("tiny", true), (3, Some(3)));
        assert_eq!(told("dit-tiny", false), (3, Some(3)));
        assert_eq!(told("dit-tiny", true), (3, Some(3)));
    }
}
