//! What attacks say of images that the models generated themselves.

use maud::{Markup, html};

use crate::format::{fpr_name, interval, rate};
use crate::measure::lowest_measurable;
use crate::report::{AttackResult, Measurement, ModelReport, OwnImages, Report};

/// A row: an attack with its own images, and the members that it finds.
type Row<'a> = (
    &'a ModelReport,
    &'a AttackResult,
    &'a OwnImages,
    Option<&'a Measurement>,
);

/// How many of its own images an attack takes for members, beside how many members.
pub fn section(report: &Report) -> Markup {
    let rows: Vec<Row<'_>> = report
        .models
        .iter()
        .flat_map(|model| {
            let of = move |result: &'_ AttackResult| result.own.is_some();
            model
                .results
                .iter()
                .filter(move |r| of(r))
                .filter_map(move |r| Some((model, r, r.own.as_ref()?, r.view(model.primary))))
        })
        .collect();
    let Some(most) = rows.iter().max_by(|a, b| a.2.auc.total_cmp(&b.2.auc)) else {
        return html! {};
    };
    html! {
        section #own {
            h2 { "The models' own images" }
            p.lede {
                "An attack asks how much at home a model is on an image, and a model is at home on what it generates. "
                (counted(most))
                " So an image that an attack points at may be one that this model generated, or one like it, and was never trained on. The numbers above hold where no audited image was "
                "generated. Whoever looks for members among images of unknown origin has to rule that out first."
            }
            details { summary { "Own images under every attack" }
            div.scroll { table.plain data-sortable="" {
                thead { tr {
                    th scope="col" { "Model" } th scope="col" { "Attack" } th.n scope="col" { "False alarms" }
                    th.n scope="col" { "Own images counted as members" } th.n scope="col" { "Members found" } th.n scope="col" { "Own images above non-members (AUC)" }
                } }
                tbody { @for (model, result, own, members) in &rows {
                    @let point = lowest_measurable(&own.counted_at_fpr);
                    tr {
                        th scope="row" { (model.title) } td { (result.title) }
                        td.n { @match point { Some(p) => (fpr_name(p.fpr)), None => "not measurable" } }
                        td.n { @match point { Some(p) => { (p.tp) "/" (own.n) } None => "-" } }
                        td.n { @match found(*members, point.map(|p| p.fpr)) { Some((found, n)) => { (found) "/" (n) } None => "-" } }
                        td.n data-value=(own.auc) { (rate(own.auc)) " (" (interval(own.auc_ci)) ")" }
                    }
                } }
            } }
            p.caption { "The first generated images of each model, as many as the table says, scored exactly as the audited ones. The threshold is that of the attack: so many false alarms among the non-members." }
            }
        }
    }
}

/// Members found at a rate of false alarms, and of how many.
fn found(measured: Option<&Measurement>, fpr: Option<f64>) -> Option<(usize, usize)> {
    let (measured, fpr) = (measured?, fpr?);
    let point = measured.tpr_at_fpr.iter().find(|p| p.fpr == fpr)?;
    Some((point.tp, measured.n_members))
}

/// The attack that counts most of them, in a sentence.
fn counted((model, result, own, members): &Row<'_>) -> Markup {
    let Some(point) = lowest_measurable(&own.counted_at_fpr) else {
        return html! { "There are too few non-members to say how many it would count as members." };
    };
    html! {
        (result.title) " counts " strong { (point.tp) " of " (own.n) } " images of " (model.title) "'s own as members at " (fpr_name(point.fpr)) " false alarms"
        @if let Some((found, n)) = found(*members, Some(point.fpr)) { ", where it finds " (found) " of " (n) " members" }
        "."
    }
}
