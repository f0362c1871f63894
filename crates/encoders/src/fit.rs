//! How well images fit texts, by a small head that is learnt from pairs: where no CLIP is at hand.
//!
//! Two frozen networks, one of images and one of sentences ([`crate::SentenceEncoder`]), and a linear map behind each into 128
//! dimensions, learnt as CLIP is (Radford et al. 2021, arXiv:2103.00020): the cosine of a pair is to be greater than that of
//! any other image with the text, and of any other text with the image. The **fit** of an image and a text is that cosine.
//!
//! Pairs are divided by seed into three parts, images that share a text never parted: most are learnt from, some say when to stop,
//! and the rest, which nothing was chosen by, says what the fit is worth ([`Calibration`]): how an own text fits, how a strange
//! one does, and how often the own one is found.
//!
//! Numbers of different heads do not compare, and none is a CLIP score. On the scale of the calibration they do, roughly: 0 is
//! what strange texts reach, 1 what own texts of real images do ([`Calibration::relative`]).

use crate::{EncoderError, Result};
use dualmd_data::{UnionFind, stream};
use dualmd_record::memorisation::Calibration;
use dualmd_torch::tch::{COptimizer, Reduction, with_grad};
use dualmd_torch::{Kind, Tensor, no_grad, noise, unit_rows};
use rand::Rng;
use rand::seq::SliceRandom;
use std::collections::BTreeMap;

/// Version of what a head is learnt by.
pub const VERSION: u32 = 1;
/// Dimensions that images and texts share.
const WIDTH: i64 = 128;
/// Pairs at a time.
const BATCH: usize = 1024;
/// Most updates, and how often it is looked whether they still help.
const STEPS: u64 = 600;
const LOOK: u64 = 20;
/// Updates without improvement after which it ends.
const PATIENCE: u64 = 120;
const RATE: f64 = 1e-3;
const WEIGHT_DECAY: f64 = 0.1;
/// Share of the images' features that is dropped in an update.
const DROPPED: f64 = 0.5;
/// Shares of the images that say when to stop, and that calibrate.
const KEPT: f64 = 0.15;
/// Fewest images to learn from.
pub const FEWEST: usize = 40;

/// Images with their texts, as frozen networks see them.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// Features of N images, [N, D].
    pub images: &'a Tensor,
    /// Vectors of K texts, [K, W].
    pub texts: &'a Tensor,
    /// Rows of each image's texts, the main one first.
    pub of: &'a [Vec<usize>],
}

/// The two maps.
#[derive(Debug)]
pub struct Fit {
    /// Mean and deviation of the features of images.
    scale: [Tensor; 2],
    image: [Tensor; 2],
    text: [Tensor; 2],
}

/// Names of a head's tensors.
const NAMES: [&str; 6] = [
    "mean",
    "deviation",
    "image.weight",
    "image.bias",
    "text.weight",
    "text.bias",
];

/// Rows of images and of one text for each.
type Chosen = (Vec<i64>, Vec<i64>);

