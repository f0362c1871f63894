//! How many generated images pass for copies of training images.

use dualmd_record::utility::Copying;
use maud::{Markup, html};

use super::figure;
use crate::conclusion::{beyond, copied};
use crate::format::{grouped, percent, percent_interval, significant};
use crate::report::{ModelReport, Report};

/// The section; nothing where nothing was counted.
pub fn section(report: &Report) -> Markup {
    let rows: Vec<(&ModelReport, &Copying)> = report
        .models
        .iter()
        .flat_map(|m| m.copying.iter().map(move |c| (m, c)))
        .collect();
    let text = rows.iter().any(|(_, c)| c.own_prompt.is_some());
    let whole = |n: usize| html! { td.n data-value=(n) { (grouped(n as i64)) } };
    let body = html! {
        div.scroll tabindex="0" role="region" aria-label="Copies of training images" { table.plain data-sortable="" {
            thead { tr {
                th scope="col" { "Model" } th.n scope="col" { "a copy is" } th.n scope="col" { "copies" }
                th.n scope="col" { "of all drawn" } th.n scope="col" { "members copied" }
                th.n scope="col" { "control: members" } th.n scope="col" { "control: unseen" }
                @if text { th.n scope="col" { "own image, members" } th.n scope="col" { "own image, unseen" } }
            } }
            tbody { @for (m, c) in &rows { tr {
                th scope="row" { (m.title) small { (c.features) } }
                td.n data-value=(c.found.threshold) { (if lower(c) { "below " } else { "above " }) (significant(c.found.threshold)) }
                (whole(c.found.copies))
                td.n data-value=(share(c)) { (percent(share(c))) " (" (percent_interval(c.found.share_ci)) ")" }
                (whole(c.found.distinct)) (whole(c.control.members.copies)) (whole(c.control.heldout.copies))
                @if text { @for own in [c.own_prompt.as_ref().map(|o| o.members), c.own_prompt.as_ref().map(|o| o.heldout)] {
                    td.n data-value=[own] { @match own { Some(v) => (significant(v)), None => "-" } }
                } }
            } } }
        } }
    };
    html! {
        @if let Some((_, first)) = rows.first() {
            section #copies {
                h2 { "Copies of training images" }
                p.lede { "A generated image passes for a copy if it is more like a training image than nearly all unseen images are. Some pass by chance: the control counts them. Beyond it, whoever sees what the model draws probably sees training images." }
                (figure("wide", body, caption(&rows)))
                details { summary { "How copies are counted" } p { (method(&rows, first)) } }
            }
        }
    }
}

fn lower(copying: &Copying) -> bool {
    copying.likeness == "rmse"
}

fn share(copying: &Copying) -> f64 {
    copying.found.copies as f64 / copying.n_generated.max(1) as f64
}

/// What was found.
fn caption(rows: &[(&ModelReport, &Copying)]) -> Markup {
    let of_models = rows.iter().filter_map(|(m, _)| Some((*m, copied(m)?)));
    let most = of_models.max_by_key(|(_, c)| beyond(c));
    html! {
        @match most {
            Some((m, c)) => {
                "Most beyond the control: " (m.title) " by " code { (c.features) } ", " (grouped(c.control.members.copies as i64)) " of "
                (grouped(c.control.drawn.unwrap_or(c.n_generated) as i64)) " generated images against " (grouped(c.control.heldout.copies as i64)) ". "
            }
            None => { "No model's count is clearly beyond its control. " }
        }
        @if rows.iter().all(|(_, c)| c.likeness == "rmse") { "Looked for by pixels only, which do not find a copy that is moved, cropped or recoloured. SSCD does, and was not at hand (" code { "cargo xtask features" } ", in a source checkout, fetches it; " code { "DUALMD_SSCD" } " names its folder). " }
        "Copying is what the members have beyond the unseen images of the control, with as many of either. A few hundred images show the copies among a few hundred images, and no more."
    }
}

/// How it was counted.
fn method(rows: &[(&ModelReport, &Copying)], first: &Copying) -> Markup {
    html! {
        @if rows.iter().any(|(_, c)| c.own_prompt.is_some()) { "Own image: mean likeness of what a caption draws to the image it belongs to. " }
        "The threshold of each row is what " (percent(first.false_copy_rate)) " of unseen images pass by chance. What a model draws is no real image and may pass more often, being smooth or typical. The count against as many unseen images shows how often (with prompts: what is drawn for captions that no model saw). Both counts of the control use " (grouped(first.control.n as i64)) " images a side and thresholds of their own, which " (percent(first.control.false_copy_rate)) " of such images pass. "
        code { "rmse" } " of pixels is lower and a cosine of " code { "sscd" } " higher where images are more alike. The interval is over the images drawn."
    }
}
