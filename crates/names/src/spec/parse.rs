//! Reads the name of an attack.
//!
//! ```text
//! NAME[@LEVEL][+flip | +lowpass | +pullback | +captions | +captions-mean]... a formula on the network's answers; variants from left to right
//! NAME[@LEVEL][+shadow]                                              learnt from them
//! nn | nn-features | density                                     the images that were generated
//! sim-mean[+captions | +captions-mean]                           what the caption draws
//! pw-...[+shadow]                                                the same, learnt
//! rounds@R[+second][+pw-...][+captions | +captions-mean | +shadow]
//! ```
//!
//! LEVEL is a timestep T, or snr=S: the timestep whose signal-to-noise ratio is nearest to S.
//!
//! An attack has one name: `loss@07` is refused, because it is `loss@7`.

use super::{AttackSpec, Level, SECOND, SNR, Snr, Variant};
use crate::drawn::{Rounds, Similarity};
use crate::error::{NameError, near};
use crate::facts::{BaseAttack, Kind};
use std::str::FromStr;

impl FromStr for AttackSpec {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let (head, suffixes) = match name.find('+') {
            Some(at) => name.split_at(at),
            None => (name, ""),
        };
        let (word, number) = match head.split_once('@') {
            Some((word, number)) => (word, Some(number)),
            None => (head, None),
        };
        let mut spec = Self::from(BaseAttack::named(word).ok_or_else(|| unknown(name, word))?);
        spec.read_number(name, number)?;
        spec.read_suffixes(name, head.len(), suffixes)?;
        Ok(spec)
    }
}

impl AttackSpec {
    fn refused(&self, name: &str, remedy: String) -> NameError {
        NameError::Variant {
            attack: self.base.name(),
            name: name.to_owned(),
            remedy,
        }
    }

    /// What stands behind `@`: the timestep, or the number of rounds.
    fn read_number(&mut self, name: &str, number: Option<&str>) -> Result<(), NameError> {
        let base = self.base.name();
        match (self.base.facts().kind, number) {
            (Kind::Elsewhere, _) => Err(self.refused(
                name,
                "it is not run by its name (`dualmd lira` makes the scores of LiRA and RMIA); leave it out"
                    .into(),
            )),
            (Kind::Rounds, number) => {
                let rounds: Option<usize> = number.and_then(|n| n.parse().ok());
                let Some(rounds) = rounds.filter(|&r| r >= 1 && number == Some(&r.to_string()))
                else {
                    return Err(self.refused(
                        name,
                        format!("write {base}@R with a whole number R from 1 on, such as {base}@2"),
                    ));
                };
                self.rounds = Some(Rounds {
                    rounds,
                    second: false,
                });
                Ok(())
            }
            (_, None) => Ok(()),
            (Kind::Formula | Kind::Learned, Some(number)) => {
                let level = match number.strip_prefix(SNR) {
                    Some(ratio) => ratio.parse().ok().and_then(Snr::new).map(Level::Snr),
                    None => number.parse().ok().map(Level::Timestep),
                };
                let Some(level) = level.filter(|level| level.to_string() == number) else {
                    return Err(self.refused(
                        name,
                        format!(
                            "write {base}@T with a whole number T, such as {base}@100, or {base}@{SNR}S with a number S above 0, such as \
                             {base}@{SNR}1"
                        ),
                    ));
                };
                self.level = Some(level);
                Ok(())
            }
            (Kind::Nearest | Kind::Likeness, Some(_)) => {
                Err(self.refused(name, format!("it has no timestep; ask for {base}")))
            }
        }
    }

    /// What stands behind each `+`, from byte `start` of the name on.
    fn read_suffixes(&mut self, name: &str, start: usize, suffixes: &str) -> Result<(), NameError> {
        let mut end = start;
        for word in suffixes.split('+').skip(1) {
            let plain = &name[..end];
            end += 1 + word.len();
            let so_far = &name[..end];
            if self.read_way_of_rounds(word) {
                continue;
            }
            let known = Variant::ALL.into_iter().find(|v| v.suffix()[1..] == *word);
            let Some(variant) = known else {
                return Err(self.refused(so_far, self.choices(word, plain)));
            };
            if !self.has(variant) {
                let suffix = variant.suffix();
                let remedy = match (variant, self.learns()) {
                    (Variant::Shadow, _) => format!(
                        "only attacks that learn are learnt on a shadow model; ask for {plain}"
                    ),
                    (_, true) => format!("attacks that learn have no {suffix}; ask for {plain}"),
                    _ => format!("it has no {suffix}; ask for {plain}"),
                };
                return Err(self.refused(so_far, remedy));
            }
            self.variants.push(variant);
        }
        Ok(())
    }

    /// Of `rounds@R`: who begins, then how images are compared; each once, and before the variants.
    fn read_way_of_rounds(&mut self, word: &str) -> bool {
        let (Some(rounds), Some(Similarity::Mean), []) =
            (&mut self.rounds, self.form, self.variants.as_slice())
        else {
            return false;
        };
        if word == SECOND && !rounds.second {
            rounds.second = true;
            return true;
        }
        let form = Similarity::ALL
            .into_iter()
            .find(|form| form.learns() && form.name() == word);
        self.form = form.or(self.form);
        form.is_some()
    }

    /// Variants that there are in place of one that there is not.
    fn choices(&self, word: &str, plain: &str) -> String {
        let ways = [SECOND].into_iter().chain(
            Similarity::ALL
                .into_iter()
                .filter(|form| form.learns())
                .map(Similarity::name),
        );
        let ways = ways.filter(|way| self.clone().read_way_of_rounds(way));
        let variants = Variant::ALL.into_iter().filter(|v| self.has(*v));
        let there: Vec<&'static str> = ways.chain(variants.map(|v| &v.suffix()[1..])).collect();
        let meant = match near(word, there.iter().copied()).as_slice() {
            [] => there,
            some => some.to_vec(),
        };
        match meant.as_slice() {
            [] => format!("it has no +{}; ask for {plain}", dualmd_files::shown(word)),
            some => format!(
                "it has no +{}; ask for {plain} or {plain}+{}",
                dualmd_files::shown(word),
                some.join(&format!(" or {plain}+"))
            ),
        }
    }
}

fn unknown(name: &str, word: &str) -> NameError {
    let asked = || BaseAttack::ALL.into_iter().filter(|a| a.can_be_asked());
    let known: Vec<&'static str> = asked()
        .map(|attack| match attack {
            BaseAttack::Rounds => "rounds@2",
            other => other.name(),
        })
        .collect();
    NameError::Unknown {
        name: name.to_owned(),
        near: near(word, asked().map(BaseAttack::name)),
        known,
    }
}
