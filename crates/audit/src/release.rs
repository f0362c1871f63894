//! What each thing that could be given out of a model gives away, and what to do: decided here by rules that the guide prints.
//!
//! Whoever holds more can do all that whoever holds less can: someone with the weights can query the model and generate images
//! with it. So a line is about the attacks that need what it names, and about all those that need less. What it says of single
//! images follows the findings of the attacks, which are corrected for the number of attacks on the model.

use dualmd_names::ModelKind;
use dualmd_stats::OperatingPoint;

use crate::conclusion::{self, copied, copies_in_words, told_apart};
use crate::format::{counted, fpr_name, grouped, rate};
use crate::measure::{lowest_measurable, minimum_detectable_auc};
use crate::report::{
    Advice, AttackResult, ByGroup, Conclusion, Finding, Found, Measurement, ModelReport,
    ModelVerdict, Release, Released, Report, Strongest, View,
};

/// The largest leak that may stay unseen where nothing was found: an attacker who is right 6 times in 10 about a member and a
/// non-member.
pub const UNSEEN: f64 = 0.60;

/// Generated images among which an attack by these alone must have looked, or as many as there are members: a member that is not among
/// them cannot be found. As many as an audit draws by itself.
const ENOUGH_DRAWN: usize = 256;

/// No audit is asked for more images than this of either kind.
const MOST_IMAGES: usize = 1_000_000;

impl Released {
    /// From the least to the most.
    pub const ALL: [Self; 3] = [Self::Images, Self::Queries, Self::Weights];

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Images => "Generated images",
            Self::Queries => "Queries",
            Self::Weights => "Weights",
        }
    }

    /// What an attack needs. One of which nothing is known may need everything.
    pub fn needed(result: &AttackResult) -> Self {
        match result.access.as_str() {
            "black-box" => Self::Images,
            "grey-box" => Self::Queries,
            _ => Self::Weights,
        }
    }
}

impl Advice {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Withhold => "do not publish",
            Self::IfNoSecret => "only if the set is no secret",
            Self::MeasureAgain => "measure again",
            Self::NotTested => "not tested",
            Self::NothingFound => "nothing found",
        }
    }
}

/// Could this model leave the house? A teacher must not, and a repeat is no product of its own.
pub fn is_product(model: &ModelReport) -> bool {
    !model.is_teacher() && model.defense != ModelKind::Part && model.repeat_of.is_none()
}

/// Three lines for every model that could be given out, or for all if none could be. Nothing for a void report.
pub fn releases(models: &[ModelReport], looks: usize) -> Vec<Release> {
    let attacked = || models.iter().filter(|m| m.attacks_run() > 0);
    let mut shown: Vec<&ModelReport> = attacked().filter(|m| is_product(m)).collect();
    if shown.is_empty() {
        shown = attacked().collect();
    }
    let lines = |m: &ModelReport| {
        let teachers: Vec<&ModelReport> = teachers_of(m, models).collect();
        Released::ALL.map(|what| line(m, what, &teachers, looks))
    };
    shown.into_iter().flat_map(lines).collect()
}

/// The teachers of a model that were attacked: in a comparison those of its own audit.
fn teachers_of<'a>(
    model: &'a ModelReport,
    models: &'a [ModelReport],
) -> impl Iterator<Item = &'a ModelReport> {
    let attacked = models
        .iter()
        .filter(|m| m.attacks_run() > 0 && m.is_teacher());
    attacked.filter(move |m| m.audit == model.audit)
}

/// One attack on one model, on the members that its finding is about.
#[derive(Clone, Copy)]
struct Look<'a> {
    model: &'a ModelReport,
    result: &'a AttackResult,
    view: View,
    measured: &'a Measurement,
}

impl Look<'_> {
    /// How strong the claim is: a leak over the members that the model is judged on, over a half of them, members below others,
    /// nothing.
    fn rank(&self) -> (u8, f64) {
        let own = self.view == self.model.primary;
        let auc = self.measured.auc;
        match self.measured.finding {
            Finding::Leak if own => (3, auc),
            Finding::Leak => (2, auc),
            Finding::Inverted => (1, 1.0 - auc),
            _ => (0, auc),
        }
    }
}

/// The order of two looks by how strong their claims are.
fn stronger(a: &Look, b: &Look) -> std::cmp::Ordering {
    let (a, b) = (a.rank(), b.rank());
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
}

