//! Attacks by name, the default set, and sweeps over timesteps.
//!
//! The timesteps of the default set are fixed here, before anything was measured. A sweep answers another question -
//! where does this model leak? - and its best row, chosen on the audited images, is not evidence: of thirty
//! independent guesses on 416 images the best reaches an AUC of 0.54 by luck. So its rows carry other names.

use crate::lowpass::{LowPassed, SUFFIX as LOW_PASS};
use crate::{
    Attack, AttackError, AttackInfo, Batch, Gsa1, Gsa2, Learned, Loss, Method, Pfami, Pia, Pian,
    ReDiffuse, ReDiffuseNn, Reference, Result, Rule, SecMi, SecMiNn, SimA, TeacherDifference,
};
use dualmd_torch::Tensor;
use serde_json::json;

/// What an attack needs beside the model under attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: one model suffices.
    Nothing,
    /// Samples whose membership is known.
    Known,
    /// Both models of a DualMD pair.
    Pair,
    /// A model of the same kind that saw none of the samples.
    Reference,
}

/// An attack in the table of known attacks.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name in files and on the command line.
    pub name: &'static str,
    /// What it needs beside the model under attack.
    pub needs: Needs,
    /// Is it part of what `audit` runs unless attacks are named, where its needs are met? Gradients are not: a backward pass
    /// per image costs more than all other attacks together.
    pub usual: bool,
    make: Make,
}

#[derive(Debug, Clone, Copy)]
enum Make {
    Formula(fn(Option<i64>) -> Box<dyn Attack>),
    Learned(fn(Option<i64>) -> Box<dyn Learned>),
}

impl Entry {
    const fn formula(
        name: &'static str,
        needs: Needs,
        make: fn(Option<i64>) -> Box<dyn Attack>,
    ) -> Self {
        Self {
            name,
            needs,
            usual: true,
            make: Make::Formula(make),
        }
    }

    const fn learned(
        name: &'static str,
        usual: bool,
        make: fn(Option<i64>) -> Box<dyn Learned>,
    ) -> Self {
        Self {
            name,
            needs: Needs::Known,
            usual,
            make: Make::Learned(make),
        }
    }

    /// The attack with its fixed defaults.
    #[must_use]
    pub fn attack(&self) -> Method {
        match self.make {
            Make::Formula(make) => Method::Formula(make(None)),
            Make::Learned(make) => Method::Learned(make(None)),
        }
    }

    /// The attack at another timestep (for SecMI: t_sec), under the name `NAME@T`.
    #[must_use]
    pub fn at(&self, t: i64) -> Method {
        match self.make {
            Make::Formula(make) => Method::Formula(Box::new(At {
                attack: make(Some(t)),
                t,
            })),
            Make::Learned(make) => Method::Learned(Box::new(At {
                attack: make(Some(t)),
                t,
            })),
        }
    }
}

