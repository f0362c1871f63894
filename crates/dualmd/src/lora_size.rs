//! How many images a LoRA was trained on, by its weights and references of known sizes (DSiRe; [`dualmd_attack::lora_size`]).

use crate::bail_usage;
use anyhow::{Context, Result};
use dualmd_attack::lora_size::{Reference, recovered, size_of};
use dualmd_diffusion::lora::singular_values;
use dualmd_files::shown;
use dualmd_stats::{CONFIDENCE, clopper_pearson};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

pub use crate::options::LoraSizeOptions;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoraSize {
    /// Images that the LoRA was trained on, as most of its layers have it.
    pub size: u64,
    /// How many layers have each size.
    pub votes: BTreeMap<u64, usize>,
    /// References of each size.
    pub references: BTreeMap<u64, usize>,
    /// References whose size the others recover.
    pub recovered: usize,
    /// Of so many.
    pub n: usize,
    /// Their share's exact 95 % interval (Clopper-Pearson).
    pub recovered_ci: [f64; 2],
    /// How far the others' answers for the references are off, on average, in images.
    pub mean_error: f64,
    /// How far the middle one of the references' sizes would be off, on average: a guess that looks at no weights.
    pub guess_error: f64,
}

/// Compares a LoRA with references, and these with each other.
///
/// # Errors
/// Files that cannot be read or that are no LoRA; no references, or too few; LoRAs of other layers or ranks.
pub fn lora_size(args: &LoraSizeOptions) -> Result<LoraSize> {
    let references = references(&args.references)?;
    let spectra = singular_values(&args.lora)?;
    let found = size_of(&spectra, &references)?;
    let sizes: Vec<u64> = references.iter().map(|r| r.size).collect();
    let answers = recovered(&references)?;
    let right = answers.iter().zip(&sizes).filter(|(a, b)| a == b).count();
    let n = references.len();
    let off = |answers: &[u64]| -> f64 {
        let each = answers.iter().zip(&sizes).map(|(a, b)| a.abs_diff(*b));
        each.sum::<u64>() as f64 / n as f64
    };
    let mut sorted = sizes.clone();
    sorted.sort_unstable();
    let middle = sorted.get(n / 2).copied().unwrap_or(0);
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    sizes
        .iter()
        .for_each(|size| *counts.entry(*size).or_default() += 1);
    Ok(LoraSize {
        size: found.size,
        votes: found.layers,
        references: counts,
        recovered: right,
        n,
        recovered_ci: clopper_pearson(right as u64, n as u64, CONFIDENCE)?,
        mean_error: off(&answers),
        guess_error: off(&vec![middle; n]),
    })
}

/// The references in a folder's folders, whose names are sizes.
fn references(folder: &Path) -> Result<Vec<Reference>> {
    let mut found = Vec::new();
    let entries = dualmd_files::list(folder)
        .context("--references names a folder of LoRAs of known sizes")?;
    for of_size in entries.iter().filter(|entry| entry.is_dir()) {
        let name = of_size.file_name().unwrap_or_default();
        let size = name.to_str().and_then(|name| name.parse::<u64>().ok());
        let Some(size) = size.filter(|size| *size > 0) else {
            bail_usage!(
                "{}: the folders in {} are named by numbers of images, such as 16",
                shown(of_size),
                shown(folder)
            );
        };
        for lora in dualmd_files::list(of_size)? {
            let is_file = lora.extension().is_some_and(|e| e == "safetensors");
            if is_file || lora.is_dir() {
                let spectra = singular_values(&lora)?;
                found.push(Reference { size, spectra });
            }
        }
    }
    if found.is_empty() {
        bail_usage!(
            "{}: there is no reference: put LoRAs that you trained like this one into folders named by their numbers of images \
             (16/NAME.safetensors); from its weights alone nothing follows",
            shown(folder)
        );
    }
    Ok(found)
}