/// The looks that whoever holds `what` of a model has. A half counts where it shows something.
fn looks_of(model: &ModelReport, what: Released) -> Vec<Look<'_>> {
    let own = model.results.iter();
    own.filter(|r| Released::needed(r) <= what)
        .flat_map(|result| {
            let views = conclusion::views(model).iter();
            views.filter_map(move |&view| {
                let measured = result.view(view)?;
                let look = Look {
                    model,
                    result,
                    view,
                    measured,
                };
                (view == model.primary || look.rank().0 > 0).then_some(look)
            })
        })
        .collect()
}

fn line(model: &ModelReport, what: Released, teachers: &[&ModelReport], looks: usize) -> Release {
    let mut all = looks_of(model, what);
    let tested = |m: &ModelReport| {
        let mut own = m.results.iter();
        own.any(|r| Released::needed(r) == what && r.pooled.is_some())
    };
    // The weights of a pair are the weights of both teachers: each remembers its own half by itself.
    let both = model.is_pair() && what == Released::Weights;
    let tested = match both {
        true => teachers.len() > 1 && teachers.iter().all(|t| tested(t)),
        false => tested(model),
    };
    if both {
        all.extend(teachers.iter().flat_map(|t| looks_of(t, what)));
    }
    let best = all.iter().max_by(|a, b| stronger(a, b));
    let (advice, because) = advise(model, what, best, tested, both, looks);
    let attacks = all.iter().filter(|l| l.view == l.model.primary).count();
    // What attacks with less found says nothing of what was not tested: it stands on their own line.
    let (attacks, best) = match advice {
        Advice::NotTested => (0, None),
        _ => (attacks, best),
    };
    Release {
        model: model.name.clone(),
        what,
        attacks,
        strongest: best.map(|l| Strongest {
            model: l.model.name.clone(),
            attack: l.result.attack.clone(),
            title: match l.model.name == model.name {
                true => l.result.title.clone(),
                false => format!("{} on {}", l.result.title, l.model.title),
            },
            members: l.view,
            auc: l.measured.auc,
            auc_ci: l.measured.auc_ci_adjusted,
        }),
        found: best.and_then(|l| found(&l.measured.tpr_at_fpr)),
        found_groups: best
            .filter(|l| l.view == l.model.primary)
            .and_then(|l| in_groups(l.model, &l.result.attack, l.measured.n_members))
            .and_then(|g| found(&g.tpr_at_fpr)),
        advice,
        because,
    }
}

/// An attack on `members` images by their groups, where there are clearly fewer groups than images: a few near-duplicates are no reason
/// to speak of groups.
pub fn in_groups<'a>(model: &'a ModelReport, attack: &str, members: usize) -> Option<&'a ByGroup> {
    let mut groups = model.by_groups.iter();
    let own = groups.find(|g| g.attack == attack)?;
    (members * 9 >= 10 * own.member_groups).then_some(own)
}

/// The strongest attack on the weights of a pair where it is one on a teacher, which tells members from non-members or ranks them below;
/// `None` for any other model. `releases`: the lines of all models.
pub fn through_teacher<'a>(
    models: &[ModelReport],
    releases: &'a [Release],
    model: &str,
) -> Option<&'a Strongest> {
    let mut lines = releases.iter();
    let weights = lines.find(|l| l.model == model && l.what == Released::Weights)?;
    let strongest = weights.strongest.as_ref().filter(|s| s.model != model)?;
    let teacher = models.iter().find(|m| m.name == strongest.model)?;
    let mut results = teacher.results.iter();
    let result = results.find(|r| r.attack == strongest.attack)?;
    let finding = result.view(strongest.members)?.finding;
    matches!(finding, Finding::Leak | Finding::Inverted).then_some(strongest)
}

/// What was found of a model, in a few words. Of a pair in which nothing was found but by its teachers' weights it says so: what it draws
/// and what it is made of are two answers.
pub fn finding_in_words(report: &Report, of: &ModelVerdict) -> &'static str {
    let leaks = through_teacher(&report.models, &report.verdict.releases, &of.model).is_some();
    match of.finding {
        Finding::Leak if matches!(of.conclusion, Conclusion::OneHalf { .. }) => {
            of.conclusion.words()
        }
        Finding::Chance if leaks => "no leak seen in its images, its weights leak",
        Finding::Unknown if leaks => "unknown of its images, its weights leak",
        Finding::Set if leaks => "only the set as a whole in its images, its weights leak",
        Finding::Copies if leaks => "copies among its images, its weights leak",
        Finding::Inverted if leaks => "inverted, its weights leak",
        other => other.words(),
    }
}