/// Every attack on a noise predictor, in the order of reports.
pub const ALL: [Entry; 13] = [
    Entry::formula("loss", Needs::Nothing, |t| {
        with_timestep(Loss::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("secmi", Needs::Nothing, |t| {
        with_timestep(SecMi::default(), t, |a, t| a.t_sec = t)
    }),
    Entry::learned("secmi-nn", true, |t| {
        let mut attack = SecMiNn::default();
        attack.0.t_sec = t.unwrap_or(attack.0.t_sec);
        Box::new(attack)
    }),
    Entry::formula("pia", Needs::Nothing, |t| {
        with_timestep(Pia::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("pian", Needs::Nothing, |t| {
        with_timestep(Pian::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("sima", Needs::Nothing, |t| {
        with_timestep(SimA::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("pfami", Needs::Nothing, |t| {
        with_timestep(Pfami::default(), t, |a, t| a.timesteps = vec![t])
    }),
    // Two steps back, whatever the distance.
    Entry::formula("rediffuse", Needs::Nothing, |t| {
        with_timestep(ReDiffuse::default(), t, |a, t| (a.t, a.stride) = (t, t / 2))
    }),
    Entry::learned("rediffuse-nn", true, |t| {
        let mut attack = ReDiffuseNn::default();
        if let Some(t) = t {
            (attack.0.t, attack.0.stride) = (t, t / 2);
        }
        Box::new(attack)
    }),
    // GSA1 gets its gradients from GSA2's, so it comes second.
    Entry::learned("gsa2", false, |t| {
        let mut attack = Gsa2::default();
        attack.timesteps = t.map_or(attack.timesteps, |t| vec![t]);
        Box::new(attack)
    }),
    Entry::learned("gsa1", false, |t| {
        let mut attack = Gsa1::default();
        attack.timesteps = t.map_or(attack.timesteps, |t| vec![t]);
        Box::new(attack)
    }),
    Entry::formula("reference", Needs::Reference, |t| {
        with_timestep(Reference::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("teacher-difference", Needs::Pair, |t| {
        with_timestep(TeacherDifference::default(), t, |a, t| a.t = t)
    }),
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

/// The usual attacks that need one model and nothing else, with their defaults.
#[must_use]
pub fn default_set() -> Vec<Method> {
    ALL.iter()
        .filter(|e| e.usual && e.needs == Needs::Nothing)
        .map(Entry::attack)
        .collect()
}

/// Suffix of an attack that is averaged over the image and its mirror image.
const FLIP: &str = "+flip";

/// The attack that `name` is a variant of: `sima` for `sima@50`, `sima+flip` and `sima` itself.
#[must_use]
pub fn base_name(name: &str) -> &str {
    name.split(['@', '+']).next().unwrap_or(name)
}

/// What the attack called `name`, or the one it is a variant of, needs; nothing if there is none.
#[must_use]
pub fn needs(name: &str) -> Needs {
    let base = base_name(name);
    ALL.iter()
        .find(|e| e.name == base)
        .map_or(Needs::Nothing, |e| e.needs)
}

/// The attack called `name` (`sima`), one row of its sweep (`sima@50`), or either averaged over both mirror images
/// (`sima+flip`: for models that were trained with random flips) or on low frequencies (`sima+lowpass`).
///
/// # Errors
/// A name that is not known, with the nearest one that is; a timestep that is no number; a variant of an attack that
/// has none.
pub fn by_name(name: &str) -> Result<Method> {
    for (suffix, wrap) in [
        (
            FLIP,
            (|a| Box::new(Flip(a))) as fn(Box<dyn Attack>) -> Box<dyn Attack>,
        ),
        (LOW_PASS, |a| Box::new(LowPassed(a))),
    ] {
        let Some(plain) = name.strip_suffix(suffix) else {
            continue;
        };
        return match by_name(plain)? {
            Method::Formula(attack) => Ok(Method::Formula(wrap(attack))),
            Method::Learned(_) => Err(AttackError::Parameter {
                attack: entry(base_name(plain))?.name,
                reason: format!("\"{name}\": attacks that learn have no {suffix}; ask for {plain}"),
            }),
        };
    }
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
pub fn sweep(name: &str, timesteps: &[i64]) -> Result<Vec<Method>> {
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
struct At<A: ?Sized> {
    t: i64,
    attack: Box<A>,
}

fn renamed(info: AttackInfo, t: i64) -> AttackInfo {
    AttackInfo {
        name: format!("{}@{t}", info.name),
        title: format!("{}, t = {t}", info.title),
        ..info
    }
}

impl Attack for At<dyn Attack> {
    fn info(&self) -> AttackInfo {
        renamed(self.attack.info(), self.t)
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        self.attack.score(batch)
    }
}

impl Learned for At<dyn Learned> {
    fn info(&self) -> AttackInfo {
        renamed(self.attack.info(), self.t)
    }

    fn features(&self, batch: &mut Batch<'_>) -> Result<Tensor> {
        self.attack.features(batch)
    }

    fn learn(&self, features: &Tensor, member: &[bool], seed: u64) -> Result<Rule> {
        self.attack.learn(features, member, seed)
    }
}

/// An attack averaged over the image and its mirror image. No public attack does this, although all train with flips: a
/// model that saw both orientations knows both, and the mean of two looks is less noisy than one.
#[derive(Debug)]
struct Flip(Box<dyn Attack>);

impl Attack for Flip {
    fn info(&self) -> AttackInfo {
        let mut info = self.0.info();
        info.name += FLIP;
        info.title += ", both mirror images";
        info.network_calls_per_sample *= 2;
        info.parameters["flip"] = json!(true);
        info
    }

    fn score(&self, batch: &mut Batch<'_>) -> Result<Vec<f64>> {
        let upright = self.0.score(batch)?;
        let mirrored = self.0.score(batch.mirrored()?)?;
        Ok(upright
            .into_iter()
            .zip(mirrored)
            .map(|(a, b)| f64::midpoint(a, b))
            .collect())
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
        let flip = by_name("sima@50+flip").unwrap().info();
        assert_eq!(
            (flip.name.as_str(), flip.network_calls_per_sample),
            ("sima@50+flip", 2)
        );
        assert_eq!(needs("teacher-difference@100+flip"), Needs::Pair);
        assert_eq!(
            (needs("loss"), needs("gsa1@99")),
            (Needs::Nothing, Needs::Known)
        );
        let low = by_name("sima@50+lowpass+flip").unwrap().info();
        assert_eq!(low.parameters["lowpass"]["remains"], 0.2);
        let refused = by_name("secmi-nn+flip").unwrap_err().to_string();
        assert!(refused.contains("ask for secmi-nn"), "{refused}");
        assert_eq!(by_name("secmi-nn@150").unwrap().info().name, "secmi-nn@150");
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
            "unknown attack \"secmia\" (did you mean secmi?): known attacks are loss, secmi, secmi-nn, pia, \
             pian, sima, pfami, rediffuse, rediffuse-nn, gsa2, gsa1, reference, teacher-difference"
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
                r#"{"p":4,"t":100}"#,
                r#"{"crops":[0.825],"timesteps":[0,50,100,150,200,250,300,350,400,450]}"#,
                r#"{"draws":10,"stride":100,"t":200}"#
            ]
        );
    }
}
