//! How many images a LoRA was trained on, from its weights alone (DSiRe).
//!
//! *Paper*: Salama, Kahana, Horwitz, Hoshen 2024, *Dataset Size Recovery from LoRA Weights* (arXiv 2406.19395), and its code.
//!
//! For each layer the singular values of what the LoRA adds are compared with those of LoRAs of known sizes:
//!
//! ```text
//! size of a layer  <- that of the reference with the smallest |sigma - sigma_ref|_2
//! size of the LoRA <- the one that most layers have; of equally many the smallest
//! ```
//!
//! *Threat model*: weights only. The attacker has trained references like the LoRA: the same base, rank, layers, steps and rate, on images of
//! the same kind. *What it misses*: a LoRA of another recipe, or of a size that no reference has, is given the nearest looking size all the
//! same. So every answer comes with how often the references recover each other ([`recovered`]): what they cannot tell of themselves they
//! cannot tell of another one.

use crate::{AttackError, Result};
use std::collections::BTreeMap;

/// The singular values of each layer, largest first.
pub type Spectra = BTreeMap<String, Vec<f64>>;

/// A LoRA that is known to be trained on so many images.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// Images.
    pub size: u64,
    /// What it adds.
    pub spectra: Spectra,
}

/// What the layers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Votes {
    /// The size that most layers have.
    pub size: u64,
    /// How many layers have each size.
    pub layers: BTreeMap<u64, usize>,
}

/// The size of the training set behind `spectra`.
///
/// # Errors
/// References of fewer than two sizes, or one size alone that has fewer than two; layers or ranks that differ.
pub fn size_of(spectra: &Spectra, references: &[Reference]) -> Result<Votes> {
    check(references)?;
    references
        .iter()
        .try_for_each(|reference| check_alike(spectra, &reference.spectra))?;
    Ok(votes(spectra, &references.iter().collect::<Vec<_>>()))
}

/// What each reference is given by the others, in their order. A rule that recovers them can be believed of a LoRA like them.
///
/// # Errors
/// As [`size_of`].
pub fn recovered(references: &[Reference]) -> Result<Vec<u64>> {
    check(references)?;
    let alike = |r: &Reference| check_alike(&references[0].spectra, &r.spectra);
    references.iter().try_for_each(alike)?;
    let without = |i: usize| -> Vec<&Reference> {
        let others = references.iter().enumerate();
        others
            .filter(|(j, _)| *j != i)
            .map(|(_, other)| other)
            .collect()
    };
    let sizes = references.iter().enumerate();
    Ok(sizes
        .map(|(i, own)| votes(&own.spectra, &without(i)).size)
        .collect())
}

fn check(references: &[Reference]) -> Result<()> {
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    for reference in references {
        *sizes.entry(reference.size).or_default() += 1;
    }
    let alone = sizes.iter().find(|(_, count)| **count < 2);
    if sizes.len() < 2 || alone.is_some() {
        return Err(AttackError::Samples(format!(
            "size of a LoRA's training set: {} reference LoRAs of {} sizes{}: nothing follows without at least two sizes, and two references of \
             each, by which it is seen how well they recover each other",
            references.len(),
            sizes.len(),
            alone
                .map(|(size, count)| format!(" ({count} of {size} images)"))
                .unwrap_or_default()
        )));
    }
    Ok(())
}

/// Refuses LoRAs that are not of the same layers and ranks.
fn check_alike(one: &Spectra, other: &Spectra) -> Result<()> {
    let differ = |what: String| {
        Err(AttackError::Samples(format!(
            "size of a LoRA's training set: {what}: references are trained like it, with the same layers and rank"
        )))
    };
    if one.is_empty() {
        return differ("the LoRA has no layers".into());
    }
    let lacks = |has: &Spectra, lacks: &Spectra| -> Option<String> {
        has.keys().find(|name| !lacks.contains_key(*name)).cloned()
    };
    if let Some(name) = lacks(one, other).or_else(|| lacks(other, one)) {
        return differ(format!("layer {name:?} is in one LoRA and not in another"));
    }
    for (name, values) in one {
        let theirs = other.get(name).map_or(0, Vec::len);
        if values.len() != theirs {
            return differ(format!(
                "layer {name:?} has {} singular values in one LoRA and {theirs} in another",
                values.len()
            ));
        }
    }
    Ok(())
}