/// The point at the lowest rate of false alarms from 1 in 100 upwards that can be measured.
pub fn counted_at(points: &[OperatingPoint]) -> Option<&OperatingPoint> {
    let asked = points
        .iter()
        .filter(|p| p.measurable && p.fpr > 0.0099 && p.fpr < 1.0);
    asked.min_by(|a, b| a.fpr.total_cmp(&b.fpr))
}

/// The members found at that rate.
pub fn found(points: &[OperatingPoint]) -> Option<Found> {
    let point = counted_at(points)?;
    Some(Found {
        found: point.tp,
        total: point.n_members,
        fpr: point.fpr,
        by_guessing: point.fpr * point.n_members as f64,
    })
}

/// The rules, in their order; the guide prints them.
fn advise(
    model: &ModelReport,
    what: Released,
    best: Option<&Look>,
    tested: bool,
    both: bool,
    looks: usize,
) -> (Advice, String) {
    let rank = best.map_or(0, |l| l.rank().0);
    if let Some(l) = best.filter(|_| rank > 0) {
        let whom = match l.view == l.model.primary {
            true => String::new(),
            false => format!(" on {}", l.view.name()),
        };
        let who = match l.model.name == model.name {
            true => String::new(),
            false => format!(" against {}", l.model.title),
        };
        let auc = rate(l.measured.auc);
        let decided = match lowest_measurable(&l.measured.tpr_at_fpr) {
            // The AUC alone is not told from chance: the count at few false alarms is.
            Some(p) if rank > 1 && l.measured.auc_ci_adjusted[0] <= 0.5 => format!(
                "{} of {} found at {} false alarms{whom}",
                p.tp,
                p.n_members,
                fpr_name(p.fpr)
            ),
            _ => format!("AUC {auc}{whom}"),
        };
        let shown = match rank {
            1 => "ranks members below non-members, which an attacker can turn round",
            _ => "tells members from non-members",
        };
        let absent = match (tested, both) {
            (true, _) => String::new(),
            (false, true) => {
                " Its teachers, whose weights these are, were not attacked here and may give away more.".to_owned()
            }
            (false, false) => format!(" {}", untested(model, what)),
        };
        return (
            Advice::Withhold,
            format!("{}{who} {shown}: {decided}.{absent}", l.result.title),
        );
    }
    if both && !tested {
        return (
            Advice::NotTested,
            "They are the weights of both teachers: attack each of them.".to_owned(),
        );
    }
    if let Some(copying) = copied(model) {
        return (
            Advice::Withhold,
            format!("The model generates copies: {}.", copies_in_words(copying)),
        );
    }
    let drawn = |name: &str| name.starts_with("generated");
    let set = told_apart(model, looks)
        .into_iter()
        .find(|t| what == Released::Weights || drawn(&t.name));
    if let Some(test) = set {
        return (
            Advice::IfNoSecret,
            format!(
                "No single image is told apart, but the training images taken together are (p = {}).",
                crate::format::p_value(test.p_value)
            ),
        );
    }
    if !tested {
        return (Advice::NotTested, untested(model, what));
    }
    let Some(l) = best else {
        return (Advice::NotTested, "No attack gave a result.".to_owned());
    };
    let (m, n) = (l.measured.n_members, l.measured.n_nonmembers);
    if let Some(few) = too_few_drawn(l) {
        return (
            Advice::MeasureAgain,
            format!(
                "Nothing was found among {}, too few to find {} in: look at {} or more.",
                counted(few, "generated image"),
                counted(m, "member"),
                grouped(ENOUGH_DRAWN.min(m) as i64)
            ),
        );
    }
    let comparisons = l.model.attacks_run();
    let unseen = minimum_detectable_auc(m, n, comparisons);
    if unseen > UNSEEN {
        // An attack that learns sets images aside, which have no score.
        let aside = l.result.trained_on.as_ref();
        let share = aside.map_or(1.0, |t| (m + t.members) as f64 / m as f64);
        let enough = rounded(images_needed(m, n, comparisons) as f64 * share);
        let missing: Vec<String> = [(m, "members"), (n, "non-members")]
            .into_iter()
            .filter(|(have, _)| (*have as f64 * share) < enough as f64)
            .map(|(_, who)| format!("{} {who}", grouped(enough as i64)))
            .collect();
        return (
            Advice::MeasureAgain,
            format!(
                "Nothing was found, but with {} and {} a leak of AUC {} would have gone unseen: measure with {}.",
                counted(m, "member"),
                counted(n, "non-member"),
                rate(unseen),
                missing.join(" and ")
            ),
        );
    }
    (
        Advice::NothingFound,
        format!(
            "None of the attacks told members from non-members; leaks below AUC {} would have gone unseen.",
            rate(unseen)
        ),
    )
}