impl Fit {
    /// Learns a head from pairs.
    ///
    /// # Errors
    /// Shapes that do not fit, an image without a text, values that are not finite; too few groups of images to learn from.
    pub fn learn(pairs: Pairs<'_>, seed: u64) -> Result<(Self, Calibration)> {
        let (n, features) = pairs.images.size2()?;
        let (texts, width) = pairs.texts.size2()?;
        let beyond = |rows: &Vec<usize>| rows.is_empty() || rows.iter().any(|&r| r as i64 >= texts);
        if pairs.of.len() as i64 != n || pairs.of.iter().any(beyond) {
            return refuse(format!(
                "{n} images with {} lists of {texts} texts: give every image at least one",
                pairs.of.len()
            ));
        }
        for (what, values) in [("images", pairs.images), ("texts", pairs.texts)] {
            if values.f_isfinite()?.f_all()?.int64_value(&[]) != 1 {
                return refuse(format!("vectors of {what} hold NaN or infinity"));
            }
        }
        let groups = groups(pairs.of);
        let [learnt, chosen_by, kept] = divide(&groups, seed);
        if learnt.len() < FEWEST || chosen_by.len() < 2 || kept.len() < 2 {
            return refuse(format!(
                "{n} images with captions leave {} to learn from and {} + {} to judge by, images that share a caption staying \
                 together: at least {FEWEST} and 2 + 2 are needed",
                learnt.len(),
                chosen_by.len(),
                kept.len()
            ));
        }
        let data = Data {
            images: pairs.images.f_to_kind(Kind::Float)?,
            texts: unit_rows(pairs.texts)?.f_to_kind(Kind::Float)?,
            of: pairs.of,
            groups: &groups,
        };
        let of_learnt = picked(&data.images, &data.main(&learnt).0)?;
        let mean = of_learnt.f_mean_dim([0i64].as_slice(), true, Kind::Float)?;
        let deviation = of_learnt.f_std_dim([0i64].as_slice(), false, true)?;
        let deviation = deviation.f_where_scalarother(&deviation.f_gt(0.0)?, 1.0)?;
        let mut rng = stream(seed, "fit/init", 0);
        let mut map = |inputs: i64| {
            let bound = (inputs as f64).powf(-0.5);
            let weight = noise::uniform(&mut rng, bound, &[WIDTH, inputs]);
            [
                weight.set_requires_grad(true),
                Tensor::zeros([WIDTH], (Kind::Float, weight.device())).set_requires_grad(true),
            ]
        };
        let head = Self {
            scale: [mean, deviation],
            image: map(features),
            text: map(width),
        };
        let (best, steps) = with_grad(|| head.train(&data, &learnt, &chosen_by, seed))?;
        let calibration = best.calibrate(&data, &kept, (learnt.len(), chosen_by.len(), steps))?;
        if calibration.own <= calibration.other {
            return refuse(format!(
                "on {} pairs that were kept for it, own captions fit no better ({:.3}) than strange ones ({:.3}): nothing was learnt \
                 from {} images; give more pairs",
                calibration.images, calibration.own, calibration.other, calibration.learnt
            ));
        }
        Ok((best, calibration))
    }