/// The vote of LoRAs that are alike.
fn votes(spectra: &Spectra, references: &[&Reference]) -> Votes {
    let mut layers: BTreeMap<u64, usize> = BTreeMap::new();
    for (name, values) in spectra {
        let apart = |reference: &Reference| -> f64 {
            let theirs = reference.spectra.get(name).into_iter().flatten();
            values
                .iter()
                .zip(theirs)
                .map(|(a, b)| (a - b).powi(2))
                .sum()
        };
        let nearest = references
            .iter()
            .min_by(|a, b| apart(a).total_cmp(&apart(b)));
        if let Some(nearest) = nearest {
            *layers.entry(nearest.size).or_default() += 1;
        }
    }
    // Of equal counts the last is taken, which is that of the smallest size.
    let most = layers.iter().rev().max_by_key(|(_, count)| **count);
    Votes {
        size: most.map_or(0, |(size, _)| *size),
        layers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two layers with these values.
    fn spectra(first: [f64; 2], second: [f64; 2]) -> Spectra {
        BTreeMap::from([
            ("a".to_owned(), first.to_vec()),
            ("b".to_owned(), second.to_vec()),
        ])
    }

    fn reference(size: u64, spectra: Spectra) -> Reference {
        Reference { size, spectra }
    }

    fn references() -> Vec<Reference> {
        vec![
            reference(4, spectra([10.0, 1.0], [8.0, 1.0])),
            reference(4, spectra([11.0, 1.0], [9.0, 1.0])),
            reference(64, spectra([2.0, 1.0], [3.0, 1.0])),
            reference(64, spectra([3.0, 1.0], [2.0, 1.0])),
        ]
    }

    #[test]
    fn layers_vote_for_their_nearest_reference() {
        let found = size_of(&spectra([9.0, 1.0], [8.5, 0.9]), &references()).unwrap();
        assert_eq!((found.size, found.layers), (4, BTreeMap::from([(4, 2)])));
        // |(6.4, 1) - (10, 1)| = 3.6 and |(6.4, 1) - (3, 1)| = 3.4: the first layer says 64, the second 4. Of one vote each the smaller.
        let found = size_of(&spectra([6.4, 1.0], [9.0, 1.0]), &references()).unwrap();
        assert_eq!(found.layers, BTreeMap::from([(4, 1), (64, 1)]));
        assert_eq!(found.size, 4);
        // All values count: at the same first value the second decides.
        let mut others = references();
        others[2].spectra = spectra([9.0, 5.0], [9.0, 5.0]);
        let found = size_of(&spectra([9.5, 4.9], [8.9, 4.9]), &others).unwrap();
        assert_eq!(found.size, 64);
    }

    #[test]
    fn references_recover_each_other_or_do_not() {
        assert_eq!(recovered(&references()).unwrap(), [4, 4, 64, 64]);
        // One of 64 images that looks like those of four: it is nearest to them, and they to it.
        let mut others = references();
        others[3].spectra = spectra([10.4, 1.0], [8.4, 1.0]);
        assert_eq!(recovered(&others).unwrap(), [64, 64, 4, 4]);
    }

    #[test]
    fn nothing_is_said_without_references() {
        let asked = spectra([9.0, 1.0], [8.0, 1.0]);
        let said = |references: &[Reference]| size_of(&asked, references).unwrap_err().to_string();
        assert!(said(&[]).contains("0 reference LoRAs of 0 sizes"));
        assert!(said(&references()[..2]).contains("2 reference LoRAs of 1 sizes"));
        assert!(said(&references()[..3]).contains("(1 of 64 images)"));
        assert!(recovered(&references()[..3]).is_err());
        let mut others = references();
        others[1].spectra.remove("b");
        assert!(said(&others).contains("layer \"b\" is in one LoRA"));
        assert!(recovered(&others).is_err());
        let mut others = references();
        others[2].spectra.insert("a".into(), vec![1.0; 3]);
        assert!(said(&others).contains("2 singular values in one LoRA and 3"));
        let none = size_of(&Spectra::new(), &references()).unwrap_err();
        assert!(none.to_string().contains("no layers"));
    }
}