/// That no attack which needs `what` of a model gave a result: none was run, or those that were run failed.
fn untested(model: &ModelReport, what: Released) -> String {
    let kind = match what {
        Released::Images => "by generated images alone, such as nn,",
        Released::Queries => "by queries",
        Released::Weights => "that evaluates the network",
    };
    let mut results = model.results.iter();
    match results.any(|r| Released::needed(r) == what) {
        true => format!("No attack {kind} gave a result: those that were run failed."),
        false => format!("No attack {kind} was run."),
    }
}

/// The smallest number that, of whichever side has fewer, keeps no leak above [`UNSEEN`] from being seen.
fn images_needed(members: usize, nonmembers: usize, comparisons: usize) -> usize {
    let enough =
        |k: usize| minimum_detectable_auc(members.max(k), nonmembers.max(k), comparisons) <= UNSEEN;
    let (mut low, mut high) = (members.min(nonmembers), MOST_IMAGES);
    while low + 1 < high {
        let middle = low.midpoint(high);
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// What is asked for is no more exact than the rule.
fn rounded(images: f64) -> usize {
    let images = images.ceil() as usize;
    let step = match images {
        0..=99 => 5,
        100..=999 => 10,
        _ => 100,
    };
    images.div_ceil(step) * step
}

/// The number of generated images that an attack by these alone looked at, where it is too small for the members that it was to find.
fn too_few_drawn(look: &Look) -> Option<usize> {
    let drawn = look.result.parameters.as_ref()?.generated?;
    (drawn < ENOUGH_DRAWN.min(look.measured.n_members)).then_some(drawn)
}

/// What to do with a model, in one line, from its lines.
pub fn headline(lines: &[&Release]) -> &'static str {
    let of = |what: Released| {
        let mut own = lines.iter().filter(|l| l.what == what);
        own.next().map_or(Advice::NotTested, |l| l.advice)
    };
    let [images, queries, weights] = Released::ALL.map(of);
    match (images, queries, weights) {
        (Advice::Withhold, _, _) => "Do not publish the model, nor images from it.",
        (Advice::NothingFound, Advice::NothingFound, Advice::NothingFound) => {
            "Nothing stands against publishing the model, as far as these attacks go."
        }
        (Advice::NothingFound, _, Advice::NothingFound) => {
            "Nothing was found with its images and its weights; attacks by queries were not run."
        }
        (Advice::NothingFound, _, Advice::Withhold) => {
            "Publish generated images only. Do not publish the model."
        }
        (Advice::NothingFound, _, _) => {
            "Publish generated images only, until more is known of the model."
        }
        (Advice::IfNoSecret, _, Advice::Withhold) => {
            "Do not publish the model. Its images show that the set was used."
        }
        (_, _, Advice::Withhold) | (_, Advice::Withhold, _) => {
            "Do not publish the model. Of its images too little is known."
        }
        (Advice::IfNoSecret, _, _) | (_, _, Advice::IfNoSecret) => {
            "Publish only if it is no secret that these images were used."
        }
        (_, _, Advice::NothingFound) => {
            "Nothing was found with the weights. What its generated images give away is not known."
        }
        _ => "Measure again before anything is published.",
    }
}

/// By guessing, in words: "less than 1", "1", "1 or 2", "about 15".
pub fn by_guessing(expected: f64) -> String {
    let whole = expected.round();
    if (expected - whole).abs() < 0.05 && whole > 0.0 {
        return grouped(whole as i64);
    }
    match expected {
        e if e < 1.0 => "less than 1".into(),
        e if e < 10.0 => format!("{} or {}", e.floor(), e.ceil()),
        e => format!("about {}", grouped(e.round() as i64)),
    }
}

/// Of a line that only attacks with less than what it is about have answered: with what, and that no attack with all of it gave a result.
pub fn with_less(line: &Release, models: &[ModelReport]) -> Option<String> {
    let strongest = line.tried()?;
    let of = |name: &str| models.iter().find(|m| m.name == name);
    let (own, attacked) = (of(&line.model)?, of(&strongest.model)?);
    let used = attacked
        .results
        .iter()
        .find(|r| r.attack == strongest.attack)
        .map(Released::needed)?;
    let by = match used {
        Released::Images => "by images alone",
        Released::Queries => "by queries alone",
        Released::Weights => return None,
    };
    if used >= line.what {
        return None;
    }
    // The weights of a pair are those of its teachers.
    if own.is_pair() && line.what == Released::Weights {
        return match teachers_of(own, models).next() {
            Some(_) => None,
            None if own.audit.is_some() => {
                Some(format!("{by}; its teachers are no part of this comparison"))
            }
            None => Some(format!("{by}; its teachers were not attacked")),
        };
    }
    let kind = match line.what {
        Released::Images => return None,
        Released::Queries => "query attack",
        Released::Weights => "attack with the weights",
    };
    let results = own.results.iter();
    let of_kind: Vec<&AttackResult> = results
        .filter(|r| Released::needed(r) == line.what)
        .collect();
    if of_kind.iter().any(|r| r.pooled.is_some()) {
        return None;
    }
    Some(match of_kind.is_empty() {
        true => format!("{by}; no {kind} was run"),
        false => format!("{by}; no {kind} gave a result"),
    })
}

/// The rate of false alarms that the count of a line is for, where it is not 1 in 100.
pub fn other_rate(line: &Release) -> Option<f64> {
    let found = line.found_groups.or(line.found)?;
    (found.fpr > 0.011).then_some(found.fpr)
}

impl Release {
    /// The strongest attack of the line, unless all that was tried needs less than what the line is about.
    pub fn tried(&self) -> Option<&Strongest> {
        let strongest = self.strongest.as_ref();
        strongest.filter(|_| self.advice != Advice::NotTested)
    }
}

/// How the words of a line begin: a count that is not told from chance says so first.
fn finds(line: &Release) -> &'static str {
    match line.advice {
        Advice::NothingFound | Advice::MeasureAgain | Advice::IfNoSecret => {
            "not told from guessing:"
        }
        Advice::Withhold | Advice::NotTested => "finds",
    }
}