    /// What it is made of, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let own = self.scale.iter().chain(&self.image).chain(&self.text);
        NAMES.into_iter().zip(own)
    }

    /// The head of such tensors.
    ///
    /// # Errors
    /// A tensor that is missing, or of a shape that does not fit.
    pub fn from_tensors(mut tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        let mut take = |name: &str| match tensors.remove(name) {
            Some(tensor) => Ok(tensor),
            None => refuse(format!("a head without {name}: it is damaged")),
        };
        let [mean, deviation, image, image_bias, text, text_bias] = NAMES;
        let fit = Self {
            scale: [take(mean)?, take(deviation)?],
            image: [take(image)?, take(image_bias)?],
            text: [take(text)?, take(text_bias)?],
        };
        let (_, features) = fit.image[0].size2()?;
        let (_, width) = fit.text[0].size2()?;
        let expected: [&[i64]; 6] = [
            &[1, features],
            &[1, features],
            &[WIDTH, features],
            &[WIDTH],
            &[WIDTH, width],
            &[WIDTH],
        ];
        for ((name, tensor), shape) in fit.tensors().zip(expected) {
            if tensor.size() != shape {
                return refuse(format!(
                    "a head with {name} of shape {:?}, not {shape:?}",
                    tensor.size()
                ));
            }
        }
        Ok(fit)
    }

    /// Where images lie, from their features [N, D]: [N, 128] f64, rows of length 1. A fit is the product of such a row with one of
    /// [`Self::texts`].
    ///
    /// # Errors
    /// Another width.
    pub fn images(&self, features: &Tensor) -> Result<Tensor> {
        let x = self.standard(&features.f_to_kind(Kind::Float)?)?;
        no_grad(|| Ok(unit_rows(&linear(&x, &self.image)?)?))
    }

    /// Where texts lie, from their vectors [K, W]: [K, 128] f64, rows of length 1.
    ///
    /// # Errors
    /// Another width.
    pub fn texts(&self, vectors: &Tensor) -> Result<Tensor> {
        let x = unit_rows(vectors)?.f_to_kind(Kind::Float)?;
        no_grad(|| Ok(unit_rows(&linear(&x, &self.text)?)?))
    }

    fn standard(&self, features: &Tensor) -> Result<Tensor> {
        Ok(features.f_sub(&self.scale[0])?.f_div(&self.scale[1])?)
    }

    /// The head with the lowest loss on the pairs of `chosen_by`, and after how many updates that was.
    fn train(
        &self,
        data: &Data<'_>,
        learnt: &[usize],
        chosen_by: &[usize],
        seed: u64,
    ) -> Result<(Self, u64)> {
        // The temperature is learnt, as CLIP's is; it begins at 0.07.
        let warmth = Tensor::from((1.0 / 0.07f64).ln() as f32).set_requires_grad(true);
        let mut adam = COptimizer::adamw(RATE, 0.9, 0.999, WEIGHT_DECAY, 1e-8, false)?;
        for parameter in self.image.iter().chain(&self.text).chain([&warmth]) {
            adam.add_parameters(parameter, 0)?;
        }
        let watched = data.main(chosen_by);
        let mut best = (f64::INFINITY, self.copy(), 0);
        for step in 1..=STEPS {
            let mut rng = stream(seed, "fit/step", step);
            let mut some = learnt.to_vec();
            some.shuffle(&mut rng);
            some.truncate(BATCH);
            let chosen = data.any(&some, &mut rng);
            let dropped =
                noise::uniform(&mut rng, 1.0, &[some.len() as i64, data.images.size()[1]]);
            let keep = dropped.f_ge(2.0 * DROPPED - 1.0)?.f_to_kind(Kind::Float)? / (1.0 - DROPPED);
            let loss = self.loss(data, &chosen, &warmth, Some(&keep))?;
            adam.zero_grad()?;
            loss.f_backward()?;
            adam.step()?;
            if step % LOOK == 0 {
                let loss = no_grad(|| self.loss(data, &watched, &warmth, None))?;
                let loss = loss.f_double_value(&[])?;
                if loss < best.0 {
                    best = (loss, self.copy(), step);
                } else if step - best.2 >= PATIENCE {
                    break;
                }
            }
        }
        Ok((best.1, best.2))
    }

    fn copy(&self) -> Self {
        let own = |of: &[Tensor; 2]| of.each_ref().map(|t| t.detach().copy());
        Self {
            scale: own(&self.scale),
            image: own(&self.image),
            text: own(&self.text),
        }
    }

    /// CLIP's loss: cross-entropy over the texts for each image and over the images for each text. What shares a group with a
    /// pair is no strange one.
    fn loss(
        &self,
        data: &Data<'_>,
        (images, texts): &Chosen,
        warmth: &Tensor,
        keep: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut x = self.standard(&picked(&data.images, images)?)?;
        if let Some(keep) = keep {
            x = x.f_mul(keep)?;
        }
        let direction = |x: Tensor| -> Result<Tensor> {
            let length = x.f_norm_scalaropt_dim(2.0, [1i64].as_slice(), true)?;
            Ok(x.f_div(&length.f_clamp_min(1e-12)?)?)
        };
        let seen = direction(linear(&x, &self.image)?)?;
        let told = direction(linear(&picked(&data.texts, texts)?, &self.text)?)?;
        let group: Vec<i64> = images
            .iter()
            .map(|&i| data.groups[i as usize] as i64)
            .collect();
        let group = Tensor::from_slice(&group);
        let same = group.f_unsqueeze(0)?.f_eq_tensor(&group.f_unsqueeze(1)?)?;
        let own = Tensor::f_eye(images.len() as i64, (Kind::Bool, group.device()))?;
        let hidden = same.f_logical_and(&own.f_logical_not()?)?;
        let logits = seen
            .f_matmul(&told.f_transpose(0, 1)?)?
            .f_mul(&warmth.f_exp()?.f_clamp_max(100.0)?)?
            .f_masked_fill(&hidden, f64::NEG_INFINITY)?;
        let truth = Tensor::f_arange(images.len() as i64, (Kind::Int64, group.device()))?;
        let side = |logits: &Tensor| {
            logits.f_cross_entropy_loss(&truth, None::<&Tensor>, Reduction::Mean, -100, 0.0)
        };
        Ok((side(&logits)? + side(&logits.f_transpose(0, 1)?)?) * 0.5)
    }

    fn calibrate(
        &self,
        data: &Data<'_>,
        kept: &[usize],
        (learnt, chosen_by, steps): (usize, usize, u64),
    ) -> Result<Calibration> {
        let (images, texts) = data.main(kept);
        let seen = self.images(&picked(&data.images, &images)?)?;
        let told = self.texts(&picked(&data.texts, &texts)?)?;
        let fits: Vec<f64> =
            Vec::try_from(seen.f_matmul(&told.f_transpose(0, 1)?)?.f_flatten(0, -1)?)?;
        let n = kept.len();
        let (mut own, mut other, mut others, mut first, mut wins) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for i in 0..n {
            let mine = fits[i * n + i];
            own += mine;
            let strange: Vec<f64> = (0..n)
                .filter(|&j| data.groups[kept[j]] != data.groups[kept[i]])
                .map(|j| fits[i * n + j])
                .collect();
            other += strange.iter().sum::<f64>();
            others += strange.len() as f64;
            first += f64::from(u8::from(strange.iter().all(|&s| s < mine)));
            for s in strange {
                wins += if s < mine {
                    1.0
                } else {
                    f64::from(u8::from(s == mine)) / 2.0
                };
            }
        }
        let n = n as f64;
        Ok(Calibration {
            learnt,
            chosen_by,
            images: kept.len(),
            steps,
            own: own / n,
            other: other / f64::max(others, 1.0),
            found_first: first / n,
            auc: wins / f64::max(others, 1.0),
        })
    }
}

