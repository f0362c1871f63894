//! Who could do it: for every kind of attacker the strongest attack that was run, or that none was.

use dualmd_names::{BaseAttack, Needs};
use maud::{Markup, html};

use crate::format::{grouped, interval, list, rate};
use crate::report::{AttackResult, ModelReport, Report};

/// A kind of attacker: what they can do with the model, and what they know beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Attacker {
    access: &'static str,
    knows: Knows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    Nothing,
    /// Images that the model was not trained on.
    Others,
    Shadow,
    Members,
}

const ACCESS: [(&str, &str); 3] = [
    ("black-box", "sees generated images"),
    ("grey-box", "queries the model at chosen steps"),
    ("white-box", "holds the weights"),
];

impl Attacker {
    fn of(result: &AttackResult) -> Option<Self> {
        let (access, _) = ACCESS.into_iter().find(|(a, _)| *a == result.access)?;
        let knows = match (result.shadow, result.trained_on) {
            (Some(_), _) => Knows::Shadow,
            (None, Some(told)) if told.members == 0 => Knows::Others,
            (None, Some(_)) => Knows::Members,
            // They train models of their own as well.
            (None, None) => match BaseAttack::of(&result.attack).map(BaseAttack::needs) {
                Some(Needs::Reference | Needs::Shadow) => Knows::Shadow,
                _ => Knows::Nothing,
            },
        };
        Some(Self { access, knows })
    }

    fn title(self) -> String {
        let can = ACCESS.into_iter().find(|(a, _)| *a == self.access);
        let can = can.map_or("", |(_, can)| can);
        match self.knows {
            Knows::Nothing => can.to_owned(),
            Knows::Others => format!("{can}, has images of the kind that it was not trained on"),
            Knows::Shadow => format!("{can}, trains such models on other images"),
            Knows::Members => format!("{can}, knows a part of the members"),
        }
    }
}

/// All kinds that were tested, and the three that know nothing whether they were or not.
fn kinds(report: &Report) -> Vec<Attacker> {
    let found: Vec<Attacker> = report
        .models
        .iter()
        .flat_map(|m| &m.results)
        .filter(|r| r.pooled.is_some())
        .filter_map(Attacker::of)
        .collect();
    let mut out = Vec::new();
    for (access, _) in ACCESS {
        for knows in [Knows::Nothing, Knows::Others, Knows::Shadow, Knows::Members] {
            let kind = Attacker { access, knows };
            if knows == Knows::Nothing || found.contains(&kind) {
                out.push(kind);
            }
        }
    }
    out
}

/// The attacks of one kind on a model that gave a result.
fn of_kind(model: &ModelReport, kind: Attacker) -> Vec<&AttackResult> {
    let own = model.results.iter();
    own.filter(|r| Attacker::of(r) == Some(kind) && r.view(model.primary).is_some())
        .collect()
}

/// The table; nothing where the attacks' description is missing.
pub fn table(report: &Report) -> Markup {
    let results = || report.models.iter().flat_map(|m| &m.results);
    if results().next().is_none() || results().any(|r| r.access == "unknown") {
        return html! {};
    }
    let kinds = kinds(report);
    html! {
        h3 #attackers { "Who could do it" }
        div.scroll tabindex="0" role="region" aria-label="Kinds of attackers" { table.plain.kinds {
            thead { tr {
                th scope="col" { "An attacker who" }
                @for model in &report.models { th scope="col" { (model.title) } }
            } }
            tbody { @for &kind in &kinds { tr {
                th scope="row" { (kind.title()) small { (kind.access) } }
                @for model in &report.models { (cell(model, kind)) }
            } } }
        } }
        p.caption { "The strongest attack of each kind by its AUC on all images that it scored. Beside it stand its 95 % interval, of this attack alone, and the members found at 1 false alarm in 100. " @if kinds.iter().any(|k| k.knows == Knows::Members) { "An attack that knows a part of the members is judged on the rest. " } "\"Not tested\" is no result." }
    }
}

fn cell(model: &ModelReport, kind: Attacker) -> Markup {
    let all = of_kind(model, kind);
    let auc = |r: &&&AttackResult| r.view(model.primary).map_or(f64::NAN, |m| m.auc);
    let best = all.iter().max_by(|a, b| auc(a).total_cmp(&auc(b)));
    let Some((best, m)) = best.and_then(|r| Some((r, r.view(model.primary)?))) else {
        return html! { td.none { "not tested" } };
    };
    let found = m.tpr_at_fpr.iter().find(|p| p.fpr == 0.01 && p.measurable);
    let names: Vec<String> = all.iter().map(|r| r.title.clone()).collect();
    html! {
        td title=(list(&names)) {
            (rate(m.auc)) " " span.ci { (interval(m.auc_ci)) }
            @if let Some(p) = found { ", " (grouped(p.tp as i64)) "/" (grouped(m.n_members as i64)) }
            small { (best.title) @if all.len() > 1 { ", of " (all.len()) } }
        }
    }
}