/// "finds 6 of 64 members (guessing: less than 1)", or "not told from guessing: 1 of 64 members (guessing: less than 1)", and the rate of false alarms where it is not 1 in 100; of people where groups are known.
pub fn in_words(line: &Release) -> Option<String> {
    let (found, whom) = match (&line.found_groups, &line.found) {
        (Some(groups), _) => (groups, "groups"),
        (None, Some(images)) => (images, "members"),
        (None, None) => return None,
    };
    let half = match line.strongest.as_ref().map(|s| s.members) {
        Some(View::Pooled) | None => String::new(),
        Some(half) => format!(" of {}", half.name()),
    };
    let at = match other_rate(line) {
        Some(fpr) => format!(" at {} false alarms", fpr_name(fpr)),
        None => String::new(),
    };
    Some(format!(
        "{} {} of {} {whom}{half} (guessing: {}){at}",
        finds(line),
        grouped(found.found as i64),
        grouped(found.total as i64),
        by_guessing(found.by_guessing)
    ))
}

/// [`in_words`], and of the weights of a pair what they find of either half, each by the strongest attack on the teacher of that half:
/// "finds 12 of 12 members of D1 and 11 of 12 of D2 (guessing: less than 1 of each)". `models`: all of the report.
pub fn in_words_of(line: &Release, models: &[ModelReport]) -> Option<String> {
    of_halves(line, models).or_else(|| in_words(line))
}

/// What the weights of a pair find of either half; none for any other line, where groups are counted, and where the
/// teachers were not both measured at one rate.
pub fn of_halves(line: &Release, models: &[ModelReport]) -> Option<String> {
    let strongest = line.tried()?;
    let pair = models.iter().find(|m| m.name == line.model)?;
    let by_teachers = pair.is_pair() && strongest.model != line.model;
    // People are counted where groups are known, and the strongest attack alone has that count.
    if !by_teachers || line.what != Released::Weights || line.found_groups.is_some() {
        return None;
    }
    let of = |half: View| -> Option<Found> {
        let looks: Vec<Look> = teachers_of(pair, models)
            .filter(|t| t.primary == half)
            .flat_map(|t| looks_of(t, Released::Weights))
            .collect();
        let best = looks.iter().max_by(|a, b| stronger(a, b))?;
        found(&best.measured.tpr_at_fpr)
    };
    let (one, two, own) = (of(View::D1)?, of(View::D2)?, line.found?);
    if [one, two].iter().any(|f| (f.fpr - own.fpr).abs() > 1e-9) {
        return None;
    }
    let guessing = match [one, two].map(|f| by_guessing(f.by_guessing)) {
        [a, b] if a == b => format!("{a} of each"),
        [a, b] => format!("{a} and {b}"),
    };
    let at = match one.fpr > 0.011 {
        true => format!(" at {} false alarms", fpr_name(one.fpr)),
        false => String::new(),
    };
    Some(format!(
        "{} {} of {} members of D1 and {} of {} of D2 (guessing: {guessing}){at}",
        finds(line),
        grouped(one.found as i64),
        grouped(one.total as i64),
        grouped(two.found as i64),
        grouped(two.total as i64)
    ))
}