struct Data<'a> {
    images: Tensor,
    texts: Tensor,
    of: &'a [Vec<usize>],
    groups: &'a [usize],
}

impl Data<'_> {
    /// Images with their main texts.
    fn main(&self, images: &[usize]) -> Chosen {
        let texts = images.iter().map(|&i| self.of[i][0] as i64);
        (images.iter().map(|&i| i as i64).collect(), texts.collect())
    }

    /// Images with any of their texts.
    fn any(&self, images: &[usize], rng: &mut impl Rng) -> Chosen {
        let mut any = |list: &[usize]| list[rng.random_range(0..list.len())] as i64;
        let texts = images.iter().map(|&i| any(&self.of[i])).collect();
        (images.iter().map(|&i| i as i64).collect(), texts)
    }
}

fn refuse<T>(reason: String) -> Result<T> {
    Err(EncoderError::Options(reason))
}

/// Rows of a table.
fn picked(of: &Tensor, rows: &[i64]) -> Result<Tensor> {
    Ok(of.f_index_select(0, &Tensor::from_slice(rows))?)
}

fn linear(x: &Tensor, [weight, bias]: &[Tensor; 2]) -> Result<Tensor> {
    Ok(x.f_linear(weight, Some(bias))?)
}

/// For each image the first image that it shares a text with, directly or through others.
fn groups(of: &[Vec<usize>]) -> Vec<usize> {
    let mut sets = UnionFind::new(of.len());
    let mut first: BTreeMap<usize, usize> = BTreeMap::new();
    for (image, texts) in of.iter().enumerate() {
        for &text in texts {
            sets.union(image, *first.entry(text).or_insert(image));
        }
    }
    (0..of.len()).map(|i| sets.find(i)).collect()
}

