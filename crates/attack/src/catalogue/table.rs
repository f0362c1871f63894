//! The table of attacks, with their defaults for pixels and latents.

use super::{Entry, Needs, Space};
use crate::{
    Attack, Clid, ClidGap, ClidVec, Gsa1, Gsa2, Loss, Pfami, Pia, PiaSd2024, Pian, ReDiffuse,
    ReDiffuseNn, Reference, SecMi, SecMiNn, SimA, TeacherDifference, Wen,
};

/// Every attack on a noise predictor, in the order of reports.
pub const ALL: [Entry; 18] = [
    Entry::formula("loss", Needs::Nothing, |_, t| {
        with_timestep(Loss::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("secmi", Needs::Nothing, |space, t| {
        with_timestep(secmi(space), t, |a, t| a.t_sec = t)
    }),
    Entry::learned("secmi-nn", true, |space, t| {
        let mut attack = SecMiNn(secmi(space));
        attack.0.t_sec = t.unwrap_or(attack.0.t_sec);
        Box::new(attack)
    }),
    Entry::formula("pia", Needs::Nothing, |space, t| {
        let attack = match space {
            Space::Pixels => Pia::default(),
            Space::Latent => Pia::latent(),
        };
        with_timestep(attack, t, |a, t| a.t = t)
    }),
    Entry::formula("pian", Needs::Nothing, |space, t| {
        let attack = match space {
            Space::Pixels => Pian::default(),
            Space::Latent => Pian::latent(),
        };
        with_timestep(attack, t, |a, t| a.t = t)
    }),
    Entry::formula("sima", Needs::Nothing, |_, t| {
        with_timestep(SimA::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("pfami", Needs::Nothing, |_, t| {
        with_timestep(Pfami::default(), t, |a, t| a.timesteps = vec![t])
    }),
    Entry::formula("rediffuse", Needs::Nothing, |space, t| {
        Box::new(rediffuse(space, t))
    }),
    Entry::learned("rediffuse-nn", true, |space, t| {
        Box::new(ReDiffuseNn(rediffuse(space, t)))
    }),
    Entry::formula("clid-gap", Needs::Nothing, |_, t| {
        Box::new(t.map_or_else(ClidGap::default, ClidGap::around))
    })
    .with_prompts(true),
    Entry::learned("clid", true, |_, t| {
        Box::new(t.map_or_else(Clid::default, Clid::around))
    })
    .with_prompts(true),
    Entry::learned("clid-vec", true, |_, t| {
        Box::new(ClidVec(t.map_or_else(Clid::default, Clid::around)))
    })
    .with_prompts(true),
    Entry::formula("wen", Needs::Nothing, |_, t| {
        with_timestep(Wen::default(), t, |a, t| a.t = t)
    })
    .with_prompts(true),
    Entry::formula("pia-sd-2024", Needs::Nothing, |_, t| {
        with_timestep(PiaSd2024::default(), t, |a, t| a.t = t)
    })
    .with_prompts(false),
    // GSA1 gets its gradients from GSA2's, so it comes second.
    Entry::learned("gsa2", false, |_, t| {
        let mut attack = Gsa2::default();
        attack.timesteps = t.map_or(attack.timesteps, |t| vec![t]);
        Box::new(attack)
    }),
    Entry::learned("gsa1", false, |_, t| {
        let mut attack = Gsa1::default();
        attack.timesteps = t.map_or(attack.timesteps, |t| vec![t]);
        Box::new(attack)
    }),
    Entry::formula("reference", Needs::Reference, |_, t| {
        with_timestep(Reference::default(), t, |a, t| a.t = t)
    }),
    Entry::formula("teacher-difference", Needs::Pair, |_, t| {
        with_timestep(TeacherDifference::default(), t, |a, t| a.t = t)
    }),
];

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