/// The lines of a model.
pub fn of_model<'a>(releases: &'a [Release], model: &str) -> Vec<&'a Release> {
    releases.iter().filter(|r| r.model == model).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::measure;
    use dualmd_names::Defense;
    use dualmd_record::AttackParameters;

    /// An attack of some access on 100 members and 400 others, which finds all, or nothing.
    fn attack(name: &str, access: &str, finds: bool) -> AttackResult {
        let others: Vec<f64> = (0..400).map(f64::from).collect();
        let members: Vec<f64> = (0..100)
            .map(|i| f64::from(i) * 4.0 + if finds { 1000.0 } else { 0.0 })
            .collect();
        AttackResult {
            access: access.into(),
            pooled: measure(&members, &others, 1, &[0.1, 0.01], 0).ok(),
            ..AttackResult::named(name)
        }
    }

    fn model(name: &str, defense: Defense, results: Vec<AttackResult>) -> ModelReport {
        ModelReport {
            name: name.into(),
            title: name.into(),
            defense: defense.into(),
            results,
            ..ModelReport::default()
        }
    }

    fn advice(releases: &[Release]) -> Vec<Advice> {
        releases.iter().map(|r| r.advice).collect()
    }

    #[test]
    fn who_holds_more_can_do_what_others_can() {
        let one = model(
            "one",
            Defense::None,
            vec![
                attack("nn", "black-box", false),
                attack("rediffuse", "grey-box", true),
                attack("loss", "white-box", false),
            ],
        );
        let found = releases(std::slice::from_ref(&one), 0);
        assert_eq!(
            advice(&found),
            [Advice::NothingFound, Advice::Withhold, Advice::Withhold]
        );
        assert_eq!(
            found.iter().map(|r| r.attacks).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        // The leak by queries is the strongest that whoever holds the weights has.
        let strongest = found[2].strongest.as_ref().expect("an attack");
        assert_eq!(strongest.attack, "rediffuse");
        let counted = found[2].found.expect("measurable");
        assert_eq!(
            (counted.found, counted.total, counted.fpr),
            (100, 100, 0.01)
        );
        assert_eq!(
            in_words(&found[2]).as_deref(),
            Some("finds 100 of 100 members (guessing: 1)")
        );
        // A count that is not told from chance is no finding.
        let nothing = in_words(&found[0]).expect("counted");
        assert!(
            nothing.starts_with("not told from guessing: ")
                && nothing.ends_with(" of 100 members (guessing: 1)"),
            "{nothing}"
        );
        assert_eq!(
            headline(&found.iter().collect::<Vec<_>>()),
            "Publish generated images only. Do not publish the model."
        );
    }

    #[test]
    fn the_weights_of_a_pair_are_those_of_both_teachers() {
        let pair = model(
            "dualmd",
            Defense::Dualmd,
            vec![attack("nn", "black-box", false)],
        );
        let teacher = |name: &str, finds| ModelReport {
            defense: ModelKind::Part,
            ..model(
                name,
                Defense::None,
                vec![attack("loss", "white-box", finds)],
            )
        };
        let of = |teachers: Vec<ModelReport>| {
            let mut all = vec![pair.clone()];
            all.extend(teachers);
            releases(&all, 0)
        };
        // Nobody attacked a teacher, or one of them only.
        for few in [vec![], vec![teacher("teacher-1", false)]] {
            let found = of(few);
            assert_eq!(found.len(), 3, "teachers have no lines of their own");
            assert_eq!(found[2].advice, Advice::NotTested, "{found:?}");
        }
        let found = of(vec![
            teacher("teacher-1", false),
            teacher("teacher-2", true),
        ]);
        assert_eq!(
            advice(&found),
            [Advice::NothingFound, Advice::NotTested, Advice::Withhold]
        );
        let strongest = found[2].strongest.as_ref().expect("an attack");
        assert_eq!(strongest.model, "teacher-2");
        assert!(found[2].because.contains("against teacher-2"), "{found:?}");
        let with = [pair.clone(), teacher("teacher-2", true)];
        let through = through_teacher(&with, &found, "dualmd").expect("a teacher leaks");
        assert_eq!(through.title, strongest.title);
        assert!(through_teacher(&with, &found, "teacher-2").is_none());
        // Nobody queried the pair: that its images were looked at is no result of that.
        assert_eq!((found[1].attacks, found[1].found), (0, None));
        assert!(found[1].strongest.is_none() && found[1].found_groups.is_none());
        assert!(found[0].attacks == 1 && found[0].found.is_some());
        let found = of(vec![
            teacher("teacher-1", false),
            teacher("teacher-2", false),
        ]);
        assert_eq!(found[2].advice, Advice::NothingFound);
        let with = [
            pair.clone(),
            teacher("teacher-1", false),
            teacher("teacher-2", false),
        ];
        assert!(through_teacher(&with, &found, "dualmd").is_none());
    }

    #[test]
    fn the_weights_of_a_pair_are_counted_on_both_halves() {
        let pair = model(
            "dualmd",
            Defense::Dualmd,
            vec![attack("nn", "black-box", false)],
        );
        let teacher = |name: &str, half: View, finds| {
            let mut own = attack("loss", "white-box", finds);
            let measured = own.pooled.clone();
            match half {
                View::D1 => own.d1 = measured,
                _ => own.d2 = measured,
            }
            ModelReport {
                defense: ModelKind::Part,
                primary: half,
                ..model(name, Defense::None, vec![own])
            }
        };
        let of = |first: bool, second: bool| {
            let models = [
                pair.clone(),
                teacher("teacher-1", View::D1, first),
                teacher("teacher-2", View::D2, second),
            ];
            let found = releases(&models, 0);
            let words = found.iter().map(|line| in_words_of(line, &models));
            words.collect::<Vec<_>>()
        };
        assert_eq!(
            of(true, true)[2].as_deref(),
            Some("finds 100 of 100 members of D1 and 100 of 100 of D2 (guessing: 1 of each)")
        );
        // What its images give away is about all members.
        let images = of(true, true)[0].clone().expect("counted");
        assert!(!images.contains(" of D1"), "{images}");
        // A teacher that tells nothing is counted, too.
        let one = of(true, false)[2].clone().expect("counted");
        assert!(
            one.starts_with("finds 100 of 100 members of D1 and ")
                && !one.contains(" and 100 of 100"),
            "{one}"
        );
    }

    #[test]
    fn a_line_says_that_it_was_answered_with_less() {
        let nn = attack("nn", "black-box", true);
        let of = |results| {
            let models = [model("m", Defense::None, results)];
            let found = releases(&models, 0);
            let said = found.iter().map(|line| with_less(line, &models));
            (said.collect::<Vec<_>>(), found)
        };
        let (said, found) = of(vec![nn.clone()]);
        assert_eq!(
            said.iter().map(Option::as_deref).collect::<Vec<_>>(),
            [
                None,
                Some("by images alone; no query attack was run"),
                Some("by images alone; no attack with the weights was run")
            ]
        );
        assert!(
            found[1].because.ends_with(" No attack by queries was run."),
            "{}",
            found[1].because
        );
        // A query attack that found nothing was run, and so was one that failed.
        let quiet = attack("rediffuse", "grey-box", false);
        let (said, found) = of(vec![nn.clone(), quiet.clone()]);
        assert_eq!(said[1], None);
        assert!(!found[1].because.contains("No attack"));
        let failed = AttackResult {
            status: "failed".into(),
            pooled: None,
            ..quiet
        };
        let (said, _) = of(vec![nn, failed]);
        assert_eq!(
            said[1].as_deref(),
            Some("by images alone; no query attack gave a result")
        );
    }

    #[test]
    fn an_attack_that_failed_is_not_one_that_was_not_run() {
        let mut failed = attack("rediffuse", "grey-box", false);
        failed.status = "failed".into();
        failed.pooled = None;
        let of = |results| releases(&[model("m", Defense::None, results)], 0);
        let nn = attack("nn", "black-box", false);
        let none = of(vec![nn.clone()]);
        assert_eq!(none[1].because, "No attack by queries was run.");
        assert_eq!(
            none[2].because,
            "No attack that evaluates the network was run."
        );
        let tried = of(vec![nn, failed]);
        assert_eq!(tried[1].advice, Advice::NotTested);
        assert_eq!(
            tried[1].because,
            "No attack by queries gave a result: those that were run failed."
        );
    }

    #[test]
    fn groups_are_told_where_there_are_clearly_fewer_than_images() {
        let by_groups = |member_groups| ByGroup {
            attack: "loss".into(),
            title: "Loss".into(),
            member_groups,
            nonmember_groups: 50,
            auc: 0.5,
            auc_ci: [0.4, 0.6],
            tpr_at_fpr: Vec::new(),
        };
        let told = |groups: usize, images: usize| {
            let mut one = model("one", Defense::None, Vec::new());
            one.by_groups = vec![by_groups(groups)];
            in_groups(&one, "loss", images).is_some()
        };
        // 149 groups of 150 images are one pair of near-duplicates.
        assert!(!told(149, 150) && !told(91, 100));
        assert!(told(90, 100) && told(30, 150));
    }

    #[test]
    fn few_images_are_no_answer() {
        let few = |m: usize, n: usize| {
            let spread = |n: usize| {
                (0..n)
                    .map(|i| (i as f64 + 0.5) / n as f64)
                    .collect::<Vec<_>>()
            };
            let result = AttackResult {
                access: "white-box".into(),
                pooled: measure(&spread(m), &spread(n), 1, &[0.1, 0.01], 0).ok(),
                ..AttackResult::named("loss")
            };
            releases(&[model("few", Defense::None, vec![result])], 0)
                .pop()
                .expect("a line")
        };
        let line = few(20, 40);
        assert_eq!(line.advice, Advice::MeasureAgain);
        // 0.5 + 1.96 sqrt((m + n + 1) / (12 m n)) at m = n = k is at most 0.60 from k = 65 on.
        assert!(
            line.because
                .contains("measure with 65 members and 65 non-members."),
            "{}",
            line.because
        );
        // 40 non-members resolve no rate of 1 in 100; the next of the table is shown.
        assert_eq!(line.found.map(|f| f.fpr), Some(0.1));
        let words = in_words(&line).expect("measurable");
        assert!(
            words.ends_with(" (guessing: 2) at 10 % false alarms"),
            "{words}"
        );
        // 1,000 members need some more of the others only.
        let line = few(1000, 20);
        assert!(
            line.because.ends_with("measure with 35 non-members."),
            "{}",
            line.because
        );
        assert_eq!(few(70, 70).advice, Advice::NothingFound);
    }

    #[test]
    fn a_few_generated_images_say_nothing() {
        let of = |drawn: usize| {
            let mut nn = attack("nn", "black-box", false);
            nn.parameters = Some(AttackParameters {
                generated: Some(drawn),
                ..AttackParameters::default()
            });
            let found = releases(&[model("m", Defense::None, vec![nn])], 0);
            (found[0].advice, found[0].because.clone())
        };
        let (advice, because) = of(8);
        assert_eq!(advice, Advice::MeasureAgain);
        assert!(
            because.ends_with("too few to find 100 members in: look at 100 or more."),
            "{because}"
        );
        assert_eq!(of(100).0, Advice::NothingFound);
    }

    #[test]
    fn what_decided_is_named() {
        // Eight members stand out, and the AUC does not show it.
        let others: Vec<f64> = (0..512).map(f64::from).collect();
        let mut members: Vec<f64> = (0..56).map(|i| f64::from(i) * 512.0 / 56.0 - 4.0).collect();
        members.extend([1000.0; 8]);
        let result = AttackResult {
            access: "white-box".into(),
            pooled: measure(&members, &others, 5, &[0.1, 0.01], 0).ok(),
            ..AttackResult::named("loss")
        };
        let found = releases(&[model("m", Defense::None, vec![result])], 0);
        assert!(
            found[2]
                .because
                .contains("tells members from non-members: 8 of 64 found at 1 % false alarms."),
            "{}",
            found[2].because
        );
    }

    #[test]
    fn guessing_in_words() {
        let said = [0.64, 1.0, 1.5, 5.12, 15.0, 15.3, 1234.0].map(by_guessing);
        assert_eq!(
            said,
            [
                "less than 1",
                "1",
                "1 or 2",
                "5 or 6",
                "15",
                "about 15",
                "1,234"
            ]
        );
    }
}
