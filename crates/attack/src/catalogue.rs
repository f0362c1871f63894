//! Attacks by name, the default set, and sweeps over timesteps.
//!
//! The timesteps of the default set are fixed here, before anything was measured. A sweep answers another question -
//! where does this model leak? - and its best row, chosen on the audited images, is not evidence: of thirty
//! independent guesses on 416 images the best reaches an AUC of 0.54 by luck. So its rows carry other names.

use crate::{Attack, AttackError, AttackInfo, Batch, Loss, Pia, Pian, Result, SecMi, SimA};

/// An attack in the table of known attacks.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name in files and on the command line.
    pub name: &'static str,
    make: fn(Option<i64>) -> Box<dyn Attack>,
}

impl Entry {
    /// The attack with its fixed defaults.
    #[must_use]
    pub fn attack(&self) -> Box<dyn Attack> {
        (self.make)(None)
    }

    /// The attack at another timestep (for SecMI: t_sec), under the name `NAME@T`.
    #[must_use]
    pub fn at(&self, t: i64) -> Box<dyn Attack> {
        Box::new(At {
            attack: (self.make)(Some(t)),
            t,
        })
    }
}

/// Every attack on a noise predictor, in the order of reports.
pub const ALL: [Entry; 5] = [
    Entry {
        name: "loss",
        make: |t| with_timestep(Loss::default(), t, |a, t| a.t = t),
    },
    Entry {
        name: "secmi",
        make: |t| with_timestep(SecMi::default(), t, |a, t| a.t_sec = t),
    },
    Entry {
        name: "pia",
        make: |t| with_timestep(Pia::default(), t, |a, t| a.t = t),
    },
    Entry {
        name: "pian",
        make: |t| with_timestep(Pian::default(), t, |a, t| a.t = t),
    },
    Entry {
        name: "sima",
        make: |t| with_timestep(SimA::default(), t, |a, t| a.t = t),
    },
];

fn with_timestep<A: Attack + 'static>(
    mut attack: A,
    t: Option<i64>,
    set: fn(&mut A, i64),
) -> Box<dyn Attack> {
    if let Some(t) = t {
        set(&mut attack, t);
    }
    Box::new(attack)
}

/// Every attack of [`ALL`] with its defaults.
#[must_use]
pub fn default_set() -> Vec<Box<dyn Attack>> {
    ALL.iter().map(Entry::attack).collect()
}

/// The attack called `name` (`sima`), or one row of its sweep (`sima@50`).
///
/// # Errors
/// A name that is not known, with the nearest one that is; a timestep that is no number.
pub fn by_name(name: &str) -> Result<Box<dyn Attack>> {
    let Some((base, t)) = name.split_once('@') else {
        return Ok(entry(name)?.attack());
    };
    let entry = entry(base)?;
    let t = t.parse().map_err(|_| AttackError::Parameter {
        attack: entry.name,
        reason: format!(
            "\"{name}\": write {}@T with a whole number T, such as {}@100",
            entry.name, entry.name
        ),
    })?;
    Ok(entry.at(t))
}

/// The attack called `name` at each of `timesteps`, named `NAME@T`. For SecMI the timesteps are t_sec (multiples of
/// its stride). Rows to be printed apart from the default attacks.
///
/// # Errors
/// A name that is not known.
pub fn sweep(name: &str, timesteps: &[i64]) -> Result<Vec<Box<dyn Attack>>> {
    let entry = entry(name)?;
    Ok(timesteps.iter().map(|&t| entry.at(t)).collect())
}

fn entry(name: &str) -> Result<Entry> {
    ALL.into_iter()
        .find(|e| e.name == name)
        .ok_or_else(|| AttackError::UnknownAttack {
            name: name.into(),
            suggestion: ALL
                .iter()
                .map(|e| (edit_distance(&name.to_lowercase(), e.name), e.name))
                .min()
                // Half the letters wrong is not a slip of the finger any more.
                .filter(|&(distance, known)| 2 * distance <= known.len())
                .map(|(_, known)| known),
            known: ALL.map(|e| e.name).join(", "),
        })
}

/// Levenshtein distance: insertions, deletions and replacements of one letter.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// An attack at a timestep that is not its default, under a name that says so.
#[derive(Debug)]
struct At {
    attack: Box<dyn Attack>,
    t: i64,
}

impl Attack for At {
    fn info(&self) -> AttackInfo {
        let info = self.attack.info();
        AttackInfo {
            name: format!("{}@{}", info.name, self.t),
            ..info
        }
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        self.attack.score(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_attacks() {
        for entry in ALL {
            assert_eq!(by_name(entry.name).unwrap().info().name, entry.name);
        }
        let rows = sweep("sima", &[50, 150]).unwrap();
        assert_eq!(rows[0].info().name, "sima@50");
        assert_eq!(rows[1].info().parameters["t"], 150);
        let secmi = by_name("secmi@150").unwrap().info();
        assert_eq!(
            (
                secmi.network_calls_per_sample,
                secmi.parameters["error_at"].as_i64()
            ),
            (16, Some(140))
        );
    }

    #[test]
    fn unknown_names_get_the_nearest() {
        let message = |name| by_name(name).unwrap_err().to_string();
        assert_eq!(
            message("secmia"),
            "unknown attack \"secmia\" (did you mean secmi?): known attacks are loss, secmi, pia, pian, sima"
        );
        assert!(message("PIAN").contains("did you mean pian?"));
        assert!(!message("gradient").contains("did you mean"));
        assert!(message("sima@soon").contains("sima@100"));
    }

    /// The timesteps are part of the contract: scores of different versions must be comparable.
    #[test]
    fn defaults_are_fixed() {
        let parameters: Vec<String> = default_set()
            .iter()
            .map(|a| a.info().parameters.to_string())
            .collect();
        assert_eq!(
            parameters,
            [
                r#"{"draws":8,"t":200}"#,
                r#"{"error_at":90,"k":10,"t_sec":100}"#,
                r#"{"p":4,"t":200}"#,
                r#"{"p":4,"t":200}"#,
                r#"{"p":4,"t":100}"#
            ]
        );
    }
}