/// What was found, for people, line by line.
pub fn lines(found: &LoraSize) -> Vec<String> {
    let layers: usize = found.votes.values().sum();
    let list = |counts: &BTreeMap<u64, usize>| -> String {
        let each = counts
            .iter()
            .map(|(size, count)| format!("{size}: {count}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let agreed = found.votes.get(&found.size).copied().unwrap_or(0);
    let [low, high] = found.recovered_ci.map(|share| 100.0 * share);
    vec![
        format!(
            "about {} images, as {agreed} of {layers} layers have it (layers by size: {})",
            found.size,
            list(&found.votes)
        ),
        format!(
            "of {} references (by size: {}) the others recover {} ({low:.1}-{high:.1} %), {:.2} images off on average; the middle size \
             for all is {:.2} off",
            found.n,
            list(&found.references),
            found.recovered,
            found.mean_error,
            found.guess_error
        ),
        "believe it no more than that, and of a LoRA of another recipe, or of a size between theirs, not at all".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_torch::Tensor;
    use dualmd_torch::weights::write_safetensors;

    /// A LoRA of two layers, whose largest singular value is `value` and 2 `value`.
    fn lora(path: &Path, value: f32) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let a = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0]).view([2, 2]);
        let b = |value: f32| Tensor::from_slice(&[value, 0.0, 0.0, 0.1]).view([2, 2]);
        let (one, two) = (b(value), b(2.0 * value));
        let tensors = [
            ("unet.x.to_q.lora_A.weight", &a),
            ("unet.x.to_q.lora_B.weight", &one),
            ("unet.x.to_k.lora_A.weight", &a),
            ("unet.x.to_k.lora_B.weight", &two),
        ];
        write_safetensors(path, tensors, &[]).unwrap();
    }

    #[test]
    fn a_lora_has_the_size_of_references_like_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (size, value) in [(4_u32, 8.0_f32), (16, 4.0), (64, 2.0)] {
            for i in 0..3_u8 {
                let name = format!("references/{size}/{i}.safetensors");
                lora(&at(&name), value + 0.1 * f32::from(i));
            }
        }
        // What is no LoRA beside them is passed over, and a folder is one.
        std::fs::write(at("references/4/notes.txt"), "mine").unwrap();
        let folder = at("references/4/folder/pytorch_lora_weights.safetensors");
        lora(&folder, 8.3);
        lora(&at("mine.safetensors"), 4.15);
        let asked = LoraSizeOptions {
            lora: at("mine.safetensors"),
            references: at("references"),
        };
        let found = lora_size(&asked).unwrap();
        assert_eq!(
            (found.size, found.votes.clone()),
            (16, BTreeMap::from([(16, 2)]))
        );
        let counts = BTreeMap::from([(4, 4), (16, 3), (64, 3)]);
        assert_eq!((found.n, found.references.clone()), (10, counts));
        assert_eq!((found.recovered, found.mean_error), (10, 0.0));
        // 16 is the sixth of ten: four are 12 off and three 48.
        assert!((found.guess_error - (4.0 * 12.0 + 3.0 * 48.0) / 10.0).abs() < 1e-12);
        let said = lines(&found).join("\n");
        assert!(said.contains("about 16 images, as 2 of 2 layers"), "{said}");

        let refused = |references: &str| {
            let asked = LoraSizeOptions {
                references: at(references),
                ..asked.clone()
            };
            format!("{:#}", lora_size(&asked).unwrap_err())
        };
        assert!(refused("nowhere").contains("--references names a folder"));
        std::fs::create_dir(at("none")).unwrap();
        assert!(refused("none").contains("there is no reference"));
        lora(&at("one/4/a.safetensors"), 1.0);
        assert!(refused("one").contains("1 reference LoRAs of 1 sizes"));
        std::fs::create_dir(at("one/many")).unwrap();
        assert!(refused("one").contains("named by numbers of images"));
    }
}