/// Images to learn from, to stop by, and to calibrate with; whole groups, drawn by seed.
fn divide(groups: &[usize], seed: u64) -> [Vec<usize>; 3] {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (image, &group) in groups.iter().enumerate() {
        members.entry(group).or_default().push(image);
    }
    let mut units: Vec<Vec<usize>> = members.into_values().collect();
    units.shuffle(&mut stream(seed, "fit/divide", 0));
    let quota = (groups.len() as f64 * KEPT).round() as usize;
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for unit in units {
        // The parts that judge are filled first; a group that would flood one of them is learnt from.
        let room = |part: &Vec<usize>| part.len() + unit.len() <= quota;
        let place = (1..3).find(|&p| room(&parts[p])).unwrap_or(0);
        parts[place].extend(unit);
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Device;

    fn normal(purpose: &str, shape: &[i64]) -> Tensor {
        noise::normal(&mut stream(9, purpose, 0), shape, Device::Cpu)
    }

    /// Images and texts are two views of the same eight hidden numbers.
    fn pairs(n: i64, told: f64) -> (Tensor, Tensor, Vec<Vec<usize>>) {
        let hidden = normal("hidden", &[n, 8]);
        let images = hidden.matmul(&normal("view 1", &[8, 40])) + normal("noise 1", &[n, 40]) * 0.3;
        let texts =
            hidden.matmul(&normal("view 2", &[8, 24])) * told + normal("noise 2", &[n, 24]) * 0.3;
        (images, texts, (0..n as usize).map(|i| vec![i]).collect())
    }

    #[test]
    fn what_belongs_together_is_found() {
        let (images, texts, of) = pairs(400, 1.0);
        let pairs = Pairs {
            images: &images,
            texts: &texts,
            of: &of,
        };
        let (fit, calibration) = Fit::learn(pairs, 0).unwrap();
        let counts = [
            calibration.learnt,
            calibration.chosen_by,
            calibration.images,
        ];
        assert_eq!(counts, [280, 60, 60]);
        assert!(
            calibration.auc > 0.95 && calibration.found_first > 0.5,
            "{calibration:?}"
        );
        assert!((calibration.relative(calibration.own) - 1.0).abs() < 1e-12);
        assert!(calibration.relative(calibration.other).abs() < 1e-12);
        // Any scale of a text's vector says the same.
        let (a, b) = (
            fit.texts(&texts).unwrap(),
            fit.texts(&(&texts * 3.0)).unwrap(),
        );
        assert!((a - b).abs().max().double_value(&[]) < 1e-5);
        let copy = fit
            .tensors()
            .map(|(name, t)| (name.to_owned(), t.copy()))
            .collect();
        let copy = Fit::from_tensors(copy).unwrap();
        assert_eq!(copy.images(&images).unwrap(), fit.images(&images).unwrap());
        let mut less: BTreeMap<String, Tensor> = fit
            .tensors()
            .map(|(name, t)| (name.to_owned(), t.copy()))
            .collect();
        less.insert(
            "mean".into(),
            Tensor::zeros([1, 3], (Kind::Float, Device::Cpu)),
        );
        assert!(
            Fit::from_tensors(less)
                .unwrap_err()
                .to_string()
                .contains("mean of shape")
        );
        assert!(
            Fit::from_tensors(BTreeMap::new())
                .unwrap_err()
                .to_string()
                .contains("damaged")
        );
        let again = Fit::learn(pairs, 0).unwrap().1;
        assert_eq!(again, calibration);
        assert_ne!(Fit::learn(pairs, 1).unwrap().1, calibration);
    }

    /// Texts that say nothing about the images: it is said, or the calibration shows it.
    #[test]
    fn where_there_is_nothing_to_learn_nothing_is_claimed() {
        let (images, texts, of) = pairs(400, 0.0);
        let pairs = Pairs {
            images: &images,
            texts: &texts,
            of: &of,
        };
        match Fit::learn(pairs, 0) {
            Ok((_, calibration)) => assert!((calibration.auc - 0.5).abs() < 0.1, "{calibration:?}"),
            Err(error) => assert!(error.to_string().contains("nothing was learnt"), "{error}"),
        }
    }

    #[test]
    fn what_shares_a_text_stays_together() {
        let of = vec![vec![0], vec![1, 2], vec![3], vec![2], vec![4, 0], vec![5]];
        let groups = groups(&of);
        assert_eq!(groups, [0, 1, 2, 1, 0, 5]);
        let many: Vec<usize> = (0..300).map(|i| i / 3).collect();
        let parts = divide(&many, 4);
        assert_eq!(parts.each_ref().map(Vec::len), [210, 45, 45]);
        for part in &parts {
            assert!(
                part.iter()
                    .all(|i| part.contains(&(i / 3 * 3)) && part.contains(&(i / 3 * 3 + 2)))
            );
        }
    }

    #[test]
    fn too_little_is_refused() {
        let (images, texts, of) = pairs(30, 1.0);
        let learn = |of: &[Vec<usize>]| {
            let pairs = Pairs {
                images: &images,
                texts: &texts,
                of,
            };
            Fit::learn(pairs, 0).unwrap_err().to_string()
        };
        assert!(learn(&of).contains("at least 40"), "{}", learn(&of));
        assert!(learn(&of[1..]).contains("at least one"));
        let beyond: Vec<Vec<usize>> = (1..31).map(|i| vec![i]).collect();
        assert!(learn(&beyond).contains("at least one"));
    }
}
