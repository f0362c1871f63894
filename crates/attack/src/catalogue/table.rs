//! The table of attacks on a noise predictor, with their defaults for pixels and latents.

use super::{Plain, Space};
use crate::{
    Attack, Clid, ClidGap, ClidVec, Combined, Gsa1, Gsa2, Loss, LossGrid, Pfami, Pia, PiaSd2024,
    Pian, ReDiffuse, ReDiffuseNn, Reference, SecMi, SecMiNn, SimA, TeacherDifference, Wen,
};
use dualmd_names::BaseAttack;

/// Every attack on a noise predictor, in the order of score files.
pub const ALL: [BaseAttack; 20] = [
    BaseAttack::Loss,
    BaseAttack::SecMi,
    BaseAttack::SecMiNn,
    BaseAttack::Pia,
    BaseAttack::Pian,
    BaseAttack::SimA,
    BaseAttack::Pfami,
    BaseAttack::ReDiffuse,
    BaseAttack::ReDiffuseNn,
    BaseAttack::LossGrid,
    // All its network calls are those of attacks above.
    BaseAttack::Combined,
    BaseAttack::ClidGap,
    BaseAttack::Clid,
    BaseAttack::ClidVec,
    BaseAttack::Wen,
    BaseAttack::PiaSd2024,
    // GSA1 gets its gradients from GSA2's, so it comes second.
    BaseAttack::Gsa2,
    BaseAttack::Gsa1,
    BaseAttack::Reference,
    BaseAttack::TeacherDifference,
];

/// An attack with its defaults for `space`, at timestep `t` where that is given (for SecMI: t_sec); `None` of attacks that ask no
/// noise predictor.
pub(crate) fn made(attack: BaseAttack, space: Space, t: Option<i64>) -> Option<Plain> {
    let latent = space == Space::Latent;
    Some(match attack {
        BaseAttack::Loss => formula(Loss::default(), t, |a, t| a.t = t),
        BaseAttack::SecMi => formula(secmi(space), t, |a, t| a.t_sec = t),
        BaseAttack::SecMiNn => {
            let mut attack = SecMiNn(secmi(space));
            attack.0.t_sec = t.unwrap_or(attack.0.t_sec);
            Plain::Learned(Box::new(attack))
        }
        BaseAttack::Pia if latent => formula(Pia::latent(), t, |a, t| a.t = t),
        BaseAttack::Pia => formula(Pia::default(), t, |a, t| a.t = t),
        BaseAttack::Pian if latent => formula(Pian::latent(), t, |a, t| a.t = t),
        BaseAttack::Pian => formula(Pian::default(), t, |a, t| a.t = t),
        BaseAttack::SimA => formula(SimA::default(), t, |a, t| a.t = t),
        BaseAttack::Pfami => formula(Pfami::default(), t, |a, t| a.timesteps = vec![t]),
        BaseAttack::ReDiffuse => Plain::Formula(Box::new(rediffuse(space, t))),
        BaseAttack::ReDiffuseNn => Plain::Learned(Box::new(ReDiffuseNn(rediffuse(space, t)))),
        BaseAttack::LossGrid => Plain::Learned(Box::new(LossGrid {
            t,
            ..LossGrid::default()
        })),
        BaseAttack::Combined => Plain::Learned(Box::new(Combined { space, t })),
        BaseAttack::ClidGap => {
            Plain::Formula(Box::new(t.map_or_else(ClidGap::default, ClidGap::around)))
        }
        BaseAttack::Clid => Plain::Learned(Box::new(t.map_or_else(Clid::default, Clid::around))),
        BaseAttack::ClidVec => {
            let losses = t.map_or_else(Clid::default, Clid::around);
            Plain::Learned(Box::new(ClidVec(losses)))
        }
        BaseAttack::Wen => formula(Wen::default(), t, |a, t| a.t = t),
        BaseAttack::PiaSd2024 => formula(PiaSd2024::default(), t, |a, t| a.t = t),
        BaseAttack::Gsa2 => {
            let mut attack = Gsa2::default();
            attack.timesteps = t.map_or(attack.timesteps, |t| vec![t]);
            Plain::Learned(Box::new(attack))
        }
        BaseAttack::Gsa1 => {
            let mut attack = Gsa1::default();
            attack.timesteps = t.map_or(attack.timesteps, |t| vec![t]);
            Plain::Learned(Box::new(attack))
        }
        BaseAttack::Reference => formula(Reference::default(), t, |a, t| a.t = t),
        BaseAttack::TeacherDifference => formula(TeacherDifference::default(), t, |a, t| a.t = t),
        BaseAttack::Likelihood
        | BaseAttack::Lira
        | BaseAttack::LiraOffline
        | BaseAttack::Rmia
        | BaseAttack::Rounds
        | BaseAttack::SimMean
        | BaseAttack::PwThreshold
        | BaseAttack::PwDistribution
        | BaseAttack::PwClassifier
        | BaseAttack::Nearest
        | BaseAttack::NearestFeatures
        | BaseAttack::Density => return None,
    })
}

fn secmi(space: Space) -> SecMi {
    match space {
        Space::Pixels => SecMi::default(),
        Space::Latent => SecMi::latent(),
    }
}

/// At another timestep: as many steps back as by default, whatever the distance.
fn rediffuse(space: Space, t: Option<i64>) -> ReDiffuse {
    let attack = match space {
        Space::Pixels => ReDiffuse::default(),
        Space::Latent => ReDiffuse::latent(),
    };
    let steps = attack.t / attack.stride;
    t.map_or(attack, |t| ReDiffuse {
        t,
        stride: t / steps,
        ..attack
    })
}

fn formula<A: Attack + 'static>(mut attack: A, t: Option<i64>, set: fn(&mut A, i64)) -> Plain {
    if let Some(t) = t {
        set(&mut attack, t);
    }
    Plain::Formula(Box::new(attack))
}
