//! What follows for a model from everything that was measured on it: decided here and nowhere else.
//!
//! The verdict, the cards, the captions, `report.json`, `findings.csv` and the terminal all say what [`Conclusion`] says. In its
//! order: single images, one half of the members, scores the wrong way round, the set as a whole, copies among what the model
//! draws. The first that holds is the finding; the sentences of the verdict name the others too.

use dualmd_record::sets::SetTest;
use dualmd_record::utility::Copying;

use crate::format::grouped;
use crate::measure::FAMILY_ALPHA;
use crate::report::{AttackResult, Conclusion, Finding, Measurement, ModelReport, Report, View};

impl Conclusion {
    /// Concludes on one model. `looks`: `set_looks` of the report; `void`: is it void?
    pub fn of(model: &ModelReport, looks: usize, void: bool) -> Self {
        if void {
            return Self::Void;
        }
        let Some(strongest) = model.strongest() else {
            return Self::Unknown;
        };
        if has(strongest, model.primary, Finding::Leak) {
            return Self::Images {
                attack: strongest.attack.clone(),
            };
        }
        if let Some((result, half, _)) = half_that_leaks(model) {
            return Self::OneHalf {
                attack: result.attack.clone(),
                half,
            };
        }
        if let Some((result, members, _)) = inverted(model).first() {
            return Self::Inverted {
                attack: result.attack.clone(),
                members: *members,
            };
        }
        let tests = told_apart(model, looks);
        if !tests.is_empty() {
            return Self::WholeSet {
                tests: tests.iter().map(|t| t.name.clone()).collect(),
            };
        }
        match copied(model) {
            Some(copying) => Self::Copies {
                features: copying.features.clone(),
            },
            None if has(strongest, model.primary, Finding::Unknown) => Self::Unknown,
            None => Self::Nothing,
        }
    }

    /// The finding that `report.json` states.
    pub fn finding(&self) -> Finding {
        match self {
            Self::Void => Finding::Void,
            Self::Unknown => Finding::Unknown,
            Self::Images { .. } | Self::OneHalf { .. } => Finding::Leak,
            Self::Inverted { .. } => Finding::Inverted,
            Self::WholeSet { .. } => Finding::Set,
            Self::Copies { .. } => Finding::Copies,
            Self::Nothing => Finding::Chance,
        }
    }

    /// In a few words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::OneHalf { .. } => "leak in one half",
            other => other.finding().words(),
        }
    }
}

/// The views that a finding may come from: a teacher is judged on its own half, any other model on all members and on the halves.
pub fn views(model: &ModelReport) -> &'static [View] {
    match model.primary {
        View::Pooled => &[View::Pooled, View::D1, View::D2],
        View::D1 => &[View::D1],
        View::D2 => &[View::D2],
    }
}

fn has(result: &AttackResult, view: View, finding: Finding) -> bool {
    result.view(view).is_some_and(|m| m.finding == finding)
}

/// The strongest leak on one half of a model that is judged on all members.
pub fn half_that_leaks(model: &ModelReport) -> Option<(&AttackResult, View, &Measurement)> {
    if model.primary != View::Pooled {
        return None;
    }
    let both = model
        .results
        .iter()
        .flat_map(|r| [View::D1, View::D2].map(|v| (r, v)));
    both.filter(|(r, v)| has(r, *v, Finding::Leak))
        .filter_map(|(r, v)| Some((r, v, r.view(v)?)))
        .max_by(|a, b| a.2.auc.total_cmp(&b.2.auc))
}

/// Attacks that rank members below non-members, each with the first view that says so: pooled before the halves.
pub fn inverted(model: &ModelReport) -> Vec<(&AttackResult, View, &Measurement)> {
    let of = |r| {
        let mut own = views(model)
            .iter()
            .filter(|v| has(r, **v, Finding::Inverted));
        let view = *own.next()?;
        Some((r, view, r.view(view)?))
    };
    model.results.iter().filter_map(of).collect()
}

/// Tests of whole sets in a report: the number that each p-value is corrected for.
pub fn set_looks(models: &[ModelReport]) -> usize {
    models.iter().flat_map(tests).count()
}

/// The tests of whole sets on one model.
pub fn tests(model: &ModelReport) -> impl Iterator<Item = &SetTest> {
    model.sets.iter().flat_map(|s| &s.tests)
}

/// Does a test tell two sets apart, after correction for all tests of the report (Bonferroni)?
pub fn tells_apart(test: &SetTest, looks: usize) -> bool {
    test.p_value * looks as f64 <= FAMILY_ALPHA
}

/// Can a test tell two sets apart at all? With few permutations even the smallest p-value they allow is too large.
pub fn can_tell(test: &SetTest, looks: usize) -> bool {
    looks as f64 / (test.permutations as f64 + 1.0) <= FAMILY_ALPHA
}

/// The tests of whole sets that tell members and non-members of a model apart.
pub fn told_apart(model: &ModelReport, looks: usize) -> Vec<&SetTest> {
    tests(model).filter(|t| tells_apart(t, looks)).collect()
}

/// The count of copies that is furthest beyond its control, if one clearly is: the intervals of the two shares lie apart.
pub fn copied(model: &ModelReport) -> Option<&Copying> {
    let clearly = |c: &&Copying| c.control.members.share_ci[0] > c.control.heldout.share_ci[1];
    model
        .copying
        .iter()
        .filter(clearly)
        .max_by_key(|c| beyond(c))
}

/// The two counts that the conclusion on copies rests on: generated images that pass for copies of members, and those that do so by
/// chance, as copies of as many images that no model saw. One wording for every place that names them.
pub fn copies_in_words(copying: &Copying) -> String {
    let control = &copying.control;
    format!(
        "{} of {} generated images pass for copies of training images, where chance explains {}",
        grouped(control.members.copies as i64),
        grouped(control.drawn.unwrap_or(copying.n_generated) as i64),
        grouped(control.heldout.copies as i64)
    )
}

/// Copies of members less copies of as many images that no model saw.
pub fn beyond(copying: &Copying) -> i128 {
    copying.control.members.copies as i128 - copying.control.heldout.copies as i128
}

/// Families of looks in a report, each of which finds something where there is nothing at most once in 20 audits: of every model its
/// attacks on all members and those on the halves; and the tests of whole sets of all models together.
pub fn families(report: &Report) -> usize {
    let any = |model: &ModelReport, views: &[View]| {
        let results = &model.results;
        usize::from(
            results
                .iter()
                .any(|r| views.iter().any(|v| r.view(*v).is_some())),
        )
    };
    let of = |model: &ModelReport| match model.primary {
        View::Pooled => any(model, &[View::Pooled]) + any(model, &[View::D1, View::D2]),
        own => any(model, &[own]),
    };
    report.models.iter().map(of).sum::<usize>() + usize::from(set_looks(&report.models) > 0)
}
